"""Customers' and operators' keys: shown once, in force until they are not, good for exactly what their type says."""

import datetime
import json
import re

import pytest

from support.gateway import Customer, Gateway, fresh, message, parse_time, prefix_of
from support.wire import call

MANAGE_ALL, MANAGE_KEYS, METRICS = "WORKSPACE_MANAGE_ALL", "WORKSPACE_MANAGE_API_KEYS", "WORKSPACE_EXPORT_METRICS"


def keys_path(group, key=None):
    return f"/v1/gateway/groups/{group['id']}/api_keys" + (f"/{prefix_of(key)}" if key else "")


def in_seconds(seconds):
    return (
        (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds))
        .isoformat()
        .replace("+00:00", "Z")
    )


def test_a_key_is_shown_once(gateway, group):
    minted = gateway.admin("POST", keys_path(group), {"name": "build server"})
    assert set(minted) == {"api_key", "prefix", "name"} and minted["name"] == "build server"
    prefix, secret = minted["api_key"].split(".")
    assert prefix == minted["prefix"] and re.fullmatch("sk_[0-9A-Za-z]{12}", prefix)
    assert len(secret) >= 43, "fewer than 256 bits even in base64"
    for document in (gateway.admin("GET", keys_path(group)), gateway.admin("GET", keys_path(group, minted["api_key"]))):
        assert secret not in json.dumps(document)
    assert secret not in gateway.log
    for path in gateway.data_dir.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_keys_are_listed_with_what_is_known_of_them(gateway, group, customer, slug, key):
    [item] = gateway.admin("GET", keys_path(group))["items"]
    assert item == gateway.admin("GET", keys_path(group, key))
    assert item["prefix"] == prefix_of(key) and item["name"] is None and item["last_used_at"] is None
    assert item["disabled"] is False and item["expires_at"] is None and parse_time(item["created_at"])
    assert customer.chat(slug).status == 200
    assert gateway.admin("GET", keys_path(group, key))["last_used_at"] == gateway.events(key)[0]["timestamp"]


def test_a_key_can_be_renamed_and_its_name_cleared(gateway, group, key):
    assert gateway.admin("PATCH", keys_path(group, key), {"name": "new"})["name"] == "new"
    assert gateway.admin("PATCH", keys_path(group, key), {"disabled": False})["name"] == "new"
    assert gateway.admin("PATCH", keys_path(group, key), {"name": None})["name"] is None


def test_an_expiry_can_be_set_and_cleared(gateway, group, customer, slug, key):
    later = in_seconds(3600)
    assert parse_time(gateway.admin("PATCH", keys_path(group, key), {"expires_at": later})["expires_at"]) - parse_time(
        later
    ) < datetime.timedelta(seconds=1)
    assert customer.chat(slug).status == 200
    assert gateway.admin("PATCH", keys_path(group, key), {"expires_at": None})["expires_at"] is None
    assert customer.chat(slug).status == 200


def test_every_key_that_does_not_work_gets_the_same_answer(gateway, upstream, group, slug):
    """None, malformed, unknown, disabled, expired, revoked, of a deleted group: not a byte tells which."""
    keys = {name: gateway.mint_key(group) for name in ("disabled", "revoked", "right")}
    keys["expired"] = gateway.mint_key(group, expires_at=in_seconds(1))
    doomed = gateway.create_group(slug)
    keys["deleted group"] = gateway.mint_key(doomed)
    for key in keys.values():
        assert Customer(gateway, key).get("/v1/models").status == 200
    gateway.admin("PATCH", keys_path(group, keys["disabled"]), {"disabled": True})
    assert gateway.admin("DELETE", keys_path(group, keys["revoked"])) == {"prefix": prefix_of(keys["revoked"])}
    gateway.admin("DELETE", f"/v1/gateway/groups/{doomed['id']}")
    keys["unknown"] = "sk_0123456789ab." + "A" * 43
    keys["wrong secret"] = prefix_of(keys["right"]) + "." + "A" * 43
    keys["no secret"] = prefix_of(keys["right"])
    keys["malformed"] = "nonsense"
    keys["an operator's"] = gateway.admin_key
    working = keys.pop("right")
    gateway.eventually(
        lambda: Customer(gateway, keys["expired"]).get("/v1/models").status, lambda status: status == 401
    )

    def refusal(headers):
        answer = call(
            gateway.address, "POST", "/v1/chat/completions", headers, {"model": slug, "messages": message("hi")}
        )
        assert answer.status == 401, headers
        return answer.body, sorted(name for name, _ in answer.header_list)

    refusals = {name: refusal([("authorization", f"Bearer {key}")]) for name, key in keys.items()}
    refusals["none"] = refusal([])
    for name, seen in refusals.items():
        assert seen == refusals["unknown"], name
    assert json.loads(refusals["none"][0])["error"]["code"] == "invalid_api_key"
    assert upstream.count == 0
    assert Customer(gateway, working).chat(slug).status == 200


def test_a_disabled_key_can_be_enabled_again(gateway, group, customer, slug, key):
    gateway.admin("PATCH", keys_path(group, key), {"disabled": True})
    assert customer.chat(slug).status == 401
    gateway.admin("PATCH", keys_path(group, key), {"disabled": False})
    assert customer.chat(slug).status == 200


def test_a_stream_already_running_ends_normally_and_is_billed_when_its_key_is_revoked(
    gateway, upstream, group, customer, slug, key
):
    gate = upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    stream.next()
    gateway.admin("DELETE", keys_path(group, key))
    assert customer.chat(slug).status == 401
    gate.release()
    assert stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert event["apiKeyPrefix"] == prefix_of(key)


def test_a_stream_ends_normally_and_is_billed_when_its_group_is_deleted(gateway, upstream, customer, slug, group, key):
    gate = upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    stream.next()
    gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}")
    gate.release()
    assert stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert event["groupId"] == group["id"] and event["externalEntityId"] == group["metadata"]["external_entity_id"]


def test_deleting_a_group_deletes_its_subtree_and_frees_the_names(gateway, slug):
    parent = gateway.create_group(slug, mode="CASCADING")
    child = gateway.create_group(slug, parent=parent)
    grandchild = gateway.create_group(slug, parent=child)
    key = gateway.mint_key(grandchild)
    assert set(gateway.admin("DELETE", f"/v1/gateway/groups/{child['id']}")) == {"id", "metadata", "deleted_at"}
    assert Customer(gateway, key).get("/v1/models").status == 401
    for gone in (child, grandchild):
        assert gateway.admin_answer("GET", f"/v1/gateway/groups/{gone['id']}").status == 404
        again = gateway.create_group(slug, entity=gone["metadata"]["external_entity_id"])
        assert again["id"] != gone["id"]
    assert gateway.admin("GET", f"/v1/gateway/groups/{parent['id']}")["id"] == parent["id"]


# Operators


def test_the_environments_key_is_listed_and_cannot_be_deleted(gateway):
    [env] = [item for item in gateway.admin("GET", "/v1/api_keys")["keys"] if item["prefix"] == "env"]
    assert env["type"] == MANAGE_ALL
    assert gateway.admin_answer("DELETE", "/v1/api_keys/env").status == 400


def test_the_last_stored_key_that_can_do_everything_cannot_be_deleted():
    with Gateway() as gateway:
        first, second = gateway.mint_operator(MANAGE_ALL), gateway.mint_operator(MANAGE_ALL)
        gateway.mint_operator(METRICS)
        assert gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(first)}") == {"prefix": prefix_of(first)}
        assert gateway.admin_answer("DELETE", f"/v1/api_keys/{prefix_of(second)}").status == 400
        assert gateway.admin_answer("GET", "/v1/gateway/groups", key=second).status == 200
        assert gateway.admin_answer("GET", "/v1/gateway/groups", key=first).status == 401


GROUP, KEY = "/v1/gateway/groups/{group}", "/v1/gateway/groups/{group}/api_keys/{prefix}"
# Every admin route of this version, with the types that may use it besides MANAGE_ALL.
ROUTES = [
    ("POST", "/v1/gateway/endpoints", ()),
    ("GET", "/v1/gateway/endpoints", ()),
    ("GET", "/v1/gateway/endpoints/{endpoint}", ()),
    ("PATCH", "/v1/gateway/endpoints/{endpoint}", ()),
    ("DELETE", "/v1/gateway/endpoints/{endpoint}", ()),
    ("POST", "/v1/gateway/groups", ()),
    ("GET", "/v1/gateway/groups", (MANAGE_KEYS,)),
    ("GET", GROUP, (MANAGE_KEYS,)),
    ("PATCH", GROUP, ()),
    ("DELETE", GROUP, ()),
    ("GET", GROUP + "/usage", (METRICS,)),
    ("GET", GROUP + "/limits?slug={slug}", (METRICS,)),
    ("POST", GROUP + "/api_keys", (MANAGE_KEYS,)),
    ("GET", GROUP + "/api_keys", (MANAGE_KEYS,)),
    ("POST", GROUP + "/api_keys/register", (MANAGE_KEYS,)),
    ("GET", KEY, (MANAGE_KEYS,)),
    ("PATCH", KEY, (MANAGE_KEYS,)),
    ("DELETE", KEY, (MANAGE_KEYS,)),
    ("GET", "/v1/api_keys", ()),
    ("POST", "/v1/api_keys", ()),
    ("DELETE", "/v1/api_keys/{operator}", ()),
    ("GET", "/v1/secrets", ()),
    ("POST", "/v1/secrets", ()),
    ("DELETE", "/v1/secrets/{secret}", ()),
    ("GET", "/v1/gateway/signing_key", ()),
    ("PUT", "/v1/gateway/signing_key", ()),
    ("DELETE", "/v1/gateway/signing_key", ()),
    ("GET", "/v1/audit_logs", ()),
    ("GET", "/v1/gateway/events?start_time=2000-01-01T00:00:00Z", (METRICS,)),
    ("GET", "/v1/gateway/usage_report?start_time=2000-01-01T00:00:00Z", (METRICS,)),
    ("POST", "/v1/gateway/backup", ()),
    ("GET", "/v1/gateway/status", (METRICS,)),
    ("GET", "/v1/spec", (MANAGE_KEYS, METRICS)),
]


@pytest.fixture(scope="module")
def operators(gateway):
    return {kind: gateway.mint_operator(kind) for kind in (MANAGE_ALL, MANAGE_KEYS, METRICS)}


@pytest.mark.parametrize("method, path, also", ROUTES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_key_is_good_for_what_its_type_says(gateway, operators, upstream, method, path, also):
    endpoint = gateway.create_endpoint(upstream)
    group = gateway.create_group(endpoint["slug"])
    key = gateway.mint_key(group)
    gateway.admin("POST", "/v1/secrets", {"name": fresh("secret"), "value": "v"})
    gateway.admin("PUT", "/v1/gateway/signing_key", {"public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="})
    names = {
        "endpoint": endpoint["id"],
        "group": group["id"],
        "prefix": prefix_of(key),
        "slug": endpoint["slug"],
        "operator": prefix_of(gateway.mint_operator(METRICS)),
        "secret": gateway.admin("GET", "/v1/secrets")["secrets"][-1]["name"],
    }
    path = path.format(**names)
    # The body is wrong: who may use the route is told so (400), who may not is told that first (403); nothing happens.
    body = {"nonsense": 1} if method in ("POST", "PATCH") else None
    for kind in (MANAGE_KEYS, METRICS):
        answer = gateway.admin_answer(method, path, body, key=operators[kind])
        if kind in also:
            assert answer.status in (200, 400), (kind, answer)
            if method == "DELETE":
                key = gateway.mint_key(group)
                path = keys_path(group, key)
        else:
            assert answer.status == 403 and set(answer.json()) == {"error", "code"}, (kind, answer)
    customer = gateway.admin_answer(method, path, body, key=gateway.mint_key(group))
    assert customer.status == 403, "a customer's key"
    assert gateway.admin_answer(method, path, body, key=None).status == 401
    assert gateway.admin_answer(method, path, body, key=operators[MANAGE_ALL]).status in (200, 400)


def test_the_table_of_routes_is_complete(gateway):
    """A route that is added to the product without being added to the table above fails here."""
    own = gateway.admin("GET", "/v1/spec")["paths"]

    def shape(path):
        return re.sub(r"{[^}]*}", "{}", path.split("?")[0])

    documented = {
        (method.upper(), shape(path))
        for path, item in own.items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete")
    }
    unscoped = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/v1/session"), ("DELETE", "/v1/session")}
    assert documented - unscoped == {(method, shape(path)) for method, path, _ in ROUTES}
