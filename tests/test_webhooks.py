"""Webhooks without failures: how operators manage them, and what receivers get."""

import concurrent.futures
import datetime
import re
import threading

import pytest
import trustme

from support.gateway import EPOCH, Customer, Gateway, parse_time
from support.receiver import Receiver, redirect, text
from support.scripted import Reply
from support.wall_clock import WallClock
from support.webhooks import ROOT, Webhook, signature
from support.wire import DEADLINE
from test_events import FIELDS, TIMESTAMP, ULID, UUID
from test_tls import serve_tls

WEBHOOK = {
    "id",
    "url",
    "description",
    "enabled",
    "types",
    "created_at",
    "updated_at",
    "previous_secret_until",
    "delivery",
}
SECRET = re.compile("whsec_[0-9A-Za-z]{43}")
FRESH = {
    "state": "ok",
    "records_behind": 0,
    "oldest_waiting_at": None,
    "last_success_at": None,
    "last_error": None,
    "deliveries": 0,
    "events": 0,
    "failed_attempts": 0,
    "dead_letters": 0,
}


@pytest.fixture
def other():
    """A second receiver."""
    running = Receiver()
    yield running
    running.stop()


def as_written(webhook):
    """A webhook without its delivery state and secret."""
    return {name: value for name, value in webhook.items() if name not in ("delivery", "secret")}


def listed(gateway):
    """All webhooks, without their delivery state."""
    items, query = [], {"limit": 3}
    while True:
        page = gateway.admin("GET", ROOT, query=query)
        assert len(page["items"]) <= 3
        items += map(as_written, page["items"])
        if not page["pagination"]["has_more"]:
            return items
        query = {"limit": 3, "cursor": page["pagination"]["cursor"]}


# The admin API


def test_a_webhook_is_shown_as_it_was_created(gateway, receiver, webhook_to):
    webhook = webhook_to(receiver.url + "?tenant=7", description="Größe \u2713", enabled=True)
    made = dict(webhook.created)
    assert SECRET.fullmatch(made.pop("secret")) and set(made) == WEBHOOK
    assert ULID.fullmatch(made["id"]) and TIMESTAMP.fullmatch(made["created_at"])
    assert (made["url"], made["description"], made["enabled"]) == (receiver.url + "?tenant=7", "Größe \u2713", True)
    assert made["updated_at"] == made["created_at"] and made["previous_secret_until"] is None
    webhook.wait_caught_up()
    made["delivery"] = FRESH
    assert webhook.read() == made and as_written(made) in listed(gateway)


def test_omitted_and_null_fields_have_defaults(receiver, webhook_to):
    for fields in ({}, {"description": None, "enabled": None}):
        made = webhook_to(receiver, **fields).created
        assert made["description"] is None and made["enabled"] is True


def test_a_change_changes_only_what_it_names(receiver, webhook_to):
    webhook = webhook_to(receiver, description="first")
    before = webhook.read()
    changed = webhook.patch(description="second", enabled=None)
    assert as_written(changed) == as_written(webhook.read())
    assert as_written(changed) == as_written(before) | {"description": "second", "updated_at": changed["updated_at"]}
    assert parse_time(changed["updated_at"]) >= parse_time(before["updated_at"])
    assert webhook.patch(enabled=False)["description"] == "second"
    assert webhook.delivery["state"] == "disabled"
    assert webhook.patch(description=None)["description"] is None
    assert webhook.patch(url="http://127.0.0.1:9/elsewhere")["url"] == "http://127.0.0.1:9/elsewhere"
    assert webhook.read()["enabled"] is False and webhook.read()["created_at"] == before["created_at"]


def test_a_deleted_webhook_is_gone(gateway, receiver, webhook_to):
    webhook, stays = webhook_to(receiver), webhook_to(receiver)
    assert webhook.delete() == {"id": webhook.id, "url": receiver.url}
    for method, route in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/dead_letters")):
        assert gateway.admin_answer(method, webhook.path + route).status == 404
    assert [one["id"] for one in listed(gateway)] == [stays.id]


def test_the_list_has_every_webhook_once(gateway, receiver, webhook_to):
    made = [webhook_to(receiver, description=str(number)).id for number in range(7)]
    assert [one["id"] for one in listed(gateway)] == made


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "https://billing.example",
        "HTTP://Billing.Example:8443/In?a=b&c=%20",
        "http://[::1]:9/",
        "http://bücher.example/ä",
        "http://billing.example/" + "x" * (2048 - len("http://billing.example/")),
    ],
    ids=lambda url: ascii(url)[:40],
)
def test_any_url_that_can_be_called_is_accepted(webhook_to, url):
    webhook = webhook_to(url, enabled=False)
    assert webhook.patch(url="http://127.0.0.1:9/")["url"] == "http://127.0.0.1:9/"
    assert webhook.patch(url=url)["url"] == webhook.created["url"] == webhook.read()["url"]


def test_at_most_a_hundred_webhooks_can_exist(own):
    made = [Webhook(own, "http://127.0.0.1:9/", enabled=False) for _ in range(100)]
    answer = own.admin_answer("POST", ROOT, {"url": "http://127.0.0.1:9/"})
    assert (answer.status, answer.json()["code"]) == (400, "too_many_webhooks") and "100" in answer.json()["error"]
    assert len(listed(own)) == 100
    made[50].delete()
    Webhook(own, "http://127.0.0.1:9/", enabled=False)


def routes(webhook):
    yield "GET", ROOT, None
    yield "POST", ROOT, {"url": "http://127.0.0.1:9/"}
    yield "GET", webhook.path, None
    yield "PATCH", webhook.path, {"enabled": False}
    yield "DELETE", webhook.path, None
    yield "POST", f"{webhook.path}/rotate_secret", None
    yield "POST", f"{webhook.path}/test", None
    yield "GET", f"{webhook.path}/dead_letters", None
    yield "POST", f"{webhook.path}/dead_letters/redeliver", {}


@pytest.mark.parametrize("kind", ["WORKSPACE_MANAGE_API_KEYS", "WORKSPACE_EXPORT_METRICS", "customer"])
def test_webhooks_need_the_manage_all_scope(gateway, webhook, receiver, key, kind):
    before = listed(gateway)
    credential = key if kind == "customer" else gateway.mint_operator(kind)
    for method, path, body in routes(webhook):
        assert gateway.admin_answer(method, path, body, key=credential).status == 403, (method, path)
        assert gateway.admin_answer(method, path, body, key=None).status == 401, (method, path)
    assert listed(gateway) == before and receiver.count == 0


def test_a_secret_is_shown_only_once(upstream, receiver):
    with Gateway(log="trace") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        webhook = Webhook(gateway, receiver)
        secrets = [webhook.secret, webhook.rotate_secret()["secret"]]
        assert customer.chat(slug).status == 200
        receiver.wait_events(1)
        webhook.test()
        receiver.fail_next(1, 410)
        assert customer.chat(slug).status == 200
        webhook.wait_dead_letters(1)
        paths = [webhook.path, f"{webhook.path}/dead_letters", ROOT, "/v1/gateway/status", "/v1/audit_logs", "/metrics"]
        shown = [gateway.admin_answer("GET", path).body for path in paths]
        gateway.restart()
        shown += [gateway.admin_answer("GET", path).body for path in paths]
        gateway.stop()
        written = [path.read_bytes() for path in gateway.data_dir.rglob("*") if path.is_file()]
        for one in [*shown, *written, gateway.log.encode()]:
            for secret in secrets:
                assert secret.removeprefix("whsec_").encode() not in one


def test_a_webhook_is_the_same_after_a_restart(own, upstream, receiver):
    slug = own.create_endpoint(upstream)["slug"]
    customer = Customer(own, own.mint_key(own.create_group(slug)))
    gone, webhook = Webhook(own, receiver), Webhook(own, "http://127.0.0.1:9/", description="first")
    old = webhook.secret
    gone.delete()
    webhook.patch(url=receiver.url, description="second")
    webhook.rotate_secret()
    before = webhook.read()
    own.restart()
    assert listed(own) == [as_written(before)]
    assert customer.chat(slug).status == 200
    delivery = receiver.wait_requests(1)
    assert delivery.signature == signature(delivery.body, webhook.secret, old)


def test_the_status_shows_the_progress_of_each_webhook(gateway, receiver, webhook_to, call):
    webhook = webhook_to(receiver.origin + "/hooks/hush?token=hush")
    call()
    receiver.wait_events(1)
    webhook.wait_caught_up()
    answer = gateway.admin_answer("GET", "/v1/gateway/status")
    [shown] = answer.json()["webhooks"]
    assert shown == {"id": webhook.id, "origin": receiver.origin, "enabled": True, "delivery": webhook.delivery}
    assert shown["delivery"]["last_success_at"] and b"hush" not in answer.body and "hush" not in gateway.log


# A delivery


def test_a_delivery_is_exactly_as_documented(gateway, receiver, webhook_to, call):
    webhook = webhook_to(f"{receiver.origin}/in/billing?tenant=7&b=%20")
    events = call()
    delivery = receiver.wait_requests(1)
    assert (delivery.method, delivery.path) == ("POST", "/in/billing?tenant=7&b=%20")
    assert delivery.json == {"type": "API_BILLING_USAGE", "data": {"events": events}} and len(events) == 1
    version = gateway.admin("GET", "/v1/gateway/status")["version"]
    request_id, signed = delivery.headers["x-tollgate-request-id"], signature(delivery.body, webhook.secret)
    assert UUID.fullmatch(request_id)
    expected = {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "content-length": str(len(delivery.body)),
        "user-agent": f"tollgate/{version}",
        "x-tollgate-signature": signed,
        "x-baseten-signature": signed,
        "x-tollgate-request-id": request_id,
        "x-baseten-request-id": request_id,
    }
    names = [name for name, _ in delivery.header_list]
    harmless = {"accept", "accept-encoding", "connection"} & set(names)
    assert delivery.headers == expected | {name: delivery.headers[name] for name in harmless}
    assert len(names) == len(set(names)), "a header was sent twice"
    delivered = webhook.wait(lambda delivery: delivery["deliveries"])
    assert (delivered["deliveries"], delivered["events"], delivered["failed_attempts"]) == (1, 1, 0)
    assert TIMESTAMP.fullmatch(delivered["last_success_at"]) and delivered["state"] == "ok"


def test_an_event_is_delivered_as_the_events_api_shows_it(gateway, upstream, receiver, webhook):
    pricing = {"currency": "EUR", "input": "0.15", "output": "999999.999999", "cached": "0.075"}
    slug = gateway.create_endpoint(upstream, pricing=pricing)["slug"]
    key = gateway.mint_key(gateway.create_group(slug, entity="Größe \u2713 \"</script>\\"))
    customer = Customer(gateway, key)
    for metadata in (
        None,
        {},
        {"ä\u2028\"\\\n": ["\U0001f600", None, True, -0.0, 1.50, 123456789012345678901234567890], "": {"a": {}}},
        {"large": "x" * 16_000},
        {"too large": "x" * (16 << 10)},
    ):
        assert customer.chat(slug, metadata=metadata).status == 200
    connection, _, stream = customer.stream_chat(slug)
    stream.chunks()
    connection.close()
    events = receiver.wait_events(6)
    assert events == gateway.events(key)
    assert events[2]["cost"]["currency"] == "EUR" and events[-1]["streamed"] is True
    assert b"123456789012345678901234567890" in b"".join(delivery.body for delivery in receiver.requests)


def test_a_webhook_starts_with_the_events_after_its_creation(receiver, webhook_to, call):
    call()
    webhook_to(receiver)
    events = call()
    assert receiver.wait_events(1) == events[1:]


def test_a_single_event_is_delivered_soon(receiver, webhook, call):
    call()
    delivery = receiver.wait_requests(1)
    [event] = delivery.events
    late = datetime.datetime.now(datetime.timezone.utc) - parse_time(event["timestamp"])
    assert late < datetime.timedelta(seconds=5)


def test_events_of_one_second_are_delivered_together(receiver, webhook, call):
    events = call(5)
    assert receiver.wait_events(5) == events
    seconds = (parse_time(events[-1]["timestamp"]) - parse_time(events[0]["timestamp"])).total_seconds()
    assert receiver.count <= 1 + int(seconds), "a delivery waits a second after its first event"


def test_a_backlog_is_delivered_in_hundreds_and_in_order(receiver, webhook_to, call):
    webhook = webhook_to(receiver, enabled=False)
    events = call(250)
    webhook.patch(enabled=True)
    assert receiver.wait_events(250) == events
    assert [len(delivery.events) for delivery in receiver.requests] == [100, 100, 50]
    assert len({delivery.request_id for delivery in receiver.requests}) == 3
    webhook.wait_caught_up()
    assert webhook.delivery["events"] == 250 and webhook.delivery["oldest_waiting_at"] is None


def test_events_of_concurrent_calls_are_delivered_once_and_in_order(gateway, receiver, webhook, customer, slug, key):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: customer.chat(slug), range(320)))
    assert {answer.status for answer in answers} == {200}
    receiver.wait_events(320)
    webhook.wait_caught_up()
    assert receiver.events() == gateway.events(key)
    assert max(len(delivery.events) for delivery in receiver.requests) <= 100


def test_a_webhook_has_one_delivery_in_flight(receiver, other, webhook_to, call):
    gate = receiver.hang_next()
    webhook_to(receiver), webhook_to(other)
    call()
    gate.reached()
    call(150)
    other.wait_events(151)
    assert receiver.count == 1
    gate.release()
    assert receiver.wait_events(151) == other.events()


def test_a_stalled_receiver_does_not_delay_others(receiver, other, webhook_to, call):
    gate = receiver.hang_next()
    webhook_to(receiver), webhook_to(other)
    for count in (1, 2, 3):
        call()
        other.wait_events(count)
    assert receiver.events() == []
    gate.release()
    assert receiver.wait_events(3) == other.events()


def test_a_disabled_webhook_waits_and_continues_later(own, upstream, receiver, other):
    slug = own.create_endpoint(upstream)["slug"]
    customer = Customer(own, own.mint_key(own.create_group(slug)))
    webhook, _witness = Webhook(own, receiver), Webhook(own, other)
    for count in (1, 2, 3):
        webhook.patch(enabled=count != 2)
        assert customer.chat(slug).status == 200
        other.wait_events(count)
        if count == 2:
            own.restart()
            assert webhook.delivery["state"] == "disabled" and webhook.delivery["records_behind"] > 0
        else:
            receiver.wait_events(count)
    assert receiver.events() == other.events() == own.events()


def test_a_new_url_is_in_force_for_the_next_delivery(receiver, other, webhook_to, call):
    webhook = webhook_to(receiver)
    call()
    receiver.wait_events(1)
    webhook.point_to(other)
    events = call()
    assert other.wait_events(1) == events[1:] and receiver.count == 1


def test_a_deleted_webhook_delivers_nothing_more(receiver, other, webhook_to, call):
    webhook, _witness = webhook_to(receiver), webhook_to(other)
    call()
    receiver.wait_events(1)
    webhook.delete()
    call()
    other.wait_events(2)
    assert receiver.count == 1


def test_a_webhook_that_is_deleted_during_a_delivery_retries_nothing(receiver, other, webhook_to, call):
    gate = receiver.gate()
    receiver.reply_next(Reply(503, before_head=gate))
    webhook, _witness = webhook_to(receiver), webhook_to(other)
    call()
    gate.reached()
    webhook.delete()
    gate.release()
    for count in (2, 3):
        call()
        other.wait_events(count)
    assert receiver.count == 1


# Secrets


def test_a_rotated_secret_signs_beside_the_new_one(receiver, webhook, call):
    secrets = [webhook.secret]
    for count in (1, 2, 3):
        call()
        delivery = receiver.wait_requests(count)
        assert delivery.signature == signature(delivery.body, *secrets[:2]), "the newest secret and the one before it"
        assert delivery.headers["x-baseten-signature"] == delivery.signature
        before = datetime.datetime.now(datetime.timezone.utc)
        answer = webhook.rotate_secret()
        assert SECRET.fullmatch(answer["secret"]) and answer["secret"] not in secrets
        assert as_written(answer) == as_written(webhook.read())
        day = parse_time(answer["previous_secret_until"]) - before
        assert abs(day - datetime.timedelta(hours=24)) < datetime.timedelta(minutes=1)
        secrets.insert(0, answer["secret"])


def test_a_replaced_secret_signs_for_a_day(upstream, receiver):
    with WallClock("2027-03-14T10:00:00Z") as clock, clock.gateway() as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        webhook = Webhook(gateway, receiver)
        old, new = webhook.secret, webhook.rotate_secret()["secret"]
        for number, (hours, secrets) in enumerate([(0, [new, old]), (23, [new, old]), (2, [new]), (-48, [new])]):
            clock.jump(hours=hours)
            assert customer.chat(slug).status == 200
            delivery = receiver.wait_requests(number + 1)
            assert delivery.signature == signature(delivery.body, *secrets)
            assert (webhook.read()["previous_secret_until"] is None) == (len(secrets) == 1)


# The test delivery


def test_a_stop_waits_for_a_test_delivery_that_has_begun(own, receiver):
    webhook, gate, answers = Webhook(own, receiver), receiver.hang_next(), []
    asking = threading.Thread(target=lambda: answers.append(webhook.test()))
    asking.start()
    gate.reached()
    own.terminate()
    own.process.wait_line(lambda line: "stopping" in line)
    gate.release()
    asking.join(DEADLINE)
    assert own.process.wait() == 0 and answers[0]["ok"] is True


def test_a_successful_test_delivery_ends_the_failing_state_if_nothing_waits(
    gateway, receiver, webhook, call
):
    receiver.fail_next(1, 410)
    call()
    webhook.wait_dead_letters(1)
    assert webhook.delivery["state"] == "failing"
    assert webhook.test()["ok"] is True and webhook.delivery["state"] == "ok"
    receiver.fail_next(1, 500)
    events = call()
    assert receiver.wait_events(1) == events[1:], "it must be retried in seconds, not in half a minute"


def report(gateway):
    return gateway.admin("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH, "group_by": "model"})["items"]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_test_delivery_is_recognizable_and_bills_nothing(gateway, receiver, webhook_to, call, enabled):
    webhook = webhook_to(receiver, enabled=enabled)
    before = gateway.events(), report(gateway)
    answer = webhook.test()
    [delivery] = receiver.requests
    assert answer == {
        "ok": True,
        "request_id": delivery.request_id,
        "status": 200,
        "error": None,
        "duration_ms": answer["duration_ms"],
    }
    assert type(answer["duration_ms"]) is int and 0 <= answer["duration_ms"] < 10_000
    assert delivery.signature == delivery.headers["x-baseten-signature"] == signature(delivery.body, webhook.secret)
    assert set(delivery.json) == {"type", "data"} and delivery.json["type"] == "TEST"
    [event] = delivery.events
    assert set(event) == FIELDS and ULID.fullmatch(event["idempotencyKey"]) and TIMESTAMP.fullmatch(event["timestamp"])
    assert (event["modelSlug"], event["externalEntityId"], event["apiKeyPrefix"]) == ("tollgate/test", "test", "test")
    assert event["tokens"] == {"inputTokens": 0, "outputTokens": 0, "cachedInputTokens": 0, "cacheWriteInputTokens": 0} and event["cost"] is None
    assert (gateway.events(), report(gateway)) == before
    assert webhook.delivery == {**FRESH, "state": "ok" if enabled else "disabled"} | {
        name: webhook.delivery[name] for name in ("records_behind", "last_success_at", "deliveries", "events")
    }


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_refused_test_delivery_is_tried_once_and_reported(receiver, webhook, status):
    receiver.always(text(status, b"no tenant of that name"))
    answer = webhook.test()
    assert (answer["ok"], answer["status"]) == (False, status)
    assert str(status) in answer["error"] and "no tenant of that name" in answer["error"]
    assert receiver.count == 1 and webhook.dead_letters() == [] and webhook.delivery["state"] == "ok"


def test_a_test_delivery_that_cannot_connect_says_why(receiver, webhook):
    receiver.refuse_connections()
    answer = webhook.test()
    assert (answer["ok"], answer["status"]) == (False, None) and "refused" in answer["error"].lower()
    assert UUID.fullmatch(answer["request_id"])


def test_a_test_delivery_shows_both_signatures_after_a_rotation(receiver, webhook):
    old, new = webhook.secret, webhook.rotate_secret()["secret"]
    webhook.test()
    [delivery] = receiver.requests
    assert delivery.signature == signature(delivery.body, new, old)


# Forbidden destinations


def test_a_redirect_is_not_followed(receiver, other, webhook, call):
    receiver.reply_next(redirect(other.url), times=2)
    receiver.reply_next(redirect(other.url, 307))
    assert webhook.test()["status"] == 302
    events = call()
    assert receiver.wait_events(1) == events and receiver.count == 4, "a redirect is a failure and is retried"
    assert other.count == 0


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "0xA9FEA9FE",
        "2852039166",
        "\uff11\uff16\uff19.254.169.254",
    ],
    ids=ascii,
)
def test_a_link_local_address_is_not_called(webhook_to, host):
    answer = webhook_to(f"http://{host}/latest/meta-data", enabled=False).test()
    assert (answer["ok"], answer["status"]) == (False, None) and "link-local" in answer["error"]


def test_our_own_listeners_are_not_called(gateway, webhook_to):
    for address in (gateway.address, gateway.admin_address):
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "127.1"):
            answer = webhook_to(f"http://{host}:{address.split(':')[1]}/", enabled=False).test()
            assert (answer["ok"], answer["status"]) == (False, None), host
            assert re.search("own|itself", answer["error"]), answer["error"]


# TLS


def test_a_delivery_over_tls_needs_a_valid_certificate(upstream, tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    trusted = Receiver(serve_tls(authority, "localhost"), "localhost")
    strangers = [Receiver(serve_tls(trustme.CA(), "localhost"), "localhost"), Receiver(serve_tls(authority, "x.example"))]
    with Gateway() as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        webhook = Webhook(gateway, trusted)
        assert Customer(gateway, gateway.mint_key(gateway.create_group(slug))).chat(slug).status == 200
        assert trusted.wait_events(1) == gateway.events() and webhook.test()["ok"]
        for stranger in strangers:
            answer = Webhook(gateway, stranger).test()
            assert answer["ok"] is False and re.search("TLS|certificate", answer["error"]), answer
            assert stranger.count == 0
    for receiver in (trusted, *strangers):
        receiver.stop()
