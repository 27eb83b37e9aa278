"""The list of a webhook's latest delivery attempts."""

import time

from support.gateway import parse_time
from support.receiver import closed, text
from support.webhooks import Webhook
from support.wire import DEADLINE

FIELDS = {"request_id", "at", "attempt", "kind", "events", "status", "error", "duration_ms", "outcome"}


def deliveries(webhook):
    """The listed attempts, newest first."""
    answer = webhook.gateway.admin("GET", f"{webhook.path}/deliveries")
    assert set(answer) == {"items"}
    for item in answer["items"]:
        assert set(item) == FIELDS and item["duration_ms"] >= 0 and item["events"] >= 1
    ats = [parse_time(item["at"]) for item in answer["items"]]
    assert ats == sorted(ats, reverse=True)
    return answer["items"]


def wait(webhook, condition, within=DEADLINE):
    limit = time.monotonic() + within
    while not condition(items := deliveries(webhook)):
        assert time.monotonic() < limit, f"the condition never held; the last value: {items}"
        time.sleep(0.02)
    return items


def shown(item):
    return tuple(item[name] for name in ("kind", "attempt", "events", "status", "outcome"))


def test_a_new_webhook_lists_no_attempts(webhook):
    assert deliveries(webhook) == []


def test_a_successful_delivery_is_listed(receiver, webhook, call):
    call(2)
    receiver.wait_events(2)
    items = wait(webhook, lambda items: sum(item["events"] for item in items) == 2)
    assert [(item["kind"], item["attempt"], item["status"], item["error"], item["outcome"]) for item in items] == [
        ("events", 1, 200, None, "delivered")
    ] * len(items)
    assert [item["request_id"] for item in items] == [request.request_id for request in reversed(receiver.requests)]


def test_each_attempt_of_a_delivery_is_listed(receiver, webhook, call):
    receiver.reply_next(closed())
    receiver.fail_next(1, 503)
    call()
    items = wait(webhook, lambda items: len(items) == 3)
    assert [shown(item) for item in items] == [
        ("events", 3, 1, 200, "delivered"),
        ("events", 2, 1, 503, "retrying"),
        ("events", 1, 1, None, "retrying"),
    ]
    assert len({item["request_id"] for item in items}) == 1
    assert items[0]["error"] is None and "503" in items[1]["error"] and items[2]["error"]


def test_dead_letters_waiting_deliveries_and_redeliveries_are_listed(receiver, webhook, call):
    receiver.fail_next(1, 410)
    call()
    webhook.wait_dead_letters(1)
    receiver.always(text(500))
    call()
    webhook.patch(description="tried at once")
    wait(webhook, lambda items: len(items) == 2)
    receiver.always(text(200))
    assert webhook.redeliver() == 1
    items = wait(webhook, lambda items: len(items) == 4)
    assert [shown(item) for item in items[2:]] == [
        ("events", 1, 1, 500, "waiting"),
        ("events", 1, 1, 410, "dead_letter"),
    ]
    assert sorted(shown(item) for item in items[:2]) == [
        ("events", 2, 1, 200, "delivered"),
        ("redelivery", 1, 1, 200, "delivered"),
    ]


def test_test_deliveries_are_listed_too(receiver, webhook):
    tested = webhook.test()
    receiver.fail_next(1, 500)
    failed = webhook.test()
    items = deliveries(webhook)
    assert [shown(item) for item in items] == [("test", 1, 1, 500, "failed"), ("test", 1, 1, 200, "delivered")]
    assert [item["request_id"] for item in items] == [failed["request_id"], tested["request_id"]]
    assert items[0]["error"] == failed["error"] and items[1]["error"] is None


def test_the_latest_hundred_attempts_are_listed(receiver, webhook):
    tested = [webhook.test()["request_id"] for _ in range(105)]
    assert [item["request_id"] for item in deliveries(webhook)] == tested[:4:-1]


def test_a_receivers_answer_is_shown_shortened_and_without_secrets_of_its_url(gateway, receiver, webhook_to):
    webhook = webhook_to(f"{receiver.url}?token=hush-hush")
    receiver.always(text(500, b"token=hush-hush \x1b[31m" + b"x" * 5000))
    webhook.test()
    [item] = deliveries(webhook)
    assert "hush" not in item["error"] and "\x1b" not in item["error"] and len(item["error"]) <= 256


def test_attempts_belong_to_one_webhook_and_are_lost_with_it_or_the_process(own, receiver):
    one, other = Webhook(own, receiver), Webhook(own, receiver)
    one.test()
    assert len(deliveries(one)) == 1 and deliveries(other) == []
    own.restart()
    assert deliveries(one) == []
    one.delete()
    answer = own.admin_answer("GET", f"{one.path}/deliveries")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
