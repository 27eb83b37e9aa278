"""Starts with damaged data: repairable damage is repaired and reported; nothing else is overwritten."""

import random
import shutil

import pytest

from support.gateway import EPOCH, Customer, DidNotStart, Gateway, model, rate


@pytest.fixture
def used(upstream):
    """A stopped gateway with five billed requests."""
    gateway = Gateway()
    slug = gateway.create_endpoint(upstream)["slug"]
    group = gateway.create_group(model(slug, [], [rate("REQUEST", "DAY", 1000)]))
    customer = Customer(gateway, gateway.mint_key(group))
    for _ in range(5):
        assert customer.chat(slug).status == 200
    gateway.stop()
    yield gateway, group, slug, customer
    if gateway.process.child.poll() is None:
        gateway.kill9()
    shutil.rmtree(gateway.scratch, ignore_errors=True)


def check_complete(gateway, group, slug, customer):
    assert len(gateway.events(customer.key)) == 5
    assert gateway.limit(group, slug)["used"] == 5
    assert customer.chat(slug).status == 200


def attention(gateway):
    return gateway.admin("GET", "/v1/gateway/status")["attention"]


@pytest.mark.parametrize("seed", range(6))
def test_a_store_with_flipped_bytes_is_used_or_rebuilt(used, seed):
    gateway, *_ = used
    chance = random.Random(seed)
    path = gateway.data_dir / "store" / "db"
    data = bytearray(path.read_bytes())
    for _ in range(200):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    gateway.start()
    check_complete(*used)


@pytest.mark.parametrize("damage", [b"", b"not a store"])
def test_a_store_that_cannot_be_read_is_moved_aside_and_rebuilt(used, damage):
    gateway, *_ = used
    for path in (gateway.data_dir / "store").rglob("*"):
        if path.is_file():
            path.write_bytes(damage * 100)
    gateway.start()
    check_complete(*used)
    if damage:
        assert any("was rebuilt from" in sentence for sentence in attention(gateway))
        assert list(gateway.data_dir.glob("store.damaged-*"))


@pytest.mark.parametrize("also", [[], ["snapshots"]])
def test_a_missing_store_is_rebuilt_from_the_snapshot_or_the_journal(used, also):
    gateway, *_ = used
    for name in ["store", *also]:
        shutil.rmtree(gateway.data_dir / name)
    gateway.start()
    check_complete(*used)
    reported = [sentence for sentence in attention(gateway) if "was rebuilt from" in sentence]
    assert len(reported) == (0 if also else 1), "without a store and a snapshot, no rebuild is reported"


def test_a_missing_journal_stops_the_start_and_leaves_the_store(used):
    gateway, *_ = used
    kept = gateway.data_dir / "kept"
    (gateway.data_dir / "journal").rename(kept)
    with pytest.raises(DidNotStart) as caught:
        gateway.start()
    assert "journal" in str(caught.value)
    shutil.rmtree(gateway.data_dir / "journal", ignore_errors=True)
    kept.rename(gateway.data_dir / "journal")
    gateway.start()
    check_complete(*used)


def test_an_unfinished_write_at_the_end_is_cut_off_and_reported(used):
    gateway, *_ = used
    last = sorted((gateway.data_dir / "journal").glob("*.log"))[-1]
    data = last.read_bytes()
    end = len(data.rstrip(b"\0")) + 8  # a record may end in a few zeros
    last.write_bytes(data[:end] + data[:40] + data[end + 40 :])
    gateway.start()
    check_complete(*used)
    assert any("cut off" in sentence for sentence in attention(gateway))


def damage_a_request(gateway):
    """Flips a byte in a billed request's record, with records after it; returns the file."""
    segment = sorted((gateway.data_dir / "journal").glob("*.log"))[0]
    data = bytearray(segment.read_bytes())
    at = data.rindex(b"acme/", 0, len(data.rstrip(b"\0")) - 400)
    data[at] ^= 0xFF
    segment.write_bytes(data)
    return segment


def test_a_damaged_record_is_skipped_and_reported(used):
    gateway, group, slug, customer = used
    damage_a_request(gateway)
    gateway.start()
    assert len(gateway.events(customer.key)) == 4
    assert gateway.limit(group, slug)["used"] == 5, "the store had already counted it"
    assert any("cannot be read. Totals include them." in sentence for sentence in attention(gateway))
    assert customer.chat(slug).status == 200


def test_totals_that_miss_a_record_are_marked_incomplete_everywhere(used):
    gateway, group, slug, customer = used
    damaged = damage_a_request(gateway)
    for name in ("store", "snapshots"):
        shutil.rmtree(gateway.data_dir / name)
    for _ in range(2):  # the second start must report it too
        gateway.start()
        assert gateway.limit(group, slug)["used"] == 4
        usage = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")
        report = gateway.admin("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH})
        page = gateway.admin("GET", "/v1/gateway/events", query={"start_time": EPOCH})
        status = gateway.admin("GET", "/v1/gateway/status")
        for gaps in (usage["incomplete"], report["incomplete"], page["incomplete"], status["store"]["missing"]):
            [gap] = gaps
            assert gap["first_sequence"] == gap["last_sequence"] > 1 and damaged.name in gap["detail"]
            assert gap["after"] < gap["before"] <= page["items"][-1]["timestamp"]
        assert report["items"][0]["requests"] == 4 and len(page["items"]) == 4
        assert any("incomplete" in sentence for sentence in attention(gateway))
        past = {"start_time": EPOCH, "end_time": "2001-01-01T00:00:00Z"}
        assert gateway.admin("GET", "/v1/gateway/usage_report", query=past) == {"items": []}, "no gap there"
        gateway.kill9()
