"""Answered requests and changes survive `kill -9`, orderly stops and restarts."""

import datetime
import signal

import pytest

from support.gateway import Customer, DidNotStart, Gateway, model, rate, seconds_to_midnight
from support.wire import Broken, Connection

LIMITS = [], [rate("REQUEST", "DAY", 10**9), rate("TOKEN", "DAY", 10**12)]


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 120:
        pytest.skip("the day is about to change")


def test_requests_in_flight_at_a_kill_count_nowhere(own, upstream):
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


def test_an_operators_changes_survive_a_kill(own, upstream):
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
    assert own.admin("GET", "/v1/gateway/groups")["items"] == [], "the first process must keep serving"


def test_a_directory_can_be_opened_again_after_a_kill(own):
    own.kill9()
    own.start()
    own.stop()
    own.start()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_lets_a_running_stream_finish(own, upstream, name):
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
            "a cut stream must be billed for the part that arrived"
        )


def test_an_idle_gateway_stops_at_once(own):
    begun = datetime.datetime.now()
    idle = Connection(own.address)  # an idle keep-alive connection must not delay the stop
    own.stop()
    idle.close()
    assert datetime.datetime.now() - begun < datetime.timedelta(seconds=5)


def test_a_start_answers_quickly(own):
    own.stop()
    begun = datetime.datetime.now()
    own.start()
    with Connection(own.address) as connection:
        connection.request("GET", "/healthz")
        assert connection.read_head()[0] == 200
    assert datetime.datetime.now() - begun < datetime.timedelta(seconds=3), (
        "too slow, even for a debug build on a busy machine"
    )
