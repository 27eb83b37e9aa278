"""Failing receivers: retries and their number, dead letters, and events that wait.

In the outage at the end, many receivers fail at once, each in a different way. It takes a minute and runs only once.
"""

import concurrent.futures
import itertools
import re
import time

import pytest

from support.gateway import Customer, Gateway, parse_time
from support.receiver import Receiver, closed, endless, redirect, reset, slow_body, slow_head, text
from support.scripted import BreakOff, Reply
from support.upstream import ScriptedUpstream
from support.wall_clock import WallClock
from support.webhooks import Webhook, signature
from test_events import TIMESTAMP, ULID

DEAD_LETTER = {"id", "failed_at", "attempts", "last_status", "last_error", "events", "alerts", "redelivering"}
REFUSED = b"no tenant of that name"


@pytest.fixture
def make_letters(receiver, webhook, call):
    """Makes `count` dead letters of one event each; returns them. The receiver works again afterwards."""

    def make_letters(count):
        for number in range(count):
            receiver.fail_next(1, 410, REFUSED)
            call()
            webhook.point_to(f"{receiver.url}?{number}")  # otherwise the next delivery would wait for half a minute
            webhook.wait_dead_letters(number + 1)
        return webhook.dead_letters()

    return make_letters


def attention(gateway, webhook):
    """The status sentences about this webhook."""
    return [one for one in gateway.admin("GET", "/v1/gateway/status")["attention"] if webhook.id in one]


# Retries


def test_a_retry_repeats_the_delivery_unchanged(receiver, webhook, call):
    receiver.reply_next(closed())
    receiver.fail_next(1, 500)
    events = call()
    assert receiver.wait_events(1) == events
    first, second, third = receiver.requests
    for again in (second, third):
        assert again.body == first.body and again.path == first.path
        assert {**again.headers, "connection": ""} == {**first.headers, "connection": ""}, "also id and signature"
    assert 0.5 < second.at - first.at < 4 and 1 < third.at - second.at < 6, "the pause must start at a second and grow"
    delivery = webhook.wait_caught_up()
    assert (delivery["state"], delivery["deliveries"], delivery["failed_attempts"]) == ("ok", 1, 2)
    assert set(delivery["last_error"]) == {"at", "status", "message"}, "the last error must be kept after a success"
    assert delivery["last_error"]["status"] == 500 and delivery["last_error"]["message"]
    assert webhook.dead_letters() == []


def test_the_webhook_shows_that_a_delivery_is_retried(gateway, receiver, webhook, call):
    receiver.always(text(503, b"down for maintenance"))
    [event] = call()
    receiver.wait_requests(2)
    delivery = webhook.wait(lambda delivery: delivery["failed_attempts"] >= 2)
    assert delivery["state"] == "retrying" and delivery["records_behind"] > 0
    assert delivery["oldest_waiting_at"] == event["timestamp"] and delivery["last_success_at"] is None
    error = delivery["last_error"]
    assert error["status"] == 503 and "503" in error["message"] and "down for maintenance" in error["message"]
    assert TIMESTAMP.fullmatch(error["at"]) and error["at"] >= event["timestamp"]
    receiver.always(text(200))
    receiver.wait_events(1)
    assert webhook.wait_caught_up()["state"] == "ok" and attention(gateway, webhook) == []


def test_a_new_url_is_in_force_for_the_next_attempt(receiver, webhook, call):
    receiver.always(text(500))
    events = call()
    receiver.wait_requests(1)
    other = Receiver()
    webhook.point_to(other)
    assert other.wait_events(1) == events
    other.stop()


def test_a_retry_is_signed_with_the_secrets_of_its_time(receiver, webhook, call):
    receiver.fail_next(1, 500)
    call()
    receiver.wait_requests(1)
    webhook.rotate_secret()
    receiver.wait_events(1)
    first, second = receiver.requests
    assert first.request_id == second.request_id and first.body == second.body
    old, new = first.signature, signature(second.body, webhook.secret)
    assert old != new and second.signature == f"{new},{old}"


def test_a_disabled_webhook_makes_no_further_attempt(receiver, webhook, webhook_to, call):
    witness = Receiver()
    webhook_to(witness)
    receiver.always(text(500))
    call()
    receiver.wait_requests(1)
    webhook.patch(enabled=False)
    witness.wait_events(1)
    attempts = receiver.count
    for count in (2, 3, 4):  # this takes some seconds
        call()
        witness.wait_events(count)
    assert receiver.count <= attempts + 1, "at most one attempt may have been in flight"
    assert webhook.delivery["state"] == "disabled" and webhook.dead_letters() == []
    receiver.always(text(200))
    webhook.patch(enabled=True)
    assert receiver.wait_events(4) == witness.events()
    witness.stop()


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422, 429, 499])
def test_a_4xx_ends_a_delivery_at_once(receiver, webhook, call, status):
    receiver.fail_next(1, status)
    events = call()
    [letter] = webhook.wait_dead_letters(1)
    assert (letter["attempts"], letter["last_status"], letter["events"]) == (1, status, events)
    assert receiver.count == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_2xx_is_a_success(receiver, webhook, call, status):
    receiver.always(text(status) if status != 204 else Reply(204, [("content-length", "0")]))
    events = call()
    assert receiver.wait_events(1) == events
    assert webhook.wait_caught_up()["deliveries"] == 1 and receiver.count == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nthanks",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nthanks",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6;a=b\r\nthanks\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ],
    ids=["1.0", "no reason", "until the end", "chunked", "100 first", "103 first"],
)
def test_every_form_of_a_2xx_answer_is_accepted(receiver, webhook, call, answer):
    receiver.always(Reply(None, steps=[answer]))
    call()
    delivery = webhook.wait(lambda delivery: delivery["deliveries"] + delivery["failed_attempts"])
    assert (delivery["deliveries"], delivery["failed_attempts"]) == (1, 0), delivery["last_error"]
    assert receiver.count == 1


def test_no_sentence_and_no_log_line_shows_a_urls_query(gateway, receiver, webhook_to, call):
    webhook = webhook_to(receiver.url + "?token=hush")
    receiver.fail_next(1, 503), receiver.fail_next(1, 410)
    call()
    [letter] = webhook.wait_dead_letters(1)
    receiver.refuse_connections()
    assert webhook.test()["ok"] is False
    call()
    webhook.redeliver()
    webhook.wait(lambda delivery: delivery["failed_attempts"] >= 3)
    status = gateway.admin_answer("GET", "/v1/gateway/status").body.decode()
    for shown in (status, gateway.log, str(letter), str(webhook.delivery), str(webhook.test())):
        assert "hush" not in shown
    assert webhook.id in status


def test_stalled_receivers_do_not_slow_inference(gateway, receiver, webhook_to, customer, slug):
    receiver.always(Reply(before_head=receiver.gate()))
    for _ in range(20):
        webhook_to(receiver)
    assert customer.chat(slug).status == 200
    receiver.wait_requests(20)

    def seconds(_):
        begun = time.monotonic()
        assert customer.chat(slug).status == 200
        return time.monotonic() - begun

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        took = sorted(pool.map(seconds, range(400)))
    assert took[len(took) // 2] < 0.5 and took[-1] < 5, "an attempt has ten seconds, which no customer may wait for"


# Dead letters


def test_a_dead_letter_shows_what_happened(gateway, receiver, webhook, make_letters):
    [letter] = make_letters(1)
    assert set(letter) == DEAD_LETTER and ULID.fullmatch(letter["id"]) and TIMESTAMP.fullmatch(letter["failed_at"])
    assert (letter["attempts"], letter["last_status"], letter["redelivering"]) == (1, 410, False)
    assert "410" in letter["last_error"] and REFUSED.decode() in letter["last_error"]
    assert (letter["events"], letter["alerts"]) == (receiver.requests[0].events, [])
    delivery = webhook.delivery
    assert (delivery["dead_letters"], delivery["failed_attempts"], delivery["state"]) == (1, 1, "failing")
    sentences = attention(gateway, webhook)
    assert any("1 delivery given up" in one for one in sentences)
    assert all(one.endswith(".") and "?" not in one for one in sentences), "a URL's query may contain a secret"


def test_dead_letters_are_listed_in_pages_oldest_first(gateway, receiver, webhook, make_letters):
    letters = make_letters(5)
    assert [one["events"] for one in letters] == [delivery.events for delivery in receiver.requests]
    times = [one["failed_at"] for one in letters]
    assert times == sorted(times) and len({one["id"] for one in letters}) == 5
    for limit in (1, 2, 5):
        assert webhook.dead_letters(limit=limit) == letters


def test_dead_letters_are_listed_oldest_first_whatever_the_clock_does(upstream, receiver):
    with WallClock("2027-03-14T10:00:00Z") as clock, clock.gateway() as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        webhook = Webhook(gateway, receiver)
        for number, hours in enumerate((0, -2, 1)):
            clock.jump(hours=hours)
            receiver.fail_next(1, 410)
            assert customer.chat(slug).status == 200
            webhook.point_to(f"{receiver.url}?{number}")
            webhook.wait_dead_letters(number + 1)
        letters = webhook.dead_letters()
        assert [event for letter in letters for event in letter["events"]] == gateway.events()
        assert webhook.dead_letters(limit=1) == letters


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 200_000,
        "€".encode() * 1000,
        b"\xff\xfe\x00\x1b[31m\r\n" * 300,
        b"<html><script>alert(1)</script>",
        b"",
    ],
    ids=["long", "multi-byte characters", "binary", "html", "empty"],
)
def test_an_error_message_quotes_at_most_a_kibibyte_of_the_answer(gateway, receiver, webhook, call, body):
    receiver.fail_next(1, 422, body)
    call()
    [letter] = webhook.wait_dead_letters(1)
    for message in (letter["last_error"], webhook.delivery["last_error"]["message"]):
        assert "422" in message and len(message.encode()) < 1024 + 200
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", message), "control characters could reach a terminal"
    assert "\x1b" not in gateway.log


def test_a_redelivered_dead_letter_is_removed(receiver, webhook, make_letters):
    letters = make_letters(3)
    assert webhook.redeliver(letters[1]) == 1
    receiver.wait_events(1)
    assert receiver.accepted[0].events == letters[1]["events"]
    assert webhook.wait_dead_letters(2) == [letters[0], letters[2]]
    assert webhook.redeliver() == 2
    receiver.wait_events(3)
    assert webhook.wait_dead_letters(0) == [] and webhook.redeliver() == 0
    assert [one.events for one in receiver.accepted] == [letters[at]["events"] for at in (1, 0, 2)]
    assert webhook.delivery["state"] == "ok"


def test_a_redelivery_in_flight_is_shown_and_not_queued_twice(receiver, webhook, make_letters):
    [letter] = make_letters(1)
    gate = receiver.hang_next()
    assert webhook.redeliver(letter) == 1
    gate.reached()
    assert webhook.dead_letters() == [{**letter, "redelivering": True}]
    webhook.redeliver(letter), webhook.redeliver()
    gate.release()
    webhook.wait_dead_letters(0)
    webhook.wait_caught_up()
    assert len(receiver.accepted) == 1


def test_a_redelivery_that_fails_is_kept_and_counted(receiver, webhook, make_letters):
    first, second = make_letters(2)
    receiver.fail_next(1, 404, b"still unknown")
    assert webhook.redeliver(first) == 1
    webhook.wait(lambda delivery: delivery["failed_attempts"] == 3)
    Gateway.eventually(webhook.dead_letters, lambda letters: not any(one["redelivering"] for one in letters))
    again = next(one for one in webhook.dead_letters() if one["id"] == first["id"])
    assert (again["attempts"], again["last_status"]) == (2, 404) and "still unknown" in again["last_error"]
    assert again["failed_at"] > first["failed_at"] and again["events"] == first["events"]
    assert second in webhook.dead_letters() and len(webhook.dead_letters()) == 2
    webhook.redeliver()
    receiver.wait_events(2)
    webhook.wait_dead_letters(0)


def test_a_disabled_webhook_redelivers_when_it_is_enabled(receiver, webhook, make_letters):
    [letter] = make_letters(1)
    webhook.patch(enabled=False)
    assert webhook.redeliver(letter) == 1
    assert webhook.test()["ok"] and receiver.accepted == []
    assert webhook.dead_letters() == [{**letter, "redelivering": True}]
    webhook.patch(enabled=True)
    assert receiver.wait_events(1) == letter["events"]
    webhook.wait_dead_letters(0)


def test_with_an_unknown_id_nothing_is_redelivered(gateway, receiver, webhook, make_letters):
    letters = make_letters(2)
    path = f"{webhook.path}/dead_letters/redeliver"
    for ids in ([letters[0]["id"], "01J9X7Y0Z3K4M5N6P7Q8R9S0T1"], [letters[0]["id"], ""]):
        answer = gateway.admin_answer("POST", path, {"ids": ids})
        assert answer.status == 400 and "ids" in answer.json()["error"], answer
    assert webhook.dead_letters() == letters and receiver.events() == []
    assert gateway.admin("POST", path, {"ids": [letters[0]["id"]] * 2}) == {"queued": 1}
    assert receiver.wait_events(1) == letters[0]["events"]
    webhook.wait_dead_letters(1)


def test_a_dead_letter_of_another_webhook_is_unknown(gateway, webhook_to, make_letters, webhook):
    [letter] = make_letters(1)
    other = webhook_to("http://127.0.0.1:9/", enabled=False)
    answer = gateway.admin_answer("POST", f"{other.path}/dead_letters/redeliver", {"ids": [letter["id"]]})
    assert answer.status == 400 and other.dead_letters() == [] and webhook.dead_letters() == [letter]


def test_without_a_body_or_ids_all_dead_letters_are_redelivered(gateway, receiver, webhook, make_letters):
    path = f"{webhook.path}/dead_letters/redeliver"
    for number, body in enumerate((None, {}, {"ids": None})):
        make_letters(1)
        assert gateway.admin("POST", path, body) == {"queued": 1}
        receiver.wait_events(number + 1)
        webhook.wait_dead_letters(0)


def test_large_events_are_kept_complete_and_listed_in_pages(gateway, receiver, webhook_to, customer, slug, key):
    """Events of 16 KiB: a delivery and a page of dead letters hold fewer of them."""
    webhook = webhook_to(receiver, enabled=False)
    for number in range(320):
        assert customer.chat(slug, metadata={"n": number, "text": "x" * 16_000}).status == 200
    events = gateway.events(key)
    receiver.always(text(413))
    webhook.patch(enabled=True)
    for count in itertools.count(1):
        letters = webhook.wait_dead_letters(count)
        if sum(len(letter["events"]) for letter in letters) == len(events):
            break
        webhook.point_to(f"{receiver.url}?{count}")
    assert [event for letter in letters for event in letter["events"]] == events
    first = gateway.admin("GET", f"{webhook.path}/dead_letters")
    assert first["pagination"]["has_more"] and first["items"] == letters[: len(first["items"])]
    assert webhook.dead_letters(limit=3) == letters
    receiver.always(text(200))
    assert webhook.redeliver() == len(letters)
    assert receiver.wait_events(len(events)) == events
    webhook.wait_dead_letters(0)


def test_new_events_and_redeliveries_take_turns(receiver, webhook, make_letters, call):
    letters = make_letters(6)
    gate = receiver.hang_next()
    assert webhook.redeliver() == 6
    gate.reached()
    events = call(3)
    gate.release()
    receiver.wait_events(9)
    webhook.wait_dead_letters(0)
    order = [delivery.events for delivery in receiver.accepted]
    assert sorted(map(repr, order)) == sorted(map(repr, [one["events"] for one in letters] + [events[6:]]))
    assert 0 < order.index(events[6:]) < 6, "neither may wait for all of the other"


def test_a_change_of_the_url_ends_the_wait_after_a_failure(receiver, webhook, call):
    receiver.fail_next(1, 410)
    call()
    webhook.wait_dead_letters(1)
    events = call()
    begun = time.monotonic()
    webhook.point_to(receiver.url + "?moved")
    assert receiver.wait_events(1) == events[1:] and time.monotonic() - begun < 10
    assert webhook.wait_caught_up()["state"] == "ok" and len(webhook.dead_letters()) == 1


def test_disabling_and_enabling_ends_the_wait_too(receiver, webhook, call):
    receiver.fail_next(1, 410)
    call()
    webhook.wait_dead_letters(1)
    webhook.patch(enabled=False)
    webhook.patch(enabled=True)
    events = call()
    assert receiver.wait_events(1) == events[1:]


# The outage


DELIVERIES = [100, 100, 50]
# How each receiver fails, the status of its dead letter, and a pattern for its error message.
FAILING = {
    "answers 500": (lambda r: text(500, b"tenant store is down"), 500, "500.*tenant store is down"),
    "answers 503": (lambda r: text(503), 503, "503"),
    "redirects": (lambda r: redirect("http://127.0.0.1:9/"), 302, "302"),
    "refuses connections": (None, None, "refused"),
    "closes": (lambda r: closed(), None, "clos"),
    "resets": (lambda r: reset(), None, "reset|clos"),
    "is silent": (lambda r: Reply(before_head=r.gate()), None, "10|time"),
    "sends a slow head": (lambda r: slow_head(), None, "10|time"),
    "does not speak HTTP": (lambda r: Reply(None, steps=[b"220 mail.example ESMTP\r\n\r\n"]), None, "."),
    "fails with an endless body": (lambda r: endless(500), 500, "500"),
    "fails with a slow body": (lambda r: slow_body(500), 500, "500"),
}
# Receivers whose status is a success, whatever follows it.
ACCEPTING = {
    "accepts with an endless body": lambda r: endless(200),
    "accepts with a slow body": lambda r: slow_body(200),
    "accepts and breaks off": lambda r: Reply(200, [("content-length", "50")], [b"x", BreakOff()]),
}
# What three of the failing receivers do after the first dead letter.
RECOVERS, REFUSES, STAYS = "answers 500", "answers 503", "redirects"


class Outage:
    """A gateway with 250 events per receiver. Records the state once each failing one has its first dead letter."""

    def __init__(self):
        self.gateway, self.upstream = Gateway(), ScriptedUpstream()
        self.receivers = {name: Receiver() for name in [*FAILING, *ACCEPTING]}
        slug = self.gateway.create_endpoint(self.upstream)["slug"]
        customer = Customer(self.gateway, self.gateway.mint_key(self.gateway.create_group(slug)))
        self.webhooks = {name: Webhook(self.gateway, to, enabled=False) for name, to in self.receivers.items()}
        for _ in range(sum(DELIVERIES)):
            assert customer.chat(slug).status == 200
        self.events = self.gateway.events()
        for name, receiver in self.receivers.items():
            reply = ACCEPTING.get(name) or FAILING[name][0]
            receiver.always(reply(receiver)) if reply else receiver.refuse_connections()
            self.webhooks[name].patch(enabled=True)
        self.letters = {name: self.webhooks[name].wait_dead_letters(1, within=45) for name in FAILING}
        self.attempts = {name: attempts_at_first(self.receivers[name]) for name in FAILING}
        self.deliveries = {name: self.webhooks[name].delivery for name in FAILING}
        self.attention = {name: attention(self.gateway, self.webhooks[name]) for name in FAILING}

    def close(self):
        for receiver in self.receivers.values():
            receiver.stop()
        self.gateway.kill9()
        self.gateway.close()
        self.upstream.stop()


def attempts_at_first(receiver):
    return [one for one in list(receiver.requests) if one.request_id == receiver.requests[0].request_id]


@pytest.fixture(scope="module")
def outage():
    outage = Outage()
    yield outage
    outage.close()


@pytest.mark.parametrize("name", FAILING)
def test_a_delivery_that_keeps_failing_becomes_one_dead_letter(outage, name):
    _, status, words = FAILING[name]
    [letter] = outage.letters[name]
    assert letter["events"] == outage.events[: DELIVERIES[0]] and letter["last_status"] == status
    assert re.search(words, letter["last_error"], re.I | re.S), letter["last_error"]
    assert len(letter["last_error"].encode()) < 1024 + 200
    delivery = outage.deliveries[name]
    assert (delivery["state"], delivery["dead_letters"]) == ("failing", 1)
    assert delivery["failed_attempts"] == letter["attempts"] >= 2
    assert delivery["records_behind"] >= 150 and delivery["events"] == 0
    assert delivery["oldest_waiting_at"] in (None, outage.events[DELIVERIES[0]]["timestamp"])


@pytest.mark.parametrize("name", [name for name in FAILING if name != "refuses connections"])
def test_the_attempts_of_a_delivery_take_at_most_fifteen_seconds(outage, name):
    attempts, [letter] = outage.attempts[name], outage.letters[name]
    assert len(attempts) == letter["attempts"]
    assert len({(attempt.request_id, attempt.body) for attempt in attempts}) == 1
    assert attempts[-1].at - attempts[0].at < 16


@pytest.mark.parametrize("name", [RECOVERS, "closes", "resets"])
def test_the_pauses_between_attempts_grow_from_one_second_to_five(outage, name):
    times = [attempt.at for attempt in outage.attempts[name]]
    pauses = [later - earlier for earlier, later in zip(times, times[1:])]
    assert 3 <= len(pauses) <= 8
    assert 0.5 < pauses[0] < 2.5 and max(pauses) < 7, pauses
    assert all(later > earlier - 0.7 for earlier, later in zip(pauses, pauses[1:])), pauses


@pytest.mark.parametrize("name", ["is silent", "sends a slow head"])
def test_an_attempt_times_out_after_ten_seconds(outage, name):
    first, second = outage.attempts[name][:2]
    assert first.hung_up.is_set() and 10 < second.at - first.at < 14


@pytest.mark.parametrize("name", FAILING)
def test_the_status_describes_a_failing_webhook_in_sentences(outage, name):
    assert len(outage.attention[name]) == 2
    for sentence in outage.attention[name]:
        assert sentence[0].isupper() and sentence.endswith(".")


@pytest.mark.parametrize("name", ACCEPTING)
def test_a_2xx_is_a_success_whatever_happens_to_its_body(outage, name):
    receiver, webhook = outage.receivers[name], outage.webhooks[name]
    assert receiver.wait_events(sum(DELIVERIES), within=40) == outage.events
    webhook.wait_caught_up()
    assert webhook.dead_letters() == [] and webhook.delivery["failed_attempts"] == 0
    assert [len(delivery.events) for delivery in receiver.requests] == DELIVERIES


@pytest.fixture(scope="module")
def probed(outage):
    """The outage half a minute later, when three receivers have been tried once more."""
    outage.receivers[RECOVERS].always(text(200))
    outage.receivers[REFUSES].always(text(410, REFUSED))
    for name in (RECOVERS, REFUSES, STAYS):
        outage.receivers[name].wait(
            lambda name=name: outage.receivers[name].count > len(outage.attempts[name]), lambda: f"{name}: no probe", 45
        )
    return outage


@pytest.mark.parametrize("name", [RECOVERS, REFUSES, STAYS])
def test_after_half_a_minute_the_next_delivery_is_tried_once(probed, name):
    attempts = probed.attempts[name]
    probe = probed.receivers[name].requests[len(attempts)]
    assert probe.request_id != attempts[0].request_id
    assert probe.events == probed.events[DELIVERIES[0] : sum(DELIVERIES[:2])]
    assert 25 < probe.at - attempts[-1].at < 36


def test_a_receiver_that_recovers_gets_all_waiting_events(probed):
    receiver, webhook = probed.receivers[RECOVERS], probed.webhooks[RECOVERS]
    assert receiver.wait_events(150) == probed.events[100:]
    assert webhook.wait_caught_up()["state"] == "ok"
    assert webhook.dead_letters() == probed.letters[RECOVERS], "a dead letter must stay until it is redelivered"
    [sentence] = attention(probed.gateway, webhook)
    assert "1" in sentence and "dead letter" in sentence
    webhook.redeliver()
    receiver.wait_events(250)
    assert webhook.wait_dead_letters(0) == [] and attention(probed.gateway, webhook) == []
    assert receiver.keys() == {one["idempotencyKey"] for one in probed.events}


def test_a_failed_probe_leaves_all_events_waiting(probed):
    receiver, webhook = probed.receivers[STAYS], probed.webhooks[STAYS]
    webhook.wait(lambda delivery: delivery["failed_attempts"] > len(probed.attempts[STAYS]))
    assert webhook.dead_letters() == probed.letters[STAYS]
    delivery = webhook.delivery
    assert (delivery["state"], delivery["oldest_waiting_at"]) == ("failing", probed.events[100]["timestamp"])
    assert receiver.count == len(probed.attempts[STAYS]) + 1, "there must be only one probe"
    receiver.always(text(200))
    begun = time.monotonic()
    webhook.point_to(receiver.url + "?mended")
    assert receiver.wait_events(150) == probed.events[100:] and time.monotonic() - begun < 15


def test_a_refused_probe_becomes_a_dead_letter(probed):
    receiver, webhook = probed.receivers[REFUSES], probed.webhooks[REFUSES]
    first, second = webhook.wait_dead_letters(2)
    assert [first] == probed.letters[REFUSES]
    assert (second["attempts"], second["last_status"]) == (1, 410) and REFUSED.decode() in second["last_error"]
    assert second["events"] == probed.events[100:200] and webhook.delivery["state"] == "failing"
    assert receiver.count == len(probed.attempts[REFUSES]) + 1
    receiver.always(text(200))
    assert webhook.redeliver() == 2
    receiver.wait_events(250)
    assert webhook.wait_dead_letters(0) == [] and webhook.wait_caught_up()["state"] == "ok"


def test_every_receiver_that_recovers_gets_every_event(probed):
    """This holds for every kind of failure."""
    for name in FAILING:
        receiver, webhook = probed.receivers[name], probed.webhooks[name]
        receiver.always(text(200))
        if name == "refuses connections":
            receiver.accept_connections()
        webhook.point_to(f"{receiver.url}?all")
        webhook.redeliver()
    for name in FAILING:
        receiver, webhook = probed.receivers[name], probed.webhooks[name]
        receiver.wait_events(sum(DELIVERIES))
        assert receiver.keys() == {one["idempotencyKey"] for one in probed.events}
        webhook.wait_dead_letters(0)
        webhook.wait_state("ok")


def test_the_outage_causes_no_panic(probed):
    assert "panicked" not in probed.gateway.log
    newest = probed.webhooks[RECOVERS].read()["delivery"]
    assert parse_time(newest["last_success_at"]) > parse_time(newest["last_error"]["at"])
