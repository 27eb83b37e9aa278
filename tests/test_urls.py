"""URLs that do not exist and methods that are not taken: the answer says which, and what was probably meant."""

import pytest

from support.wire import Connection, call

CHAT = "/v1/chat/completions"


def words(answer, status=404):
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
def test_an_unknown_url_names_itself_and_the_one_that_was_meant(gateway, path, meant):
    for method in ("POST", "GET"):
        told = words(call(gateway.address, method, path))
        assert f"{method} {path}." in told and told.endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize("path", ["/", "/v1", "/favicon.ico", "/metrics", "/v1/spec", "/v1/gateway/groups"])
def test_where_no_route_is_near_none_is_proposed(gateway, path):
    told = words(call(gateway.address, "GET", path))
    assert f"GET {path}." in told and "Did you mean" not in told


def test_no_more_than_an_excerpt_of_a_strangers_url_is_repeated(gateway):
    told = words(call(gateway.address, "X" * 1000, f"/{'secret' * 5000}?key=sk_1.hidden"))
    assert len(told) < 150 and "hidden" not in told
    told = words(call(gateway.address, "GET", "/[script]%00~"))
    assert told.isascii() and told.isprintable()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/usage", "/v1/models/SLUG", "/v1/models/no/such", "/nothing", "/"])
def test_head_is_answered_as_get_without_the_body(gateway, customer, slug, path):
    path = path.replace("SLUG", slug)

    def head(answer):
        return {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}

    for headers in (customer.headers(), []):
        with Connection(gateway.address) as connection:
            for _ in range(2):  # nothing follows the head, so the connection can be used again
                connection.request("HEAD", path, headers)
                answer = connection.read_answer()
                told = call(gateway.address, "GET", path, headers)
                assert (answer.status, head(answer), answer.body) == (told.status, head(told), b"")
                assert int(answer.headers["content-length"]) == len(told.body) > 0


@pytest.mark.parametrize("path, allow", [(CHAT, "POST"), ("/v1/models", "GET, HEAD"), ("/healthz", "GET, HEAD")])
def test_another_method_is_refused_with_those_that_are_taken(gateway, path, allow):
    answer = call(gateway.address, "DELETE", path)
    told = words(answer, 405)
    assert answer.headers["allow"] == allow and "DELETE" in told and allow.replace(", ", " and ") in told
    if allow == "POST":
        answer = call(gateway.address, "HEAD", path)
        assert (answer.status, answer.headers["allow"], answer.body) == (405, "POST", b"")
