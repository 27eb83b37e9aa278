"""Access to the admin listener, and the separation of the two listeners."""

import json

import pytest

from support.gateway import ADMIN_KEY, Gateway, message
from support.wire import Connection, call

GROUPS = "/v1/gateway/groups"


def get(gateway, *headers, path=GROUPS):
    return call(gateway.admin_address, "GET", path, headers)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Api-Key", "api-key"])
def test_both_schemes_are_accepted_in_any_case(gateway, scheme):
    assert get(gateway, ("authorization", f"{scheme} {ADMIN_KEY}")).status == 200


def test_a_key_is_read_from_the_authorization_header_only(gateway):
    assert get(gateway, ("x-api-key", ADMIN_KEY)).status == 401
    assert get(gateway, path=f"{GROUPS}?api_key={ADMIN_KEY}").status == 401
    assert get(gateway, ("cookie", f"session={ADMIN_KEY}")).status == 401
    assert get(gateway, ("authorization", ADMIN_KEY)).status == 401


@pytest.mark.parametrize(
    "headers, admin, inference",
    [
        ("authorization: bearer   {key}\t ", 200, 200),
        ("x-api-key:  {key} ", "missing_api_key", 200),
        ("authorization: Basic {key}\r\nx-api-key: {key}", "missing_api_key", "invalid_api_key"),
        ("authorization: Bearer\r\nx-api-key: {key}", "missing_api_key", "invalid_api_key"),
        ("authorization: Bearer\t{key}", "missing_api_key", "invalid_api_key"),
        ("authorization: Bearer {key}é", "invalid_api_key", "invalid_api_key"),
        ("authorization: Bearer {key}\xff", "invalid_api_key", "invalid_api_key"),
    ],
)
def test_both_listeners_find_a_key_in_the_same_headers_and_one_also_in_x_api_key(
    gateway, key, headers, admin, inference
):
    def outcome(address, path, key):
        encoded = headers.format(key=key).encode("latin-1" if "\xff" in headers else "utf-8")
        with Connection(address) as connection:
            connection.send(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n".encode() + encoded + b"\r\n\r\n")
            answer = connection.read_answer()
        if answer.status == 200:
            return 200
        assert answer.status == 401
        document = answer.json()
        return document.get("code") or document["error"]["code"]

    assert outcome(gateway.admin_address, GROUPS, gateway.admin_key) == admin
    assert outcome(gateway.address, "/v1/models", key) == inference


def test_the_answer_to_a_wrong_key_reveals_nothing(gateway):
    answer = get(gateway, ("authorization", "Bearer guessed-4711"))
    assert answer.status == 401 and set(answer.json()) == {"error", "code"} and b"guessed-4711" not in answer.body


def host(gateway, value):
    with Connection(gateway.admin_address) as connection:
        connection.send(
            f"GET {GROUPS} HTTP/1.1\r\nhost: {value}\r\nauthorization: Bearer {gateway.admin_key}\r\n\r\n".encode()
        )
        return connection.read_answer().status


def test_a_foreign_host_name_is_refused(gateway):
    port = gateway.admin_address.split(":")[1]
    for value in (
        "127.0.0.1",
        f"127.0.0.1:{port}",
        "localhost",
        f"localhost:{port}",
        "10.1.2.3",
        "[::1]",
        f"[::1]:{port}",
        "LOCALHOST",
    ):
        assert host(gateway, value) == 200, value
    for value in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "gateway.internal",
    ):
        assert host(gateway, value) == 403, value


def test_the_host_of_admin_url_is_accepted():
    with Gateway(admin_url="https://gateway.internal:8443") as gateway:
        assert host(gateway, "gateway.internal:8443") == 200 and host(gateway, "gateway.internal") == 200
        assert host(gateway, "other.internal") == 403


def test_there_is_no_cors(gateway):
    for method in ("OPTIONS", "GET"):
        answer = call(
            gateway.admin_address,
            method,
            GROUPS,
            [
                ("origin", "https://evil.example"),
                ("access-control-request-method", "POST"),
                ("authorization", f"Bearer {ADMIN_KEY}"),
            ],
        )
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_body_is_read_as_json_whatever_its_content_type(gateway, upstream):
    slug = gateway.create_endpoint(upstream)["slug"]
    for number, content_type in enumerate(("text/plain", "application/x-www-form-urlencoded", None)):
        headers = [("content-type", content_type)] if content_type else []
        body = json.dumps({"metadata": {"external_entity_id": f"typed-{number}"}, "models": [{"slug": slug}]}).encode()
        assert gateway.admin_answer("POST", GROUPS, body, headers=headers).status == 200


def test_only_wrong_keys_are_throttled():
    with Gateway() as gateway:
        statuses = [
            get(gateway, ("authorization", f"Bearer guess-{number}"), ("x-forwarded-for", f"10.0.0.{number}")).status
            for number in range(14)
        ]
        assert statuses[:10] == [401] * 10, statuses
        assert statuses[10:] == [429] * 4, "X-Forwarded-For must not count as the address"
        for _ in range(20):
            assert get(gateway, ("authorization", f"Bearer {ADMIN_KEY}")).status == 200


def test_valid_keys_are_never_counted_as_guesses():
    with Gateway() as gateway:
        for _ in range(30):
            assert get(gateway, ("authorization", f"Bearer {ADMIN_KEY}")).status == 200
        assert get(gateway, ("authorization", "Bearer wrong")).status == 401


def test_the_listeners_share_nothing(gateway, slug, key):
    body = {"model": slug, "messages": message("hi")}
    for credential in (key, ADMIN_KEY):
        headers = [("authorization", f"Bearer {credential}")]
        for method, path, sent in (
            ("POST", "/v1/chat/completions", body),
            ("GET", "/v1/models", None),
            ("GET", "/v1/usage", None),
        ):
            assert call(gateway.admin_address, method, path, headers, sent).status in (401, 403, 404), path
        for path in (GROUPS, "/v1/secrets", "/v1/api_keys", "/v1/gateway/status", "/v1/spec", "/metrics", "/"):
            assert call(gateway.address, "GET", path, headers).status == 404, path


def test_an_operator_key_cannot_call_models(gateway, slug):
    assert (
        call(
            gateway.address,
            "POST",
            "/v1/chat/completions",
            [("authorization", f"Bearer {ADMIN_KEY}")],
            {"model": slug, "messages": []},
        ).status
        == 401
    )


def test_status_shows_the_version_and_no_secret(gateway):
    status = gateway.admin("GET", "/v1/gateway/status")
    assert status["version"] and ADMIN_KEY not in str(status)
