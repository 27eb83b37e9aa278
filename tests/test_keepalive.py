"""`stream_keepalive`: a stream that has no first byte yet gets its head, then comments, until its answer begins."""

import json

import pytest

from support.gateway import Gateway, message, rate
from support.upstream import MODEL, Reply

COMMENT = b": keep-alive\n\n"
CHAT = ("/v1/chat/completions", {"messages": message("hello")})
RESPONSES = ("/v1/responses", {"input": "hello"})
MESSAGES = ("/v1/messages", {"messages": message("hello"), "max_tokens": 50})


@pytest.fixture(scope="module")
def gateway():
    with Gateway(stream_keepalive="50ms", upstream_first_byte_timeout="30s") as gateway:
        yield gateway


def begin(customer, slug, route=CHAT, **fields):
    path, body = route
    return customer.begin(path, {"model": slug, "stream": True, **body, **fields})


def read_comments(connection, count=3):
    """Reads the head and the first comments. Returns the status and the headers."""
    status, headers = connection.read_head()
    for _ in range(count):
        assert connection.read_some() == COMMENT
    return status, dict(headers)


def rest_of(connection):
    """The rest of the stream without comments. The body must end properly."""
    return connection.read_body().replace(COMMENT, b"").decode()


@pytest.mark.parametrize("route", [CHAT, RESPONSES, MESSAGES], ids=lambda route: route[0])
def test_a_stream_is_kept_alive_until_its_answer_begins(gateway, upstream, slug, customer, route):
    gate = upstream.gate()
    upstream.reply_next(Reply(before_head=gate))
    with begin(customer, slug, route) as connection:
        status, headers = read_comments(connection)
        gate.release()
        body = rest_of(connection)
    assert status == 200 and headers["content-type"] == "text/event-stream" and headers["cache-control"] == "no-cache"
    plain = customer.post(route[0], {"model": slug, "stream": True, **route[1]})
    assert body == plain.body.decode() and MODEL not in body
    event, other = gateway.wait_events(2, customer.key)
    assert event["tokens"] == other["tokens"] and event["streamed"] is True
    assert event["requestId"] == headers["x-request-id"] and event["ttftMs"] >= 100


def test_a_stream_that_begins_in_time_gets_no_comment(slug, customer):
    answer = customer.post(CHAT[0], {"model": slug, "stream": True, **CHAT[1]})
    assert answer.status == 200 and b"keep-alive" not in answer.body


def test_an_answer_that_is_no_stream_is_not_kept_alive(upstream, slug, customer):
    gate = upstream.gate()
    upstream.reply_next(Reply(503, before_head=gate))
    with customer.begin(CHAT[0], {"model": slug, **CHAT[1]}) as connection:
        gate.reached()
        gate.release()
        assert connection.read_head()[0] == 502


@pytest.mark.parametrize(
    "route, name, data",
    [
        (CHAT, None, {"error": {"type": "server_error", "param": None, "code": "upstream_error"}}),
        (RESPONSES, "error", {"type": "error", "error": {"type": "server_error", "param": None, "code": "upstream_error"}}),
        (MESSAGES, "error", {"type": "error", "error": {"type": "api_error"}}),
    ],
    ids=["chat", "responses", "messages"],
)
def test_a_failure_becomes_an_event_and_is_not_billed(gateway, upstream, slug, limited, route, name, data):
    group, customer = limited([rate("REQUEST", "MINUTE", 9)], [rate("REQUEST", "DAY", 9)])
    gate = upstream.gate()
    upstream.reply_next(Reply(500, json_body={"error": {"message": "boom in upstream-model"}}, before_head=gate))
    with begin(customer, slug, route) as connection:
        headers = read_comments(connection)[1]
        gate.release()
        lines = rest_of(connection).strip().split("\n")
        assert connection.is_closed_by_peer()
    assert lines[:-1] == ([f"event: {name}"] if name else [])
    sent = json.loads(lines[-1].removeprefix("data: "))
    assert sent["error"].pop("message") == f"The model server failed (500): boom in {slug}"
    if route is MESSAGES:
        assert sent.pop("request_id") == headers["x-request-id"] == headers["request-id"]
    assert sent == data
    is_refusal = lambda line: "refused" in line and headers["x-request-id"] in line
    gateway.eventually(lambda: gateway.log.splitlines(), lambda lines: any(map(is_refusal, lines)))
    assert gateway.limit(group, slug, "REQUEST", "DAY")["used"] == 0
    assert customer.chat(slug).status == 200 and len(gateway.wait_events(1, customer.key)) == 1


def test_a_refusal_of_the_target_keeps_its_code(upstream, slug, customer):
    gate = upstream.gate()
    error = {"message": "too long", "code": "context_length_exceeded"}
    upstream.reply_next(Reply(400, json_body={"error": error}, before_head=gate))
    with begin(customer, slug) as connection:
        read_comments(connection)
        gate.release()
        sent = json.loads(rest_of(connection).removeprefix("data: "))
    assert sent["error"]["code"] == "context_length_exceeded" and sent["error"]["type"] == "invalid_request_error"


def test_the_next_target_may_still_answer(gateway, upstream, second):
    slug = gateway.create_endpoint([upstream, second])["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    gate = upstream.gate()
    upstream.reply_next(Reply(503, before_head=gate))
    with begin(customer, slug) as connection:
        read_comments(connection)
        gate.release()
        assert rest_of(connection).endswith("data: [DONE]\n\n")
    [event] = gateway.wait_events(1, customer.key)
    assert event["target"] == 1


def test_a_document_instead_of_a_stream_becomes_one_event(gateway, upstream, slug, customer):
    gate = upstream.gate()
    document = {"object": "chat.completion", "model": MODEL, "choices": [{"index": 0, "message": {"content": "hi"}}]}
    upstream.reply_next(Reply(json_body=document, before_head=gate))
    with begin(customer, slug) as connection:
        read_comments(connection)
        gate.release()
        sent = json.loads(rest_of(connection).removeprefix("data: "))
    assert sent == document | {"model": slug}
    assert len(gateway.wait_events(1, customer.key)) == 1


def test_a_hang_up_while_waiting_cancels_the_request(gateway, upstream, slug, limited):
    group, customer = limited([rate("TOKEN", "MINUTE", 9000)])
    upstream.hang_next()
    with begin(customer, slug) as connection:
        read_comments(connection)
        assert gateway.limit(group, slug, "TOKEN", "MINUTE")["held"] > 0
    upstream.requests[0].wait_hung_up()
    limit = gateway.eventually(lambda: gateway.limit(group, slug, "TOKEN", "MINUTE"), lambda limit: limit["held"] == 0)
    assert limit["used"] == 0 and gateway.events(customer.key) == []


def test_a_limit_still_refuses_with_a_status(slug, limited):
    _, customer = limited([rate("REQUEST", "MINUTE", 0)])
    with begin(customer, slug) as connection:
        assert connection.read_head()[0] == 429
