"""`/v1/gateway/live`: a stream with the gateway's state every second, until the viewer's access ends."""

import json
import socket
import time

import pytest

from support.gateway import Customer, Gateway, fresh, parse_time, prefix_of, rate
from support.wire import DEADLINE, Connection, Stream, call

LIVE = "/v1/gateway/live"
METRICS, MANAGE_ALL = "WORKSPACE_EXPORT_METRICS", "WORKSPACE_MANAGE_ALL"
MOST = 64


class Viewer:
    """A viewer of the stream, by key or by cookie."""

    def __init__(self, gateway, key=..., headers=()):
        key = gateway.admin_key if key is ... else key
        headers = [*headers, *([("authorization", f"Bearer {key}")] if key else [])]
        self.connection = Connection(gateway.admin_address)
        self.connection.request("GET", LIVE, headers)
        self.status, head = self.connection.read_head()
        self.headers = dict(head)
        self.stream = Stream(self.connection)

    def next(self):
        """The next event's data, or None at the end."""
        data = self.stream.next()
        return data and json.loads(data)

    def until(self, condition):
        """Reads until an event satisfies the condition; returns it."""
        limit = time.monotonic() + DEADLINE
        while not condition(event := self.next()):
            assert event is not None and time.monotonic() < limit, f"the condition never held; the last event: {event}"
        return event

    def until_end(self):
        """Reads to the stream's proper end; returns the number of events until then."""
        count = 0
        while self.next() is not None:
            count += 1
        return count

    def close(self):
        self.connection.close()


@pytest.fixture
def viewer_of():
    viewers = []

    def make(*args, **kwargs):
        viewers.append(Viewer(*args, **kwargs))
        return viewers[-1]

    yield make
    for viewer in viewers:
        viewer.close()


def sign_in(gateway, key):
    origin = [("origin", f"http://{gateway.admin_address}")]
    answer = call(gateway.admin_address, "POST", "/v1/session", origin, {"key": key})
    return [("cookie", answer.headers["set-cookie"].split(";")[0])]


def test_the_first_event_arrives_at_once_and_then_one_per_second(gateway, viewer_of):
    key = gateway.mint_operator(METRICS)

    def first_after():
        began = time.monotonic()
        assert viewer_of(gateway, key).next()
        return time.monotonic() - began

    assert any(first_after() < 0.5 for _ in range(5)), "the first event must not wait for a full second"
    began = time.monotonic()
    viewer = viewer_of(gateway, key)
    assert viewer.status == 200
    assert viewer.headers["content-type"] == "text/event-stream" and viewer.headers["cache-control"] == "no-cache"
    assert viewer.headers["x-accel-buffering"] == "no", "a proxy must not buffer events"
    first, second, third = viewer.next(), viewer.next(), viewer.next()
    assert time.monotonic() - began > 1.5
    assert third["status"]["uptime_s"] > first["status"]["uptime_s"]
    assert viewer.stream.raw.startswith(b"event: live\ndata: {") and viewer.stream.raw.endswith(b"}\n\n")
    for event in first, second, third:
        assert set(event) == {"status", "now", "minute"}
        assert set(event["now"]) == {"requests", "tokens", "refused", "errors"}
        assert event["status"].keys() == gateway.admin("GET", "/v1/gateway/status").keys()


def test_now_covers_the_last_60_seconds(own, upstream, viewer_of):
    slug = own.create_endpoint(upstream)["slug"]
    viewer = viewer_of(own)
    assert viewer.next()["now"] == {"requests": 0, "tokens": 0, "refused": 0, "errors": 0}

    free = Customer(own, own.mint_key(own.create_group(slug)))
    for _ in range(5):
        assert free.chat(slug, "one two three").status == 200
    viewer.until(lambda event: event["now"] == {"requests": 5, "tokens": 55, "refused": 0, "errors": 0})

    bound = Customer(own, own.mint_key(own.create_group({"slug": slug, "rate_limits": [rate("REQUEST", "MINUTE", 0)]})))
    assert [bound.chat(slug).status for _ in range(3)] == [429] * 3
    viewer.until(lambda event: event["now"] == {"requests": 5, "tokens": 55, "refused": 3, "errors": 0})

    own.kill9()
    own.start()
    assert viewer_of(own).next()["now"] == {"requests": 0, "tokens": 0, "refused": 0, "errors": 0}, "not durable"


def test_errors_count_failures_that_are_not_the_customers_fault(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    customer = Customer(own, own.mint_key(own.create_group(slug)))

    def errors():
        return own.admin("GET", "/v1/gateway/status")["requests"]["errors"]

    upstream.fail_next(1, 500)
    assert customer.chat(slug).status == 502
    assert errors() == 1
    upstream.break_off_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    assert "upstream_error" in list(stream)[-1]
    own.eventually(errors, lambda count: count == 2)
    # The customer's own faults, a stranger's request, and a 4xx of the upstream.
    assert customer.post("/v1/chat/completions", b"{").status == 400
    assert customer.chat("acme/nothing").status == 404
    assert Customer(own, "sk_unknown.0").chat(slug).status == 401
    upstream.fail_next(1, 400)
    assert customer.chat(slug).status == 400
    # A hang-up.
    gate = upstream.stall_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    gate.reached()
    connection.close()
    own.wait_events(2)
    gate.release()
    assert errors() == 2


def test_a_stream_ends_when_its_key_is_revoked(gateway, viewer_of):
    key = gateway.mint_operator(METRICS)
    viewer, of_session = viewer_of(gateway, key), viewer_of(gateway, None, sign_in(gateway, key))
    assert viewer.next() and of_session.next()
    gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(key)}")
    viewer.until_end()
    of_session.until_end()


def test_a_stream_ends_when_its_session_ends(gateway, viewer_of):
    cookie = sign_in(gateway, gateway.admin_key)
    viewer, other = viewer_of(gateway, None, cookie), viewer_of(gateway, None, sign_in(gateway, gateway.admin_key))
    assert viewer.status == 200 and viewer.next()
    headers = [*cookie, ("x-tollgate-csrf", "1"), ("origin", f"http://{gateway.admin_address}")]
    assert call(gateway.admin_address, "DELETE", "/v1/session", headers, {}).status == 200
    viewer.until_end()
    assert other.next() and other.next(), "another session must continue"


def test_a_running_stream_does_not_count_as_use_of_the_key(gateway, viewer_of):
    key = gateway.mint_operator(METRICS)

    def last_used():
        keys = gateway.admin("GET", "/v1/api_keys")["keys"]
        [found] = [one for one in keys if one["prefix"] == prefix_of(key)]
        return found["last_used_at"]

    viewer = viewer_of(gateway, key)
    began = last_used()
    assert [bool(viewer.next()) for _ in range(3)] == [True] * 3 and last_used() == began is not None


def test_a_stop_does_not_wait_for_viewers(viewer_of):
    with Gateway(shutdown_grace="60s") as gateway:
        viewers = [viewer_of(gateway) for _ in range(3)]
        assert all(viewer.next() for viewer in viewers)
        began = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began < 10
        for viewer in viewers:
            viewer.until_end()


def test_a_stop_does_not_wait_for_a_viewer_who_does_not_read():
    """The events exceed the socket buffers, and the viewer reads nothing."""
    target = {"provider": "OPENAI_COMPATIBLE", "base_url": "http://127.0.0.1:9", "target_model": "m"}
    with Gateway(shutdown_grace="60s") as gateway:
        for _ in range(1000):
            slug = fresh("acme/" + "m" * 220)
            gateway.admin("POST", "/v1/gateway/endpoints", {"slug": slug, "targets": [target] * 8})
        with socket.socket() as sleeper:
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = gateway.admin_address.rsplit(":", 1)
            sleeper.connect((host, int(port)))
            head = f"GET {LIVE} HTTP/1.1\r\nhost: {gateway.admin_address}\r\nauthorization: Bearer {gateway.admin_key}"
            sleeper.sendall(f"{head}\r\n\r\n".encode())
            assert sleeper.recv(12) == b"HTTP/1.1 200"
            began = time.monotonic()
            gateway.stop()
            assert time.monotonic() - began < 15


def test_during_a_stop_a_new_stream_shows_the_state_once_and_ends(own, upstream, viewer_of):
    slug = own.create_endpoint(upstream)["slug"]
    gate = upstream.stall_next(after=2)
    connection, _, stream = Customer(own, own.mint_key(own.create_group(slug))).stream_chat(slug)
    gate.reached()
    viewer = viewer_of(own)
    assert viewer.next()["status"]["requests"]["running"] == 1
    own.terminate()
    viewer.until_end()
    again = viewer_of(own)
    assert again.next()["status"]["requests"]["running"] == 1 and again.until_end() == 0
    gate.release()
    assert stream.chunks()
    assert own.process.wait() == 0


def test_a_key_has_64_viewers_at_most(own, viewer_of):
    viewers = [viewer_of(own) for _ in range(MOST)]
    assert all(viewer.status == 200 for viewer in viewers)
    refused = own.admin_answer("GET", LIVE)
    assert (refused.status, refused.json()["code"]) == (429, "too_many_viewers")
    assert viewer_of(own, own.mint_operator(METRICS)).status == 200, "another key has its own limit"
    assert set(refused.json()) == {"error", "code"}
    assert own.admin_answer("HEAD", LIVE).status == 200, "a HEAD request does not count as a viewer"
    assert all(viewer.next() for viewer in viewers)
    viewers[0].connection.reset()
    viewers[1].close()

    def view_again():
        viewer = viewer_of(own)
        if viewer.status != 200:
            viewer.close()
        return viewer.status

    for _ in range(2):
        own.eventually(view_again, lambda status: status == 200)
    assert view_again() == 429


def test_a_head_request_is_answered_and_leaves_the_connection_open(gateway):
    with Connection(gateway.admin_address) as connection:
        for _ in range(2):
            connection.request("HEAD", LIVE, [("authorization", f"Bearer {gateway.admin_key}")])
            status, head = connection.read_head()
            assert status == 200 and dict(head)["content-type"] == "text/event-stream"


def test_a_foreign_page_cannot_read_the_stream(gateway, viewer_of):
    viewer = viewer_of(gateway, headers=[("origin", "http://evil.example")])
    assert viewer.status == 200 and not any(name.startswith("access-control") for name in viewer.headers)
    assert viewer.headers["content-security-policy"].startswith("default-src 'self'")


def test_status_shows_the_state_of_each_target(own, upstream, viewer_of):
    endpoint = own.create_endpoint(upstream)
    slug = endpoint["slug"]
    customer = Customer(own, own.mint_key(own.create_group(slug)))

    def seen():
        [one] = [one for one in own.admin("GET", "/v1/gateway/status")["upstreams"] if one["slug"] == slug]
        return one

    origin = upstream.base_url.removesuffix("/v1")
    unused = {
        "endpoint_id": endpoint["id"],
        "slug": slug,
        "index": 0,
        "provider": "OPENAI_COMPATIBLE",
        "origin": origin,
        "weight": 1,
        "max_concurrent": None,
        "running": 0,
        "state": "unused",
        "out_since": None,
        "out_until": None,
        "out_reason": None,
        "attempts": {"answered": 0, "refused": 0, "failed": 0, "limited": 0},
        "failures_in_a_row": 0,
        "last_error": None,
        "last_failure_at": None,
        "last_success_at": None,
    }
    assert seen() == unused
    viewer = viewer_of(own)
    upstream.fail_next(2, 500)
    assert [customer.chat(slug).status for _ in range(2)] == [502, 502]
    failing = seen()
    assert (failing["state"], failing["failures_in_a_row"]) == ("failing", 2)
    assert "500" in failing["last_error"] and parse_time(failing["last_failure_at"])
    shown = viewer.until(lambda event: event["status"]["notices"])["status"]
    [notice] = shown["notices"]
    assert notice["about"] == {"kind": "endpoint", "id": endpoint["id"]} and slug in notice["message"]
    assert shown["attention"] == [notice["message"]]
    assert customer.chat(slug).status == 200
    well = seen()
    assert (well["state"], well["failures_in_a_row"]) == ("ok", 0) and parse_time(well["last_success_at"])
    assert (well["last_error"], well["last_failure_at"]) == (failing["last_error"], failing["last_failure_at"])
    viewer.until(lambda event: event["status"]["notices"] == [])
    path = f"/v1/gateway/endpoints/{endpoint['id']}"
    own.admin("PATCH", path, {"pricing": None, "targets": endpoint["targets"]})
    assert seen() == well, "it is the same server"
    [target] = endpoint["targets"]
    own.admin("PATCH", path, {"targets": [{**target, "target_model": "another"}]})
    assert seen() == unused, "another model starts without a history"
