"""Customer and operator keys: shown once, valid until they are revoked or expire, limited to what their type allows."""

import concurrent.futures
import datetime
import json
import re
import threading

import pytest

from support.gateway import Customer, Gateway, message, parse_time, prefix_of
from support.wire import Answer, Broken, Connection, call
from test_registration import KeySystem, key_path, own_key

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
    assert len(secret) >= 43, "the secret has fewer than 256 bits"
    for document in (gateway.admin("GET", keys_path(group)), gateway.admin("GET", keys_path(group, minted["api_key"]))):
        assert secret not in json.dumps(document)
    assert secret not in gateway.log
    for path in gateway.data_dir.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_keys_are_listed_with_their_state_and_last_use(gateway, group, customer, slug, key):
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
    """A missing, malformed, unknown, disabled, expired or revoked key and one of a deleted group look the same."""
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


# Rotation

DAY_S = 86_400


def rotate(gateway, group, key, **body):
    return gateway.admin("POST", keys_path(group, key) + "/rotate", body)


def expiry_of(gateway, group, key):
    return gateway.admin("GET", keys_path(group, key))["expires_at"]


def seconds_until(time):
    return (parse_time(time) - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def test_a_rotated_key_and_its_replacement_both_work(gateway, group, slug):
    old = gateway.mint_key(group, name="shop")
    assert Customer(gateway, old).chat(slug).status == 200
    listed = gateway.admin("GET", keys_path(group, old))
    rotated = rotate(gateway, group, old)
    new, end = rotated["api_key"], rotated["old_expires_at"]
    assert rotated == {
        "api_key": new,
        "prefix": prefix_of(new),
        "name": "shop",
        "replaces": prefix_of(old),
        "old_expires_at": end,
    }
    assert re.fullmatch(r"sk_[0-9A-Za-z]{12}\.[0-9A-Za-z]{43}", new) and prefix_of(new) != prefix_of(old)
    assert DAY_S - 30 < seconds_until(end) <= DAY_S
    assert listed["last_used_at"] and gateway.admin("GET", keys_path(group, old)) == {**listed, "expires_at": end}
    fresh = gateway.admin("GET", keys_path(group, new))
    assert (fresh["name"], fresh["last_used_at"], fresh["disabled"], fresh["expires_at"]) == ("shop", None, False, None)
    for key in (old, new):
        assert Customer(gateway, key).chat(slug).status == 200
    assert [event["apiKeyPrefix"] for event in gateway.events(old, new)] == [prefix_of(key) for key in (old, old, new)]
    secret = new.split(".")[1]
    assert secret not in json.dumps(gateway.admin("GET", keys_path(group))) and secret not in gateway.log


def test_a_rotated_key_fails_once_its_grace_period_is_over(gateway, group, key):
    rotated = rotate(gateway, group, key, grace_s=1)
    gateway.eventually(lambda: Customer(gateway, key).get("/v1/models").status, lambda status: status == 401)
    assert seconds_until(rotated["old_expires_at"]) <= 0
    assert Customer(gateway, rotated["api_key"]).get("/v1/models").status == 200


def test_without_a_grace_period_the_old_key_fails_its_next_request_and_its_running_stream_ends_normally(
    gateway, upstream, group, customer, slug, key
):
    gate = upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    stream.next()
    rotated = rotate(gateway, group, key, grace_s=0)
    assert customer.chat(slug).status == 401 and seconds_until(rotated["old_expires_at"]) <= 0
    gate.release()
    assert stream.chunks()
    connection.close()
    assert len(gateway.events(key)) == 1
    assert Customer(gateway, rotated["api_key"]).chat(slug).status == 200


@pytest.mark.parametrize("body", [None, {}, {"grace_s": None}], ids=["absent", "empty", "null"])
def test_a_rotation_without_a_grace_period_in_its_body_gives_a_day(gateway, group, key, body):
    rotated = gateway.admin("POST", keys_path(group, key) + "/rotate", body)
    assert DAY_S - 30 < seconds_until(rotated["old_expires_at"]) <= DAY_S


def test_a_rotated_key_that_expires_sooner_keeps_its_expiry(gateway, group):
    """The replacement never inherits an expiry."""
    in_an_hour, in_a_year = (gateway.mint_key(group, expires_at=in_seconds(s)) for s in (3600, 365 * DAY_S))
    end = expiry_of(gateway, group, in_an_hour)
    sooner, later = rotate(gateway, group, in_an_hour), rotate(gateway, group, in_a_year, grace_s=30 * DAY_S)
    assert sooner["old_expires_at"] == end == expiry_of(gateway, group, in_an_hour)
    assert 30 * DAY_S - 30 < seconds_until(later["old_expires_at"]) <= 30 * DAY_S
    assert [expiry_of(gateway, group, rotated["api_key"]) for rotated in (sooner, later)] == [None, None]


def test_an_expired_key_can_be_rotated_and_stays_expired(gateway, group, key):
    past = gateway.admin("PATCH", keys_path(group, key), {"expires_at": "2026-01-01T00:00:00Z"})["expires_at"]
    rotated = rotate(gateway, group, key, grace_s=3600)
    assert rotated["old_expires_at"] == past == expiry_of(gateway, group, key)
    assert Customer(gateway, key).get("/v1/models").status == 401
    assert Customer(gateway, rotated["api_key"]).get("/v1/models").status == 200


def test_a_disabled_key_cannot_be_rotated_until_it_is_enabled(gateway, group, key):
    gateway.admin("PATCH", keys_path(group, key), {"disabled": True})
    listed = gateway.admin("GET", keys_path(group))
    refused = gateway.admin_answer("POST", keys_path(group, key) + "/rotate")
    assert (refused.status, refused.json()["code"]) == (400, "disabled_key")
    assert gateway.admin("GET", keys_path(group)) == listed
    gateway.admin("PATCH", keys_path(group, key), {"disabled": False})
    assert rotate(gateway, group, key)["replaces"] == prefix_of(key)


def test_a_registered_key_is_replaced_by_a_minted_one(gateway, group):
    own = KeySystem(gateway).register(group, own_key("a/b?%."), name="theirs")
    rotated = gateway.admin("POST", key_path(group, own) + "/rotate", {"grace_s": 60})
    assert (rotated["name"], rotated["replaces"]) == ("theirs", own[:16])
    assert rotated["prefix"].startswith("sk_")
    for key in (own, rotated["api_key"]):
        assert Customer(gateway, key).get("/v1/models").status == 200


def test_a_later_rotation_can_only_shorten_the_grace_period(gateway, group, key):
    first, longer, shorter = (rotate(gateway, group, key, grace_s=s) for s in (600, DAY_S, 60))
    assert longer["old_expires_at"] == first["old_expires_at"] > shorter["old_expires_at"]
    assert expiry_of(gateway, group, key) == shorter["old_expires_at"]
    replacement = rotate(gateway, group, first["api_key"])
    assert (replacement["replaces"], replacement["name"]) == (first["prefix"], first["name"])
    for one in (first, longer, shorter, replacement):
        assert Customer(gateway, one["api_key"]).get("/v1/models").status == 200


def test_of_rotations_at_the_same_time_the_shortest_grace_period_wins(gateway, group, key):
    graces = [3600, 60, 7200, 600, 120, 1800, 300, 900]
    with concurrent.futures.ThreadPoolExecutor(len(graces)) as threads:
        rotated = list(threads.map(lambda grace_s: rotate(gateway, group, key, grace_s=grace_s), graces))
    ends = dict(zip(graces, (one["old_expires_at"] for one in rotated), strict=True))
    assert expiry_of(gateway, group, key) == min(ends.values()) == ends[60]
    keys = {item["prefix"]: item["expires_at"] for item in gateway.admin("GET", keys_path(group))["items"]}
    assert keys == {prefix_of(key): ends[60], **{one["prefix"]: None for one in rotated}} and len(keys) == 9


def test_a_rotation_is_whole_or_absent_after_a_kill(own):
    """Rotates the newest key again and again, and kills the gateway in the middle: only the newest key never expires."""
    group = own.create_group(own.create_endpoint("http://127.0.0.1:9/v1")["slug"])
    rotated = [own.mint_key(group)]

    def rotate_until_killed(enough):
        try:
            while True:
                rotated.append(rotate(own, group, rotated[-1])["api_key"])
                if len(rotated) > enough:
                    killing.set()
        except (Broken, OSError):
            pass

    for _ in range(3):
        killing = threading.Event()
        rotating = threading.Thread(target=rotate_until_killed, args=[len(rotated) + 5])
        rotating.start()
        assert killing.wait(30)
        own.kill9()
        rotating.join()
        own.restart()
        items = {item["prefix"]: item for item in own.admin("GET", keys_path(group), query={"limit": 1000})["items"]}
        assert {prefix_of(key) for key in rotated} <= set(items)
        [newest] = [item for item in items.values() if item["expires_at"] is None]
        # The last rotation may be in the journal although its answer was lost.
        assert len(items) - len(rotated) == (newest["prefix"] != prefix_of(rotated[-1])) <= 1
        if newest["prefix"] != prefix_of(rotated[-1]):
            rotated.append(newest["prefix"])


# Operators


def test_the_environment_key_is_listed_and_cannot_be_deleted(gateway):
    [env] = [item for item in gateway.admin("GET", "/v1/api_keys")["keys"] if item["prefix"] == "env"]
    assert env["type"] == MANAGE_ALL
    assert gateway.admin_answer("DELETE", "/v1/api_keys/env").status == 400


def test_the_last_stored_manage_all_key_cannot_be_deleted():
    with Gateway() as gateway:
        first, second = gateway.mint_operator(MANAGE_ALL), gateway.mint_operator(MANAGE_ALL)
        gateway.mint_operator(METRICS)
        assert gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(first)}") == {"prefix": prefix_of(first)}
        assert gateway.admin_answer("DELETE", f"/v1/api_keys/{prefix_of(second)}").status == 400
        assert gateway.admin_answer("GET", "/v1/gateway/groups", key=second).status == 200
        assert gateway.admin_answer("GET", "/v1/gateway/groups", key=first).status == 401


GROUP, KEY = "/v1/gateway/groups/{group}", "/v1/gateway/groups/{group}/api_keys/{prefix}"
WEBHOOK = "/v1/gateway/webhooks/{webhook}"
# Every admin route of this version, with the types that may use it besides MANAGE_ALL.
ROUTES = [
    ("POST", "/v1/gateway/endpoints", ()),
    ("GET", "/v1/gateway/endpoints", ()),
    ("POST", "/v1/gateway/endpoints/check", ()),
    ("GET", "/v1/gateway/endpoints/{endpoint}", ()),
    ("PATCH", "/v1/gateway/endpoints/{endpoint}", ()),
    ("DELETE", "/v1/gateway/endpoints/{nothing}", ()),
    ("POST", "/v1/gateway/groups", ()),
    ("GET", "/v1/gateway/groups", (MANAGE_KEYS,)),
    ("GET", GROUP, (MANAGE_KEYS,)),
    ("PATCH", GROUP, ()),
    ("DELETE", "/v1/gateway/groups/{nothing}", ()),
    ("GET", "/v1/gateway/group_tree", (MANAGE_KEYS,)),
    ("GET", GROUP + "/usage", (MANAGE_KEYS, METRICS)),
    ("GET", GROUP + "/limits?slug={slug}", (MANAGE_KEYS, METRICS)),
    ("POST", GROUP + "/simulate", (MANAGE_KEYS, METRICS)),
    ("POST", GROUP + "/try", ()),
    ("POST", GROUP + "/api_keys", (MANAGE_KEYS,)),
    ("GET", GROUP + "/api_keys", (MANAGE_KEYS,)),
    ("POST", GROUP + "/api_keys/register", (MANAGE_KEYS,)),
    ("GET", KEY, (MANAGE_KEYS,)),
    ("PATCH", KEY, (MANAGE_KEYS,)),
    ("DELETE", GROUP + "/api_keys/{nothing}", (MANAGE_KEYS,)),
    ("POST", KEY + "/rotate", (MANAGE_KEYS,)),
    ("GET", "/v1/gateway/search?q=x", (MANAGE_KEYS,)),
    ("GET", "/v1/gateway/signing_key", ()),
    ("PUT", "/v1/gateway/signing_key", ()),
    ("DELETE", "/v1/gateway/signing_key", ()),
    ("GET", "/v1/gateway/events?start_time=2000-01-01T00:00:00Z", (METRICS,)),
    ("GET", "/v1/gateway/alerts", (METRICS,)),
    ("GET", "/v1/gateway/usage_report?start_time=2000-01-01T00:00:00Z", (METRICS,)),
    ("GET", "/v1/gateway/webhooks", ()),
    ("POST", "/v1/gateway/webhooks", ()),
    ("GET", WEBHOOK, ()),
    ("PATCH", WEBHOOK, ()),
    ("DELETE", "/v1/gateway/webhooks/{nothing}", ()),
    ("POST", WEBHOOK + "/test", ()),
    ("POST", WEBHOOK + "/rotate_secret", ()),
    ("GET", WEBHOOK + "/deliveries", ()),
    ("GET", WEBHOOK + "/dead_letters", ()),
    ("POST", WEBHOOK + "/dead_letters/redeliver", ()),
    ("POST", "/v1/gateway/backup", ()),
    ("GET", "/v1/gateway/status", (METRICS,)),
    ("GET", "/v1/gateway/activity", (METRICS,)),
    ("GET", "/v1/gateway/live", (METRICS,)),
    ("GET", "/metrics", (METRICS,)),
    ("GET", "/v1/api_keys", ()),
    ("POST", "/v1/api_keys", ()),
    ("DELETE", "/v1/api_keys/{nothing}", ()),
    ("GET", "/v1/secrets", ()),
    ("POST", "/v1/secrets", ()),
    ("DELETE", "/v1/secrets/{nothing}", ()),
    ("GET", "/v1/audit_logs", ()),
    ("GET", "/v1/spec", (MANAGE_KEYS, METRICS)),
]

# The status that an allowed caller gets. No request changes anything: deletions name an unknown id (404) and bodies are
# invalid (400). ALLOWED_AT lists the exceptions.
ALLOWED = {"GET": 200, "DELETE": 404, "POST": 400, "PATCH": 400, "PUT": 400}
ALLOWED_AT = {"GET /v1/gateway/signing_key": 404}


ENDLESS = "/v1/gateway/live"  # the answer to its GET never ends


class Callers:
    """Callers of every kind: the headers that each sends, and the refusal that those without access get."""

    def __init__(self, gateway, upstream):
        self.gateway = gateway
        endpoint = gateway.create_endpoint(upstream)
        self.group = gateway.create_group(endpoint["slug"])
        minted, disabled = gateway.mint_key(self.group), gateway.mint_key(self.group)
        gateway.admin("PATCH", keys_path(self.group, disabled), {"disabled": True})
        key_system = KeySystem(gateway)
        registered = key_system.register(self.group, own_key())
        gateway.admin("DELETE", "/v1/gateway/signing_key")
        revoked = gateway.mint_operator(MANAGE_ALL)
        gateway.mint_operator(MANAGE_ALL)
        ended, of_revoked = self.session(gateway.admin_key), self.session(revoked)
        assert gateway.admin_answer("DELETE", "/v1/session", key=None, headers=ended).status == 200
        gateway.admin("DELETE", f"/v1/api_keys/{prefix_of(revoked)}")
        webhook = gateway.admin("POST", "/v1/gateway/webhooks", {"url": "http://127.0.0.1:9/", "enabled": False})
        self.names = {
            "endpoint": endpoint["id"],
            "webhook": webhook["id"],
            "slug": endpoint["slug"],
            "group": self.group["id"],
            "prefix": prefix_of(minted),
            "nothing": "01J9X7Y0Z3K4M5N6P7Q8R9S0T1",
        }
        operators = {kind: gateway.mint_operator(kind) for kind in (MANAGE_ALL, MANAGE_KEYS, METRICS)}
        self.operators = {kind: [self.bearer(key), self.session(key)] for kind, key in operators.items()}
        self.strangers = {
            "nobody": ([], 401, "missing_api_key"),
            "another scheme": ([("authorization", "Basic dXNlcjpwYXNz")], 401, "missing_api_key"),
            "an unknown key": (self.bearer("tgo_0123456789ab." + "A" * 43), 401, "invalid_api_key"),
            "a revoked key": (self.bearer(revoked), 401, "invalid_api_key"),
            "an ended session": (ended, 401, "missing_api_key"),
            "a revoked key's session": (of_revoked, 401, "missing_api_key"),
            "a customer": (self.bearer(minted), 403, "customer_key"),
            "a customer whose key is disabled": (self.bearer(disabled), 403, "customer_key"),
            "a customer with a registered key": (self.bearer(registered), 403, "customer_key"),
        }

    @staticmethod
    def bearer(key):
        return [("authorization", f"Bearer {key}")]

    def session(self, key):
        address = self.gateway.admin_address
        origin = ("origin", f"http://{address}")
        answer = call(address, "POST", "/v1/session", [origin], {"key": key})
        cookie = answer.headers["set-cookie"].split(";")[0]
        return [("cookie", cookie), ("content-type", "application/json"), ("x-tollgate-csrf", "1"), origin]


@pytest.fixture(scope="module")
def callers(gateway):
    return Callers(gateway, "http://127.0.0.1:9/v1")


def begin(gateway, path, headers, source):
    """The answer to a GET. The body of a 200 is not read, since it may be endless."""
    with Connection(gateway.admin_address, source=source) as connection:
        connection.request("GET", path, headers)
        status, head = connection.read_head()
        return Answer(status, head, b"" if status == 200 else connection.read_body())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route[:2]))
def test_the_type_of_a_key_decides_what_it_may_do(gateway, callers, route):
    """Calls every route as every kind of caller, and every GET route with HEAD too."""
    method, path, also = route
    allowed = ALLOWED_AT.get(f"{method} {path}", ALLOWED[method])
    source = f"127.1.0.{ROUTES.index(route) + 1}"  # wrong keys are counted per address

    def answer(headers, method=method):
        body = {"nonsense": 1} if method in ("POST", "PATCH", "PUT") else None
        if path == ENDLESS and method == "GET":
            return begin(gateway, path, headers, source)
        return gateway.admin_answer(method, path.format(**callers.names), body, None, headers, source=source)

    for name, (headers, status, code) in callers.strangers.items():
        refused = answer(headers)
        assert (refused.status, refused.json()["code"]) == (status, code), name
        assert set(refused.json()) == {"error", "code"}
        if method == "GET" and status == 403:
            assert answer(headers, "HEAD").status == status, name
    for kind, ways in callers.operators.items():
        for headers in ways:
            answered = answer(headers)
            if kind == MANAGE_ALL or kind in also:
                assert answered.status == allowed, (kind, answered)
            else:
                assert (answered.status, answered.json()["code"]) == (403, "insufficient_scope"), (kind, answered)
                assert MANAGE_ALL in answered.json()["error"], "the error must name a type that is allowed"
            if method == "GET":
                assert answer(headers, "HEAD").status == answered.status


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
    unscoped = {("GET", "/healthz"), ("GET", "/readyz")} | {(m, "/v1/session") for m in ("GET", "POST", "DELETE")}
    assert documented - unscoped == {(method, shape(path)) for method, path, _ in ROUTES}
    for path, item in own.items():
        for method, operation in item.items():
            also = next((also for m, p, also in ROUTES if (m, shape(p)) == (method.upper(), shape(path))), None)
            if also is not None:
                assert [kind for kind in (MANAGE_KEYS, METRICS) if kind in operation["description"]] == list(also), path
