"""The built-in demo upstream with the unmodified OpenAI and Anthropic SDKs, which validate every answer strictly."""

import pytest

from support.gateway import Customer, fresh, message
from support.site import GatewaySite

SENTENCE = "every token passes the gate once is counted once and billed once"
TOOLS = [{"type": "function", "name": "clock", "parameters": {"type": "object"}, "strict": False}]


@pytest.fixture
def slug(gateway):
    body = {"slug": fresh("acme/demo"), "targets": [{"provider": "DEMO"}]}
    return gateway.admin("POST", "/v1/gateway/endpoints", body)["slug"]


@pytest.fixture
def site(gateway, slug, key):
    return GatewaySite(gateway, slug, key)


@pytest.fixture
def openai(site):
    with site.openai() as client:
        yield client


@pytest.fixture
def anthropic(site):
    with site.anthropic() as client:
        yield client


def test_a_response_is_words_even_if_tools_are_offered(openai, site):
    response = openai.responses.create(model=site.model, instructions="be brief", input="what time", tools=TOOLS)
    assert (response.output_text, response.status, response.model) == (SENTENCE, "completed", site.model)
    site.check_event("/v1/responses", 4, 12)


def test_the_stream_helper_collects_a_response(openai, site):
    with openai.responses.stream(model=site.model, input=message("two words")) as events:
        words = [event.delta for event in events if event.type == "response.output_text.delta"]
        response = events.get_final_response()
    assert words[:2] == ["every", " token"] and "".join(words) == response.output_text == SENTENCE
    site.check_event("/v1/responses", 2, 12)


def test_a_response_that_reaches_its_maximum_is_incomplete(openai, site):
    *_, last = openai.responses.create(model=site.model, input="two words", max_output_tokens=3, stream=True)
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output_text == "every token passes"
    site.check_event("/v1/responses", 2, 3)


@pytest.mark.parametrize("maximum, text, reason", [(4096, SENTENCE, "end_turn"), (2, "every token", "max_tokens")])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_message_is_the_sentence_cut_at_its_maximum(anthropic, site, streamed, maximum, text, reason):
    fields = {"model": site.model, "max_tokens": maximum, "messages": message("two words"), "system": "be brief"}
    if streamed:
        with anthropic.messages.stream(**fields) as stream:
            assert "".join(stream.text_stream) == text
            answer = stream.get_final_message()
    else:
        answer = anthropic.messages.create(**fields)
    assert (answer.content[0].text, answer.stop_reason, answer.model) == (text, reason, site.model)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, len(text.split()))
    site.check_event("/v1/messages", 4, len(text.split()))


def test_tokens_are_counted_without_an_event(gateway, anthropic, site, key):
    count = anthropic.messages.count_tokens(model=site.model, messages=message("two words"), system="be brief")
    assert count.input_tokens == 4 and gateway.events(key) == []


def test_the_stream_helper_collects_a_chat(openai, site):
    with openai.chat.completions.stream(model=site.model, messages=message("two words")) as events:
        for _ in events:
            pass
        [choice] = events.get_final_completion().choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", SENTENCE, "stop")
    site.check_event("/v1/chat/completions", 2, 12)


def test_texts_are_moderated(openai, site):
    answer = openai.moderations.create(model=site.model, input=["two words", "much hate"])
    assert [(result.flagged, result.categories.hate) for result in answer.results] == [(False, False), (True, True)]
    site.check_event("/v1/moderations", 4, 0)


def test_documents_are_ranked(gateway, site, slug, key):
    body = {"model": slug, "query": "token gate", "documents": ["one token", "a token gate"], "top_n": 1}
    answer = Customer(gateway, key).post("/v1/rerank", body)
    assert answer.status == 200 and answer.json()["model"] == slug
    assert [(one["index"], one["relevance_score"]) for one in answer.json()["results"]] == [(1, 1.0)]
    site.check_event("/v1/rerank", 7, 0)
