"""Targets of the provider ANTHROPIC: their headers, `?beta=true`, their errors, and the endpoint check."""

import json

import pytest

from support.gateway import fresh
from support.upstream import Reply, chunk, stream_of

CREDENTIAL = "anthropic-credential-0123456789"
MODEL = "claude-sonnet-4-5"
CHAT, MESSAGES, COUNT_TOKENS = "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"
CHECK = "/v1/gateway/endpoints/check"


@pytest.fixture
def target(gateway, upstream):
    secret = gateway.admin("POST", "/v1/secrets", {"name": fresh("secret"), "value": CREDENTIAL})["id"]
    return {"provider": "ANTHROPIC", "base_url": upstream.base_url, "target_model": MODEL, "secret_id": secret}


@pytest.fixture
def slug(gateway, target, second):
    fallback = {"provider": "OPENAI_COMPATIBLE", "base_url": second.base_url, "target_model": "fallback"}
    body = {"slug": fresh("acme/claude"), "targets": [target, fallback]}
    return gateway.admin("POST", "/v1/gateway/endpoints", body)["slug"]


def ask(slug, **fields):
    return {"model": slug, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}


def overloaded(kind="overloaded_error", message="Overloaded"):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_up"}


def health(gateway, slug):
    return next(one for one in gateway.admin("GET", "/v1/gateway/status")["upstreams"] if one["slug"] == slug)


def test_every_route_gets_the_credential_and_the_version_in_anthropics_headers(upstream, second, customer, slug):
    for count, path in enumerate((CHAT, MESSAGES, COUNT_TOKENS), 1):
        answer = customer.post(path, ask(slug), [("cookie", "a=b"), ("x-api-key", "another"), ("openai-project", "p")])
        received = upstream.wait_requests(count)
        assert (received.method, received.path, received.json) == ("POST", path, ask(MODEL))
        assert sorted(received.header_list) == sorted(
            [
                ("host", upstream.base_url.split("/")[2]),
                ("accept-encoding", "identity"),
                ("user-agent", "tollgate"),
                ("x-api-key", CREDENTIAL),
                ("content-type", "application/json"),
                ("anthropic-version", "2023-06-01"),
                ("x-request-id", answer.headers["x-request-id"]),
                ("content-length", str(len(received.body))),
            ]
        )


@pytest.mark.parametrize("version", ["2023-01-01", "2099-12-31", "next"])
def test_the_customers_version_and_betas_reach_anthropic_unchanged(upstream, customer, slug, version):
    betas = ["context-1m-2025-08-07,no-such-beta", "another-2099-01-01"]
    headers = [("Anthropic-Version", version), *(("anthropic-beta", beta) for beta in betas)]
    customer.post(MESSAGES, ask(slug), headers)
    received = upstream.wait_requests(1)
    sent = [header for header in received.header_list if header[0].startswith("anthropic")]
    assert sorted(sent) == [("anthropic-beta", ", ".join(betas)), ("anthropic-version", version)]


def test_only_anthropic_gets_a_version_and_an_x_api_key(upstream, second, customer, slug):
    upstream.fail_next(1, 500)
    assert customer.chat(slug).status == 200
    assert not {"anthropic-version", "x-api-key", "authorization"} & set(second.requests[0].headers)


@pytest.mark.parametrize(
    "path, query, beta",
    [
        (MESSAGES, "beta=true", True),
        (MESSAGES, "a=b&beta=true&c", True),
        (COUNT_TOKENS, "beta=true&beta=true", True),
        (MESSAGES, "", False),
        (MESSAGES, "beta=false&x=beta=true", False),
        (MESSAGES, "xbeta=true&beta=true1&beta&BETA=true", False),
        (COUNT_TOKENS, "api_key=x", False),
        (CHAT, "beta=true", False),
        ("/v1/responses", "beta=true&a=b", False),
    ],
)
def test_beta_is_the_only_query_that_is_passed_on_and_only_for_messages(upstream, customer, slug, path, query, beta):
    customer.post(f"{path}?{query}", ask(slug, input="hi"))
    assert upstream.wait_requests(1).path == path + ("?beta=true" if beta else "")


def test_beta_is_passed_on_to_every_provider(upstream, second, customer, slug):
    upstream.fail_next(1, 529, error={"type": "overloaded_error", "message": "Overloaded"})
    customer.post(f"{MESSAGES}?beta=true", ask(slug))
    assert second.wait_requests(1).path == f"{MESSAGES}?beta=true"


def test_a_refused_credential_is_a_502_and_a_warning_without_the_credential(gateway, upstream, second, customer, slug):
    body = overloaded("authentication_error", f"invalid x-api-key: {CREDENTIAL}")
    upstream.reply_next(Reply(401, json_body=body))
    second.fail_next(1, 500)
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    request = answer.headers["x-request-id"]
    line = gateway.process.wait_line(lambda line: request in line and "passed over" in line)
    why = "it refused the credential or the account (401): invalid x-api-key: […]"
    assert why in line and '"level":"WARN"' in line and health(gateway, slug)["last_error"] == why
    assert CREDENTIAL not in answer.body.decode() + gateway.log


OVERLOADED = {
    "a 529": Reply(529, json_body=overloaded()),
    "a 500": Reply(500, json_body=overloaded("api_error", "Internal server error")),
    "the first event": stream_of(f"event: error\ndata: {json.dumps(overloaded())}\n\n".encode()),
}


@pytest.mark.parametrize("case", OVERLOADED)
def test_if_anthropic_is_overloaded_the_next_target_answers(gateway, upstream, second, customer, slug, key, case):
    upstream.reply_next(OVERLOADED[case])
    assert customer.chat(slug, stream=True).status == 200
    assert (upstream.count, second.count) == (1, 1) and len(gateway.events(key)) == 1
    assert health(gateway, slug)["last_error"].endswith(("Overloaded", "Internal server error"))


FAILED = f"{MODEL} failed at gpu-7.internal"
ERROR_EVENTS = {
    "messages": overloaded("api_error", FAILED),
    "responses": {"type": "error", "code": "server_error", "message": FAILED, "param": None, "sequence_number": 1},
}


@pytest.mark.parametrize("api", ERROR_EVENTS)
def test_an_error_event_in_mid_stream_keeps_its_message(upstream, customer, slug, api):
    upstream.reply_next(stream_of(chunk({"content": "a"}), ERROR_EVENTS[api]))
    body = customer.chat(slug, stream=True).body
    assert json.loads(body.split(b"data: ")[-1])["error"]["message"] == f"{slug} failed at […]"


def test_a_429_is_passed_on_without_anthropics_own_headers(upstream, second, customer, slug):
    own = [("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-organization-id", "org"), ("request-id", "r")]
    body = overloaded("rate_limit_error", "This request would exceed your rate limit.")
    upstream.reply_next(Reply(429, [("retry-after", "3"), *own], json_body=body))
    second.reply_next(Reply(429, [("retry-after", "7"), *own], json_body=body))
    answer = customer.chat(slug)
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert answer.error["code"] == "upstream_rate_limited"
    assert not [name for name in answer.headers if name.startswith("anthropic") or name == "request-id"]


def listing(*names, has_more=False):
    data = [{"type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z"} for name in names]
    return Reply(json_body={"data": data, "has_more": has_more, "first_id": names[0], "last_id": names[-1]})


def check(gateway, target):
    answer = gateway.admin("POST", CHECK, {"slug": fresh("acme/checked"), "targets": [target]})
    return {check["name"]: (check["ok"], check["detail"]) for check in answer["targets"][0]["checks"]}


def test_the_check_calls_anthropic_as_customers_do(gateway, upstream, target):
    upstream.reply_next(listing("claude-x", MODEL))
    found = check(gateway, target)
    assert [ok for ok, _ in found.values()] == [True] * 4, found
    listed, called = upstream.requests
    assert (listed.method, listed.path, called.method, called.path) == ("GET", "/v1/models", "POST", CHAT)
    for received in (listed, called):
        headers = received.headers
        assert (headers["x-api-key"], headers["anthropic-version"]) == (CREDENTIAL, "2023-06-01")
        assert "authorization" not in headers
    assert called.json["model"] == MODEL and called.json["max_tokens"] and called.json["stream"] is True


def test_an_alias_that_anthropic_does_not_list_passes_the_check(gateway, upstream, target):
    upstream.reply_next(listing(f"{MODEL}-20250929"))
    found = check(gateway, target)
    assert found["model"][0] is True and "answers under that name" in found["model"][1]
    for reply in (
        listing("claude-x", has_more=True),
        Reply(404, json_body=overloaded("not_found_error", f"model: {MODEL}")),
    ):
        upstream.reply_next(reply)
    upstream.reply_next(Reply(404, json_body=overloaded("not_found_error", "Not Found")))
    found = check(gateway, target)
    assert found["model"][0] is False and MODEL in found["model"][1]


def test_a_credential_that_anthropic_refuses_is_reported_by_the_check(gateway, upstream, target):
    upstream.reply_next(Reply(401, json_body=overloaded("authentication_error", f"invalid x-api-key {CREDENTIAL}")), 2)
    found = check(gateway, target)
    assert [ok for ok, _ in found.values()] == [True, None, False, None]
    assert "credential" in found["stream"][1] and CREDENTIAL not in str(found)


def test_without_a_base_url_the_target_is_anthropics_own_address(gateway, target):
    body = {"slug": fresh("acme/claude"), "targets": [{**target, "base_url": None}]}
    made = gateway.admin("POST", "/v1/gateway/endpoints", body)
    assert made["targets"][0]["provider"] == "ANTHROPIC" and made["targets"][0]["base_url"] is None
    assert health(gateway, made["slug"])["origin"] == "https://api.anthropic.com"
