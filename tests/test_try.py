"""Calls that an operator makes in a group's name: they take the customers' path and are billed to key `playground`."""

import json

import pytest

from support.commands import run
from support.gateway import EPOCH, Customer, Gateway, message, model, rate
from support.wire import Connection, Stream

CHAT = "/v1/chat/completions"
BODIES = {
    CHAT: {"messages": message("one two"), "metadata": {"from": "the page"}},
    "/v1/completions": {"prompt": "one two"},
    "/v1/embeddings": {"input": "one two"},
    "/v1/responses": {"input": "one two", "metadata": {"from": "the page"}},
    "/v1/messages": {"messages": message("one two"), "max_tokens": 20},
    "/v1/rerank": {"query": "one", "documents": ["two"]},
    "/v1/moderations": {"input": "one two"},
    "/v1/images/generations": {"prompt": "one two"},
    "/v1/audio/speech": {"input": "one two", "voice": "alloy"},
}
UNREPORTED = {"/v1/moderations", "/v1/audio/speech"}  # routes whose answers have no usage
PLAYGROUND = "playground"

# Headers that only the admin listener sends, and headers that differ in every answer.
ENVELOPE = {"content-security-policy", "x-content-type-options", "referrer-policy"}
VARYING = {"date", "x-request-id", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"}


class Operator:
    """An operator who makes the calls of a customer of `group`."""

    def __init__(self, gateway, group):
        self.gateway, self.path = gateway, f"/v1/gateway/groups/{group['id']}/try"

    def send(self, body, **more):
        return self.gateway.admin_answer("POST", self.path, body, **more)

    def post(self, route, body, **more):
        return self.send({"route": route, "body": body}, **more)

    def chat(self, slug, text="hello there", **fields):
        return self.post(CHAT, {"model": slug, "messages": message(text), **fields})

    def begin_chat(self, slug, text="hello there", **fields):
        connection = Connection(self.gateway.admin_address)
        body = {"route": CHAT, "body": {"model": slug, "messages": message(text), **fields}}
        connection.request("POST", self.path, [("authorization", f"Bearer {self.gateway.admin_key}")], body)
        return connection

    def stream_chat(self, slug, text="hello there", **fields):
        connection = self.begin_chat(slug, text, stream=True, **fields)
        status, header_list = connection.read_head()
        assert status == 200, (status, connection.read_body())
        return connection, dict(header_list), Stream(connection)


@pytest.fixture
def operator(gateway, group):
    return Operator(gateway, group)


def events_of(gateway, group):
    return [event for event in gateway.events() if event["groupId"] == group["id"]]


def report_by_key(gateway, group):
    query = {"start_time": EPOCH, "group_by": "group,key"}
    rows = gateway.admin("GET", "/v1/gateway/usage_report", query=query)["items"]
    return {row["api_key_prefix"]: row["requests"] for row in rows if row["group_id"] == group["id"]}


@pytest.mark.parametrize("route", BODIES)
def test_every_billed_route_with_a_json_body_is_answered_and_billed(gateway, upstream, operator, group, slug, route):
    body = {"model": slug, **BODIES[route]}
    answer = operator.post(route, body)
    assert answer.status == 200
    if route == "/v1/audio/speech":
        assert answer.headers["content-type"] == "audio/mpeg" and answer.body
    else:
        assert answer.json().get("model", slug) == slug
    [event] = events_of(gateway, group)
    assert event["apiKeyPrefix"] == PLAYGROUND and event["requestId"] == answer.headers["x-request-id"]
    assert event["externalEntityId"] == group["metadata"]["external_entity_id"] and event["route"] == route
    if route in UNREPORTED:
        assert event["usageSource"] == "counted"
    else:
        assert event["tokens"]["inputTokens"] == 2 and event["usageSource"] == "upstream"
    assert event["requestMetadata"] == body.get("metadata")
    assert report_by_key(gateway, group) == {PLAYGROUND: 1}
    [sent] = upstream.requests
    assert sent.path == route and gateway.admin_key not in str(sent.header_list) + sent.body.decode()


def test_tokens_are_counted_without_an_event(gateway, operator, group, slug):
    answer = operator.post("/v1/messages/count_tokens", {"model": slug, "messages": message("one two")})
    assert (answer.status, answer.json()["input_tokens"]) == (200, 2)
    assert events_of(gateway, group) == []


def test_the_body_is_passed_on_as_written(upstream, operator, slug):
    written = '{ "messages":[{"role":"user","content":"\\u00e9  \u00e9"}], "x-own" : 1.0e0, "model":"%s" }' % slug
    answer = operator.send(b'{"route":"%b","body": %b }' % (CHAT.encode(), written.encode()))
    assert answer.status == 200
    assert upstream.requests[0].body.decode() == written.replace(slug, "upstream-model")
    assert upstream.requests[0].headers["content-type"] == "application/json"


def test_a_stream_arrives_piece_by_piece(gateway, upstream, operator, group, slug):
    gate = upstream.stall_next(after=3)
    connection, headers, stream = operator.stream_chat(slug)
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache" and headers["x-accel-buffering"] == "no"
    assert ENVELOPE <= headers.keys()
    for _ in range(3):
        assert json.loads(stream.next())["model"] == slug
    gate.reached()
    assert events_of(gateway, group) == []
    gate.release()
    assert stream.chunks()[-1]["choices"][0]["finish_reason"] == "stop"
    [event] = events_of(gateway, group)
    assert event["streamed"] is True and event["apiKeyPrefix"] == PLAYGROUND
    connection.close()


NOTHING_PASSES = model("", [rate("REQUEST", "MINUTE", 0)])
FULL = model("", [rate("TOKEN", "MINUTE", 10)], [rate("REQUEST", "DAY", 0)])
FREE = model("", [rate("REQUEST", "MINUTE", 1000)], [rate("TOKEN", "DAY", 10**9)])


@pytest.mark.parametrize("limits", [NOTHING_PASSES, FULL, FREE], ids=["rate", "day", "free"])
@pytest.mark.parametrize("body", ["good", "streamed", "other model", "no model", "twice", "wrong type"])
@pytest.mark.parametrize("reply", [200, 400, 404, 429, 500, 401])
def test_the_answer_equals_the_one_that_a_customer_gets(gateway, upstream, slug, limits, body, reply):
    group = gateway.create_group({**limits, "slug": slug})
    customer, operator = Customer(gateway, gateway.mint_key(group)), Operator(gateway, group)
    good = {"model": slug, "messages": message("hello")}
    sent = {
        "good": good,
        "streamed": {**good, "stream": True},
        "other model": {**good, "model": "acme/other"},
        "no model": {"messages": []},
        "twice": b'{"model": "a/b", "model": "c/d"}',
        "wrong type": {**good, "max_tokens": "many"},
    }[body]
    text = sent if isinstance(sent, bytes) else json.dumps(sent).encode()

    def shown(answer):
        headers = {name: value for name, value in answer.headers.items() if name not in VARYING | ENVELOPE}
        if headers.get("cache-control") == "no-store":
            del headers["cache-control"]
        names = {name for name in VARYING if name in answer.headers}
        for name in ("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"):
            headers[name] = headers.get(name) and "some"  # the first of the two calls has used up some
        return answer.status, headers, names, answer.body

    answers = []
    for call in (
        lambda: customer.post(CHAT, text),
        lambda: operator.send(b'{"route": "%b", "body": %b}' % (CHAT.encode(), text)),
    ):
        if reply != 200:
            upstream.script.clear()
            upstream.fail_next(1, reply, headers=[("retry-after", "7")])
        answers.append(shown(call()))
    assert answers[0] == answers[1]


def test_a_limit_counts_a_try_and_a_customers_call_together(gateway, slug):
    group = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 2)], [rate("REQUEST", "DAY", 10)]))
    customer, operator = Customer(gateway, gateway.mint_key(group)), Operator(gateway, group)
    assert customer.chat(slug).status == 200
    answer = operator.chat(slug)
    assert answer.status == 200 and answer.headers["x-ratelimit-remaining-requests"] == "0"
    refused = [operator.chat(slug), customer.chat(slug)]
    for answer in refused:
        assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
        assert answer.error["type"] == "rate_limit_error" and 1 <= int(answer.headers["retry-after"]) <= 60
    assert gateway.limit(group, slug, "REQUEST", "DAY")["used"] == 2


def test_a_body_over_max_body_is_a_413_as_for_a_customer(upstream):
    with Gateway(max_body="1KiB") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        group = gateway.create_group(slug)
        answer = Operator(gateway, group).chat(slug, "word " * 300)
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        answer = Operator(gateway, group).chat(slug, "word " * 1_000_000)
        assert (answer.status, answer.json()["code"]) == (413, "request_too_large"), "the admin API's own limit"
        assert upstream.count == 0


@pytest.mark.parametrize("above", [False, True])
def test_a_disabled_group_is_refused_like_its_customers(gateway, upstream, slug, above):
    parent = gateway.create_group(slug)
    group = gateway.create_group(slug, parent=parent)
    gateway.patch_group(parent if above else group, disabled=True)
    answer = Operator(gateway, group).chat(slug)
    assert (answer.status, answer.error["code"]) == (403, "access_disabled") and "x-request-id" in answer.headers
    assert upstream.count == 0
    gateway.patch_group(parent if above else group, disabled=False)
    assert Operator(gateway, group).chat(slug).status == 200


def test_a_try_needs_no_customer_key_and_creates_none(gateway, group, operator, key, slug):
    gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}/api_keys/{key.split('.')[0]}")
    assert operator.chat(slug).status == 200
    keys = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/api_keys")["items"]
    assert keys == [], "no playground key may be stored"
    for whole in (PLAYGROUND, f"{PLAYGROUND}.{'0' * 43}"):
        assert Customer(gateway, whole).chat(slug).status == 401


def test_an_unknown_group_is_a_404(gateway, group, slug):
    for id in ("nonsense", group["id"][:-1] + ("0" if group["id"][-1] != "0" else "1")):
        answer = Operator(gateway, {"id": id}).chat(slug)
        assert (answer.status, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body, named",
    [
        ({"route": "/v1/models", "body": {}}, "`route`"),
        ({"route": "v1/chat/completions", "body": {}}, "`route`"),
        ({"route": CHAT + "?x=1", "body": {}}, "`route`"),
        ({"route": "/v1/audio/transcriptions", "body": {}}, "`route`: must be one of /v1/chat/completions, "),
        ({"route": "/v1/audio/translations", "body": {}}, "`route`"),
        ({"route": 1, "body": {}}, "`route`"),
        ({"body": {}}, "`route`"),
        ({"route": CHAT}, "`body`"),
        ({"route": CHAT, "body": None}, "`body`"),
        ({"route": CHAT, "body": []}, "`body`"),
        ({"route": CHAT, "body": "{}"}, "`body`"),
        ({"route": CHAT, "body": {}, "stream": True}, "`stream`"),
        (b'{"route": "/v1/completions", "body": {"model": }}', "JSON"),
        ([], "object"),
    ],
)
def test_an_invalid_try_request_is_refused_by_the_admin_api(upstream, operator, body, named):
    answer = operator.send(body)
    assert answer.status == 400 and set(answer.json()) == {"error", "code"}
    assert named in answer.json()["error"], answer
    assert "x-request-id" not in answer.headers and upstream.count == 0


def test_a_try_needs_the_manage_all_scope(gateway, upstream, operator, key, slug):
    for kind in ("WORKSPACE_MANAGE_API_KEYS", "WORKSPACE_EXPORT_METRICS"):
        answer = operator.send({"route": CHAT, "body": {"model": slug}}, key=gateway.mint_operator(kind))
        assert (answer.status, answer.json()["code"]) == (403, "insufficient_scope")
    assert operator.send({"route": CHAT, "body": {"model": slug}}, key=key).json()["code"] == "customer_key"
    assert operator.send({"route": CHAT, "body": {"model": slug}}, key=None).status == 401
    assert upstream.count == 0


def test_a_session_can_try_from_our_own_page_only(gateway, upstream, operator, slug):
    origin = f"http://{gateway.admin_address}"
    own = {"x-tollgate-csrf": "1", "origin": origin, "content-type": "application/json"}
    opened = gateway.admin_answer(
        "POST", "/v1/session", {"key": gateway.admin_key}, key=None, headers=own.items()
    )
    own["cookie"] = opened.headers["set-cookie"].split(";")[0]

    def tried(headers):
        body = json.dumps({"route": CHAT, "body": {"model": slug, "messages": message("hello")}}).encode()
        return operator.send(body, key=None, headers=headers.items())

    assert tried(own).status == 200
    for name in ("x-tollgate-csrf", "origin", "content-type"):
        assert tried({key: value for key, value in own.items() if key != name}).status == 403, name
    assert tried({**own, "origin": "http://evil.example"}).status == 403
    assert upstream.count == 1


both_ways = pytest.mark.parametrize("how", ["close", "reset"])


@both_ways
def test_a_hang_up_before_the_answer_cancels_the_request(gateway, upstream, slug, how):
    group = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 9)], [rate("REQUEST", "DAY", 9)]))
    gate = upstream.hang_next()
    connection = Operator(gateway, group).begin_chat(slug)
    gate.reached()
    getattr(connection, how)()
    upstream.requests[0].wait_hung_up()
    limits = gateway.eventually(
        lambda: gateway.limits(group, slug)["limits"], lambda limits: all(limit["held"] == 0 for limit in limits)
    )
    assert {limit["unit"]: limit["used"] for limit in limits} == {"MINUTE": 1, "DAY": 0}
    assert events_of(gateway, group) == []


@both_ways
def test_a_hang_up_in_mid_stream_cancels_the_request_and_bills_the_part(gateway, upstream, operator, group, slug, how):
    gate = upstream.stall_next(after=4, words=["alpha ", "beta ", "gamma ", "delta "])
    connection, headers, stream = operator.stream_chat(slug)
    for _ in range(4):
        stream.next()
    gate.reached()
    getattr(connection, how)()
    upstream.requests[0].wait_hung_up()
    [event] = gateway.eventually(lambda: events_of(gateway, group), len)
    assert event["requestId"] == headers["x-request-id"] and event["apiKeyPrefix"] == PLAYGROUND
    assert event["usageSource"] == "counted" and event["tokens"]["outputTokens"] == 5


def test_an_upstream_that_breaks_off_ends_the_stream_with_an_error(upstream, operator, slug):
    upstream.break_off_next(after=3)
    connection, _, stream = operator.stream_chat(slug)
    *_, last = stream
    assert json.loads(last)["error"]["code"] == "upstream_error"
    connection.close()


def test_tries_count_after_a_restart_and_are_distinguished(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(model(slug, [rate("REQUEST", "MINUTE", 100)], [rate("REQUEST", "DAY", 100)]))
    key = own.mint_key(group)
    gone = own.create_group(slug, parent=group)
    for one in (group, group, gone):
        assert Operator(own, one).chat(slug).status == 200
    assert Customer(own, key).chat(slug).status == 200
    own.admin("DELETE", f"/v1/gateway/groups/{gone['id']}")

    def state():
        keys = own.admin("GET", f"/v1/gateway/groups/{group['id']}/api_keys")["items"]
        used = [own.limit(group, slug, "REQUEST", unit)["used"] for unit in ("MINUTE", "DAY")]
        return own.events(), own.events(PLAYGROUND), keys, used, report_by_key(own, group), report_by_key(own, gone)

    before = state()
    events, playground, keys, used, of_group, of_gone = before
    assert len(events) == 4 and {event["apiKeyPrefix"] for event in playground} == {PLAYGROUND} and len(playground) == 3
    assert used == [3, 3] and of_group == {PLAYGROUND: 2, key.split(".")[0]: 1} and of_gone == {PLAYGROUND: 1}
    assert [one["last_used_at"] for one in keys] == [events[-1]["timestamp"]]
    for stop in (own.stop, own.kill9):
        stop()
        run("verify", "--data-dir", own.data_dir)
        own.start()
        assert state() == before
    assert Operator(own, group).chat(slug).status == 200 and report_by_key(own, group)[PLAYGROUND] == 3


def test_a_try_that_was_running_at_a_kill_is_listed(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(slug)
    gate = upstream.stall_next(after=3)
    connection, headers, _ = Operator(own, group).stream_chat(slug)
    gate.reached()
    own.kill9()
    connection.close()
    own.start()
    [left] = own.admin("GET", "/v1/gateway/status")["in_flight_at_last_stop"]["requests"]
    assert left["request_id"] == headers["x-request-id"] and own.events() == []


@pytest.mark.parametrize("ends", [True, False])
def test_a_stop_waits_for_a_try_until_the_grace_ends(upstream, ends):
    with Gateway(shutdown_grace="1s" if not ends else "30s") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        operator = Operator(gateway, gateway.create_group(slug))
        gate = upstream.stall_next(after=3)
        connection, _, stream = operator.stream_chat(slug)
        stream.next()
        gate.reached()
        gateway.terminate()
        gateway.process.wait_line(lambda line: "stopping: waiting up to" in line)
        if ends:
            gate.release()
            assert stream.chunks()[-1]["choices"][0]["finish_reason"] == "stop"
        assert gateway.process.wait() == 0
        connection.close()
        gateway.start()
        [event] = gateway.events()
        assert event["apiKeyPrefix"] == PLAYGROUND
        assert event["usageSource"] == ("upstream" if ends else "counted")


def test_a_second_signal_stops_at_once(upstream):
    with Gateway(shutdown_grace="1h") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        group = gateway.create_group(slug)
        customer = Customer(gateway, gateway.mint_key(group))
        connections = []
        for caller in (customer, Operator(gateway, group)):
            gate = upstream.stall_next(after=3)
            connections.append(caller.stream_chat(slug)[0])
            gate.reached()
        gateway.terminate()
        gateway.process.wait_line(lambda line: "stopping: waiting up to" in line)
        gateway.stop()
        for connection in connections:
            connection.close()
        gateway.start()
        assert len(gateway.events()) == 2, "the parts of both streams must be billed"
