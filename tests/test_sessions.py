"""The web UI's sessions: a cookie instead of a key, protected against use by other pages."""

import json

import pytest

from support.gateway import DidNotStart, Gateway, prefix_of
from support.wire import Connection, call

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


def test_a_session_needs_only_its_cookie_to_read(gateway):
    answer = sign_in(gateway, gateway.admin_key)
    assert answer.status == 200, answer
    assert set(answer.json()) == {"prefix", "type", "expires_at"} and answer.json()["prefix"] == "env"
    cookie = cookie_of(answer)
    flags = cookie.lower()
    assert "httponly" in flags and "samesite=strict" in flags and "secure" not in flags
    assert gateway.admin_key not in cookie
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", cookie.split(";")[0])]).status == 200


def test_a_session_can_make_changes_only_from_our_own_page(gateway, origin, slug):
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


def test_a_session_ends_by_request_and_with_its_key(gateway, origin):
    key = gateway.mint_operator("WORKSPACE_MANAGE_ALL")
    gateway.mint_operator("WORKSPACE_MANAGE_ALL")
    first, second = (cookie_of(sign_in(gateway, key)).split(";")[0] for _ in range(2))
    headers = [("cookie", first), ("content-type", "application/json"), ("x-tollgate-csrf", "1"), ("origin", origin)]
    assert call(gateway.admin_address, "DELETE", "/v1/session", headers).status == 200
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", first)]).status == 401
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", second)]).status == 200
    gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(key)}")
    assert call(gateway.admin_address, "GET", GROUPS, [("cookie", second)]).status == 401


def test_a_key_with_too_many_sessions_loses_only_its_own_oldest(gateway):
    key, other = (gateway.mint_operator("WORKSPACE_EXPORT_METRICS") for _ in range(2))
    of_other = cookie_of(sign_in(gateway, other)).split(";")[0]
    with Connection(gateway.admin_address) as connection:

        def open_session():
            connection.request("POST", "/v1/session", [], {"key": key})
            answer = connection.read_answer()
            assert answer.status == 200
            return answer.headers["set-cookie"].split(";")[0]

        def is_good(cookie):
            return current(gateway, ("cookie", cookie)).json()["session"] is not None

        first, second = open_session(), open_session()
        for _ in range(98):
            last = open_session()
        assert is_good(first)
        last = open_session()
        assert [is_good(cookie) for cookie in (first, second, last)] == [False, True, True]
        for _ in range(900):
            open_session()
        assert is_good(of_other)


def test_a_wrong_key_opens_no_session(gateway):
    answer = sign_in(gateway, "wrong-key-0123456789")
    assert answer.status == 401 and "set-cookie" not in answer.headers


def current(gateway, *headers, method="GET"):
    return call(gateway.admin_address, method, "/v1/session", headers)


def test_only_the_session_cookie_shows_the_current_session(gateway):
    key = gateway.mint_operator("WORKSPACE_MANAGE_API_KEYS")
    begun = sign_in(gateway, key)
    cookie = ("cookie", cookie_of(begun).split(";")[0])
    answer = current(gateway, cookie)
    assert answer.status == 200 and answer.json() == {
        "session": {"name": None, **begun.json()},
        "gateway": {
            "version": gateway.admin("GET", "/v1/gateway/status")["version"],
            "inference_url": f"http://{gateway.address}",
        },
    }
    assert current(gateway, cookie, method="HEAD").status == 200

    nothing = [(), (("cookie", "tollgate_session=wrong"),), (("authorization", f"Bearer {gateway.admin_key}"),)]
    for headers in nothing:
        answer = current(gateway, *headers)
        assert (answer.status, answer.json()) == (200, {"session": None}), "only the cookie counts"
    assert current(gateway, cookie, ("authorization", "Bearer wrong")).json()["session"], "a wrong key must not matter"

    gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(key)}")
    assert current(gateway, cookie).json() == {"session": None}


def test_the_session_of_a_named_key_has_its_name(gateway):
    minted = gateway.admin("POST", "/v1/api_keys", {"type": "WORKSPACE_EXPORT_METRICS", "name": "Dashboard"})
    cookie = cookie_of(sign_in(gateway, minted["api_key"])).split(";")[0]
    session = current(gateway, ("cookie", cookie)).json()["session"]
    assert (session["name"], session["type"]) == ("Dashboard", "WORKSPACE_EXPORT_METRICS")


def test_a_foreign_host_name_gets_no_session(gateway):
    cookie = cookie_of(sign_in(gateway, gateway.admin_key)).split(";")[0]
    with Connection(gateway.admin_address) as connection:
        connection.send(f"GET /v1/session HTTP/1.1\r\nhost: evil.example\r\ncookie: {cookie}\r\n\r\n".encode())
        answer = connection.read_answer()
    assert (answer.status, answer.json()["code"]) == (403, "forbidden_host")


@pytest.mark.parametrize(
    "settings, url",
    [
        ({}, "http://127.0.0.1:{port}"),
        ({"listen": "0.0.0.0:0"}, "http://127.0.0.1:{port}"),
        ({"listen": "[::]:0"}, "http://127.0.0.1:{port}"),
        ({"listen": "[::1]:0"}, "http://[::1]:{port}"),
        ({"public_url": "https://models.example"}, "https://models.example"),
        ({"public_url": "https://models.example/v1/"}, "https://models.example"),
        ({"public_url": "https://box.example:8443/llm/"}, "https://box.example:8443/llm"),
    ],
    ids=lambda value: str(value),
)
def test_the_address_that_customers_call_is_shown(settings, url):
    try:
        gateway = Gateway(**settings)
    except DidNotStart as failure:
        if "[::" in settings.get("listen", "") and "cannot listen on" in failure.output:
            pytest.skip("this machine has no IPv6")
        raise
    with gateway:
        cookie = cookie_of(sign_in(gateway, gateway.admin_key)).split(";")[0]
        shown = current(gateway, ("cookie", cookie)).json()["gateway"]["inference_url"]
        assert shown == url.format(port=gateway.address.rsplit(":", 1)[1])


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
