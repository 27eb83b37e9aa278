"""Webhooks that get alerts: which types they choose, and deliveries, dead letters and redeliveries of alerts."""

import pytest

from support.gateway import Customer, model, rate, seconds_to_midnight
from support.receiver import Receiver, text
from support.webhooks import ROOT, Webhook, signature

BILLING, ALERT = "API_BILLING_USAGE", "ALERT"


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 300:
        pytest.skip("the day is about to change")


@pytest.fixture
def other():
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def spend(gateway, upstream):
    """Calls so that alerts of 75 and 100 percent are made; returns them as they are listed, the oldest first."""
    slug = gateway.create_endpoint(upstream)["slug"]

    def spend():
        group = gateway.create_group(model(slug, (), [rate("REQUEST", "DAY", 4)]))
        customer = Customer(gateway, gateway.mint_key(group))
        for _ in range(4):
            assert customer.chat(slug).status == 200
        entity = group["metadata"]["external_entity_id"]
        read = lambda: gateway.walk("/v1/gateway/alerts", {"limit": 100})
        of = lambda every: [one for one in every if one["external_entity_id"] == entity]
        return of(gateway.eventually(read, lambda every: len(of(every)) == 2))[::-1]

    return spend


def contents(receiver):
    """`(type, items)` of each delivery that was answered 2xx."""
    accepted = [one for one in list(receiver.requests) if one.answered in range(200, 300)]
    return [(one.json["type"], *one.json["data"].values()) for one in accepted]


def received(receiver, kind):
    return [item for of, items in contents(receiver) if of == kind for item in items]


def wait_alerts(receiver, expected):
    receiver.wait(
        lambda: len(received(receiver, ALERT)) >= len(expected), lambda: f"has {contents(receiver)}, not {expected}"
    )
    assert received(receiver, ALERT) == expected


def test_the_types_are_shown_changed_and_audited(gateway, receiver, webhook_to):
    webhook = webhook_to(receiver)
    assert webhook.created["types"] == webhook.read()["types"] == [BILLING]
    assert webhook_to(receiver, types=[ALERT, BILLING]).read()["types"] == [BILLING, ALERT]
    assert webhook_to(receiver, types=None).created["types"] == [BILLING]
    assert webhook.patch(types=[ALERT])["types"] == [ALERT]
    assert webhook.patch(description="alerts")["types"] == [ALERT]
    change = gateway.audit_logs(event_type="webhook.updated")[1]["event_data"]["changes"][0]
    assert (change["before"]["types"], change["after"]["types"]) == ([BILLING], [ALERT])


@pytest.mark.parametrize("wrong", [[], [ALERT, ALERT], ["TEST"], ["alert"], [None], [1], ALERT, {}, 7])
def test_wrong_types_are_refused_and_change_nothing(gateway, receiver, webhook_to, wrong):
    webhook = webhook_to(receiver, types=[ALERT])
    webhook.wait_caught_up()
    before = webhook.read()
    for method, path, body in [
        ("POST", ROOT, {"url": receiver.url, "types": wrong}),
        ("PATCH", webhook.path, {"types": wrong, "description": "changed"}),
    ]:
        answer = gateway.admin_answer(method, path, body)
        assert answer.status == 400 and "types" in answer.json()["error"], answer
    webhook.wait_caught_up()
    assert webhook.read() == before


def test_a_webhook_gets_what_its_types_say(gateway, receiver, other, webhook_to, spend):
    both_receiver = Receiver()
    alone, billing, both = webhook_to(receiver, types=[ALERT]), webhook_to(other), webhook_to(both_receiver, types=[BILLING, ALERT])
    alerts = spend()
    wait_alerts(receiver, alerts)
    wait_alerts(both_receiver, alerts)
    other.wait_events(4)
    both_receiver.wait_events(4)
    for webhook in (alone, billing, both):
        webhook.wait_caught_up()
    assert {kind for kind, _ in contents(receiver)} == {ALERT}
    assert {kind for kind, _ in contents(other)} == {BILLING}
    assert received(both_receiver, BILLING) == other.events()
    delivery = receiver.requests[-1]
    assert set(delivery.json) == {"type", "data"} and set(delivery.json["data"]) == {"alerts"}
    assert delivery.signature == signature(delivery.body, alone.secret)
    kinds = [one["kind"] for one in gateway.admin("GET", f"{alone.path}/deliveries")["items"]]
    assert kinds and set(kinds) == {"alerts"}
    assert alone.delivery["events"] == 2 and both.delivery["events"] == 6
    both_receiver.stop()


def test_changed_types_are_in_force_for_what_follows(receiver, webhook_to, spend):
    webhook = webhook_to(receiver)
    spend()
    receiver.wait_events(4)
    webhook.wait_caught_up()
    webhook.patch(types=[ALERT])
    alerts = spend()
    wait_alerts(receiver, alerts)
    webhook.wait_caught_up()
    assert len(receiver.events()) == 4


def test_types_that_are_taken_away_are_no_longer_retried(gateway, receiver, webhook_to, spend):
    webhook = webhook_to(receiver, types=[ALERT, BILLING])
    receiver.always(text(500))
    spend()
    webhook.wait(lambda delivery: delivery["failed_attempts"] > 0)
    webhook.patch(types=[ALERT])
    receiver.always(text(200))
    alerts = spend()
    receiver.wait(lambda: alerts[-1] in received(receiver, ALERT), lambda: f"has {contents(receiver)}", 60)


def test_alerts_that_were_given_up_are_dead_letters_that_can_be_redelivered(gateway, receiver, webhook_to, spend):
    webhook = webhook_to(receiver, types=[ALERT])
    receiver.fail_next(1, 400)
    alerts = spend()
    [letter] = webhook.wait_dead_letters(1)
    assert letter["events"] == [] and letter["last_status"] == 400
    assert letter["alerts"] == alerts[: len(letter["alerts"])] != []
    assert webhook.redeliver(letter) == 1
    webhook.wait(lambda delivery: delivery["dead_letters"] == 0)
    receiver.wait(lambda: len(received(receiver, ALERT)) >= 2, lambda: f"has {contents(receiver)}", 60)
    assert sorted(received(receiver, ALERT), key=lambda one: one["percent"]) == alerts
    kinds = {one["kind"] for one in gateway.admin("GET", f"{webhook.path}/deliveries")["items"]}
    assert "redelivery" in kinds


def test_a_webhook_of_alerts_is_the_same_after_a_kill(own, upstream, receiver):
    slug = own.create_endpoint(upstream)["slug"]
    webhook = Webhook(own, receiver, types=[ALERT])
    group = own.create_group(model(slug, (), [rate("REQUEST", "DAY", 4)]))
    customer = Customer(own, own.mint_key(group))
    for calls in range(1, 5):
        assert customer.chat(slug).status == 200
        if calls == 3:
            own.kill9()
            own.start()
    read = lambda: own.walk("/v1/gateway/alerts", {"limit": 100})
    own.eventually(read, lambda every: len(every) == 2)
    receiver.wait(lambda: len({one["id"] for one in received(receiver, ALERT)}) == 2, lambda: f"{contents(receiver)}")
    assert webhook.read()["types"] == [ALERT]
    ids = [one["id"] for one in received(receiver, ALERT)]
    assert list(dict.fromkeys(ids)) == [one["id"] for one in read()[::-1]]
