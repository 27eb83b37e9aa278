"""`/v1/spec` is OpenAPI 3.1 that client generators support, and lists exactly the routes that exist."""

import json
import re

import pytest
from openapi_spec_validator import validate

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def specification(gateway):
    return gateway.admin("GET", "/v1/spec")


@pytest.fixture(scope="module")
def operations(specification):
    """`{"GET /v1/gateway/groups": its operation}` for every operation."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in specification["paths"].items()
        for method, operation in item.items()
    }


def schemas_in(node):
    """Every JSON object in the specification."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from schemas_in(child)


def test_the_specification_is_valid_openapi_3_1(specification):
    assert specification["openapi"].startswith("3.1.")
    validate(specification)


def test_every_operation_has_a_unique_id_a_tag_and_a_summary(specification, operations):
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", name)] == []
    tags = {tag["name"]: tag["description"] for tag in specification["tags"]}
    assert all(tags.values())
    assert {tag for operation in operations.values() for tag in operation["tags"]} == set(tags)
    for operation in operations.values():
        assert operation["summary"] and len(operation["tags"]) == 1
    assert {"listGroups", "mintApiKey", "getStatus"} <= set(ids)


def test_every_operation_declares_its_answers_and_errors(operations):
    for name, operation in operations.items():
        assert set(operation["responses"]) == {"200", "4XX", "5XX"}, name
        assert operation["responses"]["200"]["content"], name
        is_open = operation["security"] == []
        assert is_open != operation.get("description", "").startswith("Requires an operator key of type "), name
    media_types = {name: set(operation["responses"]["200"]["content"]) for name, operation in operations.items()}
    others = {name: found for name, found in media_types.items() if found != {"application/json"}}
    assert others == {
        "POST /v1/gateway/backup": {"application/x-tar"},
        "GET /v1/gateway/live": {"text/event-stream"},
        "GET /v1/gateway/events": {"application/json", "text/csv"},
        "GET /metrics": {"text/plain", "application/openmetrics-text"},
        "GET /v1/gateway/usage_report": {"application/json", "text/csv"},
        "POST /v1/gateway/groups/{group_id}/try": {"application/json", "text/event-stream"},
    }


def test_closed_lists_are_plain_enums(specification):
    schemas = specification["components"]["schemas"]
    for name in ("UpstreamState", "CheckName", "DeliveryState", "DeliveryKind", "DeliveryOutcome"):
        assert schemas[name]["type"] == "string" and len(schemas[name]["enum"]) >= 3
        assert set(schemas[name]) <= {"type", "enum", "description"}
    assert set(schemas["UpstreamState"]["enum"]) == {"ok", "failing", "out", "probing", "unused"}
    for schema in schemas_in(specification):
        assert "const" not in schema and "oneOf" not in schema, schema
        if isinstance(schema.get("enum"), list):
            assert (None in schema["enum"]) == ("null" in schema["type"]), schema


def test_parameters_are_never_null_and_required_ones_are_marked(operations):
    required = {
        (name, parameter["name"])
        for name, operation in operations.items()
        for parameter in operation["parameters"]
        if parameter["required"] and parameter["in"] != "path"
    }
    assert required == {
        ("GET /v1/gateway/groups/{group_id}/limits", "slug"),
        ("GET /v1/gateway/search", "q"),
        ("GET /v1/gateway/usage_report", "start_time"),
    }
    for name, operation in operations.items():
        for parameter in operation["parameters"]:
            assert "null" not in json.dumps(parameter["schema"]), (name, parameter)
            assert isinstance(parameter["schema"].get("type", ""), str), (name, parameter)


def test_objects_declare_their_members_or_allow_any(specification):
    for schema in schemas_in(specification):
        if "object" in (kinds := schema.get("type", ())) and isinstance(kinds, str | list):
            assert "properties" in schema or "additionalProperties" in schema, schema


def test_only_formats_of_openapi_are_used(specification):
    found = {schema["format"] for schema in schemas_in(specification) if isinstance(schema.get("format"), str)}
    assert found <= {"int32", "int64", "double", "date-time", "uri", "password", "binary"}


def test_the_server_answers_exactly_the_methods_that_the_specification_lists(gateway, specification):
    for path, item in specification["paths"].items():
        there = {method.upper() for method in item}
        place = re.sub("{[^}]*}", "nothing", path)
        for method in METHODS:
            answer = gateway.admin_answer(method, place, key=None)
            if method not in there:
                assert answer.status == 405, (method, path)
                assert set(answer.headers["allow"].split(", ")) == there, path
            elif item[method.lower()]["security"]:
                assert answer.status == 401, (method, path)
            else:
                assert answer.status in (200, 400), (method, path)
