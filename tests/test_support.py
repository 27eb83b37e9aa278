"""Tests of the test servers: other tests rely on them to behave as scripted."""

import json
import time

import pytest

from support.receiver import closed, endless, redirect, reset, slow_body, slow_head, text
from support.upstream import MODEL, BreakOff, Reply, frame
from support.wire import Broken, Connection, Stream, call

HEADERS = [("content-type", "application/json")]


def address(upstream):
    return f"127.0.0.1:{upstream.port}"


def chat(**fields):
    return {"model": "m", "messages": [{"role": "user", "content": "one two three"}], **fields}


def begin(upstream, **fields):
    connection = Connection(address(upstream))
    connection.request("POST", "/v1/chat/completions", HEADERS, chat(**fields))
    return connection


def test_the_usage_of_a_json_answer_counts_the_words_in_and_out(upstream):
    answer = call(address(upstream), "POST", "/v1/chat/completions", HEADERS, chat(max_tokens=5, n=2))
    assert answer.json()["usage"] == {"prompt_tokens": 3, "completion_tokens": 10, "total_tokens": 13}
    assert answer.json()["model"] == MODEL
    assert upstream.requests[0].json["max_tokens"] == 5


@pytest.mark.parametrize("crlf", [False, True])
def test_a_stream_reports_its_usage_only_when_asked(upstream, crlf):
    upstream.always(Reply(crlf=crlf))
    connection = begin(upstream, stream=True)
    connection.read_head()
    assert all("usage" not in chunk for chunk in Stream(connection).chunks())
    connection.request(
        "POST", "/v1/chat/completions", HEADERS, chat(stream=True, stream_options={"include_usage": True})
    )
    connection.read_head()
    last = Stream(connection).chunks()[-1]
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 8
    assert upstream.connections == 1


def test_a_stalled_stream_continues_when_it_is_released(upstream):
    gate = upstream.stall_next(after=2)
    connection = begin(upstream, stream=True)
    connection.read_head()
    stream = Stream(connection)
    stream.next(), stream.next()
    gate.reached()
    gate.release()
    assert json.loads(stream.next())["choices"][0]["delta"] == {"content": "w1 "}
    assert list(stream)[-1] == "[DONE]"


def test_a_client_that_hangs_up_is_noticed(upstream):
    for hang in (upstream.hang_next(), upstream.stall_next(after=1)):
        connection = begin(upstream, stream=True)
        hang.reached()
        connection.reset()
        upstream.requests[-1].wait_hung_up()


@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_can_break_off(upstream, reset):
    upstream.break_off_next(after=3, reset=reset)
    connection = begin(upstream, stream=True)
    connection.read_head()
    stream = Stream(connection)
    with pytest.raises(Broken):
        list(stream)


def test_scripted_answers_are_used_once_and_in_order(upstream):
    upstream.fail_next(2, 503)
    upstream.reply_next(Reply(429, [("retry-after", "7")], json_body={"error": {}}))
    answers = [call(address(upstream), "POST", "/v1/chat/completions", HEADERS, chat()) for _ in range(4)]
    assert [answer.status for answer in answers] == [503, 503, 429, 200]
    assert answers[2].headers["retry-after"] == "7"


def test_steps_are_sent_as_they_are(upstream):
    upstream.reply_next(
        Reply(
            steps=[frame("a"), b": comment\n\n", frame("b", crlf=True), BreakOff()],
            headers=[("content-type", "text/event-stream")],
        )
    )
    connection = begin(upstream)
    connection.read_head()
    stream = Stream(connection)
    assert [stream.next(), stream.next()] == ["a", "b"]
    with pytest.raises(Broken):
        stream.next()


def test_a_large_embeddings_answer_arrives_whole(upstream):
    vector = [0.123456] * 300_000
    upstream.reply_next(Reply(json_body={"object": "list", "data": [{"embedding": vector}], "model": MODEL}))
    answer = call(address(upstream), "POST", "/v1/embeddings", HEADERS, {"model": "m", "input": "x"})
    assert len(answer.body) > 3_000_000 and answer.json()["data"][0]["embedding"] == vector


# The routes with typed streams, and those without a stream. `test_sdk_*.py` read their answers with real clients.

MESSAGES = [{"role": "user", "content": "one two three"}]
TYPED = {
    "/v1/responses": ({"input": "one two three"}, "response.completed"),
    "/v1/messages?beta=true": ({"messages": MESSAGES, "max_tokens": 100}, "message_stop"),
    "/v1/images/generations": ({"prompt": "one two three", "partial_images": 2}, "image_generation.completed"),
}


@pytest.mark.parametrize("path", TYPED)
@pytest.mark.parametrize("crlf", [False, True])
def test_a_typed_stream_names_its_events_and_can_stall_and_break_off(upstream, path, crlf):
    body, terminal = TYPED[path]
    gate = upstream.stall_next(after=-1, crlf=crlf)
    with Connection(address(upstream)) as connection:
        connection.request("POST", path, HEADERS, {"model": "m", "stream": True, **body})
        status, headers = connection.read_head()
        assert (status, dict(headers)["content-type"]) == (200, "text/event-stream")
        stream = Stream(connection)
        first = json.loads(stream.next())
        gate.reached()
        gate.release()
        *_, last = map(json.loads, stream)
    assert last["type"] == terminal
    end = b"\r\n" if crlf else b"\n"
    for event in (first, last):
        assert b"event: " + event["type"].encode() + end + b"data: " in stream.raw
    upstream.break_off_next(after=1)
    with Connection(address(upstream)) as connection, pytest.raises(Broken):
        connection.request("POST", path, HEADERS, {"model": "m", "stream": True, **body})
        connection.read_head()
        list(Stream(connection))


@pytest.mark.parametrize("path", TYPED)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_usage_can_be_left_out_or_replaced(upstream, path, streamed):
    body = {"model": "m", "stream": streamed, **TYPED[path][0]}
    for usage in (None, {"output_tokens": 77}):
        upstream.reply_next(Reply(usage=usage))
        answer = call(address(upstream), "POST", path, HEADERS, body)
        assert (b'"output_tokens":' in answer.body) is (usage is not None)
        assert answer.body.replace(b" ", b"").count(b'"output_tokens":77') == (usage is not None)


def test_documents_are_ranked_by_the_words_of_the_query_in_them(upstream):
    body = {"model": "m", "query": "red fox", "documents": ["a blue fox", "a red fox", {"text": "a cat"}], "top_n": 2}
    answer = call(address(upstream), "POST", "/v1/rerank", HEADERS, body).json()
    assert answer["model"] == MODEL
    assert [(one["index"], one["relevance_score"]) for one in answer["results"]] == [(1, 1.0), (0, 0.5)]
    assert answer["results"][0]["document"] == {"text": "a red fox"}
    assert answer["usage"] == {"prompt_tokens": 14, "total_tokens": 14}


# The webhook receiver


def deliver(receiver, *keys, kind="API_BILLING_USAGE", **options):
    """Sends a delivery of these events; returns the connection before anything is read from it."""
    connection = Connection(address(receiver), **options)
    body = {"type": kind, "data": {"events": [{"idempotencyKey": key} for key in keys]}}
    connection.request("POST", "/billing", [("X-Tollgate-Request-ID", "r")], body)
    return connection


def delivered(receiver, *keys, **options):
    with deliver(receiver, *keys, **options) as connection:
        return connection.read_answer()


def test_a_receiver_has_the_events_that_it_answered_2xx(receiver):
    receiver.fail_next(2, 503, b"not now")
    answers = [delivered(receiver, key) for key in "abcb"] + [delivered(receiver, "t", kind="TEST")]
    assert [(answer.status, answer.body) for answer in answers] == [(503, b"not now")] * 2 + [(200, b"")] * 3
    assert [event["idempotencyKey"] for event in receiver.wait_events(2)] == ["c", "b"]
    assert receiver.count == 5 and receiver.requests[0].request_id == "r" and receiver.requests[0].path == "/billing"


def test_a_receiver_does_not_have_events_whose_client_got_no_answer(receiver):
    gate = receiver.hang_next()
    connection = deliver(receiver, "a")
    gate.reached()
    connection.close()
    receiver.wait_requests(1).wait_hung_up()
    assert receiver.events() == []


@pytest.mark.parametrize("how", [closed, reset])
def test_a_receiver_can_close_without_an_answer(receiver, how):
    receiver.reply_next(how())
    with deliver(receiver, "a") as connection, pytest.raises(Broken):
        connection.read_head()
    assert delivered(receiver, "a").status == 200


def test_a_receiver_can_be_slow(receiver):
    for reply in (slow_head(), slow_body(200)):
        receiver.reply_next(reply)
        begun = time.monotonic()
        with deliver(receiver, "a") as connection:
            first = connection.socket.recv(65536)
            if not first.startswith(b"HTTP/1.1 200 Scripted"):
                assert (first, connection.socket.recv(65536)) == (b"H", b"T") and time.monotonic() - begun > 0.9
        receiver.requests[-1].wait_hung_up()


def test_a_receiver_can_send_an_endless_answer_more_than_once(receiver):
    receiver.always(endless(500))
    for _ in range(2):
        with deliver(receiver, "a") as connection:
            assert connection.read_head()[0] == 500
            assert sum(len(connection.read_some()) for _ in range(50)) > 500_000
        receiver.requests[-1].wait_hung_up()


def test_a_receiver_can_refuse_connections_and_accept_them_again(receiver):
    kept = deliver(receiver, "a")
    kept.read_answer()
    for _ in range(2):
        receiver.refuse_connections()
        assert kept.is_closed_by_peer()
        with pytest.raises(ConnectionRefusedError):
            deliver(receiver, "b")
        receiver.accept_connections()
        assert delivered(receiver, "b").status == 200
    kept.close()
    receiver.refuse_connections()


def test_a_receiver_can_redirect(receiver):
    receiver.reply_next(redirect("http://127.0.0.1:9/"))
    receiver.reply_next(text(418, b"a teapot"))
    answers = [delivered(receiver, "a") for _ in range(2)]
    assert (answers[0].status, answers[0].headers["location"]) == (302, "http://127.0.0.1:9/")
    assert (answers[1].status, answers[1].body) == (418, b"a teapot")
