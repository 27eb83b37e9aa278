"""`Expect: 100-continue`: the gateway asks for a body only after a valid head."""

import json

import pytest

from support.gateway import Gateway, message
from support.wire import Connection

CHAT = "/v1/chat/completions"
EXPECT = ("expect", "100-continue")


def begin(connection, headers, length=100, path=CHAT, method="POST"):
    """Sends only the head; returns the status and headers of the first answer."""
    connection.send_head(method, path, [*headers, EXPECT, ("content-length", length)])
    return connection.read_head()


def test_a_valid_key_gets_a_100_and_then_the_answer(gateway, customer, slug):
    body = json.dumps({"model": slug, "messages": message("hi")}).encode()
    with Connection(gateway.address) as connection:
        for _ in range(2):
            assert begin(connection, customer.headers(), len(body)) == (100, [])
            connection.send(body)
            assert connection.read_answer().status == 200


def test_a_client_that_does_not_wait_for_the_100_is_answered(gateway, customer, slug):
    with Connection(gateway.address) as connection:
        body = {"model": slug, "messages": message("hi")}
        connection.request("POST", CHAT, customer.headers([EXPECT]), body)
        assert connection.read_head()[0] == 100 and connection.read_answer().status == 200


@pytest.mark.parametrize("key", [None, "malformed", "sk_AAAAAAAAAAAA.not-the-secret"])
def test_a_wrong_key_gets_a_401_and_no_100(gateway, upstream, key):
    with Connection(gateway.address) as connection:
        status, headers = begin(connection, [("authorization", f"Bearer {key}")] if key else [])
        assert status == 401 and dict(headers)["connection"] == "close" and dict(headers)["x-request-id"]
        error = json.loads(connection.read_body())["error"]
        assert error["code"] == "invalid_api_key" and error["message"].startswith("Incorrect API key provided")
    assert upstream.count == 0


@pytest.mark.parametrize("path, method, status", [("/v1/nothing", "POST", 404), (CHAT, "PUT", 405), ("/v1/models", "GET", 200)])
def test_no_100_is_sent_for_a_body_that_would_not_be_read(gateway, customer, path, method, status):
    with Connection(gateway.address) as connection:
        assert begin(connection, customer.headers(), path=path, method=method)[0] == status


def test_a_length_above_max_body_gets_a_413_and_no_100(upstream):
    with Gateway(max_body="1KiB") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        key = [("authorization", f"Bearer {gateway.mint_key(gateway.create_group(slug))}")]
        for length, status in ((1024, 100), (1025, 413)):
            with Connection(gateway.address) as connection:
                assert begin(connection, key, length)[0] == status
        with Connection(gateway.address) as connection:
            assert begin(connection, [*key, ("content-encoding", "compress")])[0] == 415
        with Connection(gateway.address) as connection:
            assert begin(connection, [*key, ("content-encoding", "zstd")])[0] == 100


def test_a_suspended_group_gets_a_403_and_no_100(gateway, group, customer):
    gateway.admin("PATCH", f"/v1/gateway/groups/{group['id']}", {"disabled": True})
    with Connection(gateway.address) as connection:
        assert begin(connection, customer.headers())[0] == 403
