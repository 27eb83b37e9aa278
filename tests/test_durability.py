"""What a customer has, the books have: across `kill -9`, orderly stops and second starts.

`TOLLGATE_KILL_ROUNDS` sets how often the gateway is killed under load (3 by default).
"""

import collections
import datetime
import json
import os
import random
import signal
import threading

import pytest

from support.gateway import Customer, DidNotStart, Gateway, message, model, rate, seconds_to_midnight
from support.upstream import ScriptedUpstream
from support.wire import Broken, Connection, Stream

ROUNDS = int(os.environ.get("TOLLGATE_KILL_ROUNDS", "3"))
LIMITS = [], [rate("REQUEST", "DAY", 10**9), rate("TOKEN", "DAY", 10**12)]


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 120:
        pytest.skip("the day is about to change")


@pytest.fixture
def own():
    """A gateway of the test's own, which it may kill."""
    gateway = Gateway()
    yield gateway
    if gateway.process.child.poll() is None:
        gateway.kill9()
    gateway.close()


class Load:
    """Threads that send streamed and other requests one after the other and note every answer that they have whole."""

    def __init__(self, gateway, customers, slug, seed):
        self.gateway, self.customers, self.slug = gateway, customers, slug
        self.completed, self.tokens = [], collections.Counter()  # request ids; tokens by customer
        self.begun = 0
        self.changed = threading.Condition()
        self.stopping = False
        self.threads = [
            threading.Thread(target=self.run, args=(customer, random.Random(f"{seed}-{number}")), daemon=True)
            for number, customer in enumerate(customers)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, customer, rng):
        try:
            connection = Connection(self.gateway.address)
            while not self.stopping:
                self.one(connection, customer, rng)
        except (Broken, OSError, ValueError):
            return  # the gateway was killed under us: whatever was not whole does not count

    def one(self, connection, customer, rng):
        streamed, words = rng.random() < 0.5, rng.randrange(1, 12)
        with self.changed:
            self.begun += 1
        connection.request(
            "POST",
            "/v1/chat/completions",
            customer.headers(),
            {"model": self.slug, "messages": message("one two three"), "max_tokens": words, "stream": streamed},
        )
        status, header_list = connection.read_head()
        assert status == 200, status
        if streamed:
            assert Stream(connection).chunks()
        else:
            assert json.loads(connection.read_body())["usage"]["completion_tokens"] == min(words, 8)
        with self.changed:
            self.completed.append(dict(header_list)["x-request-id"])
            self.tokens[customer.key] += 3 + min(words, 8)
            self.changed.notify_all()

    def wait_completed(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.completed) >= count, 60), (
                f"{len(self.completed)} of {count} answers"
            )

    def join(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("durability", ["disk", "process"])
def test_kill_nine_under_load_loses_nothing_and_counts_nothing_twice(durability):
    upstream = ScriptedUpstream()
    gateway = Gateway(durability=durability)
    try:
        slug = gateway.create_endpoint(upstream)["slug"]
        root = gateway.create_group(model(slug, *LIMITS), mode="CASCADING")
        children = [gateway.create_group(model(slug, *LIMITS), parent=root) for _ in range(2)]
        customers = [Customer(gateway, gateway.mint_key(child)) for child in children * 4]
        completed, rng = [], random.Random(durability)
        for number in range(ROUNDS):
            load = Load(gateway, customers, slug, f"{durability}-{number}")
            load.wait_completed(rng.randrange(40, 240))
            gateway.kill9()
            load.join()
            completed += load.completed
            gateway.start()
            check_books(gateway, slug, root, children, customers, completed, upstream.count)
        # And what is true after a crash stays true after an orderly stop.
        gateway.restart()
        check_books(gateway, slug, root, children, customers, completed, upstream.count)
        events = len(gateway.events())
        print(f"{durability}: {ROUNDS} kills, {len(completed)} whole answers, {events} events, {upstream.count} calls upstream")
    finally:
        if gateway.process.child.poll() is None:
            gateway.kill9()
        gateway.close()
        upstream.stop()


def check_books(gateway, slug, root, children, customers, completed, sent):
    events = gateway.events()
    by_request = collections.Counter(event["requestId"] for event in events)
    assert [request for request in completed if by_request[request] != 1] == [], (
        "an answer that was had whole has not exactly one event"
    )
    assert max(by_request.values()) == 1 and len({event["idempotencyKey"] for event in events}) == len(events)
    assert len(events) <= sent
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    tokens = collections.Counter()
    requests = collections.Counter()
    for event in events:
        tokens[event["groupId"]] += event["tokens"]["inputTokens"] + event["tokens"]["outputTokens"]
        requests[event["groupId"]] += 1
    for group, expected in [(child, (requests[child["id"]], tokens[child["id"]])) for child in children] + [
        (root, (requests.total(), tokens.total()))
    ]:
        own = {
            limit["type"]: limit
            for limit in gateway.limits(group, slug)["limits"]
            if limit["source_group"] == group["id"]
        }
        assert (own["REQUEST"]["used"], own["TOKEN"]["used"]) == expected, (
            f"{group['id']}: the counters are not the sum of the events"
        )
        assert own["REQUEST"]["held"] == own["TOKEN"]["held"] == 0


def test_what_was_in_flight_at_a_kill_counts_nowhere(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(model(slug, *LIMITS))
    customer = Customer(own, own.mint_key(group))
    gates = [upstream.stall_next(after=3), upstream.hang_next()]
    connection, _, stream = customer.stream_chat(slug)
    stream.next()
    waiting = customer.begin_chat(slug)
    for gate in gates:
        gate.reached()
    own.kill9()
    with pytest.raises(Broken):
        list(stream)
    with pytest.raises(Broken):
        waiting.read_head()
    connection.close(), waiting.close()
    own.start()
    assert own.events() == []
    assert [(limit["used"], limit["held"]) for limit in own.limits(group, slug)["limits"]] == [(0, 0), (0, 0)]


def test_rolling_windows_are_refilled_after_a_kill(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(model(slug, [rate("REQUEST", "MINUTE", 3)]))
    customer = Customer(own, own.mint_key(group))
    for _ in range(3):
        assert customer.chat(slug).status == 200
    own.kill9()
    own.start()
    assert customer.chat(slug).status == 429


def test_what_an_operator_changed_survives_a_kill(own, upstream):
    endpoint = own.create_endpoint(upstream, pricing={"currency": "EUR", "input": "1", "output": "2", "cached": "0.5"})
    parent = own.create_group(endpoint["slug"], name="Parent")
    child = own.create_group(endpoint["slug"], parent=parent)
    gone = own.create_group(endpoint["slug"])
    key, gone_key = own.mint_key(child, name="first"), own.mint_key(gone)
    operator = own.mint_operator("WORKSPACE_EXPORT_METRICS")
    own.admin("POST", "/v1/secrets", {"name": "credential", "value": "v"})
    own.admin("DELETE", f"/v1/gateway/groups/{gone['id']}")
    own.admin("PATCH", f"/v1/gateway/groups/{parent['id']}", {"metadata": {"name": "Renamed"}})

    def state():
        return [
            own.admin("GET", path)
            for path in (
                "/v1/gateway/endpoints",
                "/v1/gateway/groups",
                f"/v1/gateway/groups/{child['id']}/api_keys",
                "/v1/secrets",
            )
        ]

    before = state()
    own.kill9()
    own.start()
    assert state() == before
    assert Customer(own, key).chat(endpoint["slug"]).status == 200
    assert Customer(own, gone_key).chat(endpoint["slug"]).status == 401
    assert own.admin_answer("GET", "/v1/gateway/status", key=operator).status == 200
    assert own.events(key)[0]["cost"]["currency"] == "EUR"


def test_a_second_process_on_the_same_directory_is_refused(own):
    with pytest.raises(DidNotStart) as caught:
        Gateway(data_dir=own.data_dir)
    assert caught.value.status not in (0, None) and caught.value.status > 0
    assert str(own.data_dir) in caught.value.output
    assert "panicked" not in caught.value.output
    assert own.admin("GET", "/v1/gateway/groups")["items"] == [], "the first one goes on"


def test_a_directory_is_free_again_after_a_kill(own):
    own.kill9()
    own.start()
    own.stop()
    own.start()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_lets_a_running_stream_end(own, upstream, name):
    slug = own.create_endpoint(upstream)["slug"]
    key = own.mint_key(own.create_group(slug))
    gate = upstream.stall_next(after=3)
    connection, headers, stream = Customer(own, key).stream_chat(slug, "one two three")
    stream.next()
    gate.reached()
    own.process.child.send_signal(getattr(signal, name))

    def refused():
        try:
            with Connection(own.address) as late:
                late.request("GET", "/v1/models", [("authorization", f"Bearer {key}")])
                late.read_head()
            return False
        except (Broken, OSError):
            return True

    own.eventually(refused, lambda is_refused: is_refused)
    assert own.process.child.poll() is None, "it did not wait for the stream"
    gate.release()
    assert stream.chunks()[-1]["choices"][0]["finish_reason"] == "stop"
    connection.close()
    assert own.process.wait() == 0
    own.start()
    [event] = own.events(key)
    assert event["requestId"] == headers["x-request-id"] and event["usageSource"] == "upstream"


def test_a_stop_does_not_wait_longer_than_its_grace(upstream):
    with Gateway(shutdown_grace="1s") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        key = gateway.mint_key(gateway.create_group(slug))
        gate = upstream.stall_next(after=3)
        connection, headers, stream = Customer(gateway, key).stream_chat(slug, "one two three")
        for _ in range(3):
            stream.next()
        gate.reached()
        gateway.stop()
        try:
            assert "[DONE]" not in list(stream)
        except Broken:
            pass
        connection.close()
        gateway.start()
        [event] = gateway.events(key)
        assert event["requestId"] == headers["x-request-id"] and event["usageSource"] == "counted", (
            "what was cut off is billed with what came"
        )


def test_an_idle_gateway_stops_at_once(own):
    begun = datetime.datetime.now()
    idle = Connection(own.address)  # a connection that is kept alive holds nothing up
    own.stop()
    idle.close()
    assert datetime.datetime.now() - begun < datetime.timedelta(seconds=5)


def test_a_start_is_answering_quickly(own):
    own.stop()
    begun = datetime.datetime.now()
    own.start()
    with Connection(own.address) as connection:
        connection.request("GET", "/healthz")
        assert connection.read_head()[0] == 200
    assert datetime.datetime.now() - begun < datetime.timedelta(seconds=3), (
        "a debug build on a busy machine; the benchmark measures it"
    )
