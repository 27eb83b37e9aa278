"""Kills the gateway at any moment of a webhook's delivery: after the next start no event is lost.

Each round brings the webhook into a state, kills the process and starts it again. Then the events that the receiver has
and those in dead letters are together exactly the billing events. `TOLLGATE_KILL_ROUNDS` sets the number of rounds, as
for `test_crashes.py`; the default is one of each kind.
"""

import os
import random
import shutil
import threading
import time

import pytest

from support.commands import run
from support.disk import FaultyDisk
from support.gateway import Customer, Gateway, seconds_to_midnight
from support.receiver import Receiver, text
from support.scripted import Reply
from support.upstream import ScriptedUpstream
from support.webhooks import Webhook, signature
from support.wire import Broken
from test_recovery import damage_a_request

ROUNDS = max(1, int(os.environ.get("TOLLGATE_KILL_ROUNDS", "6")) // 6)
TABLES = ["store", "snapshots"]


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 120:
        pytest.skip("the day is about to change")


class Shop:
    """A gateway with a webhook and customers who call, and the checks that must hold for them."""

    def __init__(self, gateway):
        self.gateway, self.upstream, self.receiver = gateway, ScriptedUpstream(), Receiver()
        self.slug = self.gateway.create_endpoint(self.upstream)["slug"]
        self.customer = Customer(self.gateway, self.gateway.mint_key(self.gateway.create_group(self.slug)))
        self.webhook = Webhook(self.gateway, self.receiver)
        self.calling, self.callers = False, []

    def close(self):
        self.stop_calling()
        if self.gateway.process.child.poll() is None:
            self.gateway.kill9()
        self.gateway.close()
        self.upstream.stop(), self.receiver.stop()

    def call(self, times=1):
        for _ in range(times):
            assert self.customer.chat(self.slug).status == 200

    def keep_calling(self, customers=4):
        """Lets customers call until the gateway is gone."""

        def call():
            while self.calling:
                try:
                    self.call()
                except (Broken, OSError):
                    return

        self.calling = True
        self.callers = [threading.Thread(target=call) for _ in range(customers)]
        for caller in self.callers:
            caller.start()

    def stop_calling(self):
        self.calling = False
        for caller in self.callers:
            caller.join()

    def kill9(self):
        self.gateway.kill9()
        self.stop_calling()

    def make_letters(self, times=1):
        """Makes `times` dead letters, each of an event that is refused at once; returns them."""
        before = self.webhook.dead_letters()
        for number in range(times):
            self.receiver.fail_next(1, 410)
            self.call()
            self.webhook.point_to(f"{self.receiver.url}?{len(before) + number}")
            self.webhook.wait_dead_letters(len(before) + number + 1)
        return [letter for letter in self.webhook.dead_letters() if letter not in before]

    def check(self):
        """Repairs the receiver; checks that every billing event arrives or is in a dead letter, unchanged."""
        with self.receiver.changed:
            self.receiver.script.clear()
        self.receiver.always(text(200))
        self.webhook.point_to(f"{self.receiver.url}?{random.random()}")  # ends the wait after a failure
        self.webhook.wait_caught_up()
        events = {event["idempotencyKey"]: event for event in self.gateway.events()}
        dead = [event for letter in self.webhook.dead_letters() for event in letter["events"]]
        for event in [*self.receiver.events(), *dead]:
            assert events[event["idempotencyKey"]] == event, "an event differs from the billing event"
        missing = events.keys() - self.receiver.keys() - {event["idempotencyKey"] for event in dead}
        assert not missing, f"{len(missing)} of {len(events)} events are lost"

    def check_all_arrived(self):
        self.check()
        self.webhook.redeliver()
        self.webhook.wait_dead_letters(0)
        assert self.receiver.keys() == {event["idempotencyKey"] for event in self.gateway.events()}


@pytest.fixture(params=["disk"])
def shop(request):
    shop = Shop(Gateway(durability=request.param))
    yield shop
    shop.close()


# The states of the webhook when the process ends. Each function leaves the gateway killed.


def at_any_moment(shop, rng):
    """Some deliveries succeed, some fail and some are refused while customers call."""
    replies = [text(200)] * 12 + [text(500)] * 2 + [text(410), Reply(200, steps=[])]
    shop.receiver.reply_next(text(200))
    for _ in range(40):
        shop.receiver.reply_next(rng.choice(replies))
    shop.keep_calling()
    shop.receiver.wait_requests(shop.receiver.count + rng.randrange(1, 3))
    time.sleep(rng.uniform(0, 0.3))
    shop.kill9()


def before_the_receiver_answered(shop, rng):
    gate = shop.receiver.hang_next()
    shop.call(3)
    gate.reached()
    shop.kill9()
    gate.release()


def while_the_receiver_answers(shop, rng):
    """The receiver has answered 200. Whether the gateway has seen it is a matter of microseconds."""
    gate = shop.receiver.gate()
    shop.receiver.reply_next(Reply(200, before_head=gate))
    shop.call(3)
    gate.reached()
    gate.release()
    time.sleep(rng.uniform(0, 0.003))
    shop.kill9()


def while_a_batch_is_gathered(shop, rng):
    shop.call(3)
    time.sleep(rng.uniform(0, 1))
    shop.kill9()


def between_two_attempts(shop, rng):
    shop.receiver.always(text(500))
    before = shop.receiver.count
    shop.call(3)
    shop.receiver.wait_requests(before + 2)
    time.sleep(rng.uniform(0, 0.5))
    shop.kill9()


def after_a_dead_letter(shop, rng):
    [letter] = shop.make_letters()
    shop.call()
    shop.kill9()
    shop.gateway.start()
    assert letter in shop.webhook.dead_letters()
    shop.kill9()


def as_a_delivery_is_refused(shop, rng):
    shop.receiver.always(text(410))
    before = shop.receiver.count
    shop.call(3)
    shop.receiver.wait_requests(before + 1)
    time.sleep(rng.uniform(0, 0.003))
    shop.kill9()


def after_a_redelivery_request(shop, rng):
    shop.make_letters(2)
    shop.webhook.redeliver()
    time.sleep(rng.uniform(0, 0.02))
    shop.kill9()


def in_the_middle_of_a_redelivery(shop, rng):
    shop.make_letters()
    gate = shop.receiver.hang_next()
    shop.webhook.redeliver()
    gate.reached()
    if rng.random() < 0.5:
        gate.release()
        time.sleep(rng.uniform(0, 0.003))
    shop.kill9()
    gate.release()


def while_it_stops(shop, rng):
    shop.keep_calling()
    shop.receiver.wait_requests(shop.receiver.count + 1)
    shop.gateway.terminate()
    time.sleep(rng.uniform(0, 0.05))
    shop.kill9()


MOMENTS = [
    at_any_moment,
    before_the_receiver_answered,
    while_the_receiver_answers,
    while_a_batch_is_gathered,
    between_two_attempts,
    after_a_dead_letter,
    as_a_delivery_is_refused,
    after_a_redelivery_request,
    in_the_middle_of_a_redelivery,
    while_it_stops,
]


@pytest.mark.parametrize(
    "shop, lost",
    [("disk", []), ("disk", TABLES), ("process", [])],
    indirect=["shop"],
    ids=["disk", "disk-and-tables-lost", "process"],
)
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_after_a_kill_at_any_moment_every_event_arrives(shop, moment, lost):
    rng = random.Random(moment.__name__)
    for _ in range(ROUNDS):
        moment(shop, rng)
        for name in lost:
            shutil.rmtree(shop.gateway.data_dir / name, ignore_errors=True)
        shop.gateway.start()
        shop.check()
    shop.check_all_arrived()


def test_a_delivery_that_a_kill_cut_off_is_repeated(shop):
    gate = shop.receiver.hang_next()
    shop.call()
    gate.reached()
    shop.kill9()
    shop.gateway.start()
    assert shop.receiver.wait_events(1) == shop.gateway.events()
    shop.webhook.wait_caught_up()
    assert shop.webhook.dead_letters() == []
    gate.release()


def test_after_a_kill_at_most_the_last_delivery_is_repeated(shop):
    """Delivery is at least once, but a kill must not repeat a long history."""
    shop.webhook.patch(enabled=False)
    shop.call(250)
    shop.webhook.patch(enabled=True)
    shop.receiver.wait_events(250)
    shop.webhook.wait_caught_up()
    shop.kill9()
    shop.gateway.start()
    shop.call()
    shop.receiver.wait_events(251)
    shop.webhook.wait_caught_up()
    assert len(shop.receiver.events()) <= 351, "more than the last delivery was repeated"


def test_starts_while_a_receiver_fails_make_no_dead_letters(shop):
    """Each start tries once. Several starts in a row make no dead letters."""
    letters = shop.make_letters()
    shop.receiver.always(text(500))
    shop.call(2)
    for _ in range(4):
        shop.kill9()
        before = shop.receiver.count
        shop.gateway.start()
        assert shop.webhook.delivery["state"] == "failing"
        shop.receiver.wait_requests(before + 1)
        shop.webhook.wait(lambda delivery: delivery["failed_attempts"])
        assert shop.webhook.dead_letters() == letters
    shop.check_all_arrived()


@pytest.mark.parametrize("what", ["sync", "write"])
def test_a_delivery_that_cannot_be_recorded_is_not_lost(what):
    """The disk fails before a successful delivery is recorded. It may be repeated, but every event arrives."""
    with FaultyDisk() as disk:
        shop = Shop(disk.gateway())
        gate = shop.receiver.hang_next()
        shop.call(3)
        gate.reached()
        disk.fail(what)
        gate.release()
        shop.receiver.wait_events(3)
        shop.gateway.eventually(lambda: disk.failed, bool)
        disk.heal()
        shop.gateway.eventually(lambda: shop.customer.chat(shop.slug).status, lambda status: status == 200)
        shop.check_all_arrived()
        shop.kill9()
        shop.gateway.start()
        shop.check_all_arrived()
        shop.close()


def test_an_orderly_stop_delivers_nothing_twice(shop):
    for _ in range(3):
        shop.keep_calling()
        shop.receiver.wait_requests(shop.receiver.count + 1)
        shop.gateway.stop()
        shop.stop_calling()
        shop.gateway.start()
        shop.check()
    assert len(shop.receiver.events()) == len(shop.receiver.keys())


def test_a_stop_does_not_wait_for_a_receiver(shop):
    for reply in (Reply(before_head=shop.receiver.gate()), text(500)):
        shop.receiver.always(reply)
        before = shop.receiver.count
        shop.call()
        shop.receiver.wait_requests(before + 1)
        begun = time.monotonic()
        shop.gateway.stop()
        assert time.monotonic() - begun < 8, "the stop waited for the attempt's timeout"
        shop.gateway.start()
    shop.check_all_arrived()


@pytest.mark.parametrize("lost", [["store"], TABLES], ids=["store", "store and snapshots"])
@pytest.mark.parametrize("moved", [True, False], ids=["moved away", "removed"])
def test_webhooks_and_dead_letters_survive_the_loss_of_the_store(shop, lost, moved):
    letters = shop.make_letters(2)
    old = shop.webhook.secret
    shop.webhook.rotate_secret()
    gone = Webhook(shop.gateway, "http://127.0.0.1:9/", enabled=False)
    gone.delete()
    disabled = Webhook(shop.gateway, shop.receiver, description="disabled", enabled=False)
    shop.call(2)
    shown = [{**webhook.read(), "delivery": None} for webhook in (shop.webhook, disabled)]
    shop.gateway.stop()
    for name in lost:
        path = shop.gateway.data_dir / name
        path.rename(shop.gateway.data_dir.parent / f"{name}-{id(shop)}") if moved else shutil.rmtree(path)
    shop.gateway.start()
    listed = shop.gateway.admin("GET", "/v1/gateway/webhooks")["items"]
    assert [{**webhook, "delivery": None} for webhook in listed] == shown
    assert shop.webhook.dead_letters() == letters and disabled.dead_letters() == []
    shop.check()
    before = shop.receiver.count
    disabled.patch(enabled=True)
    shop.receiver.wait_requests(before + 1)
    disabled.wait_caught_up()
    assert shop.receiver.requests[-1].events == shop.gateway.events()[2:], "it starts at its creation"
    shop.call()
    shop.receiver.wait_requests(before + 3)
    signatures = [len(delivery.signature.split(",")) for delivery in shop.receiver.requests[-2:]]
    assert sorted(signatures) == [1, 2], "the rotation must be kept"
    assert old not in shop.gateway.log
    shop.check_all_arrived()


def test_a_finished_redelivery_is_not_repeated_after_the_loss_of_the_store(shop):
    shop.make_letters(2)
    shop.webhook.redeliver()
    shop.webhook.wait_dead_letters(0)
    shop.webhook.wait_caught_up()
    shop.gateway.kill9()
    for name in TABLES:
        shutil.rmtree(shop.gateway.data_dir / name, ignore_errors=True)
    shop.gateway.start()
    assert shop.webhook.dead_letters() == []
    shop.call()
    shop.receiver.wait_events(3)
    assert len(shop.receiver.events()) == 3


def test_a_damaged_event_does_not_delay_others(shop):
    """Every readable event is delivered."""
    shop.webhook.patch(enabled=False)
    shop.call(6)
    shop.gateway.stop()
    damage_a_request(shop.gateway)
    shop.gateway.start()
    assert len(shop.gateway.events()) == 5
    shop.webhook.patch(enabled=True)
    assert shop.receiver.wait_events(5) == shop.gateway.events()
    shop.webhook.wait_caught_up()


def test_verify_computes_the_same_webhooks_and_dead_letters(shop):
    shop.make_letters(3)
    shop.webhook.redeliver(shop.webhook.dead_letters()[1])
    shop.webhook.wait_dead_letters(2)
    gone = Webhook(shop.gateway, shop.receiver)
    gate = shop.receiver.gate()
    shop.receiver.reply_next(Reply(410, before_head=gate), times=2)
    shop.call()
    gate.reached()
    gone.delete()  # the outcome of its delivery no longer matters
    gate.release()
    shop.webhook.wait_dead_letters(3)
    shop.webhook.rotate_secret()
    shop.gateway.stop()
    run("verify", "--data-dir", shop.gateway.data_dir)
    for name in TABLES:
        shutil.rmtree(shop.gateway.data_dir / name)
    shop.gateway.start()
    shop.gateway.stop()
    run("verify", "--data-dir", shop.gateway.data_dir)
    shop.gateway.start()
    shop.check_all_arrived()


def test_a_backup_contains_webhooks_and_dead_letters(shop, tmp_path):
    letters = shop.make_letters(1)
    answer = shop.gateway.admin_answer("POST", "/v1/gateway/backup")
    assert answer.status == 200
    (tmp_path / "backup.tar").write_bytes(answer.body)
    run("restore", tmp_path / "backup.tar", "--data-dir", tmp_path / "restored")
    shop.gateway.stop()
    with Gateway(data_dir=tmp_path / "restored") as restored:
        assert restored.admin("GET", f"{shop.webhook.path}/dead_letters")["items"] == letters
        shop.webhook.gateway = restored
        shop.webhook.redeliver()
        shop.receiver.wait_events(1)
        delivery = shop.receiver.requests[-1]
        assert delivery.signature == signature(delivery.body, shop.webhook.secret)
        shop.webhook.wait_dead_letters(0)
