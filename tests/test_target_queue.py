"""A full server is shared fairly: requests wait their turn for a free place."""

import threading
import time

import pytest

from support.gateway import Customer, Gateway, message, target_of
from support.scripted import Pause
from support.upstream import Reply
from support.wire import Connection

CHAT = "/v1/chat/completions"


@pytest.fixture
def endpoint(gateway, upstream):
    """One target that takes one request at a time."""
    return gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=30)


@pytest.fixture
def slug(endpoint):
    return endpoint["slug"]


def customer_of(gateway, slug, parent=None):
    group = gateway.create_group(slug, parent=parent)
    return gateway.customer(gateway.mint_key(group)), group


def wait_waiting(gateway, slug, count):
    gateway.eventually(lambda: gateway.queue(slug)["waiting"], count.__eq__)


def finish(connection):
    """Reads an answer to its end; returns its status, headers and JSON."""
    answer = connection.read_answer()
    connection.close()
    return answer


def test_a_request_waits_for_a_free_place_and_its_event_says_how_long(gateway, customer, upstream, slug, key):
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    second = customer.begin_chat(slug)
    wait_waiting(gateway, slug, 1)
    began = time.monotonic()
    assert (upstream.count, gateway.targets(slug)[0]["running"]) == (1, 1)
    gateway.eventually(lambda: time.monotonic() - began, lambda passed: passed > 0.1)
    gate.release()
    assert finish(first).status == finish(second).status == 200
    [direct, queued] = gateway.wait_events(2, key)
    assert direct["queueMs"] == 0 and 100 <= queued["queueMs"] <= queued["durationMs"]
    queue = gateway.queue(slug)
    assert (queue["waiting"], queue["queued"], queue["timed_out"]) == (0, 1, 0) and queue["wait_p50_ms"] >= 100
    assert gateway.targets(slug)[0]["running"] == 0


def test_a_stream_takes_its_place_until_its_end(gateway, customer, upstream, slug):
    gate = upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    gate.reached()
    second = customer.begin_chat(slug)
    wait_waiting(gateway, slug, 1)
    gate.release()
    assert stream.chunks() and finish(second).status == 200
    connection.close()


def test_a_request_that_waits_too_long_is_overloaded(gateway, customer, upstream, endpoint, slug, key):
    for timeout in (0, 1):
        gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"queue_timeout_s": timeout})
        gate = upstream.hang_next()
        first = customer.begin_chat(slug)
        gate.reached()
        began = time.monotonic()
        answer = customer.chat(slug)
        assert (answer.status, answer.error["code"], answer.error["type"]) == (503, "overloaded", "server_error")
        assert int(answer.headers["retry-after"]) >= 1 and timeout <= time.monotonic() - began < timeout + 0.9
        gate.release()
        assert finish(first).status == 200
    assert len(gateway.wait_events(2, key)) == upstream.count == 2
    assert (gateway.queue(slug)["timed_out"], gateway.queue(slug)["waiting"]) == (2, 0)


def test_a_request_that_gave_up_waiting_counts_nowhere(gateway, upstream, slug, endpoint):
    customer, group = customer_of(gateway, {"slug": slug, "rate_limits": [], "usage_limits": [
        {"type": "REQUEST", "unit": "DAY", "threshold": 100}]})
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"queue_timeout_s": 0})
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    assert customer.chat(slug).status == 503
    gate.release()
    assert finish(first).status == 200
    gateway.eventually(lambda: gateway.limit(group, slug)["used"], (1).__eq__)


def test_a_hang_up_leaves_the_queue_at_once(gateway, customer, upstream, slug):
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    waiting = [customer.begin_chat(slug) for _ in range(3)]
    wait_waiting(gateway, slug, 3)
    waiting[1].close()
    wait_waiting(gateway, slug, 2)
    gate.release()
    assert {finish(connection).status for connection in (first, waiting[0], waiting[2])} == {200}
    assert upstream.count == 3


def test_customers_and_their_teams_take_turns(gateway, upstream, slug):
    crowd, crowd_group = customer_of(gateway, slug)
    team, _ = customer_of(gateway, slug, parent=crowd_group)
    other, _ = customer_of(gateway, slug)
    gate = upstream.hang_next()
    first = crowd.begin_chat(slug, "first")
    gate.reached()
    waiting = []
    for customer, name, count in ((crowd, "crowd", 6), (team, "team", 2), (other, "other", 2)):
        for number in range(count):
            waiting.append(customer.begin_chat(slug, f"{name} {number}"))
            wait_waiting(gateway, slug, len(waiting))
    gate.release()
    assert {finish(connection).status for connection in (first, *waiting)} == {200}
    order = [request.json["messages"][-1]["content"] for request in upstream.requests[1:]]
    # The customer and the other one take turns; below the customer, its own requests and its team's do.
    assert order == ["crowd 0", "other 0", "team 0", "other 1", "crowd 1", "team 1", *(f"crowd {n}" for n in range(2, 6))]


def test_never_more_run_than_a_target_takes(gateway, upstream, second):
    targets = [target_of(upstream, max_concurrent=3), target_of(second, max_concurrent=2)]
    slug = gateway.create_endpoint(targets, queue_timeout_s=30, routing="SPREAD")["slug"]
    pauses = [Pause(0.02), Pause(0.02)]
    for server, pause in zip((upstream, second), pauses, strict=True):
        server.always(Reply(insert={2: pause}))
    customers = [customer_of(gateway, slug)[0] for _ in range(8)]

    def work(customer):
        for _ in range(5):
            assert customer.chat(slug, stream=True).status == 200

    threads = [threading.Thread(target=work, args=(customer,)) for customer in customers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [pause.most for pause in pauses] == [3, 2]
    assert upstream.count + second.count == 40


def test_a_higher_capacity_serves_those_who_wait(gateway, customer, upstream, endpoint, slug):
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    waiting = [customer.begin_chat(slug) for _ in range(3)]
    wait_waiting(gateway, slug, 3)
    path = f"/v1/gateway/endpoints/{endpoint['id']}"
    gateway.admin("PATCH", path, {"targets": [{**endpoint["targets"][0], "max_concurrent": 2}]})
    assert {finish(connection).status for connection in waiting} == {200}
    gate.release()
    assert finish(first).status == 200


def test_a_target_that_comes_back_serves_those_who_wait(gateway, customer, upstream, second):
    slug = gateway.create_endpoint(
        [target_of(upstream, max_concurrent=1), target_of(second, max_concurrent=1)], queue_timeout_s=30
    )["slug"]
    upstream.fail_next(5, 500)
    customer, _ = customer_of(gateway, slug)
    for _ in range(5):
        assert customer.chat(slug).status == 200
    assert gateway.targets(slug)[0]["state"] == "out"
    gate = second.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    waiting = [customer.begin_chat(slug) for _ in range(3)]
    wait_waiting(gateway, slug, 3)
    assert {finish(connection).status for connection in waiting} == {200}
    assert (upstream.count, second.count) == (8, 6)
    gate.release()
    assert finish(first).status == 200


def test_requests_that_wait_when_their_endpoint_is_deleted_are_answered(gateway, customer, upstream, endpoint, slug, key):
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    waiting = [customer.begin_chat(slug) for _ in range(3)]
    wait_waiting(gateway, slug, 3)
    gateway.admin("DELETE", f"/v1/gateway/endpoints/{endpoint['id']}")
    assert customer.chat(slug).status == 404
    gate.release()
    assert [finish(connection).status for connection in (first, *waiting)] == [200] * 4
    assert len(gateway.wait_events(4, key)) == 4


def test_a_stop_serves_the_requests_that_wait(upstream):
    with Gateway() as gateway:
        slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=30)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        gate = upstream.hang_next()
        first = customer.begin_chat(slug)
        gate.reached()
        waiting = [customer.begin_chat(slug) for _ in range(5)]
        wait_waiting(gateway, slug, 5)
        gateway.terminate()
        gateway.process.wait_line(lambda line: "stopping: waiting up to" in line)
        gate.release()
        assert [finish(connection).status for connection in (first, *waiting)] == [200] * 6
        assert gateway.process.wait() == 0
        gateway.start()
        assert len(gateway.events()) == upstream.count == 6


def test_requests_that_still_wait_at_the_end_of_the_grace_period_are_not_billed(upstream):
    with Gateway(shutdown_grace="1s", workers=2) as gateway:
        slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=600)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        gate = upstream.stall_next(after=3)
        first = customer.stream_chat(slug)[0]
        gate.reached()
        waiting = [customer.begin_chat(slug) for _ in range(20)]
        wait_waiting(gateway, slug, 20)
        gateway.stop()
        for connection in (first, *waiting):
            connection.close()
        gateway.start()
        [event] = gateway.events()
        assert event["streamed"], "only the answer that had begun is billed"
        assert gateway.admin("GET", "/v1/gateway/status")["in_flight_at_last_stop"]["requests"] == []


@pytest.mark.parametrize("ends_by", ["a place", "a hang-up", "the queue time"])
def test_a_stream_is_kept_alive_while_it_waits(upstream, ends_by):
    with Gateway(stream_keepalive="50ms") as gateway:
        timeout = 1 if ends_by == "the queue time" else 30
        slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=timeout)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        gate = upstream.hang_next()
        first = customer.begin_chat(slug)
        gate.reached()
        waiting, _, _ = customer.stream_chat(slug)
        assert [waiting.read_some() for _ in range(3)] == [b": keep-alive\n\n"] * 3
        assert gateway.queue(slug)["waiting"] == 1
        if ends_by == "a hang-up":
            waiting.close()
            wait_waiting(gateway, slug, 0)
        if ends_by != "the queue time":
            gate.release()
        rest = b"" if ends_by == "a hang-up" else waiting.read_body()
        gate.release()
        assert finish(first).status == 200
        assert (b"[DONE]" in rest, b"overloaded" in rest) == (ends_by == "a place", ends_by == "the queue time")
        waiting.close()
        gateway.eventually(lambda: gateway.targets(slug)[0]["running"], (0).__eq__)
        assert upstream.count == (2 if ends_by == "a place" else 1)
        assert len(gateway.events()) == upstream.count


def test_the_bodies_of_requests_that_wait_count_towards_max_bodies(upstream):
    with Gateway(max_body="16MiB", max_bodies="32MiB") as gateway:
        slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=60)["slug"]
        customers = [Customer(gateway, gateway.mint_key(gateway.create_group(slug))) for _ in range(3)]
        text = "x" * (12 << 20)
        gate = upstream.hang_next()
        first = customers[0].begin_chat(slug)
        gate.reached()
        waiting = [customer.begin_chat(slug, text) for customer in customers[:2]]
        wait_waiting(gateway, slug, 2)
        with Connection(gateway.address, timeout=0.5) as late, pytest.raises(TimeoutError):
            late.request("POST", CHAT, customers[2].headers(), {"model": slug, "messages": message(text)})
        gate.release()
        assert {finish(connection).status for connection in (first, *waiting)} == {200}
        assert customers[2].chat(slug, text).status == 200
