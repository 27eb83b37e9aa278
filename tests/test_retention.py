"""Retention: journal segments that are past it are deleted whole and only when nothing needs them. Totals stay, and a
lost store can still be rebuilt."""

import datetime
import shutil

import pytest

from support.books import keyed, report_of
from support.commands import attempt, run
from support.gateway import EPOCH, Customer, DidNotStart, model, parse_time, rate
from support.wall_clock import WallClock

LARGE = {f"k{number}": "x" * 500 for number in range(30)}  # about 15 KiB: a few hundred events fill a segment
DAY = [rate("REQUEST", "DAY", 100_000)]


class Aged:
    """A gateway after four days with a retention of two and a half days and one segment per day."""

    def __init__(self, clock, upstream):
        self.clock = clock
        self.gateway = clock.gateway(events_retention="60h", durability="process")
        self.slug = self.gateway.create_endpoint(upstream, pricing={"currency": "EUR", "input": "1", "output": "2", "cached": "0"})["slug"]
        self.group = self.gateway.create_group(model(self.slug, [], DAY))
        self.customer = Customer(self.gateway, self.gateway.mint_key(self.group))
        self.events, self.all_snapshots = [], {}
        for _ in range(3):
            self.fill_a_day()
        for _ in range(20):
            assert self.customer.chat(self.slug).status == 200
        self.record_events()

    def fill_a_day(self):
        """Fills a segment with events, then advances the clock by a day."""
        filled = self.segments[-1]
        while self.segments[-1] == filled:
            for _ in range(20):
                assert self.customer.chat(self.slug, metadata=LARGE).status == 200
        self.record_events()
        last = self.segments[-1]
        self.gateway.eventually(lambda: self.snapshots, lambda found: found and int(found[-1].name) + 1 >= int(last.stem))
        self.all_snapshots |= {snapshot.name: snapshot.read_bytes() for snapshot in self.snapshots}
        self.clock.jump(days=1)

    def record_events(self):
        seen = self.events[-1]["timestamp"] if self.events else EPOCH
        known = {event["idempotencyKey"] for event in self.events}
        self.events += [e for e in self.gateway.events(start_time=seen) if e["idempotencyKey"] not in known]

    def wait_removed(self):
        """Waits until every segment that may be deleted is gone; returns the first remaining sequence number."""

        def begun(segment):
            return parse_time(self.events[int(segment.stem) - 4]["timestamp"])  # three records precede the first event

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

    def check_totals(self):
        for columns in (("day",), ("group", "model", "key"), ("hour",)):
            assert self.report(*columns) == report_of(self.events, columns)

    @property
    def attention(self):
        return self.gateway.admin("GET", "/v1/gateway/status")["attention"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A stopped `Aged` gateway and a copy of its data directory."""
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
    """The gateway, running again on a fresh copy of that directory."""
    aged, kept = lived
    if aged.gateway.process.child.poll() is None:
        aged.gateway.kill9()
    shutil.rmtree(aged.gateway.data_dir)
    shutil.copytree(kept, aged.gateway.data_dir)
    aged.gateway.start()
    return aged


def test_old_segments_are_deleted_and_totals_stay(aged):
    gateway = aged.gateway
    first = aged.wait_removed()
    kept = gateway.events()
    assert kept == aged.events[-len(kept) :] and len(kept) < len(aged.events)
    now = aged.clock.now
    young = [e for e in aged.events if (now - parse_time(e["timestamp"])).total_seconds() < 60 * 3600]
    assert len(kept) >= len(young), "an event was deleted too early"
    assert first <= int(aged.snapshots[0].name) + 1, "the older snapshot must cover the deleted segments"
    aged.check_totals()
    assert aged.attention == []
    answer = gateway.admin_answer("GET", "/v1/gateway/usage_report", query={"start_time": aged.events[1]["timestamp"]})
    assert answer.status == 400 and "start_time" in answer.json()["error"], "the events of that hour are gone"
    assert "No problems found." in run("verify", "--data-dir", gateway.data_dir)
    for _ in range(2):
        gateway.kill9()
        gateway.start()
        aged.check_totals()
        assert gateway.events() == kept and aged.attention == []


def test_audit_entries_are_deleted_with_the_events_of_their_time(aged):
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


def test_a_lost_store_is_rebuilt_without_the_deleted_segments(aged, tmp_path):
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
        aged.check_totals()
        assert any("rebuilt from a snapshot" in sentence for sentence in aged.attention)
        assert any(".unused" in sentence for sentence in aged.attention) == bool(damaged)
        gateway.kill9()
    # Without a snapshot the store cannot be rebuilt, so the gateway must not start.
    shutil.rmtree(gateway.data_dir / "store")
    for snapshot in aged.snapshots:
        snapshot.write_bytes(b"TOLLGATE")
    ended = attempt("verify", "--data-dir", gateway.data_dir)
    assert ended.returncode == 1 and "cannot be compared" in ended.stdout
    for _ in range(2):
        with pytest.raises(DidNotStart) as caught:
            gateway.start()
        assert "nothing is left" in caught.value.output and "backup" in caught.value.output
    # The message says to restore a backup.
    shutil.rmtree(gateway.data_dir)
    run("restore", archive, "--data-dir", gateway.data_dir)
    gateway.start()
    aged.check_totals()


def test_lost_rollup_files_are_rebuilt_or_reported_as_missing(aged):
    gateway = aged.gateway
    aged.wait_removed()
    files = sorted((gateway.data_dir / "rollups").iterdir())
    assert [file.name for file in files] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    files[-1].unlink()
    aged.check_totals()
    assert files[-1].exists()
    files[0].write_bytes(b"TOLLGATE")  # a day whose events the journal has deleted
    answer = gateway.admin("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH, "group_by": "day"})
    assert [item["day"] for item in answer["items"]] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert "2026-03-01" in answer["incomplete"][0]["detail"]
    csv = gateway.admin_answer("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH, "format": "csv"})
    assert csv.headers["x-tollgate-incomplete"] == "true"


@pytest.mark.parametrize("what", ["missing", "empty", "garbage after it"])
def test_a_damaged_segment_in_the_middle_is_reported(aged, what):
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
    aged.check_totals()
    if what == "garbage after it":
        assert gateway.events() == before and aged.attention == [] and "incomplete" not in page
    else:
        [sentence] = aged.attention
        assert f"records {first} to {following - 1}" in sentence and "Totals include them" in sentence
        [gap] = page["incomplete"]
        assert (gap["first_sequence"], gap["last_sequence"]) == (first, following - 1)
        assert len(gateway.events()) < len(before)
        file = gateway.admin_answer("GET", "/v1/gateway/events", query={"start_time": EPOCH, "format": "csv"})
        assert file.headers["x-tollgate-incomplete"] == "true"
        # The totals of a store that is rebuilt without these records are reported as incomplete.
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
