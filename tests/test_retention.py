"""What is past its retention goes, in whole segments, and only when nobody needs it: totals stay, and a lost store can
still be built."""

import datetime
import shutil

import pytest

from support.books import keyed, report_of
from support.commands import attempt, run
from support.gateway import EPOCH, Customer, DidNotStart, model, parse_time, rate
from support.wall_clock import WallClock

LARGE = {f"k{number}": "x" * 500 for number in range(30)}  # some 15 KiB: a few hundred events fill segments
DAY = [rate("REQUEST", "DAY", 100_000)]


class Aged:
    """A gateway that has lived for four days with a retention of two and a half, a segment a day."""

    def __init__(self, clock, upstream):
        self.clock = clock
        self.gateway = clock.gateway(events_retention="60h", durability="process")
        self.slug = self.gateway.create_endpoint(upstream, pricing={"currency": "EUR", "input": "1", "output": "2", "cached": "0"})["slug"]
        self.group = self.gateway.create_group(model(self.slug, [], DAY))
        self.customer = Customer(self.gateway, self.gateway.mint_key(self.group))
        self.events, self.all_snapshots = [], {}
        for _ in range(3):
            self.live()
        for _ in range(20):
            assert self.customer.chat(self.slug).status == 200
        self.note_events()

    def live(self):
        """A day that fills a segment."""
        filled = self.segments[-1]
        while self.segments[-1] == filled:
            for _ in range(20):
                assert self.customer.chat(self.slug, metadata=LARGE).status == 200
        self.note_events()
        last = self.segments[-1]
        self.gateway.eventually(lambda: self.snapshots, lambda found: found and int(found[-1].name) + 1 >= int(last.stem))
        self.all_snapshots |= {snapshot.name: snapshot.read_bytes() for snapshot in self.snapshots}
        self.clock.jump(days=1)

    def note_events(self):
        seen = self.events[-1]["timestamp"] if self.events else EPOCH
        known = {event["idempotencyKey"] for event in self.events}
        self.events += [e for e in self.gateway.events(start_time=seen) if e["idempotencyKey"] not in known]

    def wait_removed(self):
        """Waits until what may go has gone; gives the first record that is left."""

        def begun(segment):
            return parse_time(self.events[int(segment.stem) - 4]["timestamp"])  # three records came before the first event

        def is_done(segments):
            cut = self.clock.now - datetime.timedelta(hours=60)
            return int(segments[0].stem) > 1 and (len(segments) == 1 or begun(segments[1]) > cut)

        return int(self.gateway.eventually(lambda: self.segments, is_done)[0].stem)

    @property
    def segments(self):
        return sorted((self.gateway.data_dir / "journal").glob("*.log"))

    @property
    def snapshots(self):
        path = self.gateway.data_dir / "snapshots"
        return sorted(file for file in path.iterdir() if len(file.name) == 20) if path.exists() else []

    def report(self, *columns):
        query = {"start_time": EPOCH, "group_by": ",".join(columns)}
        return keyed(self.gateway.admin("GET", "/v1/gateway/usage_report", query=query)["items"])

    def totals_are_whole(self):
        for columns in (("day",), ("group", "model", "key"), ("hour",)):
            assert self.report(*columns) == report_of(self.events, columns)

    @property
    def attention(self):
        return self.gateway.admin("GET", "/v1/gateway/status")["attention"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """The data directory of such a gateway, stopped."""
    from support.upstream import ScriptedUpstream

    upstream = ScriptedUpstream()
    with WallClock("2026-03-01T01:00:00Z") as clock:
        aged = Aged(clock, upstream)
        aged.gateway.stop()
        kept = tmp_path_factory.mktemp("lived") / "data"
        shutil.copytree(aged.gateway.data_dir, kept)
        yield aged, kept
        if aged.gateway.process.child.poll() is None:
            aged.gateway.kill9()
        aged.gateway.close()
    upstream.stop()


@pytest.fixture
def aged(lived):
    """That gateway, serving, with its directory as it then was."""
    aged, kept = lived
    if aged.gateway.process.child.poll() is None:
        aged.gateway.kill9()
    shutil.rmtree(aged.gateway.data_dir)
    shutil.copytree(kept, aged.gateway.data_dir)
    aged.gateway.start()
    return aged


def test_old_segments_are_gone_and_totals_are_not(aged):
    gateway = aged.gateway
    first = aged.wait_removed()
    kept = gateway.events()
    assert kept == aged.events[-len(kept) :] and len(kept) < len(aged.events)
    now = aged.clock.now
    young = [e for e in aged.events if (now - parse_time(e["timestamp"])).total_seconds() < 60 * 3600]
    assert len(kept) >= len(young), "nothing went before its time"
    assert first <= int(aged.snapshots[0].name) + 1, "the older snapshot has the rest"
    aged.totals_are_whole()
    assert aged.attention == []
    answer = gateway.admin_answer("GET", "/v1/gateway/usage_report", query={"start_time": aged.events[1]["timestamp"]})
    assert answer.status == 400 and "start_time" in answer.json()["error"], "a part of an hour whose events are gone"
    assert "No problems found." in run("verify", "--data-dir", gateway.data_dir)
    for _ in range(2):
        gateway.kill9()
        gateway.start()
        aged.totals_are_whole()
        assert gateway.events() == kept and aged.attention == []


def test_changes_go_with_the_events_of_their_time(aged):
    gateway = aged.gateway
    aged.wait_removed()
    assert gateway.admin("GET", "/v1/audit_logs") == {"items": [], "pagination": {"has_more": False, "cursor": None}}
    gateway.mint_operator("WORKSPACE_EXPORT_METRICS")
    [entry] = gateway.audit_logs()
    assert entry["event_type"] == "operator_key.created"
    for lost in (False, True):
        gateway.kill9()
        if lost:
            shutil.rmtree(gateway.data_dir / "store")
        gateway.start()
        assert gateway.audit_logs() == [entry]


def test_a_store_that_is_lost_is_built_without_what_is_gone(aged, tmp_path):
    gateway = aged.gateway
    aged.wait_removed()
    archive = tmp_path / "backup.tar"
    run("backup", archive, "--data-dir", gateway.data_dir)
    gateway.kill9()
    for damaged in (None, aged.snapshots[-1]):
        if damaged:
            data = bytearray(damaged.read_bytes())
            data[len(data) // 2] ^= 1
            damaged.write_bytes(data)
        shutil.rmtree(gateway.data_dir / "store")
        gateway.start()
        aged.totals_are_whole()
        assert any("rebuilt from a snapshot" in sentence for sentence in aged.attention)
        assert any(".unused" in sentence for sentence in aged.attention) == bool(damaged)
        gateway.kill9()
    # Without any snapshot there is nothing to build from: no start, and certainly no empty one.
    shutil.rmtree(gateway.data_dir / "store")
    for snapshot in aged.snapshots:
        snapshot.write_bytes(b"TOLLGATE")
    ended = attempt("verify", "--data-dir", gateway.data_dir)
    assert ended.returncode == 1 and "cannot be compared" in ended.stdout
    for _ in range(2):
        with pytest.raises(DidNotStart) as caught:
            gateway.start()
        assert "nothing is left" in caught.value.output and "backup" in caught.value.output
    # As the message says.
    shutil.rmtree(gateway.data_dir)
    run("restore", archive, "--data-dir", gateway.data_dir)
    gateway.start()
    aged.totals_are_whole()


def test_days_files_that_are_lost_are_made_anew_or_missed_with_words(aged):
    gateway = aged.gateway
    aged.wait_removed()
    files = sorted((gateway.data_dir / "rollups").iterdir())
    assert [file.name for file in files] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    files[-1].unlink()
    aged.totals_are_whole()
    assert files[-1].exists()
    files[0].write_bytes(b"TOLLGATE")  # a day that the journal has forgotten
    answer = gateway.admin("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH, "group_by": "day"})
    assert [item["day"] for item in answer["items"]] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert "2026-03-01" in answer["incomplete"][0]["detail"]
    csv = gateway.admin_answer("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH, "format": "csv"})
    assert csv.headers["x-tollgate-incomplete"] == "true"


@pytest.mark.parametrize("what", ["missing", "empty", "garbage behind it"])
def test_a_segment_in_the_middle(aged, what):
    gateway = aged.gateway
    aged.wait_removed()
    before = gateway.events()
    gateway.kill9()
    victim = aged.segments[-2]
    first, following = int(victim.stem), int(aged.segments[-1].stem)
    if what == "missing":
        victim.unlink()
    elif what == "empty":
        victim.write_bytes(b"")
    else:
        victim.write_bytes(victim.read_bytes() + b"\xf8\xff\xc1\xfe garbage" * 1000)
    gateway.start()
    page = gateway.admin("GET", "/v1/gateway/events", query={"start_time": EPOCH, "limit": 1000})
    aged.totals_are_whole()
    if what == "garbage behind it":
        assert gateway.events() == before and aged.attention == [] and "incomplete" not in page
    else:
        [sentence] = aged.attention
        assert f"records {first} to {following - 1}" in sentence and "Totals contain them" in sentence
        [gap] = page["incomplete"]
        assert (gap["first_sequence"], gap["last_sequence"]) == (first, following - 1)
        assert len(gateway.events()) < len(before)
        file = gateway.admin_answer("GET", "/v1/gateway/events", query={"start_time": EPOCH, "format": "csv"})
        assert file.headers["x-tollgate-incomplete"] == "true"
        # A store that is built without them says that its totals miss them.
        gateway.kill9()
        shutil.rmtree(gateway.data_dir / "store")
        shutil.rmtree(gateway.data_dir / "snapshots")
        (gateway.data_dir / "snapshots").mkdir()
        base = max(name for name in aged.all_snapshots if int(name) < following - 1)
        (gateway.data_dir / "snapshots" / base).write_bytes(aged.all_snapshots[base])
        gateway.start()
        assert any("incomplete" in sentence for sentence in aged.attention)
        query = {"start_time": EPOCH, "group_by": "day"}
        report = gateway.admin("GET", "/v1/gateway/usage_report", query=query)
        assert report["incomplete"][0]["first_sequence"] == max(first, int(base) + 1)
