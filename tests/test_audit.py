"""The audit log: every change is one entry with its actor, before and after, and no entry shows a secret."""

import datetime
import json
import re
import shutil
import threading

import pytest

from support.gateway import Customer, Gateway, budget, model, parse_time, prefix_of, rate
from support.readme import run_commands
from support.upstream import Reply, ScriptedUpstream
from support.wire import Broken, call
from test_registration import KeySystem, own_key
from test_sessions import cookie_of, sign_in

AUDIT = "/v1/audit_logs"
ULID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")
MANAGE_ALL = "WORKSPACE_MANAGE_ALL"


def newest(gateway, **query):
    return gateway.admin("GET", AUDIT, query={"limit": 1, **query})["items"][0]


class Operator:
    """An operator with their own key. Each of their changes must be in the audit log as soon as it is answered."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.key = gateway.admin("POST", "/v1/api_keys", {"type": MANAGE_ALL, "name": "Ada"})["api_key"]
        self.actor = {"type": "API_KEY", "api_key_prefix": prefix_of(self.key), "api_key_name": "Ada"}

    def edit(self, method, path, body=None, **more):
        """Makes a change; returns the answer, the entry's type and its changes as `{object: (id, before, after)}`."""
        seen = newest(self.gateway)["id"]
        answer = self.gateway.admin(method, path, body, key=self.key, **more)
        entry, earlier = self.gateway.admin("GET", AUDIT, query={"limit": 2})["items"]
        assert earlier["id"] == seen, "one change must be one entry"
        assert set(entry) == {"id", "created", "event_type", "actor", "event_data"} and ULID.fullmatch(entry["id"])
        assert abs(parse_time(entry["created"]) - datetime.datetime.now(datetime.timezone.utc)).total_seconds() < 20
        assert entry["actor"] == self.actor
        assert set(entry["event_data"]) == {"changes", "before_known"} and entry["event_data"]["before_known"] is True
        changes = entry["event_data"]["changes"]
        assert all(set(change) == {"object", "id", "before", "after"} for change in changes)
        found = {change["object"]: (change["id"], change["before"], change["after"]) for change in changes}
        assert len(found) == len(changes)
        return answer, entry["event_type"], found


@pytest.fixture(scope="module")
def operator(gateway):
    return Operator(gateway)


# Each kind of change


def test_changes_of_an_endpoint(operator):
    root = "/v1/gateway/endpoints"
    target = {"provider": "OPENAI_COMPATIBLE", "base_url": "http://127.0.0.1:9/v1", "target_model": "one"}
    long = {"above": 128_000, "input": "0.40", "output": "1.20"}
    pricing = {"currency": "EUR", "input": "0.20", "output": "0.60", "cached": "0.05", "request": "0.01", "long": long}
    made, event_type, changes = operator.edit("POST", root, {"slug": "audit/one", "targets": [target]})
    path = f"{root}/{made['id']}"
    assert event_type == "endpoint.created" and set(changes) == {"slug", "endpoint"}
    assert changes["slug"][1:] == (None, {"slug": "audit/one"})
    assert changes["endpoint"] == (made["id"], None, made)

    priced, event_type, changes = operator.edit("PATCH", path, {"pricing": pricing})
    assert event_type == "endpoint.updated" and changes == {"endpoint": (made["id"], made, priced)}
    assert priced["pricing"] and made["pricing"] is None

    renamed, _, changes = operator.edit("PATCH", path, {"slug": "audit/two"})
    assert changes["slug"][1:] == ({"slug": "audit/one"}, {"slug": "audit/two"})
    assert changes["endpoint"] == (made["id"], priced, renamed)

    targets = [target | {"weight": 7, "max_concurrent": 3}]
    patch = {"targets": targets, "routing": "SPREAD", "queue_timeout_s": 30}
    spread, _, changes = operator.edit("PATCH", path, patch)
    assert changes == {"endpoint": (made["id"], renamed, spread)}
    assert (spread["targets"][0]["weight"], spread["routing"]) == (7, "SPREAD")

    _, event_type, changes = operator.edit("DELETE", path)
    assert event_type == "endpoint.deleted" and changes == {"endpoint": (made["id"], spread, None)}


def written(group):
    """A group as the audit log shows it: without inherited limits."""
    return {name: value for name, value in group.items() if not name.startswith("effective_")}


def test_changes_of_a_group(operator, slug):
    root = "/v1/gateway/groups"
    models = [model(slug, [rate("TOKEN", "MINUTE", 1000)], [rate("REQUEST", "DAY", 50)])]
    body = {"metadata": {"external_entity_id": "audit-parent", "name": "Parent"}, "models": models}
    parent, event_type, changes = operator.edit("POST", root, body | {"hierarchy": {"limit_enforcement": "CASCADING"}})
    assert event_type == "group.created" and changes == {"group": (parent["id"], None, written(parent))}
    assert changes["group"][2]["models"] == models and changes["group"][2]["hierarchy"]["limit_enforcement"] == "CASCADING"
    path = f"{root}/{parent['id']}"
    for patch in (
        {"metadata": {"name": None}},
        {"disabled": True},
        {"models": [model(slug)]},
        {"budgets": [budget("MONTH", "500")]},
        {"models": [], "budgets": [], "disabled": False},
    ):
        before = operator.gateway.admin("GET", path)
        after, event_type, changes = operator.edit("PATCH", path, patch)
        assert event_type == "group.updated" and changes == {"group": (parent["id"], written(before), written(after))}
        assert before != after


def test_deleting_a_group_logs_every_group_and_key_below_it(operator, slug):
    gateway = operator.gateway
    parent = gateway.create_group(slug)
    child = gateway.create_group(slug, parent=parent)
    keys = {prefix_of(gateway.mint_key(group)): group["id"] for group in (parent, child, child)}
    gateway.admin("DELETE", f"/v1/gateway/groups/{parent['id']}", key=operator.key)
    entry = newest(gateway)
    assert entry["event_type"] == "group.deleted" and entry["event_data"]["before_known"] is True
    changes = entry["event_data"]["changes"]
    assert all(change["after"] is None for change in changes)
    groups = {change["id"]: change["before"] for change in changes if change["object"] == "group"}
    assert groups == {parent["id"]: written(parent), child["id"]: written(child)}
    ended = {change["id"]: change["before"]["group_id"] for change in changes if change["object"] == "api_key"}
    assert ended == keys and len(changes) == 5


def key_as_listed(gateway, group, prefix):
    item = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/api_keys/{prefix}")
    item.pop("last_used_at")
    return item | {"group_id": group["id"]}


def test_changes_of_a_customers_key(operator, group):
    gateway, root = operator.gateway, f"/v1/gateway/groups/{group['id']}/api_keys"
    minted, event_type, changes = operator.edit("POST", root, {"name": "first", "expires_at": "2099-01-01T00:00:00Z"})
    prefix = minted["prefix"]
    first = key_as_listed(gateway, group, prefix)
    assert event_type == "api_key.created" and changes == {"api_key": (prefix, None, first)}
    assert first["expires_at"] == "2099-01-01T00:00:00.000Z"
    _, event_type, changes = operator.edit("PATCH", f"{root}/{prefix}", {"disabled": True, "expires_at": None})
    second = key_as_listed(gateway, group, prefix)
    assert event_type == "api_key.updated" and changes == {"api_key": (prefix, first, second)} and first != second
    _, event_type, changes = operator.edit("DELETE", f"{root}/{prefix}")
    assert event_type == "api_key.revoked" and changes == {"api_key": (prefix, second, None)}


def test_a_rotation_is_one_entry_with_both_keys_and_no_secret(operator, group):
    gateway, root = operator.gateway, f"/v1/gateway/groups/{group['id']}/api_keys"
    old = prefix_of(gateway.mint_key(group, name="shop"))
    before, seen = key_as_listed(gateway, group, old), newest(gateway)["id"]
    rotated = gateway.admin("POST", f"{root}/{old}/rotate", {"grace_s": 60}, key=operator.key)
    new = rotated["prefix"]
    entry, earlier = gateway.admin("GET", AUDIT, query={"limit": 2})["items"]
    assert (entry["event_type"], entry["actor"]) == ("api_key.rotated", operator.actor) and earlier["id"] == seen
    assert entry["event_data"]["changes"] == [
        {"object": "api_key", "id": old, "before": before, "after": key_as_listed(gateway, group, old)},
        {"object": "api_key", "id": new, "before": None, "after": key_as_listed(gateway, group, new)},
    ]
    assert key_as_listed(gateway, group, old) == {**before, "expires_at": rotated["old_expires_at"]}
    assert newest(gateway, event_type="api_key.rotated") == entry
    assert rotated["api_key"].split(".")[1] not in json.dumps(gateway.audit_logs())


def test_changes_of_registration(operator, group):
    gateway, path = operator.gateway, "/v1/gateway/signing_key"
    gateway.admin_answer("DELETE", path)
    key_system = KeySystem(gateway)
    first = {"public_key": key_system.public_text}
    assert newest(gateway)["event_data"]["changes"][0]["after"] == first
    key = own_key()
    body = json.dumps({"key": key, "name": "theirs"}).encode()
    headers = [("x-tollgate-signature", key_system.sign(body))]
    _, event_type, changes = operator.edit("POST", f"/v1/gateway/groups/{group['id']}/api_keys/register", body, headers=headers)
    assert event_type == "api_key.registered"
    assert changes == {"api_key": (key[:16], None, key_as_listed(gateway, group, key[:16]))}
    assert key not in json.dumps(gateway.audit_logs())
    second = {"public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}
    _, event_type, changes = operator.edit("PUT", path, second)
    assert event_type == "signing_key.written" and changes == {"signing_key": ("signing_key", first, second)}
    _, event_type, changes = operator.edit("DELETE", path)
    assert event_type == "signing_key.deleted" and changes == {"signing_key": ("signing_key", second, None)}
    _, _, changes = operator.edit("PUT", path, first)
    assert changes == {"signing_key": ("signing_key", None, first)}


def test_changes_of_operator_keys(operator):
    gateway = operator.gateway
    made, event_type, changes = operator.edit("POST", "/v1/api_keys", {"type": "WORKSPACE_EXPORT_METRICS", "name": "p"})
    prefix, secret = made["api_key"].split(".")
    [listed] = [item for item in gateway.admin("GET", "/v1/api_keys")["keys"] if item["prefix"] == prefix]
    del listed["last_used_at"]
    assert event_type == "operator_key.created" and changes == {"operator_key": (prefix, None, listed)}
    _, event_type, changes = operator.edit("DELETE", f"/v1/api_keys/{prefix}")
    assert event_type == "operator_key.deleted" and changes == {"operator_key": (prefix, listed, None)}
    assert secret not in json.dumps(gateway.audit_logs())


def test_changes_of_a_secret_are_masked(operator):
    gateway = operator.gateway
    made, event_type, changes = operator.edit("POST", "/v1/secrets", {"name": "audited", "value": "provider-value-1"})
    masked = {"id": made["id"], "name": "audited", "value": "***", "created_at": made["created_at"]}
    assert event_type == "secret.written" and changes == {"secret": (made["id"], None, masked)}
    _, event_type, changes = operator.edit("POST", "/v1/secrets", {"name": "audited", "value": "provider-value-2"})
    assert event_type == "secret.written" and changes == {"secret": (made["id"], masked, masked)}
    _, event_type, changes = operator.edit("DELETE", "/v1/secrets/audited")
    assert event_type == "secret.deleted" and changes == {"secret": (made["id"], masked, None)}
    assert "provider-value" not in json.dumps(gateway.audit_logs())


def test_changes_of_a_webhook_mask_its_secrets(operator):
    gateway, root = operator.gateway, "/v1/gateway/webhooks"

    def audited(webhook):
        names = ("id", "url", "description", "enabled", "types", "previous_secret_until", "created_at", "updated_at")
        return {name: webhook[name] for name in names} | {"secret": "***", "url": "http://127.0.0.1:9/hook?***"}

    body = {"url": "http://127.0.0.1:9/hook?token=a-receivers-token", "description": "books", "enabled": False}
    made, event_type, changes = operator.edit("POST", root, body)
    path = f"{root}/{made['id']}"
    first = gateway.admin("GET", path)
    assert event_type == "webhook.created" and changes == {"webhook": (made["id"], None, audited(first))}
    second, event_type, changes = operator.edit("PATCH", path, {"description": None})
    assert event_type == "webhook.updated" and changes == {"webhook": (made["id"], audited(first), audited(second))}
    rotated, event_type, changes = operator.edit("POST", f"{path}/rotate_secret")
    third = gateway.admin("GET", path)
    assert event_type == "webhook.secret_rotated" and changes == {"webhook": (made["id"], audited(second), audited(third))}
    assert third["previous_secret_until"] and second["previous_secret_until"] is None
    _, event_type, changes = operator.edit("DELETE", path)
    assert event_type == "webhook.deleted" and changes == {"webhook": (made["id"], audited(third), None)}
    logged = json.dumps(gateway.audit_logs())
    for secret in (made["secret"], rotated["secret"], "a-receivers-token"):
        assert secret not in logged and secret not in gateway.log


@pytest.fixture
def refusing():
    """A receiver that refuses every delivery."""
    receiver = ScriptedUpstream()
    receiver.always(Reply(status=400, json_body={}))
    yield receiver
    receiver.stop()


def test_a_requested_redelivery_names_its_dead_letters(operator, refusing, customer, slug):
    gateway = operator.gateway
    webhook = gateway.admin("POST", "/v1/gateway/webhooks", {"url": f"http://127.0.0.1:{refusing.port}/"})
    path = f"/v1/gateway/webhooks/{webhook['id']}"
    assert customer.chat(slug).status == 200
    [letter] = gateway.eventually(lambda: gateway.admin("GET", f"{path}/dead_letters")["items"], len)
    gateway.admin("PATCH", path, {"enabled": False})
    _, event_type, changes = operator.edit("POST", f"{path}/dead_letters/redeliver", {"ids": [letter["id"]]})
    assert event_type == "webhook.redelivery_requested"
    assert changes == {"dead_letter": (letter["id"], None, {"webhook_id": webhook["id"], "redeliver": True})}
    gateway.admin("DELETE", path)


def test_a_backup_is_logged_and_contains_its_own_entry(operator):
    seen = newest(operator.gateway)["id"]
    answer = operator.gateway.admin_answer("POST", "/v1/gateway/backup", key=operator.key)
    assert answer.status == 200
    entry = newest(operator.gateway)
    assert (entry["event_type"], entry["actor"]) == ("backup.created", operator.actor) and entry["id"] > seen
    assert entry["event_data"] == {"changes": [], "before_known": True}
    assert b"backup.created" in answer.body


def test_refused_changes_and_reads_are_not_logged(operator, group, slug):
    gateway = operator.gateway
    newest_id = newest(gateway)["id"]
    for method, path, body in (
        ("POST", "/v1/gateway/groups", {"metadata": {"external_entity_id": "x"}, "models": [{"slug": "no/such"}]}),
        ("PATCH", f"/v1/gateway/groups/{group['id']}", {}),
        ("DELETE", "/v1/secrets/nothing", None),
        ("DELETE", "/v1/api_keys/env", None),
        ("GET", "/v1/gateway/groups", None),
        ("GET", "/v1/gateway/status", None),
    ):
        gateway.admin_answer(method, path, body, key=operator.key)
    assert newest(gateway)["id"] == newest_id


# Actors


def test_the_environment_key_is_named_as_in_the_key_list(gateway):
    gateway.admin("POST", "/v1/secrets", {"name": "by-env", "value": "v"})
    actor = {"type": "API_KEY", "api_key_prefix": "env", "api_key_name": "TOLLGATE_ADMIN_KEY"}
    assert newest(gateway)["actor"] == actor


def test_a_session_is_distinguished_from_a_key(operator, group):
    gateway = operator.gateway
    cookie = cookie_of(sign_in(gateway, operator.key)).split(";")[0]
    headers = [("cookie", cookie), ("content-type", "application/json"), ("x-tollgate-csrf", "1")]
    headers.append(("origin", f"http://{gateway.admin_address}"))
    path = f"/v1/gateway/groups/{group['id']}"
    assert call(gateway.admin_address, "PATCH", path, headers, {"metadata": {"name": "by session"}}).status == 200
    entry = newest(gateway)
    assert entry["actor"] == operator.actor | {"type": "SESSION"}
    assert entry["event_data"]["changes"][0]["after"]["metadata"]["name"] == "by session"


def test_tollgates_own_changes_have_the_system_as_actor():
    system = {"type": "SYSTEM", "api_key_prefix": None, "api_key_name": None}
    with Gateway(arguments=["--demo"], admin_key=None) as gateway:
        gateway.eventually(lambda: (gateway.data_dir / "admin.key").exists(), bool)
        gateway.admin_key = (gateway.data_dir / "admin.key").read_text().strip()
        entries = gateway.eventually(gateway.audit_logs, lambda entries: len(entries) == 4)
        types = [entry["event_type"] for entry in entries]
        assert types == ["api_key.created", "group.created", "endpoint.created", "operator_key.created"]
        assert all(entry["actor"] == system for entry in entries)
        assert entries[-1]["event_data"]["changes"][0]["after"]["name"] == "made at the first start"
        gateway.restart()
        assert gateway.audit_logs() == entries


# Queries


def patched(gateway, group):
    gateway.patch_group(group, disabled=True)
    return newest(gateway)["created"]


@pytest.fixture(scope="module")
def busy():
    """A gateway with changes in different milliseconds."""
    with Gateway() as gateway:
        slug = gateway.create_endpoint("http://127.0.0.1:9/v1")["slug"]
        for number in range(12):
            before = newest(gateway)["created"]
            group = gateway.create_group(slug)
            if number % 3 == 0:
                gateway.eventually(lambda: patched(gateway, group), lambda at: at > before)
        yield gateway


def test_entries_are_newest_first_and_their_ids_in_order(busy):
    entries = busy.audit_logs()
    ids, times = [entry["id"] for entry in entries], [entry["created"] for entry in entries]
    assert ids == sorted(set(ids), reverse=True) and times == sorted(times, reverse=True)


def test_a_window_includes_its_start_and_excludes_its_end(busy):
    entries = busy.audit_logs()
    times = [entry["created"] for entry in entries]
    for start, end in ((times[-1], times[0]), (times[8], times[2]), (times[5], times[5])):
        inside = [entry for entry in entries if start <= entry["created"] < end]
        assert busy.audit_logs(start_time=start, end_time=end) == inside
    assert busy.audit_logs(start_time=times[3]) == [entry for entry in entries if entry["created"] >= times[3]]
    assert busy.audit_logs(end_time=times[3]) == [entry for entry in entries if entry["created"] < times[3]]
    assert busy.audit_logs(start_time="2099-01-01T00:00:00Z") == []
    assert busy.audit_logs(end_time="2000-01-01T00:00:00Z") == []


def test_entries_are_filtered_by_event_type(busy):
    entries = busy.audit_logs()
    for event_type in ("group.updated", "endpoint.created", "signing_key.deleted"):
        wanted = [entry for entry in entries if entry["event_type"] == event_type]
        assert busy.audit_logs(event_type=event_type) == wanted
    for unknown in ("group", "GROUP.UPDATED", "nothing", ""):
        answer = busy.admin_answer("GET", AUDIT, query={"event_type": unknown})
        assert answer.status == 400 and "`event_type`: must be one of endpoint.created" in answer.json()["error"]
    assert busy.audit_logs(event_type="group.updated", limit=1) == busy.audit_logs(event_type="group.updated")


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_pages_of_any_size_have_the_same_entries(busy, limit):
    assert busy.audit_logs(limit=limit) == busy.audit_logs()
    page = busy.admin("GET", AUDIT, query={"limit": limit})
    assert len(page["items"]) == min(limit, len(busy.audit_logs())) and set(page) == {"items", "pagination"}


@pytest.mark.parametrize(
    "query, says",
    [
        ({"start_time": "yesterday"}, "start_time"),
        ({"end_time": "2026-13-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"actor": "env"}, "actor"),
        ({"event_type": ["a", "b"]}, "event_type"),
    ],
)
def test_a_bad_query_is_refused(busy, query, says):
    answer = busy.admin_answer("GET", AUDIT, query=query)
    assert answer.status == 400 and says in answer.json()["error"]


def test_a_cursor_keeps_its_filter(busy):
    cursor = busy.admin("GET", AUDIT, query={"event_type": "group.created", "limit": 2})["pagination"]["cursor"]
    rest = busy.admin("GET", AUDIT, query={"cursor": cursor})["items"]
    assert len(rest) == 10 and {entry["event_type"] for entry in rest} == {"group.created"}
    assert busy.admin_answer("GET", AUDIT, query={"cursor": cursor, "event_type": "group.updated"}).status == 400
    events = busy.admin_answer("GET", "/v1/gateway/events", query={"cursor": cursor})
    assert events.status == 400


def test_a_page_walk_shows_every_entry_once_during_concurrent_changes(gateway, slug):
    there = [gateway.create_group(slug)["id"] for _ in range(30)]
    stop, made = threading.Event(), []

    def change():
        while not stop.is_set():
            made.append(gateway.create_group(slug)["id"])

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        gateway.eventually(lambda: len(made), lambda count: count > 5)
        entries = gateway.audit_logs(limit=4, event_type="group.created")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    ids = [entry["id"] for entry in entries]
    assert len(set(ids)) == len(ids)
    found = [entry["event_data"]["changes"][0]["id"] for entry in entries]
    assert [one for one in found if one in there] == there[::-1]
    everything = [entry["event_data"]["changes"][0]["id"] for entry in gateway.audit_logs(event_type="group.created")]
    assert set(made) <= set(everything) and everything[-len(found):] == found


def test_the_documented_commands_show_the_log(busy, tmp_path):
    latest, updates = run_commands(busy, "admin-api.md", tmp_path)
    assert latest["items"] == busy.audit_logs()[:20] and updates["items"] == busy.audit_logs(event_type="group.updated")


# Durability


def test_the_log_is_the_same_after_a_crash_and_a_rebuild_of_the_store(own, upstream):
    operator = Operator(own)
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(slug)
    customer = Customer(own, own.mint_key(group))
    assert customer.chat(slug).status == 200
    own.patch_group(group, disabled=True)
    operator.edit("POST", "/v1/secrets", {"name": "s", "value": "v"})
    entries = own.audit_logs()
    assert len(entries) == 6
    own.kill9()
    own.start()
    assert own.audit_logs() == entries
    own.restart()
    assert own.audit_logs() == entries
    for lost in (("store",), ("store", "snapshots")):
        own.stop()
        for name in lost:
            shutil.rmtree(own.data_dir / name)
        own.start()
        assert own.audit_logs() == entries, lost


def test_answered_changes_survive_kill_9(own):
    made = []

    def change():
        try:
            while True:
                made.append(own.admin("POST", "/v1/secrets", {"name": f"n{len(made)}", "value": "v"})["id"])
        except (OSError, Broken):
            pass  # the gateway was killed

    thread = threading.Thread(target=change)
    thread.start()
    own.eventually(lambda: len(made), lambda count: count > 30)
    own.kill9()
    thread.join()
    own.start()
    logged = [entry["event_data"]["changes"][0]["id"] for entry in own.audit_logs()][::-1]
    assert logged[: len(made)] == made and len(logged) <= len(made) + 1


def test_a_damaged_entry_is_reported_as_incomplete(own):
    for name in ("one", "two-is-damaged", "three"):
        own.admin("POST", "/v1/secrets", {"name": name, "value": "v"})
    own.stop()
    [segment] = (own.data_dir / "journal").glob("*.log")
    data = bytearray(segment.read_bytes())
    data[data.index(b"two-is-damaged")] ^= 1
    segment.write_bytes(data)
    own.start()
    page = own.admin("GET", AUDIT)
    names = [entry["event_data"]["changes"][0]["after"]["name"] for entry in page["items"]]
    assert names == ["three", "one"]
    [gap] = page["incomplete"]
    assert (gap["first_sequence"], gap["last_sequence"]) == (2, 2) and "cannot be read" in gap["detail"]
