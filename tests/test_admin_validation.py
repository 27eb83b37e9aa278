"""Every invalid admin request gets a documented 4xx that names the fault, and changes nothing."""

import json
import re
import urllib.parse

import pytest

from support.gateway import fresh, model, prefix_of, rate
from support.webhooks import Webhook
from support.wire import Broken, Connection

ENDPOINTS, GROUPS, WEBHOOKS = "/v1/gateway/endpoints", "/v1/gateway/groups", "/v1/gateway/webhooks"
EXCEEDS = "Child group exceeds parent group limit."


class Scene:
    """The objects that the cases use: endpoints, group trees, keys, a secret, a webhook. No case may change them."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.endpoint = gateway.create_endpoint("http://127.0.0.1:9/v1", slug="scene/one")
        gateway.create_endpoint("http://127.0.0.1:9/v1", slug="scene/two")
        self.secret = gateway.admin("POST", "/v1/secrets", {"name": "scene-secret", "value": "value"})
        gateway.admin(
            "POST",
            ENDPOINTS,
            {"slug": "scene/secret", "targets": [{"provider": "OPENAI", "secret_id": self.secret["id"]}]},
        )
        self.group = gateway.create_group("scene/one", entity="scene-root", mode="INDEPENDENT")
        self.cascading = gateway.create_group(
            model("scene/one", [rate("TOKEN", "MINUTE", 100)]), entity="scene-cascading", mode="CASCADING"
        )
        self.child = gateway.create_group(
            model("scene/one", [rate("TOKEN", "MINUTE", 80)]), entity="scene-child", parent=self.cascading
        )
        levels = [gateway.create_group("scene/one", entity="scene-level-1")]
        for level in range(2, 6):
            levels.append(gateway.create_group("scene/one", entity=f"scene-level-{level}", parent=levels[-1]))
        self.fifth = levels[-1]
        self.key = gateway.mint_key(self.group, name="scene-key")
        self.operator = gateway.mint_operator("WORKSPACE_EXPORT_METRICS")
        gateway.admin("PUT", "/v1/gateway/signing_key", {"public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="})
        self.webhook = Webhook(gateway, "http://127.0.0.1:9/scene", description="scene", enabled=False)

    def state(self):
        get = self.gateway.admin
        groups = get("GET", GROUPS, query={"limit": 1000})["items"]
        return {
            "endpoints": get("GET", ENDPOINTS, query={"limit": 1000})["items"],
            "groups": groups,
            "keys": {group["id"]: get("GET", f"{GROUPS}/{group['id']}/api_keys")["items"] for group in groups},
            "secrets": get("GET", "/v1/secrets")["secrets"],
            "operators": [{**item, "last_used_at": None} for item in get("GET", "/v1/api_keys")["keys"]],
            "signing key": get("GET", "/v1/gateway/signing_key"),
            "webhooks": [{**item, "delivery": None} for item in get("GET", WEBHOOKS)["items"]],
        }


@pytest.fixture(scope="module")
def scene(gateway):
    return Scene(gateway)


@pytest.fixture
def refused(gateway, scene):
    """Sends a request that must be refused with an error that names `says`; checks that nothing has changed."""

    def request(method, path, body=None, says=(), status=400, **more):
        before = scene.state()
        answer = gateway.admin_answer(method, path, body, **more)
        assert answer.status == status, f"{method} {path} {body!r:.300}: {answer}"
        document = answer.json()
        assert set(document) == {"error", "code"} and re.fullmatch("[a-z][a-z0-9_]*", document["code"])
        assert document["error"][0].isupper() or not document["error"][0].isalpha(), "not a sentence"
        for word in [says] if isinstance(says, str) else says:
            assert word.lower() in document["error"].lower(), f"does not name {word!r}: {document['error']}"
        assert "panicked" not in document["error"] and ".rs:" not in document["error"]
        assert scene.state() == before, "a refused request changed something"
        return document

    return request


def endpoint(**changes):
    target = {"provider": "OPENAI_COMPATIBLE", "base_url": "http://127.0.0.1:9/v1"} | changes.pop("target", {})
    body = {"slug": fresh("scene/new"), "targets": [{k: v for k, v in target.items() if v is not ...}]} | changes
    return {k: v for k, v in body.items() if v is not ...}


PRICED = {"currency": "USD", "input": "1", "output": "1"}
LONG = {"above": 1000, "input": "1", "output": "1"}


def group(**changes):
    """A valid body with these changes; `...` removes a field."""
    body = {
        "metadata": {"external_entity_id": fresh("scene-new")},
        "models": [model("scene/one")],
        "hierarchy": {},
    } | changes
    return {k: v for k, v in body.items() if v is not ...}


def limits(rate_limits=(), usage_limits=()):
    return group(models=[{"slug": "scene/one", "rate_limits": list(rate_limits), "usage_limits": list(usage_limits)}])


# Bodies that are not the expected JSON, on every route that takes a body.

BODIES = {
    "POST endpoint": ("POST", lambda s: ENDPOINTS),
    "PATCH endpoint": ("PATCH", lambda s: f"{ENDPOINTS}/{s.endpoint['id']}"),
    "POST group": ("POST", lambda s: GROUPS),
    "PATCH group": ("PATCH", lambda s: f"{GROUPS}/{s.group['id']}"),
    "POST key": ("POST", lambda s: f"{GROUPS}/{s.group['id']}/api_keys"),
    "PATCH key": ("PATCH", lambda s: f"{GROUPS}/{s.group['id']}/api_keys/{prefix_of(s.key)}"),
    "rotate key": ("POST", lambda s: f"{GROUPS}/{s.group['id']}/api_keys/{prefix_of(s.key)}/rotate"),
    "POST operator": ("POST", lambda s: "/v1/api_keys"),
    "POST secret": ("POST", lambda s: "/v1/secrets"),
    "PUT signing key": ("PUT", lambda s: "/v1/gateway/signing_key"),
    "POST webhook": ("POST", lambda s: WEBHOOKS),
    "PATCH webhook": ("PATCH", lambda s: s.webhook.path),
    "redeliver": ("POST", lambda s: f"{s.webhook.path}/dead_letters/redeliver"),
}
on_every_body = pytest.mark.parametrize("route", BODIES, ids=lambda name: name.replace(" ", "-"))


@on_every_body
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"nul",
        b"{}{}",
        b'{"name": "\xff\xfe"}',
        b"\x00",
        b'{"a":1,}',
        b"[" * 100_000,
        b'{"name": NaN}',
        b"\xef\xbb\xbf{}x",
    ],
    ids=["open", "list", "text", "null", "word", "two", "not-utf8", "nul", "comma", "deep", "nan", "bom"],
)
def test_a_body_that_is_not_a_json_object_is_refused(scene, refused, route, body):
    method, path = BODIES[route]
    refused(method, path(scene), body)


@on_every_body
def test_an_unknown_field_is_refused_by_its_name(scene, refused, route):
    method, path = BODIES[route]
    refused(method, path(scene), {"nonsense_field": 1}, says="nonsense_field")


@on_every_body
def test_a_body_cut_off_in_the_middle_changes_nothing(gateway, scene, route):
    method, path = BODIES[route]
    before = scene.state()
    with Connection(gateway.admin_address) as connection:
        connection.send_head(
            method, path(scene), [("authorization", f"Bearer {gateway.admin_key}"), ("content-length", 400)]
        )
        connection.send(b'{"name": "cut')
        connection.end_sending()
        try:
            assert 400 <= connection.read_answer().status < 500
        except Broken:
            pass  # the gateway may close the connection, since the client has already ended its side
    assert scene.state() == before


@on_every_body
def test_a_body_over_four_mebibytes_is_a_413(scene, refused, route):
    method, path = BODIES[route]
    refused(method, path(scene), b'{"name": "' + b"x" * (4 << 20) + b'"}', status=413)


# Fields


@pytest.mark.parametrize(
    "body, says",
    [
        (endpoint(slug=...), "slug"),
        (endpoint(slug=5), "slug"),
        (endpoint(slug=""), "slug"),
        (endpoint(slug="two words/here"), "slug"),
        (endpoint(slug="noslash"), "slug"),
        (endpoint(slug="a/b/c"), "slug"),
        (endpoint(slug="/b"), "slug"),
        (endpoint(slug="a/"), "slug"),
        (endpoint(slug="a/b?c"), "slug"),
        (endpoint(slug="\u00e4/b"), "slug"),
        (endpoint(slug="a/%2e"), "slug"),
        (endpoint(slug="a/" + "x" * 300), "slug"),
        (endpoint(slug="scene/one"), ["slug", "scene/one"]),
        (endpoint(region="MARS"), "region"),
        (endpoint(region=7), "region"),
        (endpoint(targets=...), "targets"),
        (endpoint(targets=[]), "targets"),
        (endpoint(targets={}), "targets"),
        (endpoint(targets=["x"]), "targets"),
        (endpoint(targets=endpoint()["targets"] * 17), "targets"),
        (endpoint(target={"provider": ...}), "provider"),
        (endpoint(target={"provider": "NOBODY"}), "provider"),
        (endpoint(target={"provider": "openai"}), "provider"),
        (endpoint(target={"provider": "VERTEX", "base_url": ...}), ["VERTEX", "not supported"]),
        (endpoint(target={"provider": "BASETEN_MODEL_API", "base_url": ...}), ["BASETEN_MODEL_API", "not supported"]),
        (endpoint(target={"nonsense": 1}), "nonsense"),
        (endpoint(target={"base_url": ...}), "base_url"),
        (endpoint(target={"base_url": "no url"}), "base_url"),
        (endpoint(target={"base_url": ""}), "base_url"),
        (endpoint(target={"base_url": "ftp://host/v1"}), "base_url"),
        (endpoint(target={"base_url": "http://user:pass@host/v1"}), "base_url"),
        (endpoint(target={"base_url": "http://host/v1?x=1"}), "base_url"),
        (endpoint(target={"base_url": "http://host/v1#f"}), "base_url"),
        (endpoint(target={"base_url": "http://host:99999/v1"}), "base_url"),
        (endpoint(target={"base_url": "http:///v1"}), "base_url"),
        (endpoint(target={"base_url": "http://ho st/v1"}), "base_url"),
        (endpoint(target={"base_url": "file:///etc/passwd"}), "base_url"),
        (endpoint(target={"model_id": "abc"}), "model_id"),
        (endpoint(target={"environment_name": "prod"}), "environment_name"),
        (endpoint(target={"vertex_config": {"project_id": "p", "location": "l"}}), "vertex_config"),
        (endpoint(target={"provider": "OPENAI", "base_url": ...}), "secret_id"),
        (endpoint(target={"provider": "ANTHROPIC"}), "secret_id"),
        (endpoint(target={"secret_id": "no-such-secret"}), "secret_id"),
        (endpoint(target={"secret_id": 5}), "secret_id"),
        (endpoint(target={"provider": "BASETEN"}), "base_url"),
        (endpoint(target={"provider": "BASETEN", "base_url": ...}), "model_id"),
        (endpoint(target={"provider": "BASETEN", "base_url": ..., "model_id": "a b"}), "model_id"),
        (endpoint(target={"provider": "BASETEN", "base_url": ..., "model_id": "x" * 65}), "model_id"),
        (
            endpoint(target={"provider": "BASETEN", "base_url": ..., "model_id": "abc", "environment_name": "../x"}),
            "environment_name",
        ),
        (endpoint(target={"target_model": 3}), "target_model"),
        (endpoint(pricing="free"), "pricing"),
        (endpoint(pricing={"currency": "USD", "input": 1, "output": "1", "cached": "1"}), "input"),
        (endpoint(pricing={"currency": "USD", "input": "-1", "output": "1", "cached": "1"}), "input"),
        (endpoint(pricing={"currency": "USD", "input": "1", "output": "0.1234567", "cached": "1"}), "output"),
        (endpoint(pricing={"currency": "USD", "input": "1", "output": "1", "cached": "1e3"}), "cached"),
        (endpoint(pricing={"input": "1", "output": "1", "cached": "1"}), "currency"),
        (endpoint(pricing={"currency": "USD", "input": "1", "output": "1", "cached": "1", "tax": "1"}), "tax"),
        (endpoint(pricing={**PRICED, "long": "1000"}), "pricing.long"),
        (endpoint(pricing={**PRICED, "long": [1000, "1", "1"]}), "pricing.long"),
        (endpoint(pricing={**PRICED, "long": {}}), ["pricing.long", "above"]),
        (endpoint(pricing={**PRICED, "long": {"above": 9, "output": "1"}}), ["pricing.long", "input"]),
        (endpoint(pricing={**PRICED, "long": {"above": 9, "input": "1"}}), ["pricing.long", "output"]),
        (endpoint(pricing={**PRICED, "long": {**LONG, "image": "1"}}), ["pricing.long", "image"]),
    ],
    ids=lambda value: json.dumps(value)[:90] if isinstance(value, dict) else None,
)
def test_an_endpoint_that_breaks_a_rule_is_refused(refused, body, says):
    refused("POST", ENDPOINTS, body, says)


@pytest.mark.parametrize(
    "body, says",
    [
        ({"region": "EU"}, "region"),
        ({"slug": "scene/two"}, "scene/two"),
        ({"slug": "a b/c"}, "slug"),
        ({"targets": []}, "targets"),
        ({"targets": [{"provider": "OPENAI"}]}, "secret_id"),
        ({"pricing": {"currency": "USD"}}, "pricing"),
        ({"id": "x"}, "id"),
        ({}, "slug, targets, pricing, routing and queue_timeout_s"),
        ({"routing": None, "queue_timeout_s": None}, "slug, targets, pricing, routing and queue_timeout_s"),
    ],
    ids=str,
)
def test_a_change_of_an_endpoint_that_breaks_a_rule_is_refused(scene, refused, body, says):
    refused("PATCH", f"{ENDPOINTS}/{scene.endpoint['id']}", body, says)


NO_NUMBERS = [1.5, 2**64, "5", True, [1], {}]
NO_ROUTINGS = ["priority", "RANDOM", "", 1, True, ["SPREAD"], {}]
NO_PRICES = [1, "-1", "0.1234567", "1234567890"]
TOKEN_PRICES = ["input", "output", "cached", "cache_write"]
PRICES = [*TOKEN_PRICES, "request", "image", "second", "characters", *(f"long.{name}" for name in TOKEN_PRICES)]


@pytest.mark.parametrize("field", PRICES)
def test_a_price_that_is_no_decimal_with_up_to_6_decimals_is_refused(scene, refused, field):
    *of_long, name = field.split(".")
    for value in NO_PRICES:
        pricing = PRICED | ({"long": LONG | {name: value}} if of_long else {name: value})
        error = refused("PATCH", f"{ENDPOINTS}/{scene.endpoint['id']}", {"pricing": pricing})["error"]
        assert error.startswith(f"`pricing.{field}`: must be a ")


def test_the_length_above_which_a_prompt_is_long_must_be_a_whole_number(refused):
    for value in [-1, 0, 2**53, None, *NO_NUMBERS]:
        error = refused("POST", ENDPOINTS, endpoint(pricing=PRICED | {"long": LONG | {"above": value}}))["error"]
        assert error == f"`pricing.long.above`: must be a whole number from 1 to {2**53 - 1}."


@pytest.mark.parametrize(
    "field, wrong, rule",
    [
        ("weight", [-1, 0, 101, *NO_NUMBERS], "must be a whole number from 1 to 100"),
        ("max_concurrent", [-1, 0, 100_001, *NO_NUMBERS], "must be a whole number from 1 to 100000"),
    ],
)
def test_a_weight_or_bound_outside_its_range_is_refused(scene, refused, field, wrong, rule):
    for value in wrong:
        body = endpoint()
        body["targets"].append(body["targets"][0] | {field: value})
        for method, path in (("POST", ENDPOINTS), ("POST", f"{ENDPOINTS}/check")):
            assert refused(method, path, body)["error"] == f"`targets[1].{field}`: {rule}."
        patch = {"targets": body["targets"]}
        error = refused("PATCH", f"{ENDPOINTS}/{scene.endpoint['id']}", patch)["error"]
        assert error == f"`targets[1].{field}`: {rule}."


@pytest.mark.parametrize(
    "field, wrong, rule",
    [
        ("routing", NO_ROUTINGS, ("must be PRIORITY or SPREAD", "must be a string")),
        ("queue_timeout_s", [-1, 601, *NO_NUMBERS], ("must be a whole number from 0 to 600",)),
    ],
)
def test_an_unknown_routing_or_a_queue_time_outside_its_range_is_refused(scene, refused, field, wrong, rule):
    errors = [f"`{field}`: {words}." for words in rule]
    for value in wrong:
        assert refused("POST", ENDPOINTS, endpoint(**{field: value}))["error"] in errors
        assert refused("PATCH", f"{ENDPOINTS}/{scene.endpoint['id']}", {field: value})["error"] in errors


def test_a_slug_cannot_be_renamed_onto_one_that_a_group_still_carries(gateway, refused):
    orphan = gateway.create_endpoint("http://127.0.0.1:9")
    gateway.create_group(orphan["slug"])
    gateway.admin("DELETE", f"{ENDPOINTS}/{orphan['id']}")
    other = gateway.create_endpoint("http://127.0.0.1:9")
    refused("PATCH", f"{ENDPOINTS}/{other['id']}", {"slug": orphan["slug"]}, orphan["slug"])


THRESHOLDS = [-1, 1.5, 2**63, 2**64, 2**53, 10**30, "5", None, True, [], {}]


@pytest.mark.parametrize(
    "body, says",
    [
        (group(metadata=...), "metadata"),
        (group(metadata={}), "external_entity_id"),
        (group(metadata={"external_entity_id": ""}), "external_entity_id"),
        (group(metadata={"external_entity_id": "x" * 256}), "external_entity_id"),
        (group(metadata={"external_entity_id": "\u00e4" * 300}), "external_entity_id"),
        (group(metadata={"external_entity_id": 7}), "external_entity_id"),
        (group(metadata={"external_entity_id": None}), "external_entity_id"),
        (group(metadata={"external_entity_id": "scene-root"}), ["external_entity_id", "scene-root"]),
        (group(metadata={"external_entity_id": "new", "name": "x" * 256}), "name"),
        (group(metadata={"external_entity_id": "new", "name": 1}), "name"),
        (group(metadata={"external_entity_id": "new", "extra": 1}), "extra"),
        (group(models=...), "models"),
        (group(models=[]), "models"),
        (group(models="scene/one"), "models"),
        (group(models=[{}]), "slug"),
        (group(models=[model("scene/none")]), "scene/none"),
        (group(models=[model("scene one")]), "slug"),
        (group(models=[model("s/" + "x" * 300)]), "slug"),
        (group(models=[model("scene/one"), model("scene/one")]), "scene/one"),
        (group(models=[{"slug": "scene/one", "burst": 1}]), "burst"),
        (limits([rate("BYTES", "MINUTE", 1)]), "type"),
        (limits([rate("token", "MINUTE", 1)]), "type"),
        (limits([rate("TOKEN", "DAY", 1)]), "unit"),
        (limits([rate("TOKEN", "HOUR", 1)]), "unit"),
        (limits((), [rate("TOKEN", "MINUTE", 1)]), "unit"),
        (limits((), [rate("REQUEST", "CONCURRENT", 1)]), "usage_limits[0].unit"),
        (limits((), [rate("TOKEN", "YEAR", 1)]), "usage_limits[0].unit"),
        (limits([rate("TOKEN", "CONCURRENT", 1)]), ["rate_limits[0].type", "CONCURRENT"]),
        (limits([rate("TOKEN", "MINUTE", 1), rate("TOKEN", "CONCURRENT", 1)]), "rate_limits[1].type"),
        (limits([rate("REQUEST", "CONCURRENT", 1)] * 2), ["rate_limits[1]", "CONCURRENT"]),
        (limits([rate("TOKEN", "MINUTE", 1), rate("TOKEN", "SECOND", 1)]), ["rate_limits", "TOKEN"]),
        (limits((), [rate("REQUEST", "DAY", 1), rate("REQUEST", "DAY", 2)]), ["usage_limits", "REQUEST"]),
        (limits((), [rate("TOKEN", "DAY", 1), *[rate("TOKEN", "WEEK", 1)] * 2]), ["usage_limits[2]", "TOKEN", "WEEK"]),
        (limits([{"type": "TOKEN", "unit": "MINUTE"}]), "threshold"),
        (limits([{"type": "TOKEN", "threshold": 1}]), "unit"),
        (limits(["x"]), "rate_limits"),
        (limits([rate("TOKEN", "MINUTE", 1) | {"burst": 3}]), "burst"),
        *[(limits([rate("TOKEN", "MINUTE", bad)]), "threshold") for bad in THRESHOLDS],
        *[(limits((), [rate("REQUEST", "DAY", bad)]), "threshold") for bad in THRESHOLDS],
        *[(limits([rate("REQUEST", "CONCURRENT", bad)]), "threshold") for bad in THRESHOLDS],
        (group(hierarchy={"parent_group_id": "no-such-group"}), ["parent_group_id"]),
        (group(hierarchy={"parent_group_id": 4}), "parent_group_id"),
        (group(hierarchy={"parent_group_id": "x" * 300}), "parent_group_id"),
        (group(hierarchy={"limit_enforcement": "SOMETIMES"}), "limit_enforcement"),
        (group(hierarchy={"depth": 2}), "depth"),
        (group(hierarchy="root"), "hierarchy"),
    ],
    ids=lambda value: json.dumps(value)[:120] if isinstance(value, dict) else None,
)
def test_a_group_that_breaks_a_rule_is_refused(refused, body, says):
    refused("POST", GROUPS, body, says)


def test_a_threshold_may_be_anything_from_zero_to_the_largest_exact_integer(gateway, scene):
    for threshold in (0, 1, 2**53 - 1):
        made = gateway.admin(
            "POST", GROUPS, limits([rate("TOKEN", "SECOND", threshold)], [rate("TOKEN", "DAY", threshold)])
        )
        assert made["models"][0]["rate_limits"][0]["threshold"] == threshold
        gateway.admin("DELETE", f"{GROUPS}/{made['id']}")


def test_a_sixth_level_is_refused(scene, refused):
    refused("POST", GROUPS, group(hierarchy={"parent_group_id": scene.fifth["id"]}), ["parent_group_id", "level"])


def test_a_childs_mode_must_be_its_parents(scene, refused):
    refused(
        "POST",
        GROUPS,
        group(hierarchy={"parent_group_id": scene.group["id"], "limit_enforcement": "CASCADING"}),
        "limit_enforcement",
    )
    refused(
        "POST",
        GROUPS,
        group(hierarchy={"parent_group_id": scene.cascading["id"], "limit_enforcement": "INDEPENDENT"}),
        "limit_enforcement",
    )


def test_no_cascading_limit_may_exceed_an_ancestors(gateway, scene, refused):
    above = group(
        models=[model("scene/one", [rate("TOKEN", "MINUTE", 101)])],
        hierarchy={"parent_group_id": scene.cascading["id"]},
    )
    assert refused("POST", GROUPS, above)["error"] == EXCEEDS
    grandchild = group(
        models=[model("scene/one", [rate("TOKEN", "MINUTE", 81)])], hierarchy={"parent_group_id": scene.child["id"]}
    )
    assert refused("POST", GROUPS, grandchild)["error"] == EXCEEDS
    raised = {"models": [model("scene/one", [rate("TOKEN", "MINUTE", 101)])]}
    assert refused("PATCH", f"{GROUPS}/{scene.child['id']}", raised)["error"] == EXCEEDS
    lowered = {"models": [model("scene/one", [rate("TOKEN", "MINUTE", 79)])]}
    assert refused("PATCH", f"{GROUPS}/{scene.cascading['id']}", lowered)["error"] == EXCEEDS
    # A different unit or type is a different limit, and an equal threshold is not above.
    for limit in (rate("TOKEN", "SECOND", 1000), rate("REQUEST", "MINUTE", 1000), rate("TOKEN", "MINUTE", 100)):
        made = gateway.admin(
            "POST",
            GROUPS,
            group(models=[model("scene/one", [limit])], hierarchy={"parent_group_id": scene.cascading["id"]}),
        )
        gateway.admin("DELETE", f"{GROUPS}/{made['id']}")


def test_an_ancestor_without_the_slug_does_not_hide_the_one_above_it(gateway, scene, refused):
    middle = gateway.create_group("scene/two", parent=scene.cascading)
    body = group(
        models=[model("scene/one", [rate("TOKEN", "MINUTE", 101)])], hierarchy={"parent_group_id": middle["id"]}
    )
    assert refused("POST", GROUPS, body)["error"] == EXCEEDS
    gateway.admin("DELETE", f"{GROUPS}/{middle['id']}")


@pytest.mark.parametrize(
    "body, says",
    [
        ({}, ["metadata", "budgets"]),
        ({"budgets": None}, ["metadata", "budgets"]),
        ({"hierarchy": {"parent_group_id": None}}, "hierarchy"),
        ({"metadata": {"external_entity_id": "other"}}, "external_entity_id"),
        ({"models": [model("scene/none")]}, "scene/none"),
        ({"models": [model("scene/one"), model("scene/one")]}, "scene/one"),
        ({"models": "x"}, "models"),
        ({"disabled": "yes"}, "disabled"),
        ({"metadata": {"name": "x" * 256}}, "name"),
        ({"metadata": 5}, "metadata"),
        ({"models": [model("scene/one", [rate("TOKEN", "MINUTE", -5)])]}, "threshold"),
    ],
    ids=str,
)
def test_a_change_of_a_group_that_breaks_a_rule_is_refused(scene, refused, body, says):
    refused("PATCH", f"{GROUPS}/{scene.group['id']}", body, says)


@pytest.mark.parametrize(
    "body, says",
    [
        ({"name": 5}, "name"),
        ({"name": "x" * 300}, "name"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": "2030-02-30T00:00:00Z"}, "expires_at"),
    ],
    ids=str,
)
def test_a_key_that_breaks_a_rule_is_refused(scene, refused, body, says):
    path = f"{GROUPS}/{scene.group['id']}/api_keys"
    refused("POST", path, body, says)
    refused("PATCH", f"{path}/{prefix_of(scene.key)}", body, says)


@pytest.mark.parametrize("grace_s", [-1, 2_592_001, 2**64, 1.5, 1e3, "60", True, [60], {}], ids=str)
def test_a_wrong_grace_period_is_refused(scene, refused, grace_s):
    path = f"{GROUPS}/{scene.group['id']}/api_keys/{prefix_of(scene.key)}/rotate"
    refused("POST", path, {"grace_s": grace_s}, says=["grace_s", "a whole number from 0 to 2592000"])


@pytest.mark.parametrize(
    "method, path, body, says",
    [
        ("POST", "/v1/api_keys", {}, "type"),
        ("POST", "/v1/api_keys", {"type": "WORKSPACE_OWNER"}, "type"),
        ("POST", "/v1/api_keys", {"type": 1}, "type"),
        ("POST", "/v1/api_keys", {"type": "WORKSPACE_MANAGE_ALL", "name": 1}, "name"),
        ("DELETE", "/v1/api_keys/env", None, "TOLLGATE_ADMIN_KEY"),
        ("POST", "/v1/secrets", {}, "name"),
        ("POST", "/v1/secrets", {"name": "x"}, "value"),
        ("POST", "/v1/secrets", {"name": "", "value": "x"}, "name"),
        ("POST", "/v1/secrets", {"name": "x", "value": 7}, "value"),
        ("DELETE", "/v1/secrets/scene-secret", None, "scene/secret"),
    ],
    ids=str,
)
def test_operator_keys_and_secrets_that_break_a_rule_are_refused(refused, method, path, body, says):
    refused(method, path, body, says)


BAD_URLS = [
    "",
    " ",
    "http",
    "http:",
    "http://",
    "http:///billing",
    "https://?tenant=7",
    "http:billing.example",
    "http:/billing.example/",
    "//billing.example/",
    "billing.example/",
    "/billing",
    "ftp://billing.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/plain,x",
    "mailto:billing@example",
    "unix:/run/billing.sock",
    "http://user:password@billing.example/",
    "http://user@billing.example/",
    "http://:password@billing.example/",
    "http://billing.example/#part",
    "http://billing.example/?a=b#part",
    "http://billing.example:0/",
    "http://billing.example:99999/",
    "http://billing.example:-1/",
    "http://billing.example:http/",
    "http://256.1.1.1/",
    "http://[::1/",
    "http://[::1%25eth0]/",
    "http://bill ing.example/",
    "http://billing.example/a b",
    " http://billing.example/",
    "http://billing.example/ ",
    "\thttp://billing.example/",
    "http://billing.example/\n",
    "http://billing.ex\nample/",
    "http://billing.example/\r\nx-injected: 1",
    "http://billing.example/\u0000",
    "http://billing.example/\u007f",
    "http://billing.example/\u0085",
    "http://billing.example/\u2028",
    "http://billing.example/\u00a0",
    "http://billing.example/" + "x" * 3000,
    5,
    True,
    [],
    ["http://billing.example/"],
    {"url": "http://billing.example/"},
]


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: ascii(url)[:50])
def test_a_webhook_url_that_cannot_be_called_is_refused(scene, refused, url):
    refused("POST", WEBHOOKS, {"url": url}, says="url")
    refused("PATCH", scene.webhook.path, {"url": url}, says="url")


@pytest.mark.parametrize(
    "body, says",
    [
        ({}, "url"),
        ({"url": None}, "url"),
        ({"description": "no url"}, "url"),
        ({"url": "http://127.0.0.1:9/", "enabled": "true"}, "enabled"),
        ({"url": "http://127.0.0.1:9/", "enabled": 1}, "enabled"),
        ({"url": "http://127.0.0.1:9/", "description": 5}, "description"),
        ({"url": "http://127.0.0.1:9/", "description": ["x"]}, "description"),
        ({"url": "http://127.0.0.1:9/", "description": "x" * 300}, "description"),
        ({"url": "http://127.0.0.1:9/", "secret": "whsec_of-my-own"}, "secret"),
        ({"url": "http://127.0.0.1:9/", "events": ["API_BILLING_USAGE"]}, "events"),
        ({"URL": "http://127.0.0.1:9/"}, "URL"),
    ],
    ids=str,
)
def test_a_webhook_that_breaks_a_rule_is_refused(refused, body, says):
    refused("POST", WEBHOOKS, body, says)


@pytest.mark.parametrize(
    "body, says",
    [
        ({}, ()),
        ({"url": None}, ()),
        ({"enabled": None}, ()),
        ({"url": None, "enabled": None}, ()),
        ({"enabled": "false"}, "enabled"),
        ({"enabled": 0}, "enabled"),
        ({"description": {}}, "description"),
        ({"enabled": True, "id": "x"}, "id"),
        ({"enabled": True, "secret": "whsec_of-my-own"}, "secret"),
        ({"description": "changed", "url": "ftp://127.0.0.1:9/"}, "url"),
        ({"url": "http://127.0.0.1:9/changed", "enabled": "yes"}, "enabled"),
    ],
    ids=str,
)
def test_a_change_of_a_webhook_that_breaks_a_rule_is_refused(scene, refused, body, says):
    refused("PATCH", scene.webhook.path, body, says)


@pytest.mark.parametrize(
    "ids",
    [
        [],
        ["01J9X7Y0Z3K4M5N6P7Q8R9S0T1"],
        ["nothing"],
        [""],
        [5],
        [None],
        "01J9X7Y0Z3K4M5N6P7Q8R9S0T1",
        {},
        5,
    ],
    ids=str,
)
def test_a_redelivery_without_ids_of_dead_letters_is_refused(scene, refused, ids):
    refused("POST", f"{scene.webhook.path}/dead_letters/redeliver", {"ids": ids}, says="ids")


# Lists


LISTS = [ENDPOINTS, GROUPS, "keys", "/v1/gateway/events", WEBHOOKS, "dead letters"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query, says",
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": str(2**64)}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "x" * 300}, "cursor"),
        ({"cursor": "%00\u00e4"}, "cursor"),
    ],
    ids=str,
)
def test_a_list_with_a_bad_query_is_refused(scene, refused, path, query, says):
    path = {
        "keys": f"{GROUPS}/{scene.group['id']}/api_keys",
        "dead letters": f"{scene.webhook.path}/dead_letters",
    }.get(path, path)
    refused(
        "GET",
        path,
        says=says,
        query={"start_time": "2000-01-01T00:00:00Z", **query} if "events" in path and "cursor" not in query else query,
    )


def test_a_cursor_from_another_list_is_refused(gateway, scene, refused):
    cursor = gateway.admin("GET", GROUPS, query={"limit": 1})["pagination"]["cursor"]
    refused("GET", ENDPOINTS, says="cursor", query={"cursor": cursor})
    refused("GET", "/v1/gateway/events", says="cursor", query={"cursor": cursor})
    refused("GET", f"{GROUPS}/{scene.group['id']}/api_keys", says="cursor", query={"cursor": cursor})
    refused("GET", WEBHOOKS, says="cursor", query={"cursor": cursor})
    refused("GET", f"{scene.webhook.path}/dead_letters", says="cursor", query={"cursor": cursor})


@pytest.mark.parametrize(
    "query, says",
    [
        ({}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": "1"}, "start_time"),
        ({"start_time": "2026-01-01T00:00:00Z", "end_time": "later"}, "end_time"),
    ],
    ids=str,
)
def test_events_with_a_bad_query_are_refused(refused, query, says):
    refused("GET", "/v1/gateway/events", says=says, query=query)


def test_limits_with_a_bad_query_are_refused(scene, refused):
    path = f"{GROUPS}/{scene.group['id']}/limits"
    refused("GET", path, says="slug")
    refused("GET", path, says="scene/two", query={"slug": "scene/two"})
    for tokens in ("-1", "many", str(2**64), "1.5"):
        refused("GET", path, says="tokens", query={"slug": "scene/one", "tokens": tokens})


# Paths


@pytest.mark.parametrize(
    "odd",
    [
        "nothing",
        "x" * 300,
        "%00",
        "%2e%2e",
        "..%2f..%2f",
        "\u00e4".encode().decode("latin-1"),
        "%ff",
        "'; DROP",
        "-1",
        "{}",
        "01J9X7Y0Z3K4M5N6P7Q8R9S0T1",
    ],
    ids=lambda text: urllib.parse.quote(text)[:20],
)
def test_an_unknown_id_is_a_404(gateway, scene, refused, odd):
    odd = urllib.parse.quote(odd, safe="%")
    refused("GET", f"{ENDPOINTS}/{odd}", status=404)
    refused("PATCH", f"{ENDPOINTS}/{odd}", {"slug": "scene/renamed"}, status=404)
    refused("DELETE", f"{ENDPOINTS}/{odd}", status=404)
    refused("GET", f"{GROUPS}/{odd}", status=404)
    refused("PATCH", f"{GROUPS}/{odd}", {"disabled": True}, status=404)
    refused("DELETE", f"{GROUPS}/{odd}", status=404)
    refused("GET", f"{GROUPS}/{odd}/usage", status=404)
    refused("GET", f"{GROUPS}/{odd}/limits", status=404, query={"slug": "scene/one"})
    refused("GET", f"{GROUPS}/{odd}/api_keys", status=404)
    refused("POST", f"{GROUPS}/{odd}/api_keys", {}, status=404)
    for method, body in (("GET", None), ("PATCH", {"disabled": True}), ("DELETE", None)):
        refused(method, f"{GROUPS}/{scene.group['id']}/api_keys/{odd}", body, status=404)
    refused("POST", f"{GROUPS}/{scene.group['id']}/api_keys/{odd}/rotate", status=404)
    refused("DELETE", f"/v1/api_keys/{odd}", status=404)
    refused("DELETE", f"/v1/secrets/{odd}", status=404)
    for method, route, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": True}),
        ("DELETE", "", None),
        ("POST", "/rotate_secret", None),
        ("POST", "/test", None),
        ("GET", "/dead_letters", None),
        ("POST", "/dead_letters/redeliver", None),
    ):
        refused(method, f"{WEBHOOKS}/{odd}{route}", body, status=404)


def test_a_key_of_another_group_is_a_404(scene, refused):
    path = f"{GROUPS}/{scene.cascading['id']}/api_keys/{prefix_of(scene.key)}"
    refused("DELETE", path, status=404)
    refused("POST", f"{path}/rotate", status=404)


@pytest.mark.parametrize(
    "method, path",
    [
        ("PUT", ENDPOINTS),
        ("DELETE", ENDPOINTS),
        ("PUT", GROUPS),
        ("POST", "/v1/gateway/events"),
        ("PUT", "/v1/secrets"),
        ("PATCH", "/v1/api_keys"),
        ("POST", "/v1/gateway/status"),
        ("DELETE", "/v1/spec"),
        ("PUT", WEBHOOKS),
        ("DELETE", WEBHOOKS),
        ("BREW", GROUPS),
    ],
)
def test_a_wrong_method_is_a_405(refused, method, path):
    refused(method, path, status=405)


def test_a_head_of_100_kilobytes_is_refused(gateway, scene):
    before = scene.state()
    for headers in (
        [("x-long", "x" * 100_000)],
        [(f"x-{n}", "y" * 900) for n in range(110)],
        [("authorization", "Bearer " + "k" * 100_000)],
    ):
        with Connection(gateway.admin_address) as connection:
            try:
                connection.send_head(
                    "DELETE",
                    f"{GROUPS}/{scene.group['id']}",
                    [("authorization", f"Bearer {gateway.admin_key}"), *headers],
                )
                status = connection.read_head()[0]
            except (Broken, ConnectionError):
                continue  # the gateway may close the connection while we still write
            assert status in (400, 431), status
    assert scene.state() == before


def test_a_key_with_control_characters_is_refused(gateway, scene):
    before = scene.state()
    for key in (b"Bearer a\x01b", b"Bearer \x00", b"Bearer \x7f\xff", b"Bearer \xc3\xa4", b"Bearer a\tb"):
        with Connection(gateway.admin_address) as connection:
            connection.send_head("GET", GROUPS, [("authorization", key)])
            assert connection.read_head()[0] in (400, 401, 429), key
    assert scene.state() == before
