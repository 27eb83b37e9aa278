"""The fakes themselves: a test that trusts its upstream must know that the upstream does what it says."""

import json

import pytest

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


def test_the_usage_of_a_json_answer_is_the_words_in_and_out(upstream):
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


def test_a_stalled_stream_goes_on_when_it_is_released(upstream):
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
