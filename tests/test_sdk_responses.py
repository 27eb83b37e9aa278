"""The unmodified OpenAI Python SDK on `/v1/responses`: JSON, every kind of streamed item, and the SDK's own helpers."""

import json

import openai
import pydantic
import pytest

from support.upstream import Reply

ROUTE = "/v1/responses"
WORDS = "w0 w1 w2 w3 w4 w5 w6 w7 "
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Wetter in einer Stadt \u2603",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CALL = ("weather", {"city": "\u00c5lesund"})


@pytest.fixture
def sdk(site):
    with site.openai() as client:
        yield client


@pytest.fixture
def stream(sdk, site):
    """Streams a response; returns its events."""
    return lambda **fields: list(sdk.responses.create(model=site.model, stream=True, **fields))


def kinds(events):
    """The types of the events without repetitions, and without `response.`."""
    names = [event.type.removeprefix("response.") for event in events]
    return [name for name, before in zip(names, [None, *names]) if name != before]


def test_a_response_is_answered_whole(upstream, sdk, site):
    fields = {"input": "one two three", "instructions": "be brief", "max_output_tokens": 20, "metadata": {"a": "b"}}
    response = sdk.responses.create(model=site.model, **fields)
    assert response.output_text == WORDS
    assert (response.model, response.status) == (site.shown, "completed")
    assert (response.instructions, response.max_output_tokens, response.metadata) == ("be brief", 20, {"a": "b"})
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (5, 8, 13)
    assert upstream.requests[0].path == ROUTE
    assert upstream.requests[0].json == {"model": site.sent, **fields}
    site.check_event(ROUTE, 5, 8)


def test_a_streamed_response_has_every_event_in_order(stream, site):
    events = stream(input="one two three")
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    responses = [event.response for event in events if hasattr(event, "response")]
    assert [(one.model, one.status) for one in responses] == [
        (site.shown, "in_progress"),
        (site.shown, "in_progress"),
        (site.shown, "completed"),
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == WORDS
    assert responses[-1].output_text == WORDS
    assert (responses[-1].usage.input_tokens, responses[-1].usage.output_tokens) == (3, 8)
    site.check_event(ROUTE, 3, 8)


def test_the_stream_helper_collects_a_response(sdk, site):
    with sdk.responses.stream(model=site.model, input="one two") as events:
        snapshots = [event.snapshot for event in events if event.type == "response.output_text.delta"]
        response = events.get_final_response()
    assert snapshots[:2] == ["w0 ", "w0 w1 "] and snapshots[-1] == WORDS
    assert (response.output_text, response.model) == (WORDS, site.shown)
    site.check_event(ROUTE, 2, 8)


def test_structured_output_is_parsed(upstream, sdk, site):
    class Answer(pydantic.BaseModel):
        answer: int

    upstream.reply_next(Reply(words=['{"answer"', ": 42}"]))
    response = sdk.responses.parse(model=site.model, input="one", text_format=Answer)
    assert response.output_parsed == Answer(answer=42)
    assert upstream.requests[0].json["text"]["format"]["schema"]["properties"]["answer"]["type"] == "integer"
    site.check_event(ROUTE, 1, 2)


def test_a_function_call_arrives_whole(upstream, sdk, site):
    upstream.reply_next(Reply(calls=[CALL]))
    response = sdk.responses.create(model=site.model, input="weather?", tools=[WEATHER])
    [call] = response.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", *CALL)
    assert upstream.requests[0].json["tools"] == [WEATHER]
    assert response.tools[0].name == "weather"
    site.check_event(ROUTE, 1, 3)


def test_a_function_call_is_streamed_and_its_output_sent_back(upstream, stream, site):
    upstream.reply_next(Reply(calls=[CALL]))
    events = stream(input="weather?", tools=[WEATHER])
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    [call] = events[-1].response.output
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == call.arguments == json.dumps(CALL[1])
    site.check_event(ROUTE, 1, 3)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "6 degrees"}
    items = [{"role": "user", "content": "weather?"}, call.model_dump(exclude_none=True), output]
    assert stream(input=items)[-1].response.output_text == WORDS
    assert upstream.requests[1].json["input"] == items


def test_a_custom_tool_call_is_streamed(upstream, stream, site):
    upstream.reply_next(Reply(calls=[("apply_patch", "*** Begin Patch\n")]))
    events = stream(input="fix it", tools=[{"type": "custom", "name": "apply_patch"}])
    assert kinds(events)[3:5] == ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
    [call] = events[-1].response.output
    assert (call.type, call.input) == ("custom_tool_call", "*** Begin Patch\n")
    site.check_event(ROUTE, 2, 2)


def test_a_reasoning_summary_is_streamed_and_its_tokens_are_reported(upstream, stream, site):
    upstream.reply_next(Reply(reasoning=3, words=2, cached=1))
    events = stream(
        input="one two", reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"], store=False
    )
    assert kinds(events)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    response = events[-1].response
    reasoning, message = response.output
    assert (reasoning.summary[0].text, message.content[0].text) == ("r0 r1 r2 ", "w0 w1 ")
    assert reasoning.encrypted_content
    assert response.usage.output_tokens_details.reasoning_tokens == 3
    assert response.usage.input_tokens_details.cached_tokens == 1
    site.check_event(ROUTE, 2, 5, 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_reaches_its_maximum_is_incomplete(sdk, stream, site, streamed):
    if streamed:
        *_, last = stream(input="one", max_output_tokens=3)
        assert last.type == "response.incomplete"
        response = last.response
    else:
        response = sdk.responses.create(model=site.model, input="one", max_output_tokens=3)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (response.output_text, response.model) == ("w0 w1 w2 ", site.shown)
    site.check_event(ROUTE, 1, 3)


def test_a_response_that_fails_ends_with_an_error(gateway, upstream, slug, key):
    upstream.reply_next(Reply(words=2, finish_reason="failed"))
    with gateway.sdk(key) as sdk, pytest.raises(openai.APIError) as caught:
        list(sdk.responses.create(model=slug, input="one", stream=True))
    assert caught.value.message == f"scripted failure of {slug}"
    [event] = gateway.events(key)
    assert event["tokens"]["outputTokens"] == 2


def test_input_of_many_kinds_and_unknown_fields_pass_unchanged(upstream, sdk, site):
    parts = [
        {"type": "input_text", "text": "one two"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
    ]
    items = [{"role": "developer", "content": "three"}, {"role": "user", "content": parts}]
    upstream.reply_next(Reply(extra={"x_new": {"model": "inner"}}))
    response = sdk.responses.create(
        model=site.model, input=items, extra_body={"client_metadata": {"a": "b"}, "x": [1.250]}
    )
    assert response.model_extra["x_new"] == {"model": "inner"}
    assert upstream.requests[0].json == {
        "model": site.sent,
        "input": items,
        "client_metadata": {"a": "b"},
        "x": [1.25],
    }
    site.check_event(ROUTE, 3, 8)
