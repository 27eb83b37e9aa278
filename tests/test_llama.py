"""A real llama.cpp server behind the gateway: its own streams, its own usage, its own errors."""

import anthropic
import openai
import pytest

from support.gateway import message, prefix_of

REAL_NAME = "tiny-random"


@pytest.fixture(scope="module")
def endpoint(gateway, llama):
    return gateway.create_endpoint(llama.base_url, slug="house/tiny", target_model=REAL_NAME)


@pytest.fixture
def key(gateway, endpoint):
    return gateway.mint_key(gateway.create_group("house/tiny"))


@pytest.fixture
def sdk(gateway, key):
    with gateway.sdk(key) as client:
        yield client


@pytest.fixture
def claude(gateway, key):
    with anthropic.Anthropic(base_url=f"http://{gateway.address}", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def customer_of_tiny(gateway, key):
    return gateway.customer(key)


def billed(gateway, key):
    [event] = gateway.events(key)
    assert event["usageSource"] == "upstream" and event["apiKeyPrefix"] == prefix_of(key)
    return event["tokens"]


def as_billed(usage):
    details = usage.prompt_tokens_details
    return {
        "inputTokens": usage.prompt_tokens,
        "outputTokens": usage.completion_tokens,
        "cachedInputTokens": (details.cached_tokens or 0) if details else 0,
        "cacheWriteInputTokens": 0,
    }


def test_a_chat_is_billed_by_the_servers_own_usage(gateway, sdk, key):
    chat = sdk.chat.completions.create(model="house/tiny", messages=message("tell me of the sea"), max_tokens=12)
    assert chat.usage.completion_tokens == 12 and len(chat.choices[0].message.content.split()) >= 2
    assert chat.model == "house/tiny"
    assert billed(gateway, key) == as_billed(chat.usage)


def test_a_streamed_chat_is_billed_by_usage_that_the_customer_did_not_ask_for(gateway, sdk, key):
    chunks = list(
        sdk.chat.completions.create(
            model="house/tiny", messages=message("tell me of the sea"), max_tokens=12, stream=True
        )
    )
    assert all(chunk.choices for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {"house/tiny"}
    assert chunks[-1].choices[0].finish_reason == "length"
    assert billed(gateway, key)["outputTokens"] == 12


def test_a_streamed_chat_with_usage_is_billed_as_the_customer_saw(gateway, sdk, key):
    chunks = list(
        sdk.chat.completions.create(
            model="house/tiny",
            messages=message("of the sea"),
            max_tokens=7,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert billed(gateway, key) == as_billed(chunks[-1].usage)


def test_a_fixed_seed_gives_the_same_text_streamed_or_not(gateway, sdk):
    options = {"model": "house/tiny", "messages": message("again"), "max_tokens": 10, "temperature": 0, "seed": 3}
    whole = sdk.chat.completions.create(**options).choices[0].message.content
    parts = [chunk.choices[0].delta.content or "" for chunk in sdk.chat.completions.create(**options, stream=True)]
    assert "".join(parts) == whole


def test_a_prompt_served_from_cache_is_billed_as_cached(gateway, endpoint, sdk, key):
    text = "a long and always equal beginning " * 20
    for _ in range(2):
        usage = sdk.chat.completions.create(model="house/tiny", messages=message(text), max_tokens=2).usage
    last = gateway.events(key)[-1]["tokens"]
    assert last == as_billed(usage)
    assert 0 < last["cachedInputTokens"] <= last["inputTokens"]


def test_completions_are_billed_by_the_servers_own_usage(gateway, sdk, key):
    answer = sdk.completions.create(model="house/tiny", prompt="once upon", max_tokens=6)
    assert answer.choices[0].text
    assert billed(gateway, key) == as_billed(answer.usage)


def test_embeddings_are_billed_by_the_servers_own_usage(gateway, llama_embeddings):
    gateway.create_endpoint(llama_embeddings.base_url, slug="house/vectors", target_model=REAL_NAME)
    key = gateway.mint_key(gateway.create_group("house/vectors"))
    answer = gateway.sdk(key).embeddings.create(model="house/vectors", input=["the sea", "the shore"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) == 64
    assert billed(gateway, key) == {
        "inputTokens": answer.usage.prompt_tokens,
        "outputTokens": 0,
        "cachedInputTokens": 0,
        "cacheWriteInputTokens": 0,
    }


def test_the_servers_own_error_is_passed_on(gateway, sdk, key):
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="house/tiny", messages=message("word " * 3000), max_tokens=5)
    assert caught.value.status_code == 400
    assert "127.0.0.1" not in str(caught.value.body)
    assert gateway.events(key) == []


def test_a_hang_up_is_billed_for_the_text_that_arrived(gateway, sdk, key):
    stream = sdk.chat.completions.create(model="house/tiny", messages=message("forever"), max_tokens=900, stream=True)
    for _, _ in zip(range(5), stream):
        pass
    stream.close()
    [event] = gateway.wait_events(1, key)
    assert 1 <= event["tokens"]["outputTokens"] <= 900


def test_a_response_is_billed_by_the_servers_own_usage(gateway, sdk, key):
    response = sdk.responses.create(model="house/tiny", input="tell me of the sea", max_output_tokens=5)
    assert response.model == "house/tiny" and response.output_text
    assert response.usage.output_tokens == 5
    tokens = billed(gateway, key)
    assert tokens["inputTokens"] == response.usage.input_tokens and tokens["outputTokens"] == 5
    assert tokens["cachedInputTokens"] == response.usage.input_tokens_details.cached_tokens


def test_a_streamed_response_is_billed_by_its_last_event(gateway, sdk, key):
    # The helper `responses.stream` needs members that llama.cpp leaves out.
    asked = {"model": "house/tiny", "input": "tell me of the sea", "max_output_tokens": 5, "stream": True}
    *_, last = sdk.responses.create(**asked)
    assert last.type == "response.completed" and last.response.model == "house/tiny"
    tokens = billed(gateway, key)
    assert tokens["outputTokens"] == 5 and tokens["inputTokens"] == last.response.usage.input_tokens


@pytest.mark.parametrize("streamed", [False, True])
def test_a_message_is_billed_with_the_prompt_that_came_from_the_cache(gateway, claude, key, streamed):
    options = {"model": "house/tiny", "max_tokens": 5, "messages": message("tell me of the sea")}
    if streamed:
        with claude.messages.stream(**options) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(**options)
    assert answer.model == "house/tiny" and answer.stop_reason == "max_tokens" and answer.content[0].text
    usage = answer.usage
    assert billed(gateway, key) == {
        "inputTokens": usage.input_tokens + usage.cache_read_input_tokens,
        "outputTokens": 5,
        "cachedInputTokens": usage.cache_read_input_tokens,
        "cacheWriteInputTokens": 0,
    }


def test_tokens_are_counted_without_an_event(gateway, claude, key):
    counted = claude.messages.count_tokens(model="house/tiny", messages=message("tell me of the sea"))
    answer = claude.messages.create(model="house/tiny", max_tokens=1, messages=message("tell me of the sea"))
    usage = answer.usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    assert len(gateway.wait_events(1, key)) == 1


def test_documents_are_reranked_and_billed_as_prompt(gateway, llama_rerank):
    gateway.create_endpoint(llama_rerank.base_url, slug="house/rank", target_model=REAL_NAME)
    customer = gateway.customer(gateway.mint_key(gateway.create_group("house/rank")))
    body = {"model": "house/rank", "query": "sea", "documents": ["salt", "sand and salt"]}
    answer = customer.post("/v1/rerank", body).json()
    assert answer["model"] == "house/rank" and {result["index"] for result in answer["results"]} == {0, 1}
    assert billed(gateway, customer.key)["inputTokens"] == answer["usage"]["prompt_tokens"] > 0


def test_a_server_without_reranking_says_so(gateway, customer_of_tiny):
    body = {"model": "house/tiny", "query": "sea", "documents": ["salt", "sand"]}
    answer = customer_of_tiny.post("/v1/rerank", body)
    assert answer.status == 400 and answer.error["code"] == "not_supported"
    assert "does not support reranking" in answer.error["message"]
    answer = customer_of_tiny.post("/v1/moderations", {"model": "house/tiny", "input": "salt"})
    assert answer.status == 404
    assert answer.error["message"] == 'The model server of "house/tiny" does not have the route /v1/moderations.'
    assert gateway.events(customer_of_tiny.key) == []
