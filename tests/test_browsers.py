"""CORS: pages of the origins in `cors_origins` may call the inference listener and read its answers; others may not."""

import pytest

from support.gateway import Customer, Gateway, message, model, rate
from support.wire import Connection, call

CHAT = "/v1/chat/completions"
PAGE = "https://app.example.com"
OTHER = "https://evil.example"
WANTED = "authorization,content-type,x-api-key,x-stainless-lang,openai-beta,anthropic-version"
EXPOSED = {"x-request-id", "retry-after", "x-should-retry"} | {
    f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")
}


@pytest.fixture(scope="module")
def open_gateway():
    with Gateway(cors_origins=f"{PAGE}, http://localhost:5173") as gateway:
        yield gateway


def preflight(address, origin=PAGE, path=CHAT, method="POST"):
    headers = [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", WANTED)]
    return call(address, "OPTIONS", path, headers)


def cors(answer):
    return {name for name in answer.headers if name.startswith("access-control-")}


def may_read(answer, origin=PAGE):
    assert answer.headers["access-control-allow-origin"] == origin and answer.headers["vary"].lower() == "origin"
    assert {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")} >= EXPOSED
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5173"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/nothing"])
def test_a_preflight_is_answered_without_a_key(open_gateway, origin, path):
    answer = preflight(open_gateway.address, origin, path)
    assert (answer.status, answer.body) == (204, b"") and answer.headers["x-request-id"]
    assert "content-type" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == origin and answer.headers["vary"].lower() == "origin"
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert answer.headers["access-control-allow-headers"] == WANTED
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers


def test_every_answer_to_an_allowed_page_can_be_read(open_gateway, upstream):
    slug = open_gateway.create_endpoint(upstream)["slug"]
    group = open_gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 2)]))
    customer = Customer(open_gateway, open_gateway.mint_key(group))
    body, origin = {"model": slug, "messages": message("hi")}, [("origin", PAGE)]
    answers = [
        customer.post(CHAT, body, origin),
        customer.post(CHAT, {**body, "stream": True}, origin),
        customer.post(CHAT, body, origin),
        customer.post(CHAT, b"{", origin),
        customer.post("/v1/chat", body, origin),
        customer.get("/v1/models", origin),
        customer.get(CHAT, origin),
        call(open_gateway.address, "POST", CHAT, origin, body),
    ]
    assert [answer.status for answer in answers] == [200, 200, 429, 400, 404, 200, 405, 401]
    for answer in answers:
        may_read(answer)


def test_a_page_of_another_origin_can_neither_call_nor_read(open_gateway):
    for origin in (OTHER, "null", PAGE.upper(), f"{PAGE}.evil.example", f"{PAGE}/"):
        asked = preflight(open_gateway.address, origin)
        assert asked.status == 405 and asked.headers["allow"] == "POST" and not cors(asked), origin
        assert asked.headers["vary"].lower() == "origin", "a cache must not serve this answer to the allowed page"
        answer = call(open_gateway.address, "GET", "/v1/models", [("origin", origin)])
        assert answer.status == 401 and not cors(answer)
    plain = call(open_gateway.address, "GET", "/healthz")
    assert plain.headers["vary"].lower() == "origin" and not cors(plain)


def test_no_page_may_call_the_admin_listener(open_gateway):
    asked = preflight(open_gateway.admin_address, path="/v1/gateway/groups")
    answer = open_gateway.admin_answer("GET", "/v1/gateway/groups", headers=[("origin", PAGE)])
    assert asked.status >= 400 and answer.status == 200 and not cors(asked) and not cors(answer)


def test_without_cors_origins_options_is_refused_with_an_explanation(gateway):
    for path, allow in ((CHAT, "POST"), ("/v1/models", "GET, HEAD"), ("/healthz", "GET, HEAD")):
        answer = preflight(gateway.address, path=path)
        assert (answer.status, answer.headers["allow"], answer.error["code"]) == (405, allow, "unknown_url")
        assert "OPTIONS" in answer.error["message"] and "CORS" in answer.error["message"]
        assert not cors(answer) and "vary" not in answer.headers


def test_a_star_lets_every_page_call(upstream):
    with Gateway(config='cors_origins = ["*"]\n') as gateway:
        for origin in (PAGE, OTHER, "null"):
            assert preflight(gateway.address, origin).headers["access-control-allow-origin"] == origin
            may_read(call(gateway.address, "GET", "/v1/models", [("origin", origin)]), origin)


def test_a_preflight_leaves_the_connection_open(open_gateway):
    with Connection(open_gateway.address) as connection:
        for _ in range(3):
            headers = [("origin", PAGE), ("access-control-request-method", "GET")]
            connection.request("OPTIONS", "/v1/models", headers)
            answer = connection.read_answer()
            assert answer.status == 204 and "access-control-allow-headers" not in answer.headers
