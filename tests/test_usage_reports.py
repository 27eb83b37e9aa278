"""Usage reports in every form that model servers send, in streams and in JSON answers."""

import json

import pytest

from support.gateway import Customer, model, rate
from support.upstream import MODEL, ROLE, Reply, chunk, stream_of

TEXT = chunk({"content": "a"})
STOP = chunk(finish="stop")
TOOL = chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"x":1}'}}]})
SOME = object()  # any value above 0


def usage(prompt=None, completion=None, total=None, **more):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return {name: value for name, value in counts.items() if value is not None} | more


def report(*args, **more):
    return chunk(usage=usage(*args, **more))


def cached(count):
    return {"prompt_tokens_details": {"cached_tokens": count}}


def check(event, billed):
    names = ("inputTokens", "outputTokens", "cachedInputTokens")
    got = [*(event["tokens"][name] for name in names), event["usageSource"]]
    assert all(value > 0 if wanted is SOME else value == wanted for value, wanted in zip(got, billed)), got


STREAMS = {
    "inside a choice only": (
        [ROLE, TEXT, chunk(finish="stop") | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage(10, 5, 15)}]}],
        [10, 5, 0, "upstream"],
    ),
    "inside a choice and outside": (
        [ROLE, {**TEXT, "choices": [{**TEXT["choices"][0], "usage": usage(1, 1)}]}, STOP, report(10, 5, 15)],
        [10, 5, 0, "upstream"],
    ),
    "zeros after tool calls": ([ROLE, TOOL, chunk(finish="tool_calls"), report(0, 0, 0)], [SOME, SOME, 0, "counted"]),
    "zeros in every chunk but the last": (
        [{**ROLE, "usage": usage(0, 0, 0)}, {**TEXT, "usage": usage(0, 0, 0)}, {**STOP, "usage": usage(10, 5, 15)}],
        [10, 5, 0, "upstream"],
    ),
    "reasoning reported separately": (
        [ROLE, TEXT, STOP, report(279, 6, 374, completion_tokens_details={"reasoning_tokens": 89})],
        [279, 95, 0, "upstream"],
    ),
    "a negative cached count": ([ROLE, TEXT, STOP, report(100, 5, 105, **cached(-1))], [100, 5, 0, "upstream"]),
    "a cached count as text": ([ROLE, TEXT, STOP, report(100, 5, 105, **cached("300"))], [100, 5, 0, "upstream"]),
    "a cached count above the prompt": ([ROLE, TEXT, STOP, report(100, 5, 105, **cached(300))], [100, 5, 100, "upstream"]),
    "a prompt as text": ([ROLE, TEXT, STOP, report("100", 5, 105)], [SOME, 5, 0, "counted"]),
    "an output that is not a whole number": ([ROLE, TEXT, STOP, report(100, 5.5, 105)], [100, 1, 0, "counted"]),
    "a prompt beyond 2^53": ([ROLE, TEXT, STOP, report(2**53 + 1, 5)], [SOME, 5, 0, "counted"]),
    "a prompt that the request cannot have": ([ROLE, TEXT, STOP, report(2**40, 5)], [SOME, 5, 0, "counted"]),
    "no prompt": ([ROLE, TEXT, STOP, report(None, 5)], [SOME, 5, 0, "counted"]),
    "cached in the chunk before the last": (
        [ROLE, TEXT, {**STOP, "usage": usage(100, 5, 105, **cached(80))}, report(100, 5, 105)],
        [100, 5, 80, "upstream"],
    ),
    "DeepSeek's cached": ([ROLE, TEXT, STOP, report(100, 5, 105, prompt_cache_hit_tokens=64)], [100, 5, 64, "upstream"]),
    "Moonshot's cached": ([ROLE, TEXT, STOP, report(100, 5, 105, cached_tokens=64)], [100, 5, 64, "upstream"]),
    "the newer names": (
        [ROLE, TEXT, STOP, chunk(usage={"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 3}})],
        [9, 4, 3, "upstream"],
    ),
    "both names, one of them unused": (
        [ROLE, TEXT, STOP, report(9, 4, 13, input_tokens=0, output_tokens=0)],
        [9, 4, 0, "upstream"],
    ),
    "before the text and none after": (
        [report(10, 0), *[chunk({"content": "abcd"})] * 40, STOP],
        [10, 40, 0, "counted"],
    ),
    "text after the last report": (
        [ROLE, chunk({"content": "abcd"}, usage=usage(10, 7)), chunk({"content": "abcde"}), STOP],
        [10, 9, 0, "counted"],
    ),
    "in a frame that is not strict JSON": (
        [ROLE, TEXT, STOP, b'data: {"choices":[],"x":NaN,"usage":{"prompt_tokens":10,"completion_tokens":5}}\n\n'],
        [10, 5, 0, "upstream"],
    ),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_is_billed_by_its_reports(gateway, upstream, customer, slug, key, case):
    pieces, billed = STREAMS[case]
    upstream.reply_next(stream_of(*pieces, "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert event["streamed"] is True
    check(event, billed)


@pytest.mark.parametrize("choices", [{"choices": []}, {"choices": None}, {}])
@pytest.mark.parametrize("asked", [True, False])
def test_the_usage_chunk_is_sent_only_if_requested(gateway, upstream, customer, slug, key, choices, asked):
    extra = {"id": "x", "model": MODEL, **choices, "usage": usage(10, 5, 15)}
    upstream.reply_next(stream_of(ROLE, TEXT, STOP, extra, "[DONE]"))
    connection, _, stream = customer.stream_chat(slug, **({"stream_options": {"include_usage": True}} if asked else {}))
    assert ["usage" in piece for piece in stream.chunks()] == [False] * 3 + [True] * asked
    connection.close()
    [event] = gateway.events(key)
    check(event, [10, 5, 0, "upstream"])


DOCUMENTS = {
    "whole": (usage(10, 5, 15, **cached(4)), [10, 5, 4, "upstream"]),
    "zeros": (usage(0, 0, 0), [SOME, SOME, 0, "counted"]),
    "reasoning reported separately": (usage(279, 6, 374), [279, 95, 0, "upstream"]),
    "a negative cached count": (usage(100, 5, 105, **cached(-1)), [100, 5, 0, "upstream"]),
    "an output as text": (usage(100, "5", 105), [100, SOME, 0, "counted"]),
    "no output": (usage(100), [100, SOME, 0, "counted"]),
    "an impossible output": (usage(10, 2**40), [10, 2, 0, "counted"]),
}


def test_an_impossible_report_does_not_use_up_a_customers_daily_limit(gateway, upstream):
    slug = gateway.create_endpoint(upstream)["slug"]
    group = gateway.create_group(model(slug, usage_limits=[rate("TOKEN", "DAY", 2000)]))
    customer = Customer(gateway, gateway.mint_key(group))
    gate = upstream.gate()
    usage_so_far = {**TEXT, "usage": usage(2**40, 2**40)}
    upstream.reply_next(stream_of(ROLE, usage_so_far, gate, STOP, report(2**40, 2**40), "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    gate.reached()
    assert customer.chat(slug, max_tokens=1).status == 200, "while the stream runs"
    gate.release()
    stream.chunks()
    connection.close()
    assert customer.chat(slug, max_tokens=1).status == 200, "after it has been billed"
    [event] = [event for event in gateway.wait_events(3, customer.key) if event["streamed"]]
    check(event, [SOME, 1, 0, "counted"])
    assert event["tokens"]["inputTokens"] < 100, "the estimate of a few words"


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_json_answer_is_billed_by_its_report(gateway, upstream, customer, slug, key, case, large):
    report, billed = DOCUMENTS[case]
    message = {"role": "assistant", "content": "x" * 8}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    padding = ["0" * 1000] * (1500 if large else 0)
    upstream.reply_next(Reply(json_body={"id": "x", "model": MODEL, "usage": report, "choices": choices, "padding": padding}))
    assert customer.chat(slug).status == 200
    [event] = gateway.events(key)
    check(event, billed)


@pytest.mark.parametrize(
    "report, billed",
    [
        ({"total_tokens": 6}, [6, 0, 0, "upstream"]),
        ({"prompt_tokens": 5, "total_tokens": 6}, [5, 0, 0, "upstream"]),
        ({"total_tokens": 0}, [SOME, 0, 0, "counted"]),
    ],
)
def test_a_total_alone_is_the_input_of_an_embedding(gateway, upstream, customer, slug, key, report, billed):
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    upstream.reply_next(Reply(json_body={"object": "list", "model": MODEL, "data": data, "usage": report}))
    assert customer.post("/v1/embeddings", {"model": slug, "input": "some words"}).status == 200
    [event] = gateway.events(key)
    check(event, billed)


def test_a_stream_that_is_cut_is_billed_like_one_that_ends(gateway, upstream, slug, group):
    """The only usage report comes before the text. The text is billed whether or not the customer hangs up."""
    ends, leaves = (Customer(gateway, gateway.mint_key(group)) for _ in range(2))
    pieces = [report(10, 0), *[chunk({"content": "abcd"})] * 40]
    upstream.reply_next(stream_of(*pieces, STOP, "[DONE]"))
    connection, _, stream = ends.stream_chat(slug)
    stream.chunks()
    connection.close()
    gate = upstream.gate()
    upstream.reply_next(stream_of(*pieces, gate))
    connection, _, stream = leaves.stream_chat(slug)
    for _ in range(40):
        stream.next()
    gate.reached()
    connection.reset()
    [ended], [left] = gateway.wait_events(1, ends.key), gateway.wait_events(1, leaves.key)
    check(ended, [10, 40, 0, "counted"])
    check(left, [10, 40, 0, "counted"])


@pytest.mark.parametrize(
    "delta, output",
    [
        ({"audio": {"transcript": "abcdefgh", "data": "UklG"}}, 2),
        ({"thinking": "abcdefgh"}, 2),
        ({"reasoning": "abcdefgh", "reasoning_details": [{"type": "reasoning.text", "text": "abcdefgh"}]}, 2),
        ({"reasoning_content": "abcd", "content": "efgh"}, 2),
        ({"reasoning": {"content": "abcdefgh"}}, 2),
    ],
)
def test_every_form_of_output_is_counted_once(gateway, upstream, customer, slug, key, delta, output):
    upstream.reply_next(stream_of(ROLE, chunk(delta), STOP, "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert (event["usageSource"], event["tokens"]["outputTokens"]) == ("counted", output)


def test_a_hang_up_cancels_the_request_while_any_choice_is_unfinished(gateway, upstream, customer, slug, key):
    gate = upstream.gate()
    finished = chunk(finish="stop", index=1)
    upstream.reply_next(stream_of(ROLE, chunk({"content": "abcd"}, index=1), finished, chunk({"content": "efgh"}), gate))
    connection, _, stream = customer.stream_chat(slug, n=2)
    while "efgh" not in stream.next():
        pass
    gate.reached()
    connection.reset()
    upstream.requests[0].wait_hung_up()
    [event] = gateway.wait_events(1, key)
    assert event["tokens"]["outputTokens"] == 2


def test_case_variants_inside_stream_options_are_refused(upstream, customer, slug):
    answer = customer.chat(slug, stream=True, stream_options={"Include_Usage": False})
    assert (answer.status, answer.error["code"]) == (400, "invalid_key")
    assert answer.error["param"] == "stream_options.include_usage"
    assert upstream.count == 0


def test_a_frame_that_is_not_strict_json_does_not_name_the_upstreams_model(upstream, customer, slug):
    damaged = json.dumps(chunk({"content": "abc"})).replace('"created"', '"p": NaN, "created"').encode()
    upstream.reply_next(stream_of(ROLE, b"data: " + damaged + b"\n\n", STOP, "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    while stream.next() != "[DONE]":
        pass
    connection.close()
    assert MODEL.encode() not in stream.raw and b"NaN" in stream.raw
