"""Starts on data that are not as they were left: what can be healed is, and says so; what cannot, is not overwritten."""

import random
import shutil

import pytest

from support.gateway import EPOCH, Customer, DidNotStart, Gateway, model, rate


@pytest.fixture
def used(upstream):
    """A stopped gateway with a few billed requests, and what it then said of them."""
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


def is_whole(gateway, group, slug, customer):
    assert len(gateway.events(customer.key)) == 5
    assert gateway.limit(group, slug)["used"] == 5
    assert customer.chat(slug).status == 200


def attention(gateway):
    return gateway.admin("GET", "/v1/gateway/status")["attention"]


@pytest.mark.parametrize("seed", range(6))
def test_a_store_with_flipped_bytes_is_used_or_built_anew(used, seed):
    gateway, *_ = used
    chance = random.Random(seed)
    path = gateway.data_dir / "store" / "db"
    data = bytearray(path.read_bytes())
    for _ in range(200):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    gateway.start()
    is_whole(*used)


@pytest.mark.parametrize("damage", [b"", b"not a store"])
def test_a_store_that_cannot_be_read_is_moved_aside_and_built_anew(used, damage):
    gateway, *_ = used
    for path in (gateway.data_dir / "store").rglob("*"):
        if path.is_file():
            path.write_bytes(damage * 100)
    gateway.start()
    is_whole(*used)
    if damage:
        assert any("was rebuilt from" in sentence for sentence in attention(gateway))
        assert list(gateway.data_dir.glob("store.damaged-*"))


@pytest.mark.parametrize("also", [[], ["snapshots"]])
def test_a_store_that_is_gone_is_built_from_what_is_left(used, also):
    gateway, *_ = used
    for name in ["store", *also]:
        shutil.rmtree(gateway.data_dir / name)
    gateway.start()
    is_whole(*used)
    told = [sentence for sentence in attention(gateway) if "was rebuilt from" in sentence]
    assert len(told) == (0 if also else 1), "a journal alone is a store that was never made"


def test_a_journal_that_is_gone_stops_the_start_and_leaves_the_store(used):
    gateway, *_ = used
    kept = gateway.data_dir / "kept"
    (gateway.data_dir / "journal").rename(kept)
    with pytest.raises(DidNotStart) as caught:
        gateway.start()
    assert "journal" in str(caught.value)
    shutil.rmtree(gateway.data_dir / "journal", ignore_errors=True)
    kept.rename(gateway.data_dir / "journal")
    gateway.start()
    is_whole(*used)


def test_an_unfinished_write_at_the_end_is_cut_off_and_told(used):
    gateway, *_ = used
    last = sorted((gateway.data_dir / "journal").glob("*.log"))[-1]
    data = last.read_bytes()
    end = len(data.rstrip(b"\0")) + 8  # a record may end in a few zeros
    last.write_bytes(data[:end] + data[:40] + data[end + 40 :])
    gateway.start()
    is_whole(*used)
    assert any("cut off" in sentence for sentence in attention(gateway))


def damage_a_request(gateway):
    """Flips a byte of a billed request that others follow. Gives the file."""
    segment = sorted((gateway.data_dir / "journal").glob("*.log"))[0]
    data = bytearray(segment.read_bytes())
    at = data.rindex(b"acme/", 0, len(data.rstrip(b"\0")) - 400)
    data[at] ^= 0xFF
    segment.write_bytes(data)
    return segment


def test_a_damaged_record_is_passed_over_and_named(used):
    gateway, group, slug, customer = used
    damage_a_request(gateway)
    gateway.start()
    assert len(gateway.events(customer.key)) == 4
    assert gateway.limit(group, slug)["used"] == 5, "it had been counted"
    assert any("cannot be read. Totals contain them." in sentence for sentence in attention(gateway))
    assert customer.chat(slug).status == 200


def test_totals_that_miss_a_record_say_so_everywhere(used):
    gateway, group, slug, customer = used
    damaged = damage_a_request(gateway)
    for name in ("store", "snapshots"):
        shutil.rmtree(gateway.data_dir / name)
    for _ in range(2):  # and it is not forgotten
        gateway.start()
        assert gateway.limit(group, slug)["used"] == 4
        usage = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")
        report = gateway.admin("GET", "/v1/gateway/usage_report", query={"start_time": EPOCH})
        page = gateway.admin("GET", "/v1/gateway/events", query={"start_time": EPOCH})
        status = gateway.admin("GET", "/v1/gateway/status")
        for told in (usage["incomplete"], report["incomplete"], page["incomplete"], status["store"]["missing"]):
            [gap] = told
            assert gap["first_sequence"] == gap["last_sequence"] > 1 and damaged.name in gap["detail"]
            assert gap["after"] < gap["before"] <= page["items"][-1]["timestamp"]
        assert report["items"][0]["requests"] == 4 and len(page["items"]) == 4
        assert any("incomplete" in sentence for sentence in attention(gateway))
        past = {"start_time": EPOCH, "end_time": "2001-01-01T00:00:00Z"}
        assert gateway.admin("GET", "/v1/gateway/usage_report", query=past) == {"items": []}, "not of that time"
        gateway.kill9()
