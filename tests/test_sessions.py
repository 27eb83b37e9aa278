"""The web UI's sessions: a cookie instead of a key, with what keeps other pages from using it."""

import json

import pytest

from support.gateway import Gateway, prefix_of
from support.wire import call

GROUPS = "/v1/gateway/groups"


@pytest.fixture
def origin(gateway):
    return f"http://{gateway.admin_address}"


def sign_in(gateway, key):
    return call(
        gateway.admin_address,
        "POST",
        "/v1/session",
        [("x-tollgate-csrf", "1"), ("origin", f"http://{gateway.admin_address}")],
        {"key": key},
    )


def cookie_of(answer):
    [cookie] = [value for name, value in answer.header_list if name == "set-cookie"]
    return cookie


def test_a_session_reads_with_its_cookie_alone(gateway):
    answer = sign_in(gateway, gateway.admin_key)
    assert answer.status == 200, answer
    assert set(answer.json()) == {"prefix", "type", "expires_at"} and answer.json()["prefix"] == "env"
    cookie = cookie_of(answer)
    flags = cookie.lower()
    assert "httponly" in flags and "samesite=strict" in flags and "secure" not in flags
    assert gateway.admin_key not in cookie
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", cookie.split(";")[0])]).status == 200


def test_a_session_changes_only_from_our_own_page(gateway, origin, slug):
    cookie = cookie_of(sign_in(gateway, gateway.admin_key)).split(";")[0]
    whole = {"cookie": cookie, "content-type": "application/json", "x-tollgate-csrf": "1", "origin": origin}

    def create(headers):
        body = {
            "metadata": {"external_entity_id": f"session-{len(headers)}-{headers.get('origin')}"},
            "models": [{"slug": slug}],
        }
        return call(gateway.admin_address, "POST", GROUPS, list(headers.items()), json.dumps(body).encode()).status

    assert create(whole) == 200
    for name in ("x-tollgate-csrf", "origin", "content-type"):
        assert create({key: value for key, value in whole.items() if key != name}) == 403, name
    assert create({**whole, "origin": "http://evil.example"}) == 403
    assert create({**whole, "content-type": "text/plain"}) == 403


def test_a_session_ends_when_it_is_ended_and_with_its_key(gateway, origin):
    key = gateway.mint_operator("WORKSPACE_MANAGE_ALL")
    gateway.mint_operator("WORKSPACE_MANAGE_ALL")
    first, second = (cookie_of(sign_in(gateway, key)).split(";")[0] for _ in range(2))
    headers = [("cookie", first), ("content-type", "application/json"), ("x-tollgate-csrf", "1"), ("origin", origin)]
    assert call(gateway.admin_address, "DELETE", "/v1/session", headers).status == 200
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", first)]).status == 401
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", second)]).status == 200
    gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(key)}")
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", second)]).status == 401


def test_a_wrong_key_opens_no_session(gateway):
    answer = sign_in(gateway, "wrong-key-0123456789")
    assert answer.status == 401 and "set-cookie" not in answer.headers


def test_the_cookie_is_secure_behind_https():
    with Gateway(admin_url="https://gateway.internal") as gateway:
        answer = call(
            gateway.admin_address,
            "POST",
            "/v1/session",
            [("x-tollgate-csrf", "1"), ("origin", "https://gateway.internal")],
            {"key": gateway.admin_key},
        )
        assert answer.status == 200 and "secure" in cookie_of(answer).lower()
