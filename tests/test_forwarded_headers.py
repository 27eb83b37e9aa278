"""The headers that reach the upstream: an allow-list of the customer's, and our request id."""

import json

import pytest

from support.gateway import message
from support.wire import Connection

CHAT = "/v1/chat/completions"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"

# Headers that the gateway's own client writes.
OWN = {"host", "authorization", "content-length", "accept-encoding", "connection", "user-agent"}


@pytest.fixture
def forwarded(upstream, customer, slug):
    """Sends a chat with these headers; returns the answer and the headers that the upstream got, without our own."""

    def send(*headers):
        answer = customer.post(CHAT, {"model": slug, "messages": message("hi")}, headers)
        assert answer.status == 200
        received = [(name, value) for name, value in upstream.requests[-1].header_list if name not in OWN]
        names = [name for name, _ in received]
        assert len(names) == len(set(names)), "a header was sent twice"
        return answer, dict(received)

    return send


def test_only_headers_of_the_allow_list_reach_the_upstream(forwarded):
    allowed = {
        "content-type": "application/json; charset=utf-8",
        "accept": "text/event-stream",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "tools-1",
        "openai-beta": "assistants=v2",
        "traceparent": PARENT,
        "tracestate": STATE,
    }
    others = {
        "idempotency-key": "1",
        "openai-organization": "org-1",
        "openai-project": "proj-1",
        "content-encoding": "identity",
        "x-request-id": "the-customers",
        "x-api-key": "sk-other",
        "baggage": "a=1",
        "cookie": "a=1",
        "x-forwarded-for": "192.0.2.1",
        "x-custom": "1",
        "x-session-affinity": "session-1",
    }
    answer, received = forwarded(*allowed.items(), *others.items())
    assert received == {**allowed, "x-request-id": answer.headers["x-request-id"]}


def test_each_request_reaches_the_upstream_under_its_own_id(gateway, upstream, customer, slug, key):
    answers = [customer.chat(slug), customer.chat(slug)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert [received.headers["x-request-id"] for received in upstream.requests] == ids and ids[0] != ids[1]
    assert [event["requestId"] for event in gateway.events(key)] == ids


def test_every_target_that_is_asked_gets_the_same_id(gateway, upstream, second):
    slug = gateway.create_endpoint([upstream, second])["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    upstream.fail_next(1, 500)
    answer = customer.chat(slug)
    asked = [received.headers["x-request-id"] for received in (*upstream.requests, *second.requests)]
    assert asked == [answer.headers["x-request-id"]] * 2


def test_lines_of_a_list_header_are_joined(forwarded):
    _, received = forwarded(("anthropic-beta", "a-1"), ("Anthropic-Beta", "b-2, c-3"), ("openai-beta", "x=v1"))
    assert received["anthropic-beta"] == "a-1, b-2, c-3" and received["openai-beta"] == "x=v1"


@pytest.mark.parametrize(
    "headers, wanted",
    [
        ([("traceparent", PARENT)], {"traceparent": PARENT}),
        ([("TraceParent", PARENT.replace("00-", "01-", 1) + "-more")], {"traceparent": "01" + PARENT[2:] + "-more"}),
        ([("traceparent", PARENT), ("tracestate", STATE)], {"traceparent": PARENT, "tracestate": STATE}),
        (
            [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2,c=3")],
            {"traceparent": PARENT, "tracestate": "a=1, b=2,c=3"},
        ),
        ([("traceparent", PARENT), ("tracestate", "A=1")], {"traceparent": PARENT}),
        ([("traceparent", PARENT), ("tracestate", "")], {"traceparent": PARENT}),
        ([("traceparent", PARENT), ("tracestate", ",".join(f"k{at}=v" for at in range(33)))], {"traceparent": PARENT}),
        ([("tracestate", STATE)], {}),
        ([("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", STATE)], {}),
        ([("traceparent", PARENT + "-more"), ("tracestate", STATE)], {}),
        ([("traceparent", "ff" + PARENT[2:]), ("tracestate", STATE)], {}),
        ([("traceparent", PARENT.replace(TRACE, "0" * 32)), ("tracestate", STATE)], {}),
        ([("traceparent", PARENT.upper()), ("tracestate", STATE)], {}),
        ([("traceparent", b"00-\xe9"), ("tracestate", STATE)], {}),
    ],
)
def test_a_trace_context_is_forwarded_only_if_it_is_valid(forwarded, headers, wanted):
    _, received = forwarded(*headers)
    assert {name: value for name, value in received.items() if name.startswith("trace")} == wanted


def test_a_trial_call_of_an_operator_forwards_the_same_headers(gateway, group, upstream, slug):
    headers = [
        ("traceparent", PARENT),
        ("tracestate", STATE),
        ("anthropic-beta", "a-1"),
        ("anthropic-beta", "b-2"),
        ("idempotency-key", "1"),
        ("openai-project", "proj-1"),
    ]
    body = {"route": CHAT, "body": {"model": slug, "messages": message("hi")}}
    answer = gateway.admin_answer("POST", f"/v1/gateway/groups/{group['id']}/try", body, headers=headers)
    assert answer.status == 200
    received = upstream.requests[0].headers
    assert (received["traceparent"], received["tracestate"]) == (PARENT, STATE)
    assert received["anthropic-beta"] == "a-1, b-2" and received["x-request-id"] == answer.headers["x-request-id"]
    assert not {"idempotency-key", "openai-project"} & set(received)


def test_the_log_of_a_request_has_its_trace_id(gateway, customer, slug):
    def logged(answer):
        request_id = answer.headers["x-request-id"]
        line = gateway.process.wait_line(lambda line: "tollgate::request" in line and request_id in line)
        return json.loads(line).get("trace_id")

    valid, invalid = [("traceparent", PARENT)], [("traceparent", PARENT + "-more")]
    body = {"model": slug, "messages": message("hi")}
    assert logged(customer.post(CHAT, body, valid)) == TRACE
    assert logged(customer.post(CHAT, body, invalid)) is None
    assert logged(customer.post(CHAT, {**body, "model": "acme/none"}, valid)) == TRACE
    with Connection(gateway.address) as connection:
        connection.request("GET", "/v1/models", customer.headers(valid))
        assert logged(connection.read_answer()) == TRACE
