"""Requests and answers have the shapes of the published management API, for which other clients are written."""

import base64
import json
import pathlib
import re
import string

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.gateway import REPO, Gateway, model, prefix_of, rate
from support.receiver import text

PUBLISHED = json.loads((pathlib.Path(__file__).parent / "published/gateway-openapi.json").read_text())


def parameterless(path):
    return re.sub(r"{[^}]*}", "{}", path)


def schemas_of(specification):
    """`{(method, path without parameter names): (request schema, answer schema)}`; either schema may be None."""
    found = {}

    def schema(holder):
        if holder and "$ref" in holder:
            holder = resolve(specification, holder["$ref"])
        return ((holder or {}).get("content", {}).get("application/json") or {}).get("schema")

    for path, item in specification["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete"):
                found[method.upper(), parameterless(path)] = (
                    schema(operation.get("requestBody")),
                    schema(operation["responses"].get("200")),
                )
    return found


def resolve(specification, reference):
    node = specification
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def validate(specification, schema, value):
    """Validates a value; the schema's references resolve within the whole specification."""
    root = {**specification, **schema, "$schema": "https://json-schema.org/draft/2020-12/schema"}
    jsonschema.Draft202012Validator(root, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(value)


def test_our_copy_equals_the_projects_original():
    original = REPO.parent / "shared/published/gateway-openapi.json"
    if not original.exists():
        pytest.skip("this clone has only the copy")
    assert json.loads(original.read_text()) == PUBLISHED


@pytest.fixture(scope="module")
def own(gateway):
    return gateway.admin("GET", "/v1/spec")


@pytest.fixture
def operator(gateway, own):
    """Makes admin requests; validates body and answer against the published specification and our own."""
    published, ours = schemas_of(PUBLISHED), schemas_of(own)

    def request(method, path, template, body=None, **more):
        key = (method, parameterless(template))
        assert key in ours, f"{key} is not in /v1/spec"
        answer = gateway.admin(method, path, body, **more)
        for specification, (asked, answered) in ((PUBLISHED, published.get(key, (None, None))), (own, ours[key])):
            if body is not None and asked:
                validate(specification, asked, body)
            if answered:
                validate(specification, answered, answer)
        assert ours[key][1], f"{key} documents no answer"
        return answer

    return request


def test_endpoints_have_the_published_shapes(operator, upstream):
    root, one = "/v1/gateway/endpoints", "/v1/gateway/endpoints/{}"
    target = {
        "provider": "OPENAI_COMPATIBLE",
        "base_url": upstream.base_url,
        "target_model": "m",
        "secret_id": None,
        "model_id": None,
        "environment_name": None,
        "vertex_config": None,
    }
    made = operator("POST", root, root, {"slug": "shapes/one", "targets": [target]})
    assert made["region"] == "UNRESTRICTED" and made["slug"] == "shapes/one" and made["created_at"].endswith("Z")
    assert operator("GET", f"{root}/{made['id']}", one) == made
    assert made in operator("GET", root, root)["items"]
    changed = operator("PATCH", f"{root}/{made['id']}", one, {"targets": [{**target, "target_model": "n"}]})
    assert changed["targets"][0]["target_model"] == "n" and changed["updated_at"] >= made["updated_at"]
    assert operator("DELETE", f"{root}/{made['id']}", one) == {"id": made["id"], "slug": "shapes/one"}


def test_groups_have_the_published_shapes(operator, gateway, upstream):
    root, one = "/v1/gateway/groups", "/v1/gateway/groups/{}"
    slug = gateway.create_endpoint(upstream)["slug"]
    made = operator(
        "POST",
        root,
        root,
        {
            "metadata": {"external_entity_id": "shapes-parent", "name": None},
            "hierarchy": {"limit_enforcement": None, "parent_group_id": None},
            "models": [model(slug, [rate("TOKEN", "MINUTE", 1000)], [rate("REQUEST", "DAY", 50)])],
        },
    )
    assert made["hierarchy"] == {"limit_enforcement": "INDEPENDENT", "parent_group_id": None}
    assert made["effective_models"] == [
        {
            "slug": slug,
            "rate_limits": [{**rate("TOKEN", "MINUTE", 1000), "source_group": made["id"]}],
            "usage_limits": [{**rate("REQUEST", "DAY", 50), "source_group": made["id"]}],
        }
    ]
    child = operator(
        "POST",
        root,
        root,
        {
            "metadata": {"external_entity_id": "shapes-child"},
            "models": [{"slug": slug}],
            "hierarchy": {"parent_group_id": made["id"]},
        },
    )
    assert child["models"] == [{"slug": slug, "rate_limits": [], "usage_limits": []}]
    assert child["effective_models"][0]["rate_limits"][0]["source_group"] == made["id"]
    assert operator("GET", f"{root}/{child['id']}", one) == child
    assert operator("GET", root, root, query={"external_entity_id": "shapes-child"})["items"] == [child]
    assert operator("GET", root, root, query={"parent_group_id": made["id"]})["items"] == [child]
    renamed = operator("PATCH", f"{root}/{made['id']}", one, {"metadata": {"name": "A name"}})
    assert renamed["metadata"] == {"name": "A name", "external_entity_id": "shapes-parent"}
    usage = operator("GET", f"{root}/{made['id']}/usage", one + "/usage")
    assert usage == {
        "customer_id": "shapes-parent",
        "usage": {
            slug: [{**rate("REQUEST", "DAY", 50), "current_usage": None, "reset_at": None, "source_group": made["id"]}]
        },
        "budgets": [],
    }
    operator("GET", f"{root}/{made['id']}/limits", one + "/limits", query={"slug": slug})
    deleted = gateway.admin("DELETE", f"{root}/{made['id']}")
    assert set(deleted) == {"id", "metadata", "deleted_at"} and deleted["id"] == made["id"]
    assert gateway.admin_answer("GET", f"{root}/{child['id']}").status == 404


def test_customer_keys_have_the_published_shapes(operator, group):
    root = f"/v1/gateway/groups/{group['id']}/api_keys"
    template, one = "/v1/gateway/groups/{}/api_keys", "/v1/gateway/groups/{}/api_keys/{}"
    made = operator("POST", root, template, {"name": None})
    assert set(made) == {"api_key", "prefix", "name"}
    named = operator("POST", root, template, {"name": "build server"})
    assert named["name"] == "build server"
    assert {item["prefix"] for item in operator("GET", root, template)["items"]} == {made["prefix"], named["prefix"]}
    got = operator("GET", f"{root}/{named['prefix']}", one)
    assert got["name"] == "build server" and named["api_key"] not in json.dumps(got)
    operator("PATCH", f"{root}/{named['prefix']}", one, {"disabled": True})
    assert operator("DELETE", f"{root}/{made['prefix']}", one) == {"prefix": prefix_of(made["api_key"])}


def test_registered_keys_have_the_published_shapes(operator, group):
    private = Ed25519PrivateKey.generate()
    public = {"public_key": base64.b64encode(private.public_key().public_bytes_raw()).decode()}
    for method, body in (("PUT", public), ("GET", None)):
        assert operator(method, "/v1/gateway/signing_key", "/v1/gateway/signing_key", body) == public
    path = f"/v1/gateway/groups/{group['id']}/api_keys/register"
    for name in ({}, {"name": None}, {"name": "theirs"}):
        body = {"key": f"shapes-{len(str(name)):02}-key-" + string.ascii_letters, **name}
        headers = [("x-baseten-signature", base64.b64encode(private.sign(json.dumps(body).encode())).decode())]
        assert operator("POST", path, "/v1/gateway/groups/{}/api_keys/register", body, headers=headers) == {"ok": True}
    assert operator("DELETE", "/v1/gateway/signing_key", "/v1/gateway/signing_key") == public


def test_operators_and_secrets_have_the_published_shapes(operator):
    key = operator("POST", "/v1/api_keys", "/v1/api_keys", {"type": "WORKSPACE_EXPORT_METRICS", "name": "prometheus"})
    assert set(key) == {"api_key"}
    listed = operator("GET", "/v1/api_keys", "/v1/api_keys")["keys"]
    assert {"env", prefix_of(key["api_key"])} <= {item["prefix"] for item in listed}
    assert all(set(item) == {"prefix", "name", "type", "created_at", "last_used_at"} for item in listed)
    assert operator("DELETE", f"/v1/api_keys/{prefix_of(key['api_key'])}", "/v1/api_keys/{}") == {
        "prefix": prefix_of(key["api_key"])
    }
    secret = operator("POST", "/v1/secrets", "/v1/secrets", {"name": "shapes", "value": "the-value"})
    assert set(secret) == {"id", "name", "created_at", "team_name"}
    again = operator("POST", "/v1/secrets", "/v1/secrets", {"name": "shapes", "value": "another"})
    assert again["id"] == secret["id"], "a secret must be upserted by its name"
    listing = operator("GET", "/v1/secrets", "/v1/secrets")
    assert "the-value" not in json.dumps(listing) and "another" not in json.dumps(listing)
    assert operator("DELETE", "/v1/secrets/shapes", "/v1/secrets/{}") == {"name": "shapes"}


def test_events_and_status_have_the_published_shapes(operator, customer, slug):
    assert customer.chat(slug).status == 200
    events = operator("GET", "/v1/gateway/events", "/v1/gateway/events", query={"start_time": "2000-01-01T00:00:00Z"})
    assert events["items"]
    audit = operator("GET", "/v1/audit_logs", "/v1/audit_logs", query={"limit": 1000})
    assert {"group.created", "secret.written", "api_key.registered"} <= {entry["event_type"] for entry in audit["items"]}
    status = operator("GET", "/v1/gateway/status", "/v1/gateway/status")
    assert status["version"]


def test_webhooks_have_the_published_shapes(operator, receiver, customer, slug):
    root, one = "/v1/gateway/webhooks", "/v1/gateway/webhooks/{}"
    made = operator("POST", root, root, {"url": receiver.url, "description": None, "enabled": None})
    path = f"{root}/{made['id']}"
    assert operator("POST", f"{path}/test", one + "/test")["ok"] is True
    receiver.reply_next(text(410, b"gone"))
    assert customer.chat(slug).status == 200
    receiver.wait_requests(2)
    letters = lambda: operator("GET", f"{path}/dead_letters", one + "/dead_letters")["items"]  # noqa: E731
    Gateway.eventually(letters, lambda items: len(items) == 1)
    got = operator("GET", path, one)
    assert got.keys() == made.keys() - {"secret"} and got in operator("GET", root, root)["items"]
    assert operator("PATCH", path, one, {"description": "Invoices"})["description"] == "Invoices"
    assert set(operator("POST", f"{path}/rotate_secret", one + "/rotate_secret")) == set(made)
    assert operator("POST", f"{path}/dead_letters/redeliver", one + "/dead_letters/redeliver", {}) == {"queued": 1}
    receiver.wait_events(1)
    operator("GET", "/v1/gateway/status", "/v1/gateway/status")
    assert operator("DELETE", path, one) == {"id": made["id"], "url": receiver.url}


def test_a_client_that_walks_pages_as_published_sees_every_group_once(operator, gateway, slug):
    made = {gateway.create_group(slug)["id"] for _ in range(7)}
    seen, query = [], {"limit": 3}
    while True:
        page = operator("GET", "/v1/gateway/groups", "/v1/gateway/groups", query=query)
        seen += [item["id"] for item in page["items"]]
        if not page["pagination"]["has_more"]:
            assert page["pagination"]["cursor"] is None
            break
        assert len(page["items"]) == 3
        if len(seen) == 3:  # changes between two pages must not shift them
            gateway.admin("DELETE", f"/v1/gateway/groups/{seen[0]}")
            gateway.create_group(slug)
        query = {"limit": 3, "cursor": page["pagination"]["cursor"]}
    assert len(seen) == len(set(seen)) and made <= set(seen)


def test_our_specification_covers_the_published_paths(own):
    assert own["openapi"].startswith("3.1")
    ours = schemas_of(own)
    missing = set(schemas_of(PUBLISHED)) - set(ours)
    assert not missing


def test_errors_have_an_error_and_a_code(gateway):
    for path in ("/v1/gateway/groups/nothing", "/v1/gateway/endpoints/nothing", "/v1/nothing"):
        answer = gateway.admin_answer("GET", path)
        assert answer.status == 404
        assert set(answer.json()) == {"error", "code"} and re.fullmatch("[a-z_]+", answer.json()["code"])
