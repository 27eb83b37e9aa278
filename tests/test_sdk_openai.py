"""The unmodified OpenAI Python SDK with the gateway: its requests reach the upstream, and it can parse every answer."""

import re
import time

import openai
import pytest

from support.gateway import message, model, rate, seconds_to_midnight
from support.upstream import MODEL, Reply

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Wetter in einer Stadt \u2603",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture
def sdk(gateway, key):
    with gateway.sdk(key) as client:
        yield client


def test_a_chat_is_answered_under_the_customers_model_name(gateway, upstream, sdk, slug, key):
    answer = sdk.chat.completions.with_raw_response.create(model=slug, messages=message("one two three"), max_tokens=4)
    chat = answer.parse()
    assert chat.choices[0].message.content == "w0 w1 w2 w3 "
    assert chat.model == slug
    assert chat.system_fingerprint == "fp_scripted"
    assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (3, 4)
    received = upstream.requests[0]
    assert received.path == "/v1/chat/completions"
    assert received.json == {"model": "upstream-model", "messages": message("one two three"), "max_tokens": 4}
    [event] = gateway.events(key)
    assert event["requestId"] == answer.headers["x-request-id"]
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 4, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}


def test_a_stream_without_requested_usage_shows_none_and_is_metered(gateway, upstream, sdk, slug, key):
    chunks = list(sdk.chat.completions.create(model=slug, messages=message("one two three"), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "w0 w1 w2 w3 w4 w5 w6 w7 "
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.choices for chunk in chunks), "the extra usage chunk was passed on"
    assert {chunk.model for chunk in chunks} == {slug}
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True}
    [event] = gateway.events(key)
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 8, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}
    assert event["usageSource"] == "upstream" and event["streamed"] is True


def test_a_stream_with_requested_usage_shows_it(gateway, sdk, slug, key):
    chunks = list(
        sdk.chat.completions.create(
            model=slug, messages=message("one two three"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 8)
    assert chunks[-1].model == slug
    assert len(gateway.events(key)) == 1


def test_other_stream_options_are_kept_beside_ours(upstream, sdk, slug):
    options = {"include_usage": False, "include_obfuscation": True}
    chunks = list(sdk.chat.completions.create(model=slug, messages=message("hi"), stream=True, stream_options=options))
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True, "include_obfuscation": True}
    assert all(chunk.choices for chunk in chunks)


def test_every_choice_of_n_is_passed_on_and_counted(gateway, sdk, slug, key):
    chat = sdk.chat.completions.create(model=slug, messages=message("hi"), n=3, max_tokens=5)
    assert [choice.index for choice in chat.choices] == [0, 1, 2]
    streamed = list(sdk.chat.completions.create(model=slug, messages=message("hi"), n=2, max_tokens=5, stream=True))
    assert {chunk.choices[0].index for chunk in streamed} == {0, 1}
    assert [event["tokens"]["outputTokens"] for event in gateway.events(key)] == [15, 10]


def test_tool_calls_pass_both_ways(upstream, sdk, slug):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "\\u00c5lesund"}'},
    }
    upstream.reply_next(
        Reply(
            json_body={
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": MODEL,
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                        "finish_reason": "tool_calls",
                    }
                ],
            }
        )
    )
    chat = sdk.chat.completions.create(
        model=slug, messages=message("weather?"), tools=TOOLS, tool_choice="auto", parallel_tool_calls=False
    )
    assert chat.choices[0].message.tool_calls[0].function.arguments == '{"city": "\\u00c5lesund"}'
    sent = upstream.requests[0].json
    assert sent["tools"] == TOOLS and sent["tool_choice"] == "auto" and sent["parallel_tool_calls"] is False


def test_unknown_fields_pass_both_ways(upstream, sdk, slug):
    upstream.always(Reply(extra={"timings": {"prompt_ms": 1.250}, "x_new_field": [1, {"model": "inner"}]}))
    image = [
        {"type": "text", "text": "what is it"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    chat = sdk.chat.completions.create(
        model=slug,
        messages=[{"role": "user", "content": image}],
        logprobs=True,
        seed=7,
        extra_body={"min_p": 0.05, "guided_json": {"type": "object"}},
    )
    assert chat.model_extra["timings"] == {"prompt_ms": 1.25}
    assert chat.model_extra["x_new_field"] == [1, {"model": "inner"}], (
        "only the answer's own model name may change"
    )
    sent = upstream.requests[0].json
    assert (
        sent["min_p"] == 0.05 and sent["guided_json"] == {"type": "object"} and sent["messages"][0]["content"] == image
    )


def test_completions_are_passed_on_and_billed(gateway, upstream, sdk, slug, key):
    answer = sdk.completions.create(model=slug, prompt="one two", max_tokens=3)
    assert (answer.choices[0].text, answer.model) == ("w0 w1 w2 ", slug)
    chunks = list(sdk.completions.create(model=slug, prompt="one two", max_tokens=3, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "w0 w1 w2 "
    assert {chunk.model for chunk in chunks} == {slug}
    assert upstream.requests[1].json["stream_options"] == {"include_usage": True}
    events = gateway.events(key)
    assert [event["route"] for event in events] == ["/v1/completions"] * 2
    assert [event["tokens"]["inputTokens"] for event in events] == [2, 2]


def test_embeddings_are_passed_on_and_billed(gateway, upstream, sdk, slug, key):
    answer = sdk.embeddings.create(model=slug, input=["one two", "three"], encoding_format="float", dimensions=3)
    assert [item.embedding for item in answer.data] == [[0.25, -0.5, 0], [0.25, -0.5, 1]]
    assert answer.model == slug
    assert upstream.requests[0].json["dimensions"] == 3
    [event] = gateway.events(key)
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 0, "cachedInputTokens": 0, "cacheWriteInputTokens": 0}
    assert event["route"] == "/v1/embeddings"


def test_a_three_megabyte_answer_arrives_whole(gateway, upstream, sdk, slug, key):
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
    answer = sdk.embeddings.create(model=slug, input="x", encoding_format="float")
    assert answer.data[0].embedding == vector and answer.model == slug
    assert gateway.events(key)[0]["tokens"]["inputTokens"] == 5


def test_the_model_list_holds_the_models_that_the_key_may_call(gateway, upstream, sdk, slug, group):
    other = gateway.create_endpoint(upstream)["slug"]
    listed = sdk.models.list()
    assert [item.id for item in listed] == [slug]
    item = sdk.models.retrieve(slug)
    assert (item.id, item.object, item.owned_by) == (slug, "model", "acme")
    assert item.created > 1_600_000_000
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve(other)
    gateway.patch_group(group, models=[model(slug), model(other)])
    assert sorted(item.id for item in sdk.models.list()) == sorted([slug, other])


def test_a_model_can_be_retrieved_plain_and_escaped(customer, slug):
    plain = customer.get(f"/v1/models/{slug}")
    escaped = customer.get("/v1/models/" + slug.replace("/", "%2F"))
    assert plain.status == escaped.status == 200
    assert plain.json() == escaped.json()
    assert plain.json()["type"] == "model" and plain.json()["display_name"]
    listed = customer.get("/v1/models").json()
    assert listed == {"object": "list", "data": [plain.json()], "has_more": False, "first_id": slug, "last_id": slug}


def test_a_model_without_an_endpoint_is_not_listed_and_not_found(gateway, upstream, sdk, slug):
    [endpoint] = [
        item
        for item in gateway.admin("GET", "/v1/gateway/endpoints", query={"limit": 1000})["items"]
        if item["slug"] == slug
    ]
    assert gateway.admin("DELETE", f"/v1/gateway/endpoints/{endpoint['id']}") == {"id": endpoint["id"], "slug": slug}
    assert list(sdk.models.list()) == []
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert caught.value.code == "model_not_found"
    assert upstream.count == 0


# Errors: the SDK maps them to its own classes, and applications rely on this.


def test_a_wrong_key_is_an_authentication_error(gateway, slug):
    with pytest.raises(openai.AuthenticationError) as caught:
        gateway.sdk("sk_AAAAAAAAAAAA.not-the-secret").chat.completions.create(model=slug, messages=message("hi"))
    assert caught.value.code == "invalid_api_key"
    assert caught.value.body["message"].startswith("Incorrect API key provided")
    assert caught.value.body["type"] == "invalid_request_error"
    assert caught.value.request_id


def test_an_unknown_and_a_forbidden_model_get_the_same_answer(gateway, upstream, sdk, slug):
    forbidden = gateway.create_endpoint(upstream)["slug"]
    texts = []
    for name in ("acme/nothing", forbidden):
        with pytest.raises(openai.NotFoundError) as caught:
            sdk.chat.completions.create(model=name, messages=message("hi"))
        assert caught.value.code == "model_not_found"
        texts.append(caught.value.body["message"].replace(name, "NAME"))
    assert texts[0] == texts[1]
    assert upstream.count == 0


def test_a_limit_is_a_rate_limit_error_with_a_retry_after(gateway, limited, slug):
    _, customer = limited([rate("REQUEST", "MINUTE", 1)])
    sdk = gateway.sdk(customer.key)
    sdk.chat.completions.create(model=slug, messages=message("hi"))
    with pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.body["type"] == "rate_limit_error"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


@pytest.fixture
def recording_sdk(gateway):
    """Makes an SDK for a key; records `(time, status, headers)` of each answer, also of those that it retried."""
    answers = []

    def record(response):
        answers.append((time.monotonic(), response.status_code, dict(response.headers)))

    with openai.DefaultHttpxClient(event_hooks={"response": [record]}) as client:
        yield lambda key, **options: (gateway.sdk(key, http_client=client, **options), answers)


@pytest.mark.parametrize("kind, threshold, streamed", [("REQUEST", 1, False), ("TOKEN", 9, True)])
def test_the_sdk_waits_as_a_refusal_says_and_then_succeeds(recording_sdk, limited, slug, kind, threshold, streamed):
    _, customer = limited([rate(kind, "SECOND", threshold)])
    sdk, answers = recording_sdk(customer.key, max_retries=1)
    while 429 not in [status for _, status, _ in answers]:
        assert len(answers) < 100, "no request is ever refused"
        answer = sdk.chat.completions.create(model=slug, messages=message("hi"), stream=streamed)
        assert list(answer) if streamed else answer.choices
    (refused_at, _, headers), (answered_at, status, _) = answers[-2:]
    assert status == 200, "one retry was enough"
    wait = int(headers["retry-after"])
    assert wait == 1 and "x-should-retry" not in headers
    assert answered_at - refused_at >= wait, "by default the SDK retries after half a second"


@pytest.mark.parametrize(
    "where, limit, answered",
    [
        ("usage_limits", rate("REQUEST", "DAY", 2), 2),
        ("usage_limits", rate("TOKEN", "DAY", 18), 2),
        ("usage_limits", rate("REQUEST", "DAY", 0), 0),
        ("rate_limits", rate("REQUEST", "MINUTE", 0), 0),
        ("rate_limits", rate("TOKEN", "SECOND", 1), 0),
    ],
)
def test_the_sdk_does_not_wait_for_hours_or_without_end(recording_sdk, limited, slug, where, limit, answered):
    if seconds_to_midnight() < 400:
        pytest.skip("the day is about to end, so the SDK would be right to wait")
    _, customer = limited(**{where: [limit]})
    sdk, answers = recording_sdk(customer.key, max_retries=5)
    for _ in range(answered):
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    begun = time.monotonic()
    with pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert [status for _, status, _ in answers] == [200] * answered + [429], "the SDK must not retry"
    assert time.monotonic() - begun < 5, "five retries would take fifteen seconds"
    headers, wait = caught.value.response.headers, caught.value.body["retry_after_s"]
    assert headers["x-should-retry"] == "false" and "retry-after" not in headers
    if answered:
        assert 300 < wait <= 86_400 and re.search(r"Try again in (\d+ h|\d+ min)", caught.value.body["message"])
    else:
        assert wait is None and "never" in caught.value.body["message"]


def test_a_bad_request_is_a_bad_request_error(sdk, slug):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"), stream="yes")
    assert caught.value.param == "stream"


def test_the_upstreams_own_4xx_is_passed_on_without_its_name(upstream, sdk, slug):
    upstream.fail_next(
        1,
        400,
        error={
            "message": f"The model `{MODEL}` takes at most 4096 tokens; see http://10.1.2.3:8000/docs",
            "type": "BadRequestError",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    )
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert caught.value.body["type"] == "invalid_request_error"
    assert "10.1.2.3" not in str(caught.value.body), "the upstream's host was shown"
    assert "4096" in caught.value.body["message"]


def test_the_upstreams_model_name_becomes_the_slug_in_its_errors(upstream, sdk, slug):
    upstream.fail_next(
        1, 404, error={"message": "The model `upstream-model` does not exist.", "type": "NotFoundError", "code": 404}
    )
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert "upstream-model" not in str(caught.value.body) and slug in caught.value.body["message"]


@pytest.mark.parametrize("status", [401, 402, 403, 500, 502, 503, 529, 302])
def test_the_operators_problem_is_a_502_to_the_customer(gateway, upstream, sdk, slug, key, status):
    upstream.fail_next(1, status, headers=[("location", "http://127.0.0.1:1/")])
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert caught.value.status_code == 502
    assert (caught.value.code, caught.value.body["type"]) == ("upstream_error", "server_error")
    assert "10.1.2.3" not in str(caught.value.body)
    assert ("scripted" in caught.value.body["message"]) is (status >= 500), "only a 5xx shows its own message"
    assert gateway.events(key) == []
    assert upstream.count == 1, "a redirect was followed"
    [sentence] = [one for one in attention(gateway) if slug in one]
    assert str(status) in sentence
    sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert not [one for one in attention(gateway) if slug in one]


def attention(gateway):
    return gateway.admin("GET", "/v1/gateway/status")["attention"]


def test_the_upstreams_429_is_passed_on_with_its_retry_after(gateway, upstream, sdk, slug, key):
    upstream.fail_next(1, 429, headers=[("retry-after", "7")])
    with pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert caught.value.code == "upstream_rate_limited"
    assert caught.value.response.headers["retry-after"] == "7"
    assert gateway.events(key) == []


def test_an_upstream_that_is_not_there_is_a_502_that_names_no_host(gateway):
    slug = gateway.create_endpoint("http://127.0.0.1:9")["slug"]
    sdk = gateway.sdk(gateway.mint_key(gateway.create_group(slug)))
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model=slug, messages=message("hi"))
    assert caught.value.status_code in (502, 503)
    assert "127.0.0.1" not in str(caught.value.body)


# Headers and framing


def test_the_upstream_sees_the_operators_credential_and_nothing_of_the_customers(gateway, upstream):
    gateway.admin("POST", "/v1/secrets", {"name": "provider-key", "value": "operators-credential"})
    secret = next(s for s in gateway.admin("GET", "/v1/secrets")["secrets"] if s["name"] == "provider-key")
    target = {"provider": "OPENAI", "base_url": upstream.base_url, "secret_id": secret["id"], "target_model": "gpt-x"}
    slug = gateway.admin("POST", "/v1/gateway/endpoints", {"slug": "acme/with-secret", "targets": [target]})["slug"]
    key = gateway.mint_key(gateway.create_group(slug))
    sdk = gateway.sdk(
        key,
        organization="org-customer",
        project="proj-customer",
        default_headers={
            "Idempotency-Key": "customers",
            "X-Custom": "customers",
            "Cookie": "customers=1",
            "OpenAI-Beta": "assistants=v2",
        },
    )
    sdk.chat.completions.create(model=slug, messages=message("hi"), user="customer-1")
    sdk.chat.completions.create(model=slug, messages=message("hi"), stream=True).close()
    for received in upstream.requests:
        headers = received.headers
        assert headers["authorization"] == "Bearer operators-credential"
        assert headers["content-type"] == "application/json" and headers["openai-beta"] == "assistants=v2"
        assert headers.get("accept-encoding", "identity") == "identity"
        allowed = {
            "host",
            "authorization",
            "content-type",
            "content-length",
            "accept",
            "accept-encoding",
            "openai-beta",
            "user-agent",
            "connection",
            "transfer-encoding",
            "x-request-id",
        }
        assert set(headers) <= allowed, f"passed on: {set(headers) - allowed}"
        assert "OpenAI" not in headers.get("user-agent", "") and key.split(".")[1] not in str(received.header_list)


def test_answers_carry_an_id_and_only_allowed_headers(upstream, customer, slug):
    first, second = customer.chat(slug), customer.chat(slug)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    connection, headers, stream = customer.stream_chat(slug)
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache" and headers["x-accel-buffering"] == "no"
    stream.chunks()
    connection.close()
    for seen in (first.headers, headers):
        assert "x-upstream-secret-header" not in seen and seen.get("server") != "scripted/1.0"


def test_a_customers_own_request_id_is_not_used(customer, slug):
    answer = customer.post(
        "/v1/chat/completions", {"model": slug, "messages": message("hi")}, [("x-request-id", "mine")]
    )
    assert answer.status == 200 and answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer {}", "Api-Key {}", "API-KEY {}"])
def test_the_key_is_read_from_every_documented_place(gateway, slug, key, scheme):
    def listed(*headers):
        from support.wire import call

        return call(gateway.address, "GET", "/v1/models", headers).status

    assert listed(("Authorization", scheme.format(key))) == 200
    assert listed(("x-api-key", key)) == 200
    assert listed(("Authorization", scheme.format("sk_wrong")), ("x-api-key", key)) == 401, "Authorization wins"
    assert listed(("Authorization", scheme.format(key)), ("x-api-key", "sk_wrong")) == 200


def test_chunks_are_passed_on_as_they_arrive(upstream, customer, slug):
    gate = upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    seen = [stream.next() for _ in range(3)]  # would time out if the gateway buffered them
    assert '"content":"w1 "' in seen[2]
    gate.release()
    assert stream.chunks()
    connection.close()


def test_crlf_comments_and_split_frames_of_an_upstream_are_handled(gateway, upstream, customer, slug, key):
    from support.upstream import frame

    text = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": {"content": "h\u00e9llo"}, "finish_reason": None}],
    }
    stop = {**text, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {**text, "choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 2, "total_tokens": 23}}
    whole = (
        b": keep-alive\r\n\r\n"
        + frame(text, crlf=True)
        + b": ping\n\n"
        + frame(stop)
        + frame(usage, crlf=True)
        + frame("[DONE]")
    )
    upstream.reply_next(
        Reply(
            headers=[("content-type", "text/event-stream; charset=utf-8")],
            steps=[whole[i : i + 3] for i in range(0, len(whole), 3)],
        )
    )
    connection, _, stream = customer.stream_chat(slug)
    chunks = stream.chunks()
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["h\u00e9llo", None]
    assert {chunk["model"] for chunk in chunks} == {slug}
    connection.close()
    [event] = gateway.events(key)
    assert event["tokens"]["inputTokens"] == 21 and event["usageSource"] == "upstream"


def test_a_connection_is_reused(gateway, customer, slug):
    from support.wire import Connection, Stream

    connection = Connection(gateway.address)
    body = {"model": slug, "messages": message("hi")}
    for streamed in (False, True, False, True):
        connection.request("POST", "/v1/chat/completions", customer.headers(), {**body, "stream": streamed})
        status, _ = connection.read_head()
        assert status == 200
        if streamed:
            assert Stream(connection).chunks()
        else:
            assert connection.read_body()
    connection.close()
