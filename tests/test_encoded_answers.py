"""Answers that an upstream encodes, although identity was requested, are decoded piece by piece."""

import gzip
import json

import pytest

from support.encodings import ENCODERS, header, whole
from support.upstream import MODEL, Reply, chunk, frame

ANSWER = {
    "id": "x",
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "abcd"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}


encoded = pytest.mark.parametrize("name", ENCODERS)


def headers(name, content_type="application/json"):
    return [("content-type", content_type), header(name)]


@encoded
def test_a_json_answer_is_decoded(gateway, upstream, customer, slug, key, name):
    upstream.reply_next(Reply(steps=[whole(name, json.dumps(ANSWER).encode())], headers=headers(name)))
    answer = customer.chat(slug)
    assert answer.json() == {**ANSWER, "model": slug} and "content-encoding" not in answer.headers
    [event] = gateway.events(key)
    assert event["usageSource"] == "upstream"
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


@encoded
def test_a_stream_is_decoded_as_it_arrives(gateway, upstream, customer, slug, key, name):
    encoder = ENCODERS[name][1]()
    first = encoder.compress(frame(chunk({"content": "abcd"}))) + encoder.flush()
    rest = encoder.compress(frame(chunk(finish="stop")) + frame("[DONE]")) + encoder.finish()
    gate = upstream.gate()
    upstream.reply_next(Reply(steps=[first, gate, rest], headers=headers(name, "text/event-stream")))
    connection, _, stream = customer.stream_chat(slug)
    assert "abcd" in stream.next()
    gate.release()
    assert len(stream.chunks()) == 1
    connection.close()
    [event] = gateway.events(key)
    assert event["tokens"]["outputTokens"] == 1


@encoded
def test_a_refusal_is_decoded(upstream, customer, slug, name):
    body = json.dumps({"error": {"message": "Too long."}}).encode()
    upstream.reply_next(Reply(400, steps=[whole(name, body)], headers=headers(name)))
    assert customer.chat(slug).error["message"] == "Too long."


def test_several_gzip_members_are_one_answer(upstream, customer, slug):
    body = json.dumps(ANSWER).encode()
    steps = [gzip.compress(body[:50]), gzip.compress(body[50:])]
    upstream.reply_next(Reply(steps=steps, headers=headers("gzip")))
    assert customer.chat(slug).status == 200


@pytest.mark.parametrize("streamed", [False, True])
@encoded
def test_an_answer_that_cannot_be_decoded_is_a_502(gateway, upstream, customer, slug, key, name, streamed):
    half = whole(name, json.dumps(ANSWER).encode())[:-5]
    for body in (b"plain text", half, b""):
        upstream.reply_next(Reply(steps=[body], headers=headers(name)))
        answer = customer.chat(slug, stream=streamed)
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert gateway.events(key) == []


def test_an_unknown_encoding_is_a_502(gateway, upstream, customer, slug, key):
    for encoding in ("compress", "gzip, br"):
        upstream.reply_next(Reply(json_body=ANSWER, headers=[("content-encoding", encoding)]))
        assert customer.chat(slug).status == 502
    assert gateway.events(key) == []


@encoded
def test_a_highly_compressed_answer_is_decoded_in_small_pieces(upstream, customer, slug, name):
    encoder = ENCODERS[name][1]()
    spaces = b" " * (1 << 20)
    steps = [encoder.compress(b'{"choices":[],'), *(encoder.compress(spaces) for _ in range(20)), encoder.compress(b'"x":1}')]
    upstream.reply_next(Reply(steps=[b"".join(steps) + encoder.finish()], headers=headers(name)))
    connection = customer.begin_chat(slug)
    assert connection.read_head()[0] == 200
    pieces = []
    while piece := connection.read_some():
        pieces.append(len(piece))
    connection.close()
    # The first piece is the part that is buffered until an answer counts as large.
    assert sum(pieces) > 20 << 20 and max(pieces[1:]) <= 16 << 10
