"""Several targets for one slug: the first one that can answer does."""

import pytest

from support.gateway import Customer, fresh
from support.upstream import Reply, frame


@pytest.fixture
def slug(gateway, upstream, second):
    return gateway.create_endpoint([upstream, second])["slug"]


def used(gateway, group, slug):
    return {limit["kind"]: limit["used"] for limit in gateway.limits(group, slug)["limits"]}


def test_the_first_target_answers_while_it_can(gateway, customer, upstream, second, slug, key):
    assert customer.chat(slug).status == 200
    assert (upstream.count, second.count) == (1, 0)
    assert [event["target"] for event in gateway.events(key)] == [0]


@pytest.mark.parametrize("status", [302, 401, 402, 403, 429, 500, 503])
def test_a_failing_target_is_skipped_and_the_request_is_billed_once(
    gateway, upstream, second, customer, slug, key, status
):
    upstream.fail_next(1, status)
    assert customer.chat(slug).status == 200
    assert (upstream.count, second.count) == (1, 1)
    [event] = gateway.events(key)
    assert (event["status"], event["target"]) == (200, 1)


def test_an_unreachable_target_is_skipped(gateway, upstream, second, customer, slug, key):
    upstream.stop()
    connection, _, stream = customer.stream_chat(slug)
    assert stream.chunks()
    connection.close()
    assert [event["target"] for event in gateway.events(key)] == [1]


def test_a_request_with_a_fault_of_the_customers_is_not_tried_elsewhere(gateway, upstream, second, customer, slug, key):
    upstream.fail_next(1, 422)
    assert customer.chat(slug).status == 422
    assert second.count == 0 and gateway.events(key) == []


def test_a_429_is_passed_on_only_if_all_targets_answered_429(upstream, second, customer, slug):
    upstream.fail_next(1, 429, headers=[("retry-after", "3")])
    second.fail_next(1, 429, headers=[("retry-after", "9")])
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"]) == (429, "upstream_rate_limited")
    assert answer.headers["retry-after"] == "9"
    upstream.fail_next(1, 500)
    second.fail_next(1, 429)
    assert customer.chat(slug).status == 502


def test_a_credential_that_a_server_repeats_is_hidden_from_customers(gateway, upstream):
    value = "plain-credential-without-a-mark"
    secret = gateway.admin("POST", "/v1/secrets", {"name": fresh("secret"), "value": value})
    target = {"provider": "OPENAI_COMPATIBLE", "base_url": upstream.base_url, "secret_id": secret["id"]}
    slug = gateway.admin("POST", "/v1/gateway/endpoints", {"slug": fresh("acme/model"), "targets": [target]})["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
    error = {"message": f"bad header 'authorization=Bearer {value}'", "param": value, "code": f"x-{value}"}
    upstream.fail_next(1, 400, error=error)
    answer = customer.chat(slug)
    assert answer.status == 400 and answer.error["message"].startswith("bad header")
    as_stream = [("content-type", "text/event-stream")]
    text = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    upstream.reply_next(Reply(headers=as_stream, steps=[frame(text), frame({"error": error})]))
    connection, _, stream = customer.stream_chat(slug)
    [_, cut] = list(stream)
    connection.close()
    assert "bad header" in cut
    assert value not in answer.body.decode() + cut + gateway.log


def test_a_stream_that_broke_off_is_not_restarted(gateway, upstream, second, customer, slug, key):
    upstream.break_off_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    while not stream.next().startswith('{"error"'):
        pass
    connection.close()
    assert second.count == 0 and len(gateway.events(key)) == 1


NO_ROUTE = {
    "FastAPI": Reply(404, json_body={"detail": "Not Found"}),
    "llama.cpp": Reply(404, json_body={"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}),
    "Ollama": Reply(404, [("content-type", "text/plain")], steps=[b"404 page not found"]),
    "a page": Reply(404, [("content-type", "text/html")], steps=[b"<html>Cannot POST /v1/embeddings</html>"]),
    "nothing": Reply(405, steps=[b""]),
    "OpenAI": Reply(404, json_body={"error": {"message": "Invalid URL (POST /v1/embeddings)", "code": None}}),
    "Anthropic": Reply(404, json_body={"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}}),
}


def assert_lacks(answer, slug, route):
    message = f'The model server of "{slug}" does not have the route {route}.'
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "not_supported"}
    assert (answer.status, answer.error) == (404, error)


@pytest.mark.parametrize("server", NO_ROUTE)
def test_a_target_that_lacks_a_route_says_so(gateway, upstream, second, customer, slug, key, server):
    upstream.reply_next(NO_ROUTE[server])
    answer = customer.post("/v1/embeddings", {"model": slug, "input": "a"})
    assert_lacks(answer, slug, "/v1/embeddings")
    assert second.count == 0 and gateway.events(key) == []
    request = answer.headers["x-request-id"]
    line = gateway.process.wait_line(lambda line: request in line and "a target lacks a route" in line)
    assert (
        f"it does not have the route /v1/embeddings ({NO_ROUTE[server].status})" in line and '"target_index":0' in line
    )


NOT_THE_ROUTE = [
    {
        "object": "error",
        "message": "The model `x` does not exist.",
        "type": "NotFoundError",
        "param": None,
        "code": 404,
    },
    {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}},
    {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}},
    {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}},
    {"error": {"message": "Response with id 'resp_1' not found.", "type": "invalid_request_error", "code": 404}},
]


@pytest.mark.parametrize("body", NOT_THE_ROUTE)
def test_a_404_about_something_in_the_request_is_passed_on(upstream, second, customer, slug, body):
    upstream.reply_next(Reply(404, json_body=body))
    answer = customer.chat(slug)
    error = body.get("error", body)
    code = error.get("code") if isinstance(error.get("code"), str) else None
    assert answer.status == 404
    assert (answer.error["message"], answer.error["code"]) == (error["message"], code)


def test_the_demo_upstream_says_which_routes_it_lacks(gateway):
    slug = gateway.admin(
        "POST", "/v1/gateway/endpoints", {"slug": fresh("acme/model"), "targets": [{"provider": "DEMO"}]}
    )["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
    answer = customer.post("/v1/images/generations", {"model": slug, "prompt": "a gate"})
    assert_lacks(answer, slug, "/v1/images/generations")
    assert customer.chat(slug).status == 200


def test_a_missing_route_counts_as_an_answer(gateway, upstream, second, slug, limited):
    rate = [{"type": "REQUEST", "unit": "MINUTE", "threshold": 5}]
    day = [{"type": "REQUEST", "unit": "DAY", "threshold": 5}]
    group, customer = limited(rate, day)
    upstream.reply_next(NO_ROUTE["FastAPI"])
    assert customer.chat(slug).status == 404
    assert used(gateway, group, slug) == {"rate": 1, "usage": 0}


@pytest.mark.parametrize("statuses, returned", [((500, 401), True), ((429, 429), False), ((422,), False)])
def test_rate_counts_are_returned_if_no_target_answered(gateway, upstream, second, slug, limited, statuses, returned):
    rate = [{"type": "REQUEST", "unit": "MINUTE", "threshold": 5}]
    day = [{"type": "REQUEST", "unit": "DAY", "threshold": 5}]
    group, customer = limited(rate, day)
    for target, status in zip((upstream, second), statuses):
        target.fail_next(1, status)
    assert customer.chat(slug).status >= 400
    assert used(gateway, group, slug) == {"rate": 0 if returned else 1, "usage": 0}
