"""Hang-ups of customers and upstreams: each answer that an upstream began has one event, and nothing stays held."""

import json
import math
import time

import pytest

from support.gateway import rate
from support.upstream import MODEL, BreakOff, Reply
from support.wire import Connection

PROMPT = "some words of a prompt " * 20  # 460 bytes: an estimate of 115 tokens


@pytest.fixture
def metered(gateway, slug, limited):
    """A customer whose group has a limit of every kind, which show what is held and used."""
    group, customer = limited(
        [rate("REQUEST", "MINUTE", 1000), rate("TOKEN", "MINUTE", 1_000_000)],
        [rate("REQUEST", "DAY", 1000), rate("TOKEN", "DAY", 1_000_000)],
    )
    return group, customer


def settled(gateway, group, slug):
    """Waits until the group's limits hold nothing; returns `{(type, unit): used}`."""
    limits = gateway.eventually(
        lambda: gateway.limits(group, slug)["limits"], lambda limits: all(limit["held"] == 0 for limit in limits)
    )
    return {(limit["type"], limit["unit"]): limit["used"] for limit in limits}


def only_event(gateway, customer, slug):
    """The only event so far. A complete request after it shows that no second event was pending."""
    [event] = gateway.wait_events(1, customer.key)
    assert customer.chat(slug).status == 200
    events = gateway.wait_events(2, customer.key)
    assert len(events) == 2 and events[0] == event
    return event


def no_event(gateway, customer, slug):
    assert customer.chat(slug).status == 200
    [event] = gateway.wait_events(1, customer.key)
    assert event["status"] == 200 and event["streamed"] is False


def is_counted(event, text):
    """Checks that we counted the event: the prompt's estimate, and one token per four bytes of the text passed on."""
    assert event["usageSource"] == "counted"
    assert event["tokens"]["outputTokens"] == math.ceil(len(text.encode()) / 4)
    assert len(PROMPT) / 4 - 2 <= event["tokens"]["inputTokens"] <= len(PROMPT) / 4 + 8
    assert event["tokens"]["cachedInputTokens"] == 0


def text_of(frames):
    return "".join(choice["delta"].get("content") or "" for data in frames for choice in json.loads(data)["choices"])


def hang_up(connection, how):
    connection.reset() if how == "reset" else connection.close()


both_ways = pytest.mark.parametrize("how", ["close", "reset"])


@both_ways
@pytest.mark.parametrize("streamed", [False, True])
def test_a_hang_up_before_the_head_makes_no_event(gateway, upstream, metered, slug, how, streamed):
    group, customer = metered
    gate = upstream.hang_next()
    connection = customer.begin_chat(slug, PROMPT, stream=streamed)
    gate.reached()
    assert gateway.limit(group, slug, "TOKEN", "DAY")["held"] > 100
    hang_up(connection, how)
    upstream.requests[0].wait_hung_up()
    used = settled(gateway, group, slug)
    assert used["REQUEST", "DAY"] == 0 and used["TOKEN", "DAY"] == 0 and used["TOKEN", "MINUTE"] == 0
    assert used["REQUEST", "MINUTE"] == 1, "a hang-up must not bypass the request rate"
    no_event(gateway, customer, slug)


@both_ways
def test_a_hang_up_in_mid_stream_is_billed_for_the_text_passed_on(gateway, upstream, metered, slug, how):
    group, customer = metered
    gate = upstream.stall_next(after=4, words=["alpha ", "b\u00e9ta ", "gamma ", "delta "])
    connection, headers, stream = customer.stream_chat(slug, PROMPT)
    frames = [stream.next() for _ in range(4)]
    gate.reached()
    hang_up(connection, how)
    upstream.requests[0].wait_hung_up()
    event = only_event(gateway, customer, slug)
    is_counted(event, text_of(frames))
    assert event["requestId"] == headers["x-request-id"] and event["streamed"] is True and event["status"] == 200
    used = settled(gateway, group, slug)
    assert used["REQUEST", "DAY"] == 2


def test_a_hang_up_in_mid_stream_is_billed_by_the_running_usage(gateway, upstream, metered, slug):
    group, customer = metered
    gate = upstream.stall_next(after=6, continuous=True)
    connection, _, stream = customer.stream_chat(slug, "one two three")
    for _ in range(6):
        stream.next()
    gate.reached()
    connection.reset()
    upstream.requests[0].wait_hung_up()
    event = only_event(gateway, customer, slug)
    assert event["usageSource"] == "upstream"
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 5, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}


def test_text_after_the_latest_usage_report_is_counted(gateway, upstream, metered, slug):
    """Some servers report in the first chunk, before there is any output."""
    group, customer = metered
    chunk = {"id": "x", "object": "chat.completion.chunk", "model": MODEL}

    def frame(content, **more):
        choices = [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
        return f"data: {json.dumps(chunk | {'choices': choices} | more)}\n\n".encode()

    early = frame("", usage={"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5})
    gate = upstream.gate()
    steps = [early, *[frame("x" * 400)] * 20, gate]
    upstream.reply_next(Reply(steps=steps, headers=[("content-type", "text/event-stream")]))
    connection, _, stream = customer.stream_chat(slug, PROMPT)
    for _ in range(21):
        stream.next()
    gate.reached()
    connection.reset()
    upstream.requests[0].wait_hung_up()
    event = only_event(gateway, customer, slug)
    assert event["usageSource"] == "counted"
    assert event["tokens"] == {"inputTokens": 5, "outputTokens": 2000, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}


def test_a_hang_up_after_the_finish_reason_waits_for_the_usage(gateway, upstream, metered, slug):
    group, customer = metered
    gate = upstream.stall_next(after=-2)  # all but the usage and [DONE]
    connection, _, stream = customer.stream_chat(slug, "one two three")
    while json.loads(stream.next())["choices"][0]["finish_reason"] is None:
        pass
    connection.reset()
    time.sleep(0.3)  # until the gateway has noticed, which cannot be seen; from then on it waits up to 2 s
    gate.release()
    event = only_event(gateway, customer, slug)
    assert event["usageSource"] == "upstream"
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 8, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}


def test_the_wait_for_the_usage_after_a_hang_up_is_limited(gateway, upstream, metered, slug):
    group, customer = metered
    gate = upstream.stall_next(after=-2)
    connection, _, stream = customer.stream_chat(slug, PROMPT)
    frames = [stream.next() for _ in range(10)]
    assert json.loads(frames[-1])["choices"][0]["finish_reason"] == "stop"
    gate.reached()
    connection.reset()
    upstream.requests[0].wait_hung_up()
    event = only_event(gateway, customer, slug)
    is_counted(event, text_of(frames))


@both_ways
def test_a_hang_up_before_the_finish_reason_does_not_wait_for_the_usage(gateway, upstream, metered, slug, how):
    _, customer = metered
    gate = upstream.stall_next(after=-3)
    connection, _, stream = customer.stream_chat(slug, PROMPT)
    frames = [stream.next() for _ in range(9)]
    gate.reached()
    hang_up(connection, how)
    upstream.requests[0].wait_hung_up()
    is_counted(only_event(gateway, customer, slug), text_of(frames))


@both_ways
def test_a_close_after_done_is_not_a_hang_up(gateway, upstream, metered, slug, how):
    _, customer = metered
    connection, _, stream = customer.stream_chat(slug, "one two three")
    while stream.next() != "[DONE]":
        pass
    hang_up(connection, how)
    event = only_event(gateway, customer, slug)
    assert event["usageSource"] == "upstream" and event["status"] == 200
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 8, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}


def test_a_close_after_done_is_billed_while_the_upstream_stays_connected(gateway, upstream, metered, slug):
    _, customer = metered
    upstream.reply_next(Reply(insert={100: upstream.gate()}))  # after everything, before the body's end
    connection, _, stream = customer.stream_chat(slug, "one two three")
    while stream.next() != "[DONE]":
        pass
    connection.close()
    [event] = gateway.wait_events(1, customer.key)
    assert event["usageSource"] == "upstream" and event["tokens"]["outputTokens"] == 8


@pytest.mark.parametrize("rest_comes", [True, False])
def test_a_hang_up_during_a_json_answer_is_billed(gateway, upstream, metered, slug, rest_comes):
    """The part before the gate exceeds the socket buffers, so once it is sent the gateway has read the head."""
    group, customer = metered
    choice = {"index": 0, "message": {"role": "assistant", "content": "x" * 800_000}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    body = json.dumps({"id": "x", "model": MODEL, "choices": [choice], "usage": usage}).encode()
    gate = upstream.gate()
    headers = [("content-length", str(len(body)))]
    upstream.reply_next(Reply(steps=[body[:800_050], gate, body[800_050:] if rest_comes else BreakOff()], headers=headers))
    connection = customer.begin_chat(slug, PROMPT)
    gate.reached()
    connection.reset()
    gate.release()
    event = only_event(gateway, customer, slug)
    if rest_comes:
        assert event["usageSource"] == "upstream" and event["tokens"]["outputTokens"] == 6
    else:
        assert event["usageSource"] == "counted" and 100_000 < event["tokens"]["outputTokens"] <= 200_000
    settled(gateway, group, slug)


def test_a_hang_up_while_reading_a_large_answer_is_billed(gateway, upstream, metered, slug):
    """The customer has the head and part of a 3 MB answer. The upstream answered, so the request is billed."""
    group, customer = metered
    vector = [0.123456] * 300_000
    upstream.reply_next(
        Reply(
            json_body={
                "object": "list",
                "model": MODEL,
                "usage": {"prompt_tokens": 5, "total_tokens": 5},
                "data": [{"object": "embedding", "index": 0, "embedding": vector}],
            }
        )
    )
    connection = customer.begin("/v1/embeddings", {"model": slug, "input": PROMPT})
    assert connection.read_head()[0] == 200
    connection.exactly(1000)
    connection.reset()
    event = only_event(gateway, customer, slug)
    assert event["route"] == "/v1/embeddings" and event["tokens"]["inputTokens"] > 0
    settled(gateway, group, slug)


def test_a_hang_up_while_sending_the_body_takes_nothing(gateway, upstream, metered, slug):
    group, customer = metered
    with Connection(gateway.address) as connection:
        connection.send_head("POST", "/v1/chat/completions", customer.headers([("content-length", 1000)]))
        connection.send(b'{"model":"' + slug.encode())
        connection.reset()
    no_event(gateway, customer, slug)
    assert settled(gateway, group, slug)["REQUEST", "MINUTE"] == 1, "only the request of `no_event` may count"


# The upstream hangs up


@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_that_the_upstream_breaks_off_ends_in_an_error_and_is_billed(gateway, upstream, metered, slug, reset):
    group, customer = metered
    gate = upstream.gate()
    upstream.reply_next(Reply(insert={4: gate, 5: BreakOff(reset)}))
    connection, _, stream = customer.stream_chat(slug, PROMPT)
    frames = [stream.next() for _ in range(4)]
    gate.release()
    error = json.loads(stream.next())
    assert (
        set(error) == {"error"}
        and error["error"]["code"] == "upstream_error"
        and error["error"]["type"] == "server_error"
    )
    assert "127.0.0.1" not in str(error) and MODEL not in str(error)
    assert stream.next() is None, "something followed the error, or the body has no proper end"
    assert b"[DONE]" not in stream.raw
    assert connection.is_closed_by_peer(timeout=3)
    is_counted(only_event(gateway, customer, slug), text_of(frames))


def test_a_stream_that_ends_without_done_counts_as_broken_off(gateway, upstream, metered, slug):
    """The body ends properly but without a terminal event: the customer must not treat it as a complete answer."""
    _, customer = metered
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": MODEL,
        "choices": [{"index": 0, "delta": {"content": "half "}, "finish_reason": None}],
    }
    upstream.reply_next(
        Reply(steps=[b"data: %b\n\n" % json.dumps(chunk).encode()], headers=[("content-type", "text/event-stream")])
    )
    connection, _, stream = customer.stream_chat(slug, PROMPT)
    assert "half" in stream.next()
    [error] = list(stream)
    assert json.loads(error)["error"]["code"] == "upstream_error"
    assert connection.is_closed_by_peer(timeout=3)
    is_counted(only_event(gateway, customer, slug), "half ")


def test_a_json_answer_that_breaks_before_anything_was_sent_makes_no_event(gateway, upstream, metered, slug):
    group, customer = metered
    upstream.reply_next(Reply(steps=[b'{"id": "x", "choices": [', BreakOff()], headers=[("content-length", "1000")]))
    answer = customer.chat(slug, PROMPT)
    assert answer.status == 502 and answer.error["code"] == "upstream_error"
    no_event(gateway, customer, slug)
    assert settled(gateway, group, slug)["REQUEST", "DAY"] == 1


def test_an_answer_that_is_not_json_makes_no_event(gateway, upstream, metered, slug):
    group, customer = metered
    upstream.reply_next(Reply(steps=[b"<html>busy</html>"]))
    answer = customer.chat(slug, PROMPT)
    assert answer.status == 502
    no_event(gateway, customer, slug)


def test_an_upstream_that_closes_before_the_head_takes_nothing(gateway, upstream, metered, slug):
    group, customer = metered
    upstream.always(Reply(before_head=BreakOff()))
    answer = customer.chat(slug, PROMPT)
    assert answer.status == 502 and answer.error["code"] == "upstream_error"
    used = settled(gateway, group, slug)
    assert set(used.values()) == {0}, "no target answered, and the customer did not hang up"
    assert gateway.events(customer.key) == []


def test_an_idle_connection_that_the_upstream_closed_loses_no_request(gateway, upstream, metered, slug):
    _, customer = metered
    for _ in range(20):
        assert customer.chat(slug).status == 200
        upstream.drop_connections()
    assert len(gateway.events(customer.key)) == 20


def test_an_answer_without_usage_is_counted(gateway, upstream, metered, slug):
    _, customer = metered
    upstream.reply_next(Reply(usage=None, words=["alpha ", "b\u00e9ta"]), times=2)
    assert customer.chat(slug, PROMPT).status == 200
    connection, _, stream = customer.stream_chat(slug, PROMPT)
    stream.chunks()
    connection.close()
    for event in gateway.events(customer.key):
        is_counted(event, "alpha b\u00e9ta")


def test_forty_hang_ups_at_once_leave_nothing_held(gateway, upstream, metered, slug):
    """Forty customers hang up at once in mid-stream: there are forty events, and nothing is held."""
    group, customer = metered
    gates = [upstream.stall_next(after=3) for _ in range(40)]
    running = [customer.stream_chat(slug, PROMPT) for _ in range(40)]
    for gate in gates:
        gate.reached()
    for number, (connection, _, _) in enumerate(running):
        hang_up(connection, ("close", "reset")[number % 2])
    for received in upstream.requests:
        received.wait_hung_up()
    events = gateway.wait_events(40, customer.key)
    used = settled(gateway, group, slug)
    assert len(events) == 40 and len({event["requestId"] for event in events}) == 40
    assert used["REQUEST", "DAY"] == 40
    assert used["TOKEN", "DAY"] == sum(
        event["tokens"]["inputTokens"] + event["tokens"]["outputTokens"] for event in events
    )
    assert "panicked" not in gateway.log
