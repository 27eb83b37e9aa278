"""Kills the gateway at random moments while customers, upstreams and operators are at work: nothing billed is lost.

One gateway goes through several rounds. In each round a load starts, the process is killed (in mid-load or during an
orderly stop), up to two of the next starts are killed as well, and one start succeeds. Then the customers' answers, the
upstreams' answers, the acknowledged changes, and every counter and report are compared.

`TOLLGATE_KILL_ROUNDS` sets the number of rounds for each durability (default 6; use hundreds for a thorough test).
"""

import datetime
import os
import random
import shutil
import time

import pytest

from support.books import call_of, check_counters, check_events, check_reports
from support.gateway import EPOCH, Customer, Gateway, fresh, message, model, prefix_of, rate, seconds_to_midnight
from support.load import Load, Request
from support.upstream import BreakOff, Reply, ScriptedUpstream
from support.wire import Broken

ROUNDS = int(os.environ.get("TOLLGATE_KILL_ROUNDS", "6"))
ROUNDS_A_LIFE = 25  # rounds per gateway; each round compares all of its events
ROOMY = [rate("REQUEST", "DAY", 10**9), rate("TOKEN", "DAY", 10**12)]
ANSWERS = {200, 400, 401, 404, 429, 502, 503}
ENDS = ["killed", "killed while it stops", "killed and its store lost"]
GONE = object()
CASCADING = {"root": None, "left": "root", "leaf": "left", "right": "root", "mortal": "right"}
INDEPENDENT = {"firm": None, "heir": "firm"}
PARENTS = CASCADING | INDEPENDENT


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 120:
        pytest.skip("the day is about to change")


def price(currency, *each):
    return {"currency": currency, **dict(zip(("input", "output", "cached"), each, strict=True))}


class World:
    """Two group trees on one gateway, their history, and the changes that the admin API has acknowledged."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.rough, self.steady = ScriptedUpstream(), ScriptedUpstream()
        self.chat = gateway.create_endpoint(self.rough, pricing=price("EUR", "2.5", "10.000001", "0.1"))
        self.embed = gateway.create_endpoint(self.rough)["slug"]
        self.spared = gateway.create_endpoint(self.rough, pricing=price("USD", "0.15", "0.6", "0.075"))["slug"]
        self.add_second_target(self.spared)
        self.chat_names = {self.chat["slug"]}  # every slug that it has had
        self.groups, self.customers, self.keys = {}, {}, {}  # by place; `keys` holds the keys' names
        self.above = {}  # group id -> its parent's id, deleted groups included
        for place, parent in PARENTS.items():
            self.put(place, self.create(place, fresh("cust")))
        self.acknowledged = self.state()
        self.changing = {}  # the change that is not acknowledged yet: fact -> its possible new value
        self.events, self.loads, self.polled = [], [], []
        self.polled_to = EPOCH
        self.start_s = 0.1

    def add_second_target(self, slug):
        [endpoint] = [one for one in self.gateway.admin("GET", "/v1/gateway/endpoints")["items"] if one["slug"] == slug]
        targets = [{"provider": "OPENAI_COMPATIBLE", "base_url": up.base_url} for up in (self.rough, self.steady)]
        self.gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"targets": targets})

    def close(self):
        self.rough.stop(), self.steady.stop()
        if self.gateway.process.child.poll() is None:
            self.gateway.kill9()
        self.gateway.close()

    # Group trees

    @property
    def slugs(self):
        return self.chat["slug"], self.embed, self.spared

    def create(self, place, entity):
        parent = PARENTS[place]
        mode = None if parent else "INDEPENDENT" if place in INDEPENDENT else "CASCADING"
        models = [model(slug, (), ROOMY) for slug in self.slugs]
        return self.gateway.create_group(*models, parent=parent and self.groups[parent], mode=mode, entity=entity)

    def put(self, place, group):
        """Puts this group, with a new key, in this place."""
        parent = PARENTS[place]
        self.above[group["id"]] = parent and self.groups[parent]["id"]
        self.keys[place] = fresh("key")
        self.customers[place] = Customer(self.gateway, self.gateway.mint_key(group, name=self.keys[place]))
        self.groups[place] = group

    def counts_for(self, group, event):
        """Whether an event counts against a group's limits: its own event or, in CASCADING, a descendant's."""
        at = event["groupId"]
        while at != group["id"] and group["hierarchy"]["limit_enforcement"] == "CASCADING" and self.above[at]:
            at = self.above[at]
        return at == group["id"]

    # Customers and upstreams

    def ask(self, rng):
        customer, choice = self.customers[rng.choice(list(self.customers))], rng.random()
        more = {"max_tokens": rng.randint(1, 8), "stream": rng.random() < 0.5}
        hang_up = rng.random() < 0.05
        if choice < 0.15:
            body = {"model": self.embed, "input": "one two three"}
            return Request(customer, "/v1/embeddings", body, 3, hang_up)
        if choice < 0.3:
            body = {"model": self.spared, "prompt": "one two", **more}
            return Request(customer, "/v1/completions", body, 2, hang_up)
        slug = self.spared if choice < 0.6 else self.chat["slug"]
        body = {"model": slug, "messages": message("one two three"), **more}
        return Request(customer, "/v1/chat/completions", body, 3, hang_up)

    def script_rough(self, rng):
        """Mostly good answers; some refusals, failures, and breaks before the head, in the middle or before the end."""
        error = {"message": "scripted", "type": "scripted", "param": None, "code": None}
        replies = [Reply(status, json_body={"error": error}) for status in (500, 400, 429) for _ in range(20)]
        replies += [Reply(insert={at: BreakOff(reset)}) for at in (1, 2, -1) for reset in (True, False)] * 5
        replies += [Reply(before_head=BreakOff()) for _ in range(10)]
        replies += [Reply() for _ in range(900)]
        rng.shuffle(replies)
        with self.rough.changed:
            self.rough.script.clear()
            self.rough.script.extend(replies)

    # Operators

    def state(self):
        """The gateway's current value of every fact that operators change."""
        endpoints = self.gateway.admin("GET", "/v1/gateway/endpoints")["items"]
        groups = self.gateway.admin("GET", "/v1/gateway/groups", query={"limit": 1000})["items"]
        keys = self.gateway.admin("GET", f"/v1/gateway/groups/{self.groups['left']['id']}/api_keys")["items"]
        facts = {("slug", one["id"]): one["slug"] for one in endpoints} | {("key", one["name"]): True for one in keys}
        return facts | {("group", one["metadata"]["external_entity_id"]): one["metadata"].get("name") for one in groups}

    def change(self, fact, value, do):
        """Runs `do`, which sets the fact to the value. A crash meanwhile may leave the old or the new value."""
        self.changing = {fact: value}
        done = do()
        self.acknowledged[fact] = value
        self.changing = {}
        return done

    def operate(self, load):
        rng = random.Random(load.name)
        try:
            while not load.over and not load.gateway_ends:
                rng.choice([self.rename_slug, self.rename_group, self.replace_mortal, self.replace_key])()
        except (Broken, OSError):
            assert load.gateway_ends

    def rename_slug(self):
        path, slug = f"/v1/gateway/endpoints/{self.chat['id']}", fresh("acme/chat")
        self.chat_names.add(slug)
        self.chat = self.change(
            ("slug", self.chat["id"]), slug, lambda: self.gateway.admin("PATCH", path, {"slug": slug})
        )

    def rename_group(self):
        group, name = self.groups["leaf"], fresh("name")
        fact = "group", group["metadata"]["external_entity_id"]
        self.change(fact, name, lambda: self.gateway.patch_group(group, metadata={"name": name}))

    def replace_key(self):
        group, old_name, old = self.groups["left"], self.keys["left"], self.customers["left"].key
        name = fresh("key")
        key = self.change(("key", name), True, lambda: self.gateway.mint_key(group, name=name))
        self.keys["left"], self.customers["left"] = name, Customer(self.gateway, key)
        path = f"/v1/gateway/groups/{group['id']}/api_keys/{prefix_of(old)}"
        self.change(("key", old_name), GONE, lambda: self.gateway.admin("DELETE", path))

    def replace_mortal(self):
        """Replaces the group. The old group's usage stays with its ancestors."""
        old, entity = self.groups["mortal"], fresh("cust")
        self.put("mortal", self.change(("group", entity), None, lambda: self.create("mortal", entity)))
        path = f"/v1/gateway/groups/{old['id']}"
        fact = "group", old["metadata"]["external_entity_id"]
        self.change(fact, GONE, lambda: self.gateway.admin("DELETE", path))

    def poll(self, load=None):
        """Reads events from the end of the last read, as an invoicing job does, until the load ends."""
        try:
            while load is None or not (load.over or load.gateway_ends):
                end = now()
                self.polled += self.gateway.events(start_time=self.polled_to, end_time=end)
                self.polled_to = end
                if load is None:
                    return
        except (Broken, OSError):
            assert load and load.gateway_ends

    # Checks

    def check(self):
        self.check_acknowledged_changes()
        attention = self.gateway.admin("GET", "/v1/gateway/status")["attention"]
        assert not any("cannot be read" in sentence or "incomplete" in sentence for sentence in attention), attention
        events = self.gateway.events()
        assert events[: len(self.events)] == self.events, "an event that was readable is gone or has changed"
        self.events = events
        self.poll()
        assert self.polled == events, "a poller must get every event exactly once"
        check_events(events, self.loads, (self.rough, self.steady))
        for group in self.groups.values():
            own = [event for event in events if self.counts_for(group, event)]
            for slug, names in zip(self.slugs, (self.chat_names, {self.embed}, {self.spared}), strict=True):
                check_counters(self.gateway, group, slug, [event for event in own if event["modelSlug"] in names])
        check_reports(self.gateway, events)

    def check_acknowledged_changes(self):
        found = self.state()
        possible = self.acknowledged, self.acknowledged | self.changing
        expected = [{fact: value for fact, value in facts.items() if value is not GONE} for facts in possible]
        assert found in expected, f"{found=}, acknowledged={self.acknowledged}, changing={self.changing}"
        self.acknowledged, self.changing = found, {}
        self.chat["slug"] = found["slug", self.chat["id"]]
        assert {customer.get("/v1/models").status for customer in self.customers.values()} == {200}


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def crash(world, rng, how):
    gateway = world.gateway
    world.script_rough(rng)
    load = Load(gateway, world.ask, seed=rng.random(), alongside=[world.operate, world.poll])
    world.loads.append(load)
    load.wait_completed(rng.randrange(20, 150))
    load.gateway_is_to_end()
    if how == "killed while it stops":
        gateway.terminate()
    time.sleep(rng.uniform(0, 0.03))
    gateway.kill9()
    load.join()
    assert set(load.statuses()) <= ANSWERS
    if how == "killed and its store lost":
        shutil.rmtree(gateway.data_dir / "store")
    for _ in range(rng.randrange(3)):
        gateway.begin()
        time.sleep(rng.uniform(0, world.start_s))
        gateway.kill9()
    begun = time.monotonic()
    gateway.start()
    world.start_s = time.monotonic() - begun


def live_on(world, rng):
    """Runs a load without a crash, so that the outcome of every answer is known."""
    world.script_rough(rng)
    load = Load(world.gateway, world.ask, seed=rng.random(), alongside=[world.operate, world.poll])
    world.loads.append(load)
    load.wait_completed(100)
    load.end()
    status = lambda: world.gateway.admin("GET", "/v1/gateway/status")["requests"]  # noqa: E731
    world.gateway.eventually(status, lambda requests: requests["running"] == 0)
    world.check()
    billed = {call for call in map(call_of, world.events) if call.startswith(f"{load.name}-")}
    assert billed - load.hung_up == load.begun - load.hung_up, "each answer that began must have one event"
    assert load.begun & load.hung_up <= billed
    world.gateway.restart()
    world.check()


@pytest.mark.parametrize("durability", ["disk", "process"])
def test_a_kill_at_any_moment_loses_nothing_and_counts_nothing_twice(durability):
    rng = random.Random(durability)
    events = answers = 0
    for first in range(0, ROUNDS, ROUNDS_A_LIFE):
        world = World(Gateway(durability=durability))
        try:
            for number in range(first, min(first + ROUNDS_A_LIFE, ROUNDS)):
                crash(world, rng, ENDS[number % len(ENDS)])
                world.check()
            live_on(world, rng)
            events, answers = events + len(world.events), answers + sum(len(load.completed) for load in world.loads)
        finally:
            world.close()
    print(f"{durability}: {ROUNDS} rounds, {answers} complete answers, {events} events")


def test_a_killed_first_start_does_not_block_the_next_start():
    with Gateway(admin_key=None) as gateway:
        for moment in range(15):
            gateway.stop()
            shutil.rmtree(gateway.data_dir)
            gateway.begin()
            time.sleep(moment * 0.003)
            gateway.kill9()
            gateway.start()
            gateway.admin_key = (gateway.data_dir / "admin.key").read_text().strip()
            assert gateway.admin("GET", "/v1/gateway/groups")["items"] == []
