"""The unmodified Anthropic Python SDK on `/v1/messages`: JSON, every kind of streamed block, and the SDK's helpers."""

import pytest
from anthropic import beta_tool

from support.gateway import message
from support.upstream import Reply

ROUTE = "/v1/messages"
WORDS = "w0 w1 w2 w3 w4 w5 w6 w7 "
WEATHER = {
    "name": "weather",
    "description": "Wetter in einer Stadt \u2603",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = ("weather", {"city": "\u00c5lesund"})


@pytest.fixture
def sdk(site):
    with site.anthropic() as client:
        yield client


@pytest.fixture
def stream(sdk, site):
    """Streams a message; returns its events."""

    def stream(text="one two three", **fields):
        fields = {"max_tokens": 100, "messages": message(text), **fields}
        return list(sdk.messages.create(model=site.model, stream=True, **fields))

    return stream


def kinds(events):
    """The types of the events without repetitions."""
    names = [event.type for event in events]
    return [name for name, before in zip(names, [None, *names]) if name != before]


def test_a_message_is_answered_whole(upstream, sdk, site):
    fields = {"max_tokens": 20, "messages": message("one two three"), "system": "be brief"}
    answer = sdk.messages.create(model=site.model, **fields)
    [block] = answer.content
    assert (block.type, block.text) == ("text", WORDS)
    assert (answer.model, answer.stop_reason, answer.role) == (site.shown, "end_turn", "assistant")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 8)
    received = upstream.requests[0]
    assert (received.path, received.json) == (ROUTE, {"model": site.sent, **fields})
    assert received.headers["anthropic-version"] == "2026-10-21"
    site.check_event(ROUTE, 5, 8)


def test_a_streamed_message_has_every_event_in_order(stream, site):
    events = stream()
    assert kinds(events) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    begun, end = events[0].message, events[-2]
    assert (begun.model, begun.content, begun.stop_reason) == (site.shown, [], None)
    assert (begun.usage.input_tokens, begun.usage.output_tokens) == (3, 1)
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == WORDS
    assert (end.delta.stop_reason, end.usage.output_tokens) == ("end_turn", 8)
    site.check_event(ROUTE, 3, 8)


def test_the_stream_helper_collects_a_message(sdk, site):
    with sdk.messages.stream(model=site.model, max_tokens=100, messages=message("one two")) as stream:
        assert list(stream.text_stream) == [f"w{index} " for index in range(8)]
        answer = stream.get_final_message()
    assert (answer.model, answer.content[0].text, answer.usage.output_tokens) == (site.shown, WORDS, 8)
    site.check_event(ROUTE, 2, 8)


def test_thinking_and_its_signature_arrive_before_the_text(upstream, stream, site):
    upstream.reply_next(Reply(reasoning=3, words=2))
    events = stream(thinking={"type": "adaptive"})
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    assert [delta.type for delta in deltas] == ["thinking_delta"] * 3 + ["signature_delta"] + ["text_delta"] * 2
    assert "".join(delta.thinking for delta in deltas[:3]) == "r0 r1 r2 "
    assert deltas[3].signature == "EqQscripted"
    assert events[-2].usage.output_tokens_details.thinking_tokens == 3
    site.check_event(ROUTE, 3, 5)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_arrives_and_its_result_is_sent_back(upstream, sdk, site, streamed):
    upstream.reply_next(Reply(calls=[CALL], words=1))
    fields = {"model": site.model, "max_tokens": 100, "tools": [WEATHER], "messages": message("weather?")}
    if streamed:
        with sdk.messages.stream(**fields) as stream:
            answer = stream.get_final_message()
    else:
        answer = sdk.messages.create(**fields)
    text, call = answer.content
    assert (text.text, call.name, call.input) == ("w0 ", *CALL)
    assert answer.stop_reason == "tool_use"
    assert upstream.requests[0].json["tools"] == [WEATHER]
    site.check_event(ROUTE, 1, 4)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "6 degrees"}]}
    content = [block.model_dump(exclude_none=True) for block in answer.content]
    turns = [*message("weather?"), {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    after = sdk.messages.create(**{**fields, "messages": turns})
    assert (after.content[0].text, after.usage.input_tokens) == (WORDS, 4)
    assert upstream.requests[1].json["messages"] == turns


def test_the_tool_runner_plays_a_loop(upstream, sdk, site):
    @beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"6 degrees in {city}"

    upstream.reply_next(Reply(calls=[CALL]))
    runner = sdk.beta.messages.tool_runner(
        model=site.model, max_tokens=100, tools=[weather], messages=message("weather?")
    )
    assert runner.until_done().content[0].text == WORDS
    first, second = upstream.requests
    assert first.json["model"] == second.json["model"] == site.sent
    [result] = second.json["messages"][-1]["content"]
    assert result["content"] == "6 degrees in \u00c5lesund"


@pytest.mark.parametrize("streamed", [False, True])
def test_cached_tokens_are_reported_beside_the_others(upstream, sdk, stream, site, streamed):
    upstream.reply_next(Reply(cached=40, cache_write=7))
    system = [{"type": "text", "text": "four words of system", "cache_control": {"type": "ephemeral"}}]
    if streamed:
        usage = stream(system=system)[-2].usage
    else:
        usage = sdk.messages.create(
            model=site.model, max_tokens=100, messages=message("one two three"), system=system
        ).usage
    assert (usage.input_tokens, usage.output_tokens) == (7, 8)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (40, 7)
    assert upstream.requests[0].json["system"] == system
    site.check_event(ROUTE, 54, 8, 40, 7)


def test_a_message_that_reaches_its_maximum_is_cut(stream, site):
    end = stream(max_tokens=3)[-2]
    assert (end.delta.stop_reason, end.usage.output_tokens) == ("max_tokens", 3)
    site.check_event(ROUTE, 3, 3)


def test_betas_a_query_and_unknown_fields_pass_unchanged(upstream, sdk, site):
    answer = sdk.beta.messages.create(
        model=site.model,
        max_tokens=100,
        messages=message("one"),
        betas=["context-management-2025-06-27", "never-heard-of-2026-12-01"],
        extra_query={"beta": "true"},
        extra_body={"context_management": {"edits": []}, "x": 1.250},
    )
    assert answer.model == site.shown
    site.check_event(ROUTE, 1, 8)
    received = upstream.requests[0]
    assert received.path == f"{ROUTE}?beta=true"
    assert received.headers["anthropic-beta"] == "context-management-2025-06-27,never-heard-of-2026-12-01"
    assert received.json["context_management"] == {"edits": []} and received.json["x"] == 1.25


def test_tokens_are_counted(upstream, sdk, site):
    count = sdk.messages.count_tokens(model=site.model, messages=message("one two three"), system="be brief")
    assert count.input_tokens == 5
    received = upstream.requests[0]
    assert received.path == f"{ROUTE}/count_tokens"
    assert received.json == {"model": site.sent, "messages": message("one two three"), "system": "be brief"}
