"""LangChain, unmodified, with the settings of its own documentation: `ChatOpenAI` on both of its APIs, `ChatAnthropic`."""

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from support.upstream import Reply

WORDS = "w0 w1 w2 w3 w4 w5 w6 w7 "
CALL = ("weather", {"city": "Oslo"})


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"6 degrees in {city}"


@pytest.fixture(params=["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def route(request):
    return request.param


@pytest.fixture
def chat(site, route):
    """LangChain's model for the route."""
    if route == "/v1/messages":
        return ChatAnthropic(model=site.model, base_url=site.origin, api_key=site.key, max_retries=0)
    options = {"use_responses_api": route == "/v1/responses", "max_retries": 0, "stream_usage": True}
    return ChatOpenAI(model=site.model, base_url=f"{site.origin}/v1", api_key=site.key, **options)


def test_langchain_gets_an_answer(site, route, chat):
    answer = chat.invoke("one two three")
    assert answer.text == WORDS
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (3, 8)
    assert answer.response_metadata["model_name"] == site.shown
    site.check_event(route, 3, 8)


def test_langchain_streams_an_answer(site, route, chat):
    chunks = list(chat.stream("one two three"))
    assert "".join(chunk.text for chunk in chunks) == WORDS
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert sum(one["input_tokens"] for one in usage) == 3
    site.check_event(route, 3, 8)


@pytest.mark.parametrize("route", ["/v1/responses", "/v1/messages"])
def test_langchain_calls_a_tool(upstream, site, route, chat):
    upstream.reply_next(Reply(calls=[CALL]))
    bound = chat.bind_tools([weather])
    asked = bound.invoke("weather?")
    [call] = asked.tool_calls
    assert (call["name"], call["args"]) == CALL
    result = weather.invoke(call)
    assert bound.invoke([("user", "weather?"), asked, result]).text == WORDS
    assert "6 degrees in Oslo" in upstream.requests[1].body.decode()


def test_langchain_embeds_texts(site):
    embeddings = OpenAIEmbeddings(
        model=site.model, base_url=f"{site.origin}/v1", api_key=site.key, check_embedding_ctx_length=False
    )
    assert embeddings.embed_documents(["one", "two"]) == [[0.25, -0.5, 0], [0.25, -0.5, 1]]
    site.check_event("/v1/embeddings", 2, 0)
