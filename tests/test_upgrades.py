"""This version opens complete data directories of every released format, and leaves those of newer ones untouched."""

import json
import pathlib
import sys
import tarfile

import pytest

from support.books import keyed, report_of
from support.commands import exported, run
from support.gateway import EPOCH, Customer, DidNotStart, Gateway

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
sys.path.insert(0, str(FIXTURES))

from make import answers_of  # noqa: E402


# The changes that fixtures/make.py makes, in this order.
CHANGES = (
    ["secret.written", "endpoint.created", "endpoint.created", "group.created", "group.created", "group.created"]
    + ["api_key.created", "api_key.created", "api_key.created", "operator_key.created"]
    + ["endpoint.updated", "group.deleted", "api_key.updated"]
)
# Its further changes since format 3. That format also stores the state before each change.
LATER_CHANGES = ["signing_key.written", "api_key.registered", "webhook.created", "webhook.secret_rotated", "webhook.updated"]
WITHOUT_BEFORE = ("format-1.tar.xz", "format-2.tar.xz")
REDELIVERIES = ["webhook.redelivery_requested"] * 2
# Made after CHANGES[:10] since format 6.
INDEPENDENT_GROUPS = ["group.created"] * 2 + ["api_key.created"] * 2


def changes_of(name):
    if name in WITHOUT_BEFORE:
        return CHANGES
    redeliveries = [] if name == "format-3.tar.xz" else REDELIVERIES
    independent = INDEPENDENT_GROUPS if name == "format-6.tar.xz" else []
    return CHANGES[:10] + independent + CHANGES[10:] + LATER_CHANGES[:3] + redeliveries + LATER_CHANGES[3:]


def as_now(event):
    """An event as this version shows it, with the defaults of members that the event's version did not have."""
    later = {"queueMs": 0, "target": None, "units": None}
    return later | event | {"tokens": {"cacheWriteInputTokens": 0} | event["tokens"]}


def endpoint_as_now(endpoint):
    """An endpoint as this version shows it, like as_now."""
    targets = [{"weight": 1, "max_concurrent": None} | target for target in endpoint["targets"]]
    return {"routing": "PRIORITY", "queue_timeout_s": 0} | endpoint | {"targets": targets}


def group_as_now(group):
    """A group as this version shows it, like as_now."""
    return {"budgets": [], "effective_budgets": []} | group


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.tar.xz")))
def test_data_of_an_earlier_version_is_complete(tmp_path, name):
    with tarfile.open(FIXTURES / name) as archive:
        archive.extractall(tmp_path, filter="data")
    recorded = json.loads((tmp_path / "told.json").read_text())
    said = recorded["said"]
    events = said["events"] = [as_now(event) for event in said["events"]]
    said["endpoints"] = [endpoint_as_now(endpoint) for endpoint in said["endpoints"]]
    said["groups"] = [group_as_now(group) for group in said["groups"]]
    for webhook in said.get("webhooks", []):
        for letter in webhook["dead_letters"]:
            letter.setdefault("alerts", [])
            letter["events"] = [as_now(event) for event in letter["events"]]
    assert exported(tmp_path / "data") == events
    with Gateway(data_dir=tmp_path / "data") as gateway:
        for _ in range(2):
            now = answers_of(gateway, recorded["groups"])
            assert {name: now[name] for name in said} == said
            query = {"start_time": EPOCH, "group_by": "group,model,key,hour"}
            items = gateway.admin("GET", "/v1/gateway/usage_report", query=query)["items"]
            assert keyed(items) == report_of(events, ("group", "model", "key", "hour"))
            changes = gateway.audit_logs()[::-1]
            assert [change["event_type"] for change in changes] == changes_of(name)
            for change in changes:
                assert change["actor"]["api_key_prefix"] == "env"
                assert change["event_data"]["before_known"] == (name not in WITHOUT_BEFORE)
                if name in WITHOUT_BEFORE:
                    assert all(row["before"] is None for row in change["event_data"]["changes"])
            [renamed] = [change["event_data"]["changes"] for change in changes if change["event_type"] == "endpoint.updated"]
            [endpoint] = [row for row in renamed if row["object"] == "endpoint"]
            assert endpoint["after"] in said["endpoints"]
            if name not in WITHOUT_BEFORE:
                before = {"slug": "acme/renamed", "updated_at": endpoint["after"]["created_at"]}
                assert endpoint["before"] == endpoint["after"] | before
            assert "a-provider-credential" not in json.dumps(changes)
            off, *on = (Customer(gateway, key).get("/v1/models").status for key in recorded["keys"])
            assert off == 401 and set(on) == {200}
            assert gateway.admin_answer("GET", "/v1/gateway/status", key=recorded["operator"]).status == 200
            gateway.kill9()
            gateway.start()
        assert "No problems found." in run("verify", "--data-dir", gateway.data_dir)


def test_a_migration_is_preceded_by_a_snapshot(tmp_path):
    with tarfile.open(FIXTURES / "format-1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert not (tmp_path / "data/snapshots").exists()
    with Gateway(data_dir=tmp_path / "data") as gateway:
        gateway.process.wait_line(lambda line: "migrating the store to a newer format" in line)
        assert len(list((tmp_path / "data/snapshots").iterdir())) == 1


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_newer_versions_journal_is_refused_and_left_unchanged(tmp_path):
    gateway = Gateway(data_dir=tmp_path)
    gateway.mint_operator("WORKSPACE_MANAGE_ALL")
    gateway.stop()
    [segment] = (tmp_path / "journal").glob("*.log")
    data = bytearray(segment.read_bytes())
    length = int.from_bytes(data[4:8], "little")
    data[12] = 200  # the frame's version
    data[8:12] = crc32c(data[12 : 29 + length]).to_bytes(4, "little")
    segment.write_bytes(data)
    with pytest.raises(DidNotStart) as caught:
        gateway.start()
    assert "newer version" in caught.value.output and str(segment) in caught.value.output
    assert segment.read_bytes() == data


def test_a_newer_versions_snapshot_is_refused_and_left_unchanged(tmp_path):
    gateway = Gateway(data_dir=tmp_path)
    gateway.mint_operator("WORKSPACE_MANAGE_ALL")
    gateway.stop()
    [snapshot] = (tmp_path / "snapshots").iterdir()
    data = bytearray(snapshot.read_bytes())
    data[9] = 200
    snapshot.write_bytes(data)
    (tmp_path / "store").rename(tmp_path / "gone")
    with pytest.raises(DidNotStart) as caught:
        gateway.start()
    assert "newer version" in caught.value.output and str(snapshot) in caught.value.output
    assert snapshot.read_bytes() == data
