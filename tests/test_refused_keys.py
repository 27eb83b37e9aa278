"""Refused keys are counted by address, and the status names addresses that guess."""

import json

import pytest

from support.gateway import ADMIN_KEY, Customer, Gateway, message, parse_time
from support.wire import call

GROUPS = "/v1/gateway/groups"


@pytest.fixture
def quiet():
    """A gateway that has not refused any key yet."""
    with Gateway() as gateway:
        yield gateway


def status(gateway):
    return gateway.admin("GET", "/v1/gateway/status")


def refused(gateway):
    return {item["address"]: (item["admin"], item["inference"]) for item in status(gateway)["refused_keys"]}


def guess(gateway, source, key="wrong-operator-key-0123456789"):
    return gateway.admin_answer("GET", GROUPS, key=key, source=source).status


def sign_in(gateway, source, key="wrong-operator-key-0123456789"):
    return call(gateway.admin_address, "POST", "/v1/session", [("content-type", "application/json")], {"key": key}, source)


def ask(gateway, source, key):
    headers = [("authorization", f"Bearer {key}")] if key else []
    return call(gateway.address, "GET", "/v1/models", headers, source=source)


def test_refused_keys_of_both_listeners_are_counted_by_address(quiet, upstream):
    slug = quiet.create_endpoint(upstream)["slug"]
    key = quiet.mint_key(quiet.create_group(slug))
    assert status(quiet)["refused_keys"] == [], "valid keys must not be counted"
    for _ in range(3):
        assert guess(quiet, "127.0.0.2") == 401
    assert sign_in(quiet, "127.0.0.2").status == 401
    for wrong in ("sk_0123456789ab." + "A" * 43, ADMIN_KEY, "nonsense", None):
        assert ask(quiet, "127.0.0.2", wrong).status == 401
        assert ask(quiet, "127.0.0.3", wrong).status == 401
    for _ in range(5):
        assert Customer(quiet, key).chat(slug).status == 200
        assert guess(quiet, "127.0.0.2", ADMIN_KEY) == 200
        assert ask(quiet, "127.0.0.2", key).status == 200
    assert refused(quiet) == {"127.0.0.2": (4, 4), "127.0.0.3": (0, 4)}
    latest, earlier = status(quiet)["refused_keys"]
    assert latest["address"] == "127.0.0.3" and latest["last_at"] >= earlier["last_at"]
    assert set(latest) == {"address", "admin", "inference", "first_at", "last_at"}
    assert parse_time(earlier["first_at"]) <= parse_time(earlier["last_at"])


def test_a_revoked_key_is_counted_when_it_is_refused(quiet, upstream):
    slug = quiet.create_endpoint(upstream)["slug"]
    group = quiet.create_group(slug)
    key = quiet.mint_key(group)
    body = {"model": slug, "messages": message("hi")}
    headers = [("authorization", f"Bearer {key}")]
    assert call(quiet.address, "POST", "/v1/chat/completions", headers, body, "127.0.0.2").status == 200
    quiet.admin("DELETE", f"/v1/gateway/groups/{group['id']}/api_keys/{key.split('.')[0]}")
    assert call(quiet.address, "POST", "/v1/chat/completions", headers, body, "127.0.0.2").status == 401
    assert refused(quiet) == {"127.0.0.2": (0, 1)}


def test_headers_do_not_change_the_counted_address(quiet):
    for number in range(5):
        forwarded = [("x-forwarded-for", f"10.0.0.{number}"), ("forwarded", f"for=10.0.0.{number}")]
        quiet.admin_answer("GET", GROUPS, key="wrong", headers=forwarded, source="127.0.0.2")
        call(quiet.address, "GET", "/v1/models", forwarded, source="127.0.0.2")
    assert refused(quiet) == {"127.0.0.2": (5, 5)}


def test_a_customers_key_does_not_count_as_a_guess(quiet):
    key = quiet.mint_key(quiet.create_group(quiet.create_endpoint("http://127.0.0.1:9/v1")["slug"]))
    for _ in range(15):
        assert guess(quiet, "127.0.0.2", key) == 403
        assert quiet.admin_answer("GET", GROUPS, key=None, source="127.0.0.2").status == 401
    assert refused(quiet) == {}


def test_an_address_that_guesses_is_throttled_named_and_logged_once(quiet):
    def notices():
        return [sentence for sentence in status(quiet)["attention"] if "wrong operator keys" in sentence]

    for number in range(9):
        assert guess(quiet, "127.0.0.2", f"guess-{number}") == 401
    assert notices() == [] and refused(quiet) == {"127.0.0.2": (9, 0)}
    assert sign_in(quiet, "127.0.0.2").status == 401
    assert notices() == ["10 or more wrong operator keys came from 127.0.0.2 within the last hour."]
    for number in range(30):
        assert guess(quiet, "127.0.0.2", f"guess-{number}") == 429
    slowed = sign_in(quiet, "127.0.0.2")
    assert slowed.status == 429 and slowed.headers["retry-after"]
    assert guess(quiet, "127.0.0.2", ADMIN_KEY) == 200, "a valid key must not be throttled"
    assert guess(quiet, "127.0.0.3") == 401, "another address must not be throttled"
    assert refused(quiet)["127.0.0.2"] == (41, 0)
    quiet.process.wait_line(lambda line: "too many wrong operator keys" in line)
    lines = [json.loads(line) for line in quiet.log.splitlines()]
    [warning] = [line for line in lines if "too many wrong operator keys" in json.dumps(line)]
    assert warning["level"] == "WARN" and "127.0.0.2" in json.dumps(warning)
    assert "guess-" not in quiet.log and "wrong-operator-key" not in quiet.log


def test_wrong_customer_keys_are_counted_and_never_throttled(quiet):
    """Every 401 is the same, however many there were before."""
    answers = {(answer.status, answer.body) for answer in (ask(quiet, "127.0.0.2", f"wrong-{n}") for n in range(60))}
    assert len(answers) == 1
    assert refused(quiet) == {"127.0.0.2": (0, 60)} and status(quiet)["attention"] == []


def test_the_twenty_latest_addresses_are_shown(quiet):
    for number in range(1, 31):
        assert ask(quiet, f"127.0.1.{number}", "wrong").status == 401
        if number % 2:
            assert guess(quiet, f"127.0.1.{number}") == 401
    shown = [item["address"] for item in status(quiet)["refused_keys"]]
    assert len(shown) == 20 and set(shown) == {f"127.0.1.{number}" for number in range(11, 31)}
