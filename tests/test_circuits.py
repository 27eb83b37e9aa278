"""A target that keeps failing is left out for a while, and comes back by itself."""

import threading
import time

import pytest

from support.gateway import fresh, parse_time, target_of
from support.upstream import Reply


@pytest.fixture
def endpoint(gateway, upstream, second):
    return gateway.create_endpoint([upstream, second])


@pytest.fixture
def slug(endpoint):
    return endpoint["slug"]


def fail(customer, slug, upstream, times=5):
    """Makes the upstream fail `times` in a row. The customer gets the second target's answers."""
    upstream.fail_next(times, 500)
    for _ in range(times):
        assert customer.chat(slug).status == 200


def chat_until(customer, slug, condition):
    while not condition():
        assert customer.chat(slug).status == 200


def log_lines(gateway, slug, words, count):
    """The log's lines on the model with these words, once there are `count`: the log is written in the background."""
    lines = lambda: [line for line in gateway.log.splitlines() if f'"{slug}"' in line and words in line]
    return gateway.eventually(lines, lambda found: len(found) >= count)


def test_five_failures_in_a_row_leave_a_target_out_until_one_request_has_tried_it(
    gateway, customer, upstream, second, slug
):
    fail(customer, slug, upstream, 4)
    assert gateway.targets(slug)[0]["state"] == "failing"
    began = time.monotonic()
    fail(customer, slug, upstream, 1)
    [out, other] = gateway.targets(slug)
    assert (out["state"], out["failures_in_a_row"], out["attempts"]["failed"]) == ("out", 5, 5)
    assert out["out_reason"].startswith("it failed (500)") and parse_time(out["out_since"]) <= parse_time(
        out["out_until"]
    )
    assert (other["state"], other["attempts"]["answered"], other["out_until"]) == ("ok", 5, None)
    while time.monotonic() - began < 0.8:
        assert customer.chat(slug).status == 200
    assert upstream.count == 5, "it is left out"
    gate = upstream.hang_next()
    trying = threading.Thread(target=chat_until, args=(customer, slug, lambda: upstream.count == 6))
    trying.start()
    gate.reached()
    assert time.monotonic() - began >= 1 and gateway.targets(slug)[0]["state"] == "probing"
    for _ in range(5):
        assert customer.chat(slug).status == 200
    assert upstream.count == 6, "only one request tries it"
    gate.release()
    trying.join()
    assert customer.chat(slug).status == 200
    assert gateway.targets(slug)[0]["state"] == "ok" and upstream.count > 6
    [left_out] = log_lines(gateway, slug, "a target is left out", 1)
    [again] = log_lines(gateway, slug, "a target is in again", 1)
    assert '"pause_ms":1000' in left_out and "it failed (500)" in left_out and '"target_index":0' in again


def test_each_failed_try_doubles_the_pause(gateway, customer, upstream, slug):
    fail(customer, slug, upstream)
    upstream.fail_next(1, 500)
    chat_until(customer, slug, lambda: upstream.count == 6)
    out = gateway.targets(slug)[0]
    pause = parse_time(out["out_until"]) - parse_time(out["last_failure_at"])
    assert out["state"] == "out" and 1.99 < pause.total_seconds() < 2.01
    assert parse_time(out["last_failure_at"]) - parse_time(out["out_since"]) >= pause / 2, "it has been out since then"
    [first, second] = log_lines(gateway, slug, "a target is left out", 2)
    assert '"pause_ms":1000' in first and '"pause_ms":2000' in second


def test_half_of_twenty_failures_leave_a_target_out(gateway, customer, upstream, second, slug):
    for _ in range(9):
        fail(customer, slug, upstream, 1)
        assert customer.chat(slug).status == 200
    assert customer.chat(slug).status == 200
    assert (upstream.count, gateway.targets(slug)[0]["state"]) == (19, "ok")
    fail(customer, slug, upstream, 1)
    assert gateway.targets(slug)[0]["state"] == "out", "10 of 20 attempts failed"


@pytest.mark.parametrize(("retry_after", "least", "most"), [("7", 6, 7), ("3600", 59, 60)])
def test_a_429_with_retry_after_leaves_a_target_out_for_that_long(
    gateway, customer, upstream, second, slug, retry_after, least, most
):
    upstream.fail_next(1, 429, headers=[("retry-after", retry_after)])
    for _ in range(3):
        assert customer.chat(slug).status == 200
    assert (upstream.count, second.count) == (1, 3)
    out = gateway.targets(slug)[0]
    pause = (parse_time(out["out_until"]) - parse_time(out["out_since"])).total_seconds()
    assert out["state"] == "out" and least <= pause <= most + 0.01 and out["attempts"]["limited"] == 1


def test_after_retry_after_a_target_is_simply_in_again(gateway, customer, upstream, slug):
    upstream.fail_next(1, 429, headers=[("retry-after", "1")])
    chat_until(customer, slug, lambda: upstream.count == 2)
    assert gateway.targets(slug)[0]["state"] == "ok"
    assert len(log_lines(gateway, slug, "a target is in again", 1)) == 1


def test_a_request_is_not_refused_because_all_targets_are_left_out(gateway, customer, upstream, second, slug):
    second.fail_next(5, 500)
    upstream.fail_next(5, 500)
    for _ in range(5):
        assert customer.chat(slug).status == 502
    assert [target["state"] for target in gateway.targets(slug)] == ["out", "out"]
    assert customer.chat(slug).status == 200
    assert gateway.targets(slug)[0]["state"] == "ok", "it has answered"
    assert (upstream.count, second.count) == (6, 5), "its time comes first"


def test_the_customers_own_faults_and_hang_ups_leave_no_target_out(gateway, customer, upstream, second, slug):
    for _ in range(6):
        upstream.fail_next(1, 422)
        assert customer.chat(slug).status == 422
        gate = upstream.hang_next()
        connection = customer.begin_chat(slug)
        gate.reached()
        connection.close()
        upstream.requests[-1].wait_hung_up()
    first = gateway.targets(slug)[0]
    assert first["state"] == "ok" and first["attempts"]["failed"] == 0 and second.count == 0


def test_a_change_of_address_credential_or_model_starts_a_target_anew(gateway, customer, endpoint, upstream, slug):
    path = f"/v1/gateway/endpoints/{endpoint['id']}"
    fail(customer, slug, upstream)
    [first, second] = endpoint["targets"]
    gateway.admin("PATCH", path, {"targets": [second, {**first, "weight": 7, "max_concurrent": 9}]})
    moved = gateway.targets(slug)[1]
    assert (moved["state"], moved["weight"], moved["max_concurrent"]) == ("out", 7, 9), "it is the same server"
    secret = gateway.admin("POST", "/v1/secrets", {"name": fresh("secret"), "value": "credential-of-a-server"})
    for change in ({"target_model": "another"}, {"secret_id": secret["id"]}):
        gateway.admin("PATCH", path, {"targets": [first, second]})
        upstream.fail_next(5, 500)
        gateway.eventually(lambda: customer.chat(slug).status and gateway.targets(slug)[0]["state"], "out".__eq__)
        gateway.admin("PATCH", path, {"targets": [{**first, **change}, second]})
        upstream.script.clear()
        assert gateway.targets(slug)[0]["state"] == "unused"
        assert customer.chat(slug).status == 200 and gateway.targets(slug)[0]["state"] == "ok"


def test_a_new_value_of_its_secret_starts_a_target_anew(gateway, upstream, second):
    secret = {"name": fresh("secret"), "value": "the-wrong-credential"}
    made = gateway.admin("POST", "/v1/secrets", secret)
    slug = gateway.create_endpoint([target_of(upstream, secret_id=made["id"]), second])["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    upstream.reply_next(Reply(401, json_body={"error": {"message": "no"}}), 5)
    for _ in range(5):
        assert customer.chat(slug).status == 200
    assert gateway.targets(slug)[0]["state"] == "out"
    gateway.admin("POST", "/v1/secrets", {**secret, "value": "the-right-credential"})
    assert customer.chat(slug).status == 200
    assert upstream.requests[-1].headers["authorization"] == "Bearer the-right-credential"


def test_the_status_says_in_a_sentence_which_target_is_left_out(gateway, customer, upstream, slug):
    fail(customer, slug, upstream)
    [notice] = [text for text in gateway.admin("GET", "/v1/gateway/status")["attention"] if slug in text]
    assert notice.startswith(f"Target 0 of {slug} is left out since ") and "it failed (500)" in notice
