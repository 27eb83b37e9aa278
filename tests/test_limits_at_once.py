"""Sixty-four customers and an operator act at random at the same time. Then every figure must be the sum of its events.

Two trees, one of each mode, carry two models. On `rough` anything may happen: the upstream fails and refuses, customers
hang up, thresholds change, and the slug is renamed, removed and added again. On `steady` the limits do not change, and
exactly as many requests are admitted as they allow.
"""

import collections
import concurrent.futures
import dataclasses
import decimal
import itertools
import json
import random
import threading
import time

import pytest

from support.gateway import Customer, Gateway, budget, fresh, message, model, rate, seconds_to_midnight
from support.upstream import Reply, ScriptedUpstream
from support.wire import Connection, Stream

CLIENTS = 64
REQUESTS_EACH = 40
ANSWERS = {200, 400, 401, 403, 404, 429, 502}
UNITS = ("DAY", "WEEK", "MONTH")
ROOMY = [rate(kind, unit, most) for unit in UNITS for kind, most in (("REQUEST", 10**9), ("TOKEN", 10**12))]
BUDGETS = [budget(unit, "999999") for unit in (*UNITS, "TOTAL")]
PRICES = {"currency": "EUR", "input": "0.123456", "output": "6.543219"}


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 120:
        pytest.skip("the day is about to change")


@dataclasses.dataclass
class Member:
    """A place in a tree, with its current group. No two levels vary the same limit, so no change exceeds a parent's."""

    parent: str | None
    varied: tuple  # (type, unit, thresholds) on `rough`
    steady: list  # (type, unit, threshold) on `steady`
    group: dict | None = None
    customer: Customer | None = None


CASCADING = {
    "root": Member(None, ("REQUEST", "DAY", (20, 150, 400)), [("REQUEST", "DAY", 700), ("TOKEN", "DAY", 10**9)]),
    "left": Member("root", ("REQUEST", "MINUTE", (10, 100, 250)), [("REQUEST", "DAY", 300)]),
    "right": Member("root", ("REQUEST", "MINUTE", (10, 100, 250)), [("REQUEST", "DAY", 250)]),
    "left leaf": Member("left", ("TOKEN", "DAY", (0, 500, 10**9)), [("REQUEST", "MINUTE", 150)]),
    "left twig": Member("left leaf", ("TOKEN", "MINUTE", (0, 500, 10**9)), [("REQUEST", "MINUTE", 25)]),
    "right leaf": Member("right", ("TOKEN", "DAY", (0, 500, 10**9)), []),
    "mortal": Member("right", ("TOKEN", "DAY", (500, 10**9)), [("REQUEST", "DAY", 40)]),
}
INDEPENDENT = {
    "firm": Member(None, ("REQUEST", "DAY", (10, 60, 200)), [("REQUEST", "DAY", 80), ("TOKEN", "DAY", 10**9)]),
    "heir": Member("firm", ("TOKEN", "DAY", (0, 500, 10**9)), []),
    "owner": Member("firm", ("REQUEST", "DAY", (10, 60, 200)), [("REQUEST", "DAY", 50), ("REQUEST", "MINUTE", 30)]),
}


class Trees:
    """Both trees on one gateway, with their history and the parent of every group."""

    def __init__(self, gateway, rough_upstream, steady_upstream):
        self.gateway = gateway
        self.endpoint = gateway.create_endpoint(rough_upstream, fresh("acme/rough"), pricing=PRICES)
        self.steady = gateway.create_endpoint(steady_upstream, fresh("acme/steady"), pricing=PRICES)["slug"]
        self.rough = self.endpoint["slug"]
        self.rough_names = {self.rough}
        self.members = {name: dataclasses.replace(member) for name, member in (CASCADING | INDEPENDENT).items()}
        self.parents = {}  # group id -> its parent's id, deleted groups included
        self.deleted = []
        for name in self.members:
            self.make(name)

    def make(self, name):
        member = self.members[name]
        parent = self.members[member.parent].group if member.parent else None
        mode = None if parent else "CASCADING" if name in CASCADING else "INDEPENDENT"
        member.group = self.gateway.create_group(*self.models(name, -1), parent=parent, mode=mode)
        member.customer = Customer(self.gateway, self.gateway.mint_key(member.group))
        self.parents[member.group["id"]] = parent and parent["id"]

    def models(self, name, choice, rough=True):
        """The models that a member declares, with one of its possible thresholds on `rough`."""
        member = self.members[name]
        kind, unit, thresholds = member.varied
        found = [declare(self.steady, member.steady)]
        if rough:
            found.append(declare(self.rough, [(kind, unit, thresholds[choice])]))
        return found

    def change(self, name, choice=-1, **more):
        self.gateway.patch_group(self.members[name].group, models=self.models(name, choice, **more))

    def rename(self):
        new = fresh("acme/rough")
        self.rough_names.add(new)
        self.gateway.admin("PATCH", f"/v1/gateway/endpoints/{self.endpoint['id']}", {"slug": new})
        self.rough = new

    def disable(self, name, disabled):
        self.gateway.patch_group(self.members[name].group, disabled=disabled)

    def replace(self, name):
        """Replaces the group. The old group's usage stays with its ancestors."""
        group = self.members[name].group
        self.gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}")
        self.deleted.append(group)
        self.make(name)

    def depth(self, name):
        parent = self.members[name].parent
        return 1 + self.depth(parent) if parent else 0

    def names_of(self, slug):
        return {self.steady} if slug == self.steady else self.rough_names

    def counted_for(self, name):
        """The ids of the groups whose events count in a member's counters."""
        top = self.members[name].group["id"]
        return {group for group in self.parents if group == top or (name in CASCADING and top in self.above(group))}

    def above(self, group):
        while group := self.parents[group]:
            yield group


def declare(slug, limits):
    rates = [rate(*limit) for limit in limits if limit[1] != "DAY"]
    return model(slug, rates, [rate(*limit) for limit in limits if limit[1] == "DAY"])


class Operator:
    """Makes changes without pause and restores everything at the end."""

    def __init__(self, trees):
        self.trees, self.rng = trees, random.Random("operator")
        self.over = threading.Event()
        self.done = collections.Counter()

    def change_until_over(self):
        for number in itertools.count():
            if self.over.is_set() and number >= 20:
                break
            self.change_something(number)
        for name in self.trees.members:
            self.trees.change(name)

    def change_something(self, number):
        name = self.rng.choice(list(self.trees.members))
        what = ("threshold", "threshold", "slug", "rename", "disable", "delete")[number % 6]
        self.done[what] += 1
        if what == "threshold":
            self.trees.change(name, self.rng.choice([0, 1, -1]))
        elif what == "slug":
            # Only members whose REQUEST limit nobody shares: without the slug the limit is gone for a moment.
            name = self.rng.choice(["left leaf", "left twig", "right leaf", "mortal", "heir", "owner"])
            self.trees.change(name, rough=False)
            self.trees.change(name)
        elif what == "rename":
            self.trees.rename()
        elif what == "disable":
            self.trees.disable(name, True)
            self.trees.disable(name, False)
        else:
            self.trees.replace("mortal")


class Client:
    """Calls on one connection and reconnects when it ends."""

    def __init__(self, trees, place, number):
        self.trees, self.place, self.rng = trees, place, random.Random(number)
        self.connection = Connection(trees.gateway.address)
        self.statuses, self.completed, self.hung_up = collections.Counter(), [], 0

    def call_both(self):
        for _ in range(REQUESTS_EACH):
            rough = self.rng.random() < 0.75
            self.call(self.trees.rough if rough else self.trees.steady, hang_up=rough and self.rng.random() < 0.1)

    def use_up_steady(self):
        while self.call(self.trees.steady) != 429:
            pass

    def call(self, slug, hang_up=False):
        customer = self.trees.members[self.place].customer
        streamed = self.rng.random() < 0.5
        body = {"model": slug, "messages": message("one two three"), "max_tokens": self.rng.randint(1, 8)}
        self.connection.request("POST", "/v1/chat/completions", customer.headers(), body | {"stream": streamed})
        if hang_up and not streamed:
            return self.hang_up()
        status, header_list = self.connection.read_head()
        headers = dict(header_list)
        self.statuses[status] += 1
        if status == 200 and streamed:
            stream = Stream(self.connection)
            if hang_up:
                stream.next()
                return self.hang_up()
            assert stream.chunks()
        else:
            assert ("error" in json.loads(self.connection.read_body())) == (status != 200)
        if status == 200:
            self.completed.append(headers["x-request-id"])
        if headers.get("connection") == "close":
            self.reconnect()
        return status

    def hang_up(self):
        self.hung_up += 1
        self.connection.reset()
        self.reconnect()

    def reconnect(self):
        self.connection.close()
        self.connection = Connection(self.trees.gateway.address)


def rough_answers():
    """The answers of the upstream of `rough`, shuffled. Most are good."""
    error = {"message": "scripted", "type": "scripted", "param": None, "code": None}
    failures = [Reply(status, json_body={"error": error}) for status in (500, 503, 400, 404) for _ in range(40)]
    answers = failures + [Reply() for _ in range(1000)]
    random.Random("upstream").shuffle(answers)
    return answers


def test_after_concurrent_calls_and_changes_every_counter_is_the_sum_of_its_events():
    rough, steady = ScriptedUpstream(), ScriptedUpstream()
    rough.script.extend(rough_answers())
    try:
        with Gateway() as gateway:
            trees = Trees(gateway, rough, steady)
            begun = time.monotonic()
            clients, operator = storm(trees)
            answered = sum((client.statuses for client in clients), collections.Counter())
            hung_up = sum(client.hung_up for client in clients)
            print(f"answers: {dict(answered)}, {hung_up} hung up; changes: {dict(operator.done)}")
            assert set(answered) <= ANSWERS
            nothing_is_held(trees)
            events = gateway.events()
            check_events(events, clients)
            assert {event["groupId"] for event in events} & {group["id"] for group in trees.deleted}
            check_thresholds(trees, events, begun)
            check_counters(trees, events)
            gateway.kill9()
            gateway.start()
            check_counters(trees, events)
    finally:
        rough.stop(), steady.stop()


def storm(trees):
    places = itertools.islice(itertools.cycle(trees.members), CLIENTS)
    clients = [Client(trees, place, number) for number, place in enumerate(places)]
    operator = Operator(trees)
    with concurrent.futures.ThreadPoolExecutor(CLIENTS + 1) as pool:
        operating = pool.submit(operator.change_until_over)
        try:
            list(pool.map(Client.call_both, clients))
        finally:
            operator.over.set()
        operating.result()
        # The lowest level first: a higher one would use up the limits that they share.
        for depth in (3, 2, 1, 0):
            list(pool.map(Client.use_up_steady, [client for client in clients if trees.depth(client.place) == depth]))
    for client in clients:
        client.connection.close()
    return clients, operator


def figures(trees, name, slug):
    """A member's own limits on a slug: `{(type, unit): limit}`."""
    group = trees.members[name].group
    found = trees.gateway.limits(group, slug)["limits"]
    return {
        (limit["type"], limit["unit"]): limit
        for limit in found
        if limit["kind"] != "budget" and (name in INDEPENDENT or limit["source_group"] == group["id"])
    }


def nothing_is_held(trees):
    """Waits until nothing is held: after a hang-up the gateway may wait up to two seconds for the usage."""
    for name in trees.members:
        for slug in (trees.rough, trees.steady):
            held = lambda: [limit["held"] for limit in figures(trees, name, slug).values()]  # noqa: E731
            trees.gateway.eventually(held, lambda found: not any(found))


def check_events(events, clients):
    assert len({event["idempotencyKey"] for event in events}) == len(events)
    by_request = collections.Counter(event["requestId"] for event in events)
    assert all(by_request[request] == 1 for client in clients for request in client.completed)
    begun = sum(client.statuses[200] for client in clients)
    # A customer who hung up on a JSON answer saw no head, but the upstream may have answered.
    assert begun <= len(events) <= begun + sum(client.hung_up for client in clients)


def sums(trees, events, name, slug):
    groups, names = trees.counted_for(name), trees.names_of(slug)
    own = [event["tokens"] for event in events if event["groupId"] in groups and event["modelSlug"] in names]
    return len(own), sum(tokens["inputTokens"] + tokens["outputTokens"] for tokens in own)


def costs(trees, events, name):
    """What the events that count for a member have cost, on both models."""
    groups = trees.counted_for(name)
    return sum(decimal.Decimal(event["cost"]["amount"]) for event in events if event["groupId"] in groups)


def check_thresholds(trees, events, begun):
    for name, member in trees.members.items():
        kind, unit, thresholds = member.varied
        if kind == "REQUEST":
            limit = figures(trees, name, trees.rough)[kind, unit]
            assert limit["used"] <= max(thresholds), name
            assert sums(trees, events, name, trees.rough)[0] <= max(thresholds), name
    # Limits that nobody changed are used up exactly.
    for name, threshold in (("root", 700), ("left", 300), ("right", 250), ("firm", 80), ("heir", 80)):
        assert sums(trees, events, name, trees.steady)[0] == threshold, name
        assert figures(trees, name, trees.steady)["REQUEST", "DAY"]["left"] == 0
    for name, threshold in (("left leaf", 150), ("left twig", 25), ("owner", 30)):
        used = figures(trees, name, trees.steady)["REQUEST", "MINUTE"]["used"]
        if time.monotonic() - begun < 60:  # after a minute the window has room again
            assert sums(trees, events, name, trees.steady)[0] == used == threshold, name


def check_counters(trees, events):
    """Gives every member a limit of each type and calendar window, and a budget of each unit, and checks them: they count
    all earlier requests of their windows."""
    for name, member in trees.members.items():
        models = [model(slug, (), ROOMY) for slug in (trees.rough, trees.steady)]
        trees.gateway.patch_group(member.group, models=models, budgets=BUDGETS)
    for name, member in trees.members.items():
        usage = trees.gateway.admin("GET", f"/v1/gateway/groups/{member.group['id']}/usage")
        own = [one for one in usage["budgets"] if one["source_group"] == member.group["id"]]
        spent = {one["unit"]: (decimal.Decimal(one["spent"]), one["held"]) for one in own}
        assert spent == dict.fromkeys((*UNITS, "TOTAL"), (costs(trees, events, name), "0")), name
        for slug in (trees.rough, trees.steady):
            requests, tokens = sums(trees, events, name, slug)
            found = figures(trees, name, slug)
            expected = {(kind, unit): n for unit in UNITS for kind, n in (("REQUEST", requests), ("TOKEN", tokens))}
            assert {of: limit["used"] for of, limit in found.items()} == expected, (name, slug)
            current = {
                (entry["type"], entry["unit"]): entry["current_usage"] or 0
                for entry in usage["usage"][slug]
                if entry["source_group"] == member.group["id"]
            }
            assert current == expected, (name, slug)
