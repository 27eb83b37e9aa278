"""Events past their retention are kept for enabled webhooks up to twice the retention, then deleted undelivered."""

import shutil

import pytest

from support.gateway import Customer
from support.receiver import Receiver, text
from support.upstream import ScriptedUpstream
from support.wall_clock import WallClock
from support.webhooks import Webhook
from test_retention import LARGE


class Behind:
    """A gateway with a retention of two and a half days. Its webhook has one dead letter and got nothing since."""

    def __init__(self, clock, upstream, receiver):
        self.clock, self.receiver = clock, receiver
        self.gateway = clock.gateway(events_retention="60h", durability="process")
        self.slug = self.gateway.create_endpoint(upstream)["slug"]
        self.customer = Customer(self.gateway, self.gateway.mint_key(self.gateway.create_group(self.slug)))
        self.webhook = Webhook(self.gateway, receiver)
        receiver.fail_next(1, 410)
        receiver.always(text(500))
        self.call(1)
        self.webhook.wait_dead_letters(1)
        for _ in range(3):
            self.fill_a_day()

    def call(self, times):
        for _ in range(times):
            assert self.customer.chat(self.slug, metadata=LARGE).status == 200

    @property
    def segments(self):
        return sorted((self.gateway.data_dir / "journal").glob("*.log"))

    def fill_a_day(self):
        """Fills a segment with events, then advances the clock by a day."""
        filled = self.segments[-1]
        while self.segments[-1] == filled:
            self.call(20)
        self.gateway.eventually(self.newest_snapshot, lambda record: record + 1 >= int(self.segments[-1].stem))
        self.clock.jump(days=1)

    def newest_snapshot(self):
        return max((int(path.name) for path in self.gateway.data_dir.glob("snapshots/" + 20 * "[0-9]")), default=0)

    @property
    def has_all(self):
        return int(self.segments[0].stem) == 1

    def wait_removed(self):
        self.gateway.restart()  # old segments are deleted at the start and every minute
        self.gateway.eventually(lambda: self.has_all, lambda has_all: not has_all)

    @property
    def attention(self):
        return self.gateway.admin("GET", "/v1/gateway/status")["attention"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A stopped `Behind` gateway, a copy of its data directory, and the time of the stop."""
    upstream, receiver = ScriptedUpstream(), Receiver()
    with WallClock("2026-03-01T01:00:00Z") as clock:
        behind = Behind(clock, upstream, receiver)
        behind.gateway.stop()
        kept = tmp_path_factory.mktemp("lived") / "data"
        shutil.copytree(behind.gateway.data_dir, kept)
        yield behind, kept, clock.now
        behind.gateway.close()
    receiver.stop()
    upstream.stop()


@pytest.fixture
def behind(lived):
    """The gateway, running again on a fresh copy of that directory, at that time."""
    behind, kept, at = lived
    shutil.rmtree(behind.gateway.data_dir)
    shutil.copytree(kept, behind.gateway.data_dir)
    behind.clock.set(at)
    behind.receiver.always(text(500))
    behind.receiver.requests.clear()
    behind.gateway.start()
    yield behind
    behind.gateway.kill9()


def test_events_are_kept_until_an_enabled_webhook_has_them(behind):
    begun = behind.gateway.events()
    behind.gateway.restart()
    behind.call(1)
    assert behind.gateway.events()[: len(begun)] == begun and behind.has_all
    behind.receiver.always(text(200))
    behind.webhook.point_to(behind.receiver.url + "?mended")
    behind.webhook.wait_caught_up()
    events = behind.receiver.events()
    assert [event["idempotencyKey"] for event in events[: len(begun) - 1]] == [one["idempotencyKey"] for one in begun[1:]]
    behind.wait_removed()
    assert events[-len(behind.gateway.events()) :] == behind.gateway.events()
    [letter] = behind.webhook.dead_letters()
    assert letter["events"] == begun[:1], "a dead letter must be kept whatever its age"
    behind.webhook.redeliver()
    behind.webhook.wait_dead_letters(0)
    assert behind.receiver.events()[-1] == begun[0]


def test_a_disabled_webhook_keeps_no_events(behind):
    behind.webhook.patch(enabled=False)
    behind.wait_removed()
    left = behind.gateway.events()
    behind.receiver.always(text(200))
    behind.webhook.patch(enabled=True)
    behind.webhook.wait_caught_up()
    assert behind.receiver.events() == left
    assert any("were not" in one or "was not" in one for one in behind.attention), behind.attention


def test_after_twice_the_retention_a_webhook_misses_deleted_events_and_the_status_says_so(behind):
    behind.clock.jump(days=3)
    behind.call(1)
    behind.wait_removed()
    [sentence] = [one for one in behind.attention if "retention" in one]
    assert behind.receiver.origin in sentence
    behind.receiver.always(text(200))
    behind.webhook.point_to(behind.receiver.url + "?mended")
    behind.webhook.wait_caught_up()
    left = behind.gateway.events()
    assert behind.receiver.events()[-len(left) :] == left
    assert {event["idempotencyKey"] for event in left} <= behind.receiver.keys()
