"""A 2xx without content is not an answer, and a stream ends when its content is complete."""

import json
import time

import pytest

from support.gateway import Customer, Gateway
from support.scripted import Pause
from support.upstream import MODEL, ROLE, BreakOff, Reply, chunk, frame, stream_of
from support.wire import Connection, Stream

TEXT, STOP, USAGE = chunk({"content": "a"}), chunk(finish="stop"), chunk(usage={"prompt_tokens": 3, "completion_tokens": 1})
SERVED = "upstream-model"
ERROR = {"error": {"message": f"{SERVED} at gpu-7.internal is overloaded", "type": "overloaded_error"}}
JSON = "application/json"


def answer(raw, content_type="text/event-stream", status=200):
    return Reply(status, steps=[raw] if raw else [], headers=[("content-type", content_type)])


WITHOUT_CONTENT = {
    "an empty body": answer(b""),
    "only [DONE]": stream_of("[DONE]"),
    "only comments": answer(b": hello\n\n: hello\n\n"),
    "an error first": stream_of(ERROR),
    "an error after a role": stream_of(ROLE, ERROR),
    "an error event": answer(b"event: error\ndata: out of memory\n\n"),
    "only a role": stream_of(ROLE, "[DONE]"),
    "only filter results": stream_of(chunk(prompt_filter_results=[{}]), "[DONE]"),
    "an error object as JSON": answer(json.dumps(ERROR).encode(), JSON),
    "an error object as a stream": answer(json.dumps(ERROR).encode()),
    "an error's object": answer(b'{"object":"error","message":"no"}', JSON),
    "a page": answer(b"<html>gpu-7.internal</html>", "text/html"),
    "a page as JSON": answer(b"<html>gpu-7.internal</html>", JSON),
    "plain text": answer(b"ok", "text/plain"),
    "no content": Reply(204, steps=[], headers=[("content-length", "0")]),
    "half an event": answer(b'data: {"choi'),
    "a JSON answer that breaks off": Reply(steps=[b'{"id": "x", "choices": [', BreakOff()], headers=[("content-length", "99")]),
    "a stream that breaks off": stream_of(ROLE, BreakOff()),
}


@pytest.fixture
def slug(gateway, upstream, second):
    return gateway.create_endpoint([upstream, second])["slug"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("case", WITHOUT_CONTENT)
def test_the_next_target_is_asked(gateway, upstream, second, customer, slug, key, case, streamed):
    upstream.reply_next(WITHOUT_CONTENT[case])
    answer = customer.chat(slug, stream=streamed)
    assert answer.status == 200 and b"w0" in answer.body
    assert (upstream.count, second.count) == (1, 1)
    [event] = gateway.wait_events(1, key)
    assert event["streamed"] is streamed and event["tokens"]["outputTokens"] == 8


@pytest.mark.parametrize("case", WITHOUT_CONTENT)
def test_without_another_target_it_is_a_502_and_no_event(gateway, upstream, second, customer, slug, key, case):
    for one in (upstream, second):
        one.reply_next(WITHOUT_CONTENT[case])
    answer = customer.chat(slug, stream=True)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert b"gpu-7" not in answer.body and SERVED.encode() not in answer.body
    assert gateway.events(key) == []


def document(**members):
    return answer(json.dumps({"id": "x", "model": MODEL, **members}).encode(), JSON)


HOST = f"{SERVED} at gpu-7.internal is overloaded"
CHOICE = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error"}
FAILED_CHOICE = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
NO_REASON = [chunk({"role": "assistant", "content": ""}, finish=text) for text in ("", "null")]

NOT_ANSWERS = {
    "text in braces": answer(b"{oops", JSON),
    "words without quotes": answer(b"{Error: gpu-7.internal}", JSON),
    "brackets that do not match": answer(b'{"choices":[{"message":{"content":"gpu-7.internal"}]}]', JSON),
    "half a document": answer(b'{"choices":[{"message":{"content":"gpu-7.internal"', JSON),
    "two documents": answer(b'{"choices":[{"text":"gpu-7.internal"}]}{"usage":{"prompt_tokens":5,"completion_tokens":1}}', JSON),
    "a list": answer(b'[{"choices":[{"text":"gpu-7.internal"}]}]', JSON),
    "an error beside a finish reason": stream_of({**ERROR, "choices": [FAILED_CHOICE]}, "[DONE]"),
    "an error beside a usage": stream_of({**ERROR, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
    "an error in a choice": stream_of(ROLE, {"choices": [{**FAILED_CHOICE, **ERROR}]}),
    "an error and text after it": answer(frame(ERROR) + frame(TEXT) + frame(STOP) + frame("[DONE]")),
    "an error that is cut": stream_of(ROLE, json.dumps(ERROR)[:-9]),
    "an error without data": answer(json.dumps(ERROR).encode().join([b": hi\n\n", b"\n\n"])),
    "a document's error beside a usage": document(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 0}, **ERROR),
    "a document's error in a choice": document(choices=[{**CHOICE, **ERROR}]),
    "a list of errors": document(error=[ERROR["error"]]),
    "an error that is true": document(error=True, message=HOST),
    "an error that is a number": document(error=503, message=HOST),
    "an error by its type": document(type="error", message=HOST),
    "a detail": document(detail=HOST),
    "errors": document(errors=[{"message": HOST}]),
    "an error beside no choices": document(choices=None, base_resp={"status_code": 1004, "status_msg": HOST}),
    "an error with NaN": answer(json.dumps(ERROR | {"p": float("nan")}).encode(), JSON),
    "an empty document": answer(b"{}", JSON),
    "empty finish reasons": stream_of(*NO_REASON, "[DONE]"),
    "an unknown field": answer(b"upstream: gpu-7.internal\n\n"),
}


@pytest.mark.parametrize("case", NOT_ANSWERS)
def test_an_error_in_any_shape_or_broken_json_is_not_an_answer(gateway, upstream, second, customer, slug, key, case):
    for one in (upstream, second):
        one.reply_next(NOT_ANSWERS[case])
    answer = customer.chat(slug, stream=NOT_ANSWERS[case].headers[0][1] != JSON)
    assert (answer.status, answer.error["code"], second.count) == (502, "upstream_error", 1)
    assert b"gpu-7" not in answer.body and SERVED.encode() not in answer.body
    assert gateway.events(key) == []


@pytest.mark.parametrize("text", [b"NaN", b"-Infinity", b'"\xff"', b'"\\ud83d"', b'"a\nb"'])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_that_a_strict_parser_refuses_is_an_answer(gateway, upstream, customer, slug, key, text, mark):
    body = b'{"x": %b, "model": "acme", "choices": [{"text": "abcd"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}' % text
    upstream.reply_next(answer(mark + body, JSON))
    assert customer.chat(slug).body == mark + body.replace(b"acme", slug.encode())
    [event] = gateway.events(key)
    assert (event["tokens"]["inputTokens"], event["usageSource"]) == (3, "upstream")


@pytest.mark.parametrize("start", [[b"\xef", b"\xbb\xbf"], [b"\xef\xbb", b"\xbf"], [b"foo: bar\n"]])
def test_a_stream_may_begin_with_a_split_byte_order_mark_or_an_unknown_field(upstream, second, customer, slug, start):
    upstream.reply_next(stream_of(start[0], Pause(0.1), *start[1:], TEXT, STOP, USAGE, "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    list(stream)
    connection.close()
    assert stream.raw.startswith(b"".join(start) + b"data: ") and stream.raw.endswith(b"data: [DONE]\n\n")
    assert second.count == 0


def test_the_upstreams_error_message_is_passed_on(upstream, second, customer, slug):
    for one in (upstream, second):
        one.reply_next(stream_of(ERROR))
    assert customer.chat(slug, stream=True).error["message"] == f"The model server failed: {slug} at […] is overloaded"


def test_heartbeats_and_an_empty_role_are_held_back_for_a_second(gateway, upstream, second, customer, slug, key):
    gate = upstream.gate()
    upstream.reply_next(stream_of(b": hello\n\n", ROLE, gate, TEXT, STOP, USAGE, "[DONE]"))
    begun = time.monotonic()
    connection, _, stream = customer.stream_chat(slug)
    assert 0.9 < time.monotonic() - begun < 3
    assert stream.next() == json.dumps(ROLE, separators=(",", ":")).replace(MODEL, slug)
    assert stream.raw.startswith(b": hello\n\n")
    gate.release()
    assert len(stream.chunks()) == 2
    connection.close()
    [event] = gateway.wait_events(1, key)
    assert event["ttftMs"] >= 900, "heartbeats do not count as the first token"


def test_a_failure_after_heartbeats_were_passed_on_makes_no_event(gateway, upstream, second, customer, slug, key):
    gate = upstream.gate()
    upstream.reply_next(stream_of(b": hello\n\n", gate, ERROR))
    connection, _, stream = customer.stream_chat(slug)
    gate.release()
    [error] = list(stream)
    assert json.loads(error)["error"]["code"] == "upstream_error" and "gpu-7" not in error
    assert connection.is_closed_by_peer()
    assert customer.chat(slug).status == 200
    assert len(gateway.wait_events(1, key)) == 1 and second.count == 0


def test_content_is_passed_on_as_it_arrives(upstream, second, customer, slug):
    gate = upstream.gate()
    upstream.reply_next(stream_of(ROLE, TEXT, gate, STOP, USAGE, "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    assert "role" in stream.next() and '"a"' in stream.next()
    gate.release()
    stream.chunks()
    connection.close()


def test_heartbeats_do_not_stop_the_first_byte_timeout(upstream):
    with Gateway(UPSTREAM_FIRST_BYTE_TIMEOUT="2s") as own:
        slug = own.create_endpoint(upstream)["slug"]
        customer = Customer(own, own.mint_key(own.create_group(slug)))
        upstream.reply_next(stream_of(upstream.gate()))
        assert customer.chat(slug, stream=True).status == 504
        upstream.reply_next(stream_of(b": hello\n\n", upstream.gate()))
        connection, _, stream = customer.stream_chat(slug)
        [error] = list(stream)
        assert "in time" in json.loads(error)["error"]["message"]
        connection.close()
        assert own.events(customer.key) == []


@pytest.mark.parametrize("content_type", [JSON, "text/event-stream"])
@pytest.mark.parametrize("first", [b": hi\n\n", b"\n", ROLE])
def test_the_first_token_is_the_first_content(gateway, upstream, customer, slug, key, content_type, first):
    upstream.reply_next(stream_of(first, Pause(0.3), TEXT, STOP, USAGE, "[DONE]", content_type=content_type))
    connection, _, stream = customer.stream_chat(slug)
    stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert event["ttftMs"] >= 290


@pytest.mark.parametrize("content_type", [JSON, "text/plain", "application/octet-stream"])
def test_a_stream_is_recognized_by_its_bytes(gateway, upstream, second, customer, slug, key, content_type):
    gate = upstream.gate()
    upstream.reply_next(stream_of(b"\n", b": hi\n\nda", frame(TEXT)[2:], gate, STOP, USAGE, "[DONE]", content_type=content_type))
    connection, headers, stream = customer.stream_chat(slug)
    assert headers["content-type"] == "text/event-stream" and headers["cache-control"] == "no-cache"
    assert '"a"' in stream.next()
    gate.release()
    assert [chunk["choices"][0]["finish_reason"] for chunk in stream.chunks()] == ["stop"], "the usage is removed"
    connection.close()
    [event] = gateway.wait_events(1, key)
    assert (event["streamed"], event["usageSource"], event["tokens"]["outputTokens"]) == (True, "upstream", 1)


def test_a_json_answer_to_a_request_for_a_stream_stays_json(gateway, upstream, second, customer, slug, key):
    choices = [{"index": 0, "message": {"role": "assistant", "content": "abcd"}, "finish_reason": "stop"}]
    body = {"id": "x", "model": MODEL, "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    upstream.reply_next(answer(json.dumps(body).encode()))
    got = customer.chat(slug, stream=True)
    assert (got.headers["content-type"], got.json()["model"]) == (JSON, slug)
    [event] = gateway.wait_events(1, key)
    assert (event["streamed"], event["tokens"]["outputTokens"]) == (False, 1)


@pytest.mark.parametrize("heartbeats", [[], [Pause(0.25), b": hello\n\n", Pause(0.25), frame({"type": "ping"})] * 20])
def test_a_complete_stream_ends_even_if_it_stays_open(gateway, upstream, second, customer, slug, key, heartbeats):
    upstream.reply_next(stream_of(TEXT, STOP, USAGE, *heartbeats, upstream.gate()))
    begun = time.monotonic()
    connection, _, stream = customer.stream_chat(slug)
    assert [json.loads(data) for data in stream][:2] == [{**sent, "model": slug} for sent in (TEXT, STOP)]
    assert 4.5 < time.monotonic() - begun < 9
    connection.close()
    [event] = gateway.wait_events(1, key)
    assert event["usageSource"] == "upstream"
    upstream.requests[0].wait_hung_up()


@pytest.mark.parametrize(
    "steps, is_complete",
    [
        ([TEXT], False),
        ([TEXT, USAGE], False),
        ([TEXT, chunk({"content": "b"}, index=1), STOP], False),
        ([TEXT, STOP], True),
        ([TEXT, STOP, USAGE], True),
        ([TEXT, "[DONE]"], True),
        ([chunk({"content": "a"}, finish="")], False),
        ([chunk({"content": "a"}, finish="null")], False),
        ([TEXT, STOP, BreakOff(reset=True)], True),
        ([TEXT, STOP, USAGE, Pause(0.1), BreakOff(reset=True)], True),
        ([TEXT, chunk({"content": "b"}, index=1), STOP, BreakOff(reset=True)], False),
    ],
)
def test_a_stream_ends_in_an_error_unless_it_is_complete(upstream, second, customer, slug, steps, is_complete):
    upstream.reply_next(stream_of(*steps))
    connection, _, stream = customer.stream_chat(slug)
    last = list(stream)[-1]
    assert ("upstream_error" in last) is not is_complete
    assert connection.is_closed_by_peer(0.5) is not is_complete
    connection.close()


def test_a_stream_that_breaks_off_ends_its_http_body_properly(gateway, upstream, second, customer, slug):
    """The connection is closed after the error, so the client opens another one for its next request."""
    upstream.break_off_next(after=2, reset=True)
    with Connection(gateway.address) as connection:
        body = {"model": slug, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        connection.request("POST", "/v1/chat/completions", customer.headers(), body)
        connection.read_head()
        stream = Stream(connection)
        last = list(stream)[-1]
        assert json.loads(last)["error"]["type"] == "server_error"
        assert connection.is_closed_by_peer()


def test_unfinished_events_are_bounded_for_all_streams_together(gateway, upstream, second, customer, slug):
    """Four events of 15 MB fit into the 64 MiB that all streams share. A fifth does not, and the four end normally."""
    long = b"data: " + json.dumps(chunk({"content": "x" * 15_000_000})).encode()
    streams = []
    for _ in range(4):
        gate = upstream.gate()
        upstream.reply_next(stream_of(TEXT, long, gate, b"\n\n", STOP, USAGE, "[DONE]"))
        streams.append((gate, *customer.stream_chat(slug)))
        gate.reached()
    upstream.reply_next(stream_of(TEXT, long, upstream.gate()))
    connection, _, stream = customer.stream_chat(slug)
    assert "upstream_error" in list(stream)[-1]
    connection.close()
    for gate, connection, _, stream in streams:
        gate.release()
        assert len(stream.chunks()) == 3
        connection.close()
