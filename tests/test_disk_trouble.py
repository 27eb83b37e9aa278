"""Disks that are full, fail or stall: nothing is served unmetered, nothing acknowledged is lost, recovery is automatic.

The tests of long stalls run only with `TOLLGATE_SLOW_TESTS`.
"""

import os
import re
import select
import time

import pytest

from support.books import answered, call_of, check_counters, check_events, check_reports
from support.disk import FaultyDisk, NoDisk, SmallDisk
from support.gateway import Customer, Gateway, fresh, message, model, rate, seconds_to_midnight
from support.load import Load, Request
from support.routes import CALLS, check_error
from support.wire import Broken, call

CLIENTS = 8
LARGE = {"text": "x" * 15_000}  # metadata that fills a small disk quickly
ROOMY = [rate("REQUEST", "DAY", 10**9), rate("TOKEN", "DAY", 10**12)]
slow = pytest.mark.skipif(
    "TOLLGATE_SLOW_TESTS" not in os.environ, reason="takes more than a minute: set TOLLGATE_SLOW_TESTS"
)


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 180:
        pytest.skip("the day is about to change")


@pytest.fixture
def small_disk():
    try:
        disk = SmallDisk("16m")
    except NoDisk as why:
        pytest.skip(f"no small disk can be mounted: {why}")
    yield disk
    disk.close()


@pytest.fixture
def faulty_disk():
    with FaultyDisk() as disk:
        yield disk
        disk.heal()


@pytest.fixture
def open_shop(upstream):
    """Makes a `Shop` on the test's own gateway. A test names its disk fixture first, so that the gateway ends first."""
    opened = []

    def open_on(gateway):
        opened.append(Shop(gateway, upstream))
        return opened[-1]

    yield open_on
    for shop in opened:
        shop.close()


class Shop:
    """A group that calls one model, and the checks that must hold for it."""

    def __init__(self, gateway, upstream):
        self.gateway, self.upstream = gateway, upstream
        self.slug = gateway.create_endpoint(upstream)["slug"]
        self.group = gateway.create_group(model(self.slug, (), ROOMY))
        self.customer = Customer(gateway, gateway.mint_key(self.group))
        self.loads = []

    def load(self, metadata):
        def ask(rng):
            body = {"model": self.slug, "messages": message("one two"), "metadata": metadata}
            return Request(self.customer, "/v1/chat/completions", body | {"stream": rng.random() < 0.5}, 2)

        self.loads.append(Load(self.gateway, ask, CLIENTS))
        return self.loads[-1]

    def close(self):
        for load in self.loads:
            load.gateway_is_to_end()
        if self.gateway.process.child.poll() is None:
            self.gateway.kill9()
        self.gateway.close()

    def status(self):
        return self.gateway.admin("GET", "/v1/gateway/status")

    def unwritten(self):
        """The number of records that are not durable yet."""
        journal = self.status()["journal"]
        return journal["last_sequence"] - journal["durable_sequence"]

    def store_lag(self):
        """The number of records that the store has not applied yet, or None while it is rebuilt."""
        status = self.status()
        applied = status["store"]["applied_sequence"]  # null while a failed store is rebuilt
        return None if applied is None else status["journal"]["last_sequence"] - applied

    def wait_refused(self):
        # Poll /readyz: an admitted call would wait for a record that is not written.
        ready = lambda: call(self.gateway.address, "GET", "/readyz").status  # noqa: E731
        self.gateway.eventually(ready, lambda status: status == 503)
        name = fresh("refused")
        answer = self.customer.chat(self.slug, metadata={"call": name})
        assert (answer.status, answer.error["code"]) == (503, "metering_unavailable")
        assert name not in answered(self.upstream), "an upstream got a request that cannot be billed"
        assert answer.error["message"].endswith(".") and int(answer.headers["retry-after"]) > 0
        for one in CALLS.values():
            refused = one.send(self.customer, self.slug)
            assert refused.status == 503 and check_error(refused, one.path, "metering_unavailable")
        return answer

    def fails_closed(self, why):
        """Checks that customers are refused, and that operators can read, see the reason and change nothing."""
        gateway = self.gateway
        self.wait_refused()
        begun = time.monotonic()
        attention = self.status()["attention"]
        assert any(re.search(why, sentence) for sentence in attention), attention
        for address in (gateway.address, gateway.admin_address):
            assert call(address, "GET", "/readyz").status == 503
            assert call(address, "GET", "/healthz").status == 200
        path = f"/v1/gateway/groups/{self.group['id']}"
        group = gateway.admin("GET", path)
        for read in ("/v1/gateway/groups", "/v1/gateway/endpoints", f"{path}/usage", f"{path}/api_keys"):
            gateway.admin("GET", read)
        gateway.limits(self.group, self.slug)
        for method, where, body in [
            ("PATCH", path, {"disabled": True}),
            ("POST", f"{path}/api_keys", {}),
            ("POST", "/v1/gateway/groups", {"metadata": {"external_entity_id": "late"}, "models": [model(self.slug)]}),
            ("DELETE", path, None),
        ]:
            answer = gateway.admin_answer(method, where, body)
            assert answer.status == 503 and re.search(why, answer.json()["error"]), answer
        assert gateway.admin("GET", path) == group
        assert [one["id"] for one in gateway.admin("GET", "/v1/gateway/groups")["items"]] == [group["id"]]
        assert time.monotonic() - begun < 5, "operators were kept waiting"

    def recovers(self):
        self.gateway.eventually(lambda: self.customer.chat(self.slug).status, lambda status: status == 200)
        for address in (self.gateway.address, self.gateway.admin_address):
            assert call(address, "GET", "/readyz").status == 200
        status = self.status()
        assert status["journal"]["last_error"] is None
        assert not any("has not been written" in one or "cannot be made" in one for one in status["attention"])
        self.gateway.patch_group(self.group, metadata={"name": "reopened"})

    def check_books(self):
        """Checks the events of the loads. Requests that a test sends directly have no name and are only counted."""
        events = self.gateway.events()
        named = [event for event in events if event["requestMetadata"]]
        check_events(named, self.loads, [self.upstream])
        assert len({event["requestId"] for event in events}) == len(events)
        check_counters(self.gateway, self.group, self.slug, events)
        return events

    def check_books_after_a_crash(self):
        before = self.check_books()
        self.gateway.kill9()
        self.gateway.start()
        assert self.check_books() == before
        check_reports(self.gateway, before)
        self.check_journal_is_whole()

    def check_journal_is_whole(self):
        """Checks that no record is damaged or missing. The store may have been rebuilt."""
        attention = self.status()["attention"]
        assert not any(re.search("cannot be read|incomplete", sentence) for sentence in attention), attention


# Full


@pytest.mark.parametrize("filled_by", ["its own events", "another program"])
def test_a_full_disk_refuses_until_there_is_room_again(small_disk, open_shop, filled_by):
    shop = open_shop(Gateway(data_dir=small_disk.path / "data"))
    if filled_by == "its own events":
        small_disk.fill(leave=4 << 20)
    load = shop.load(LARGE)
    load.wait_completed(100)
    if filled_by == "another program":
        small_disk.fill()
    load.wait_refused(503)
    shop.fails_closed("No space left")
    had = {answer.call for answer in list(load.completed)}
    assert had <= {call_of(event) for event in shop.gateway.events()}
    small_disk.free()
    load.wait_completed(100)
    load.end()
    shop.recovers()
    assert set(load.statuses()) == {200, 503}
    shop.check_books_after_a_crash()


@pytest.mark.parametrize("killed", [False, True])
def test_requests_running_when_the_disk_fills_end_once_their_record_is_written(small_disk, open_shop, killed):
    shop = open_shop(Gateway(data_dir=small_disk.path / "data"))
    # More records than fit into the first segment, the only one that the disk has room for.
    streams = [Held(shop, number) for number in range(80)]
    small_disk.fill()
    for stream in streams:
        stream.gate.release()
    shop.gateway.eventually(lambda: shop.status()["journal"]["last_error"], bool)
    waiting = shop.gateway.eventually(
        lambda: [stream for stream in streams if not stream.has_ended()],
        lambda waiting: len(waiting) == shop.unwritten() > 0,
    )
    if killed:
        shop.gateway.kill9()
        small_disk.free()
        shop.gateway.start()
        billed = [stream for stream in streams if stream not in waiting]
    else:
        shop.fails_closed("No space left")
        assert not any(stream.has_ended() for stream in waiting)
        small_disk.free()
        shop.gateway.eventually(lambda: all(stream.has_ended() for stream in streams), bool)
        billed = streams
    assert {event["requestId"] for event in shop.check_books()} == {stream.request_id for stream in billed}
    shop.recovers()
    shop.check_books_after_a_crash()


class Held:
    """A stream whose upstream has sent everything except the terminal event."""

    def __init__(self, shop, number):
        self.gate = shop.upstream.stall_next(after=-1)
        metadata = LARGE | {"call": f"held-{number}"}
        self.connection, headers, self.stream = shop.customer.stream_chat(shop.slug, "one two", metadata=metadata)
        self.request_id = headers["x-request-id"]
        while '"finish_reason":"stop"' not in self.stream.next():
            pass
        self.gate.reached()
        self.last = None

    def has_ended(self):
        """Whether the customer has the terminal event. Does not wait."""
        while self.last is None and select.select([self.connection.socket], [], [], 0)[0]:
            self.last = self.stream.next()
            assert self.last == "[DONE]" and self.stream.next() is None
        return self.last is not None


# Failing


@pytest.mark.parametrize("what", ["sync", "write", "tear"])
def test_a_failing_disk_loses_no_acknowledged_record(faulty_disk, open_shop, what):
    shop = open_shop(faulty_disk.gateway())
    before = shop.status()["journal"]["durable_sequence"]

    def fail():
        faulty_disk.fail(what)
        error = shop.gateway.eventually(lambda: shop.status()["journal"]["last_error"], bool)
        assert "Input/output error" in error
        shop.gateway.eventually(shop.unwritten, lambda count: count == CLIENTS)
        durable = shop.status()["journal"]["durable_sequence"]
        assert durable - before == len(load.completed), "exactly the durable records must be acknowledged"

    load = shop.load({})
    load.wait_completed(100)
    fail()
    faulty_disk.heal()
    load.wait_completed(100)
    fail()
    load.gateway_is_to_end()
    shop.gateway.kill9()
    faulty_disk.heal()
    load.join()
    shop.gateway.start()
    shop.check_books()
    shop.check_journal_is_whole()
    shop.recovers()
    shop.check_books_after_a_crash()


def test_requests_are_refused_while_a_disk_keeps_failing(faulty_disk, open_shop):
    shop = open_shop(faulty_disk.gateway())
    load = shop.load({})
    load.wait_completed(50)
    faulty_disk.fail("sync", "write")
    shop.fails_closed("Input/output error")
    faulty_disk.heal()
    load.wait_completed(50)
    load.end()
    shop.recovers()
    shop.check_books_after_a_crash()


@pytest.mark.parametrize("disk", ["full", "failing"])
def test_the_store_catches_up_with_the_journal_once_the_disk_recovers(small_disk, faulty_disk, open_shop, disk):
    shop = open_shop(faulty_disk.gateway(data_dir=small_disk.path / "data"))
    assert shop.customer.chat(shop.slug).status == 200
    small_disk.fill() if disk == "full" else faulty_disk.fail("write")
    waiting = shop.customer.begin_chat(shop.slug)
    if disk == "full":  # the journal's preallocated file has room, the store has none
        shop.gateway.eventually(shop.store_lag, lambda lag: lag == 0 or shop.status()["attention"])
        small_disk.free()
    else:
        shop.gateway.eventually(lambda: faulty_disk.failed, lambda count: count > 10)  # the journal and the store
        faulty_disk.heal()
    assert waiting.read_answer().status == 200
    assert shop.customer.chat(shop.slug).status == 200
    shop.gateway.eventually(lambda: (shop.status()["attention"], shop.store_lag()), lambda found: found == ([], 0))
    check_reports(shop.gateway, shop.gateway.events())


# Stalling


def test_a_stalled_disk_delays_only_terminal_events_and_refuses_requests_after_five_seconds(faulty_disk, open_shop):
    shop = open_shop(faulty_disk.gateway())
    assert shop.customer.chat(shop.slug).status == 200
    talking = shop.upstream.stall_next(after=3)
    connection, _, stream = shop.customer.stream_chat(shop.slug, "one two", metadata={"call": "talking"})
    ending = Held(shop, 0)
    stalled_at = time.monotonic()
    faulty_disk.stall("sync", "write")
    ending.gate.release()
    shop.gateway.eventually(shop.unwritten, lambda count: count == 1)
    early = [f"early-{number}" for number in range(3)]
    waiting = [shop.customer.begin_chat(shop.slug, "one two", metadata={"call": name}) for name in early]
    shop.gateway.eventually(shop.unwritten, lambda count: count == 4)
    shop.wait_refused()
    assert 5 <= time.monotonic() - stalled_at < 10
    shop.fails_closed("the disk does not answer")
    talking.release()
    words = [stream.next() for _ in range(10)]
    assert '"finish_reason":"stop"' in words[-1], "a running stream must continue"
    refuses_without_growing(shop, requests=200)
    silent = [connection.socket, *(one.socket for one in waiting)]
    assert not ending.has_ended() and not select.select(silent, [], [], 0)[0]
    faulty_disk.heal()
    assert stream.next() == "[DONE]" and stream.next() is None
    assert [one.read_answer().status for one in waiting] == [200] * 3
    shop.gateway.eventually(ending.has_ended, bool)
    shop.recovers()
    calls = {call_of(event) for event in shop.check_books() if event["requestMetadata"]}
    assert calls == {"talking", "held-0", *early}
    shop.check_books_after_a_crash()


def test_durable_events_can_be_read_while_later_ones_wait_for_the_disk(faulty_disk, open_shop):
    shop = open_shop(faulty_disk.gateway())
    for _ in range(3):
        assert shop.customer.chat(shop.slug).status == 200
    events = shop.gateway.events()
    faulty_disk.stall("sync", "write")
    waiting = shop.customer.begin_chat(shop.slug)
    shop.gateway.eventually(shop.unwritten, lambda count: count == 1)
    assert shop.gateway.events(end_time=events[2]["timestamp"]) == [
        event for event in events if event["timestamp"] < events[2]["timestamp"]
    ]
    faulty_disk.heal()
    assert waiting.read_answer().status == 200


def refuses_without_growing(shop, requests):
    """Checks that refused large requests give their memory back."""

    def refuse(times):
        for _ in range(times):
            assert shop.customer.chat(shop.slug, "x" * (256 << 10)).status == 503

    refuse(20)
    before = resident(shop.gateway)
    refuse(requests)
    assert resident(shop.gateway) - before < 16 << 20


def resident(gateway):
    """The process's resident memory in bytes."""
    with open(f"/proc/{gateway.process.child.pid}/status") as lines:
        [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(kilobytes) << 10


def test_with_durability_process_a_stalled_sync_delays_nothing(faulty_disk, open_shop):
    shop = open_shop(faulty_disk.gateway(durability="process"))
    faulty_disk.stall("sync")
    load = shop.load({})
    shop.gateway.eventually(lambda: faulty_disk.waiters, bool)
    load.wait_completed(100)
    load.end()
    assert set(load.statuses()) == {200}
    faulty_disk.heal()
    shop.check_books_after_a_crash()


@slow
def test_answers_are_cut_after_thirty_seconds_of_a_stall_and_billed(faulty_disk, open_shop):
    shop = open_shop(faulty_disk.gateway())
    ending = Held(shop, 0)
    stalled_at = time.monotonic()
    faulty_disk.stall("sync", "write")
    waiting = shop.customer.begin_chat(shop.slug, "one two", metadata={"call": "waiting"})
    waiting.socket.settimeout(60)
    ending.gate.release()
    ending.connection.socket.settimeout(60)
    shop.wait_refused()
    with pytest.raises(Broken):
        ending.stream.next()
    answer = waiting.read_answer()
    assert (answer.status, answer.error["code"]) == (503, "metering_unavailable")
    assert 30 <= time.monotonic() - stalled_at < 40
    while time.monotonic() - stalled_at < 60:
        refuses_without_growing(shop, requests=100)
    shop.fails_closed("the disk does not answer")
    faulty_disk.heal()
    shop.recovers()
    calls = {call_of(event) for event in shop.check_books() if event["requestMetadata"]}
    assert calls == {"held-0", "waiting"}, "answers that were cut must be billed"
    shop.check_books_after_a_crash()


@slow
def test_a_stop_on_a_stalled_disk_ends_and_reports_the_unwritten_journal(faulty_disk, open_shop):
    shop = open_shop(faulty_disk.gateway(shutdown_grace="1s"))
    before = shop.check_books()
    faulty_disk.stall("sync", "write")
    waiting = shop.customer.begin_chat(shop.slug, "one two", metadata={"call": "waiting"})
    shop.gateway.eventually(lambda: faulty_disk.waiters, bool)
    shop.gateway.terminate()
    assert shop.gateway.process.child.wait(60) == 1
    assert "could not be written completely" in shop.gateway.log
    waiting.close()
    faulty_disk.heal()
    shop.gateway.start()
    after = shop.check_books()
    assert after[: len(before)] == before and len(after) <= len(before) + 1
