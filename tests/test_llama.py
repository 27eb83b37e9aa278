"""A real llama.cpp server behind the gateway: its own streams, its own usage, its own errors."""

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
