"""Unknown URLs and methods that are not allowed: the answer names them and suggests the intended URL."""

import pytest

from support.wire import Connection, call

CHAT = "/v1/chat/completions"


def message_of(answer, status=404):
    assert (answer.status, answer.error["code"]) == (status, "unknown_url"), answer
    return answer.error["message"]


@pytest.mark.parametrize(
    "path, meant",
    [
        ("/chat/completions", CHAT),
        ("/v1/v1/chat/completions", CHAT),
        ("/v1//chat/completions", CHAT),
        ("//v1/chat/completions", CHAT),
        ("/v1/chat/completions/", CHAT),
        ("/V1/CHAT/COMPLETIONS", CHAT),
        ("/v1/chat/completion", CHAT),
        ("/v1/chat/compeltions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/api/v1/chat/completions", CHAT),
        ("/embeddings", "/v1/embeddings"),
        ("/v1/model", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/models", "/v1/models"),
        ("/models/acme/chat", "/v1/models/{slug}"),
    ],
)
def test_the_answer_to_an_unknown_url_names_it_and_suggests_the_intended_one(gateway, path, meant):
    for method in ("POST", "GET"):
        message = message_of(call(gateway.address, method, path))
        assert f"{method} {path}." in message and message.endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize("path", ["/", "/v1", "/favicon.ico", "/metrics", "/v1/spec", "/v1/gateway/groups"])
def test_no_route_is_suggested_if_none_is_similar(gateway, path):
    message = message_of(call(gateway.address, "GET", path))
    assert f"GET {path}." in message and "Did you mean" not in message


def test_only_an_excerpt_of_an_unknown_url_is_repeated(gateway):
    message = message_of(call(gateway.address, "X" * 1000, f"/{'secret' * 5000}?key=sk_1.hidden"))
    assert len(message) < 150 and "hidden" not in message
    message = message_of(call(gateway.address, "GET", "/[script]%00~"))
    assert message.isascii() and message.isprintable()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/usage", "/v1/models/SLUG", "/v1/models/no/such", "/nothing", "/"])
def test_head_is_answered_like_get_without_the_body(gateway, customer, slug, path):
    path = path.replace("SLUG", slug)

    def head(answer):
        return {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}

    for headers in (customer.headers(), []):
        with Connection(gateway.address) as connection:
            for _ in range(2):  # nothing follows the head, so the connection can be reused
                connection.request("HEAD", path, headers)
                answer = connection.read_answer()
                plain = call(gateway.address, "GET", path, headers)
                assert (answer.status, head(answer), answer.body) == (plain.status, head(plain), b"")
                assert int(answer.headers["content-length"]) == len(plain.body) > 0


@pytest.mark.parametrize("path, allow", [(CHAT, "POST"), ("/v1/models", "GET, HEAD"), ("/healthz", "GET, HEAD")])
def test_another_method_is_refused_with_the_allowed_ones(gateway, path, allow):
    answer = call(gateway.address, "DELETE", path)
    message = message_of(answer, 405)
    assert answer.headers["allow"] == allow and "DELETE" in message and allow.replace(", ", " and ") in message
    if allow == "POST":
        answer = call(gateway.address, "HEAD", path)
        assert (answer.status, answer.headers["allow"], answer.body) == (405, "POST", b"")
