"""Backup, restore, verify and export: with a running gateway, with a stopped one, and with damaged files."""

import csv
import hashlib
import io
import json
import os
import random
import shutil
import stat
import subprocess
import tarfile
import threading

import pytest

from support.commands import attempt, exported, run
from support.gateway import EPOCH, Customer, DidNotStart, Gateway, fresh, model, prefix_of, rate
from support.upstream import ScriptedUpstream

DAY = [rate("REQUEST", "DAY", 100_000), rate("TOKEN", "DAY", 10_000_000)]
REPORT = "/v1/gateway/usage_report"


@pytest.fixture(scope="module")
def source():
    """A gateway with an endpoint, a group, a key, a secret and billing events."""
    upstream = ScriptedUpstream()
    with Gateway() as gateway:
        gateway.upstream = upstream
        pricing = {"currency": "EUR", "input": "2.5", "output": "10", "cached": "0"}
        gateway.slug = gateway.create_endpoint(upstream, pricing=pricing)["slug"]
        gateway.group = gateway.create_group(model(gateway.slug, [], DAY), name="Größe <b>")
        gateway.key = gateway.mint_key(gateway.group)
        gateway.admin("POST", "/v1/secrets", {"name": "credential", "value": "v"})
        for _ in range(20):
            assert Customer(gateway, gateway.key).chat(gateway.slug).status == 200
        yield gateway
    upstream.stop()


def state(gateway):
    """The state that a restored backup must have."""
    report = gateway.admin("GET", REPORT, query={"start_time": EPOCH, "group_by": "group,model,key,hour"})
    return {
        "groups": gateway.admin("GET", "/v1/gateway/groups")["items"],
        "endpoints": gateway.admin("GET", "/v1/gateway/endpoints")["items"],
        "secrets": gateway.admin("GET", "/v1/secrets"),
        "keys": gateway.admin("GET", f"/v1/gateway/groups/{gateway.group['id']}/api_keys")["items"],
        "events": gateway.events(),
        "report": report["items"],
        "used": [limit["used"] for limit in gateway.limits(gateway.group, gateway.slug)["limits"]],
    }


def restored(source, archive, tmp_path):
    run("restore", archive, "--data-dir", tmp_path / "restored")
    gateway = Gateway(data_dir=tmp_path / "restored")
    gateway.group, gateway.slug, gateway.key = source.group, source.slug, source.key
    return gateway


def test_a_backup_taken_while_serving_restores_the_same_state(source, tmp_path):
    archive = tmp_path / "backup.tar"
    before = state(source)
    assert "record" in run("backup", archive, "--data-dir", source.data_dir)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    again = tmp_path / "umask"
    run("restore", archive, "--data-dir", again, umask=0)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in again.rglob("*") if path.is_file()}
    directories = {stat.S_IMODE(path.stat().st_mode) for path in [again, *again.rglob("*")] if path.is_dir()}
    assert (modes, directories) == ({0o600}, {0o700}), "modes must not depend on the umask"
    with restored(source, archive, tmp_path) as again:
        assert state(again) == before
        assert Customer(again, source.key).chat(source.slug).status == 200
        assert not any("damaged" in sentence for sentence in again.admin("GET", "/v1/gateway/status")["attention"])


def test_a_backup_over_http_has_the_hash_and_seal_keys_but_not_admin_key(source, tmp_path):
    answer = source.admin_answer("POST", "/v1/gateway/backup")
    assert answer.status == 200 and answer.headers["content-type"] == "application/x-tar"
    assert int(answer.headers["content-length"]) == len(answer.body)
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        names = archive.getnames()
        sums = archive.extractfile("SHA256SUMS").read().decode().splitlines()
        for line in sums:
            digest, name = line.split("  ")
            assert hashlib.sha256(archive.extractfile(name).read()).hexdigest() == digest
        assert {member.mode for member in archive.getmembers()} == {0o600}
    assert {"hash.key", "seal.key", "SHA256SUMS"} <= set(names) and "admin.key" not in names
    assert len(sums) == len(names) - 1
    path = tmp_path / "backup.tar"
    path.write_bytes(answer.body)
    with restored(source, path, tmp_path) as again:
        assert state(again)["events"] == source.events()


def test_a_backup_under_load_is_consistent(source, tmp_path):
    """All events and totals in a backup are of one moment, so verify finds no fault in the restored directory."""
    stop = threading.Event()

    def load():
        customer = Customer(source, source.key)
        while not stop.is_set():
            assert customer.chat(source.slug).status == 200

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            known = {event["idempotencyKey"] for event in source.events()}
            archive = tmp_path / f"{number}.tar"
            run("backup", archive, "--data-dir", source.data_dir)
            directory = tmp_path / str(number)
            run("restore", archive, "--data-dir", directory)
            assert "No problems found." in run("verify", "--data-dir", directory)
            found = {event["idempotencyKey"] for event in exported(directory)}
            assert known <= found <= {event["idempotencyKey"] for event in source.events()}
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_backup_does_not_overwrite_a_file(source, tmp_path):
    (tmp_path / "there").write_text("mine")
    ended = attempt("backup", tmp_path / "there", "--data-dir", source.data_dir)
    assert ended.returncode == 1 and "already exists" in ended.stderr
    assert (tmp_path / "there").read_text() == "mine"
    ended = attempt("backup", tmp_path / "no" / "where", "--data-dir", source.data_dir)
    assert ended.returncode == 1 and "where" in ended.stderr
    ended = attempt("backup", tmp_path / "new", "--data-dir", tmp_path)
    assert ended.returncode == 1 and "hash.key" in ended.stderr
    assert sorted(os.listdir(tmp_path)) == ["there"]


def test_restore_refuses_a_directory_that_is_not_empty(source, tmp_path):
    archive = tmp_path / "backup.tar"
    run("backup", archive, "--data-dir", source.data_dir)
    ended = attempt("restore", archive, "--data-dir", tmp_path)
    assert ended.returncode == 1 and "not empty" in ended.stderr
    assert os.listdir(tmp_path) == ["backup.tar"]


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_backup_is_refused_and_leaves_no_files(source, tmp_path, seed):
    archive, chance = tmp_path / "backup.tar", random.Random(seed)
    run("backup", archive, "--data-dir", source.data_dir)
    whole = archive.read_bytes()
    target = tmp_path / "target"
    (tmp_path / "empty").mkdir()
    with tarfile.open(archive) as members:
        [log] = [member for member in members.getmembers() if member.name.startswith("journal/")]
    flipped = bytearray(whole)
    flipped[log.offset_data + chance.randrange(log.size)] ^= 1 << chance.randrange(8)
    for damaged in (whole[: chance.randrange(len(whole) - 1024)], bytes(flipped), b"", b"not a backup" * 100):
        archive.write_bytes(damaged)
        for directory in (target, tmp_path / "empty"):
            ended = attempt("restore", archive, "--data-dir", directory)
            assert ended.returncode == 1 and "backup" in ended.stderr, ended
        assert not target.exists() and os.listdir(tmp_path / "empty") == []


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "journal/../../evil", "admin.key", "journal/x.log"])
def test_a_backup_with_an_unexpected_file_name_is_refused(source, tmp_path, name):
    archive = tmp_path / "backup.tar"
    with tarfile.open(archive, "w") as out:
        for member in (name, "hash.key"):
            info = tarfile.TarInfo(member)
            info.size = 4
            out.addfile(info, io.BytesIO(b"evil"))
    ended = attempt("restore", archive, "--data-dir", tmp_path / "target")
    assert ended.returncode == 1 and "not a file of a backup" in ended.stderr
    assert os.listdir(tmp_path) == ["backup.tar"]


def test_verify_names_the_damage_and_changes_nothing(source, tmp_path):
    archive = tmp_path / "backup.tar"
    run("backup", archive, "--data-dir", source.data_dir)
    whole = tmp_path / "whole"
    run("restore", archive, "--data-dir", whole)
    assert "No problems found." in run("verify", "--data-dir", whole)

    def found(damage):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        damage(copy)
        before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        ended = attempt("verify", "--data-dir", copy)
        assert ended.returncode == 1, ended
        assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
        return [line for line in ended.stdout.splitlines() if line.startswith("FOUND: ")]

    def flip(path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    def journal(copy):
        flip(min((copy / "journal").glob("*.log")), 3000)

    lines = found(journal)
    assert any("cannot be read" in line for line in lines) and any("sums of requests" in line for line in lines), lines
    assert any("rollup rows of 20" in line for line in lines), "the store's totals still include the lost record"
    lines = found(lambda copy: [path.write_bytes(b"x" * 500) for path in (copy / "store").rglob("db")])
    assert [line for line in lines if line.startswith("FOUND: store:")] == lines, lines
    lines = found(lambda copy: (copy / "snapshots" / f"{1:020}").write_bytes(b"TOLLGATE"))
    assert len(lines) == 1 and "snapshots" in lines[0]
    lines = found(lambda copy: (copy / "rollups" / "2026-01-01").write_bytes(b"TOLLGATE"))
    assert len(lines) == 1 and "rollups" in lines[0]


def test_verify_works_while_the_gateway_serves(source):
    assert "No problems found." in run("verify", "--data-dir", source.data_dir)


def test_commands_name_a_missing_directory(tmp_path):
    for command in (["verify"], ["export", "--events"], ["backup", str(tmp_path / "b")]):
        ended = attempt(*command, "--data-dir", tmp_path / "nowhere")
        assert ended.returncode == 1 and "nowhere" in ended.stderr, ended
    assert os.listdir(tmp_path) == []


def test_exported_events_equal_those_of_the_api(source):
    other = source.mint_key(source.group)
    assert Customer(source, other).chat(source.slug, metadata={"a": "ü,\"\n"}).status == 200
    events = source.events()
    assert exported(source.data_dir) == events
    assert exported(source.data_dir, "--api-key", prefix_of(other)) == events[-1:]
    assert exported(source.data_dir, "--external-entity-id", fresh("nobody")) == []
    window = events[3]["timestamp"], events[7]["timestamp"]
    inside = [event for event in events if window[0] <= event["timestamp"] < window[1]]
    assert exported(source.data_dir, "--start-time", window[0], "--end-time", window[1]) == inside
    rows = list(csv.DictReader(io.StringIO(run("export", "--events", "--format", "csv", "--data-dir", source.data_dir))))
    assert [row["idempotencyKey"] for row in rows] == [event["idempotencyKey"] for event in events]
    last = rows[-1]
    assert json.loads(last["requestMetadata"]) == {"a": "ü,\"\n"} and last["costCurrency"] == "EUR"
    assert int(last["inputTokens"]) == events[-1]["tokens"]["inputTokens"]
    ended = attempt("export", "--events", "--start-time", "yesterday", "--data-dir", source.data_dir)
    assert ended.returncode == 1 and "--start-time" in ended.stderr
    assert attempt("export", "--data-dir", source.data_dir).returncode == 2, "--events is required"


def test_an_export_into_a_closed_pipe_is_not_an_error(source):
    reader, writer = os.pipe()
    os.close(reader)
    from support.gateway import binary

    ended = subprocess.run(
        [binary(), "export", "--events", "--data-dir", str(source.data_dir)], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert ended.returncode == 0 and ended.stderr == b""


def test_a_restored_directory_without_its_keys_is_not_opened(source, tmp_path):
    archive = tmp_path / "backup.tar"
    run("backup", archive, "--data-dir", source.data_dir)
    run("restore", archive, "--data-dir", tmp_path / "restored")
    (tmp_path / "restored" / "hash.key").unlink()
    with pytest.raises(DidNotStart) as caught:
        Gateway(data_dir=tmp_path / "restored")
    assert "hash.key" in caught.value.output
