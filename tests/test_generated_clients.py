"""A client that openapi-python-client makes from `/v1/spec` calls every operation, also while an upstream and a webhook
receiver fail. Every answer must match the specification and the models of datamodel-codegen."""

import base64
import concurrent.futures
import csv
import datetime
import io
import json
import string
import tarfile

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support import generated
from support.gateway import Customer, Gateway, budget, message, prefix_of, rate
from support.receiver import Receiver, text
from support.upstream import Reply, ScriptedUpstream

EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
GOOD, BAD = "generated/good", "generated/bad"


@pytest.fixture(scope="module")
def specification(gateway):
    return gateway.admin("GET", "/v1/spec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, specification):
    folder = tmp_path_factory.mktemp("generated")
    (folder / "spec.json").write_text(json.dumps(specification))
    return folder


@pytest.fixture(scope="module")
def made(folder):
    return generated.make_client(folder / "spec.json", folder)


@pytest.fixture(scope="module")
def models(folder):
    return generated.make_models(folder / "spec.json", folder)


@pytest.fixture(scope="module")
def client(made, specification, gateway):
    """The client, after it has called every operation."""
    client = generated.Client(made[0], specification, gateway, gateway.admin_key)
    good, bad, receiver = ScriptedUpstream(), ScriptedUpstream(), Receiver()
    bad.always(Reply(500))
    try:
        drive_operators(client)
        drive_endpoints(client, good, bad)
        group = drive_groups(client)
        customer = Customer(gateway, drive_keys(client, group))
        webhook = drive_failing_webhook(client, customer, receiver)
        drive_calls(client, group, customer)
        drive_gateway(client, gateway)
        drive_billing(client, group, customer)
        drive_recovery(client, webhook, receiver)
        drive_removal(client, group, webhook)
    finally:
        for server in (good, bad, receiver):
            server.stop()
    return client


def drive_operators(client):
    made = client.call("createOperatorKey", body={"type": "WORKSPACE_EXPORT_METRICS", "name": "prometheus"})
    assert client.call("listOperatorKeys").keys[-1].name == "prometheus"
    assert client.call("deleteOperatorKey", prefix_of(made.api_key)).prefix == prefix_of(made.api_key)
    began = client.call("beginSession", body={"key": client.http.token})
    # From now on the HTTP client sends the cookie.
    assert client.call("getSession").session.expires_at == began.expires_at
    assert client.call("endSession").ok and client.call("getSession").session is None
    client.call("storeSecret", body={"name": "generated", "value": "the-value"})
    client.call("storeSecret", body={"name": "unused", "value": "the-value"})
    assert client.call("deleteSecret", "unused").name == "unused"
    client.call("deleteSecret", "unused", expect=404)


def drive_endpoints(client, good, bad):
    [secret] = client.call("listSecrets").secrets
    target = {"provider": "OPENAI_COMPATIBLE", "base_url": good.base_url, "secret_id": secret.id}
    long = {"above": 200_000, "input": "5", "output": "20"}
    pricing = {"currency": "EUR", "input": "2.5", "output": "10", "long": long}
    made = client.call("createEndpoint", body={"slug": GOOD, "region": "EU", "targets": [target], "pricing": pricing})
    assert made.region == client.models.Region.EU and made.pricing.cached == "2.5"
    assert made.pricing.long.above == 200_000
    failing = {"slug": BAD, "targets": [{**target, "base_url": bad.base_url, "secret_id": None}]}
    checked = client.call("checkEndpoint", body=failing)
    assert [check.name.value for check in checked.targets[0].checks] == ["reachable", "model", "stream", "usage"]
    assert not checked.targets[0].checks[1].ok
    client.call("createEndpoint", body=failing)
    client.call("createEndpoint", body=failing, expect=400)
    page = client.call("listEndpoints", limit=1)
    assert page.pagination.has_more
    assert client.call("listEndpoints", cursor=page.pagination.cursor).items[0].slug == BAD
    assert client.call("updateEndpoint", made.id, body={"pricing": None}).pricing is None
    client.call("updateEndpoint", made.id, body={"pricing": pricing})
    assert client.call("getEndpoint", made.id).targets[0].secret_id == secret.id


def drive_groups(client):
    limited = {"slug": GOOD, "rate_limits": [rate("TOKEN", "MINUTE", 100_000)], "usage_limits": [rate("REQUEST", "DAY", 50)]}
    limited["rate_limits"].append(rate("REQUEST", "CONCURRENT", 64))
    limited["usage_limits"].append(rate("TOKEN", "WEEK", 10**9))
    hierarchy = {"limit_enforcement": "CASCADING"}
    body = {"metadata": {"external_entity_id": "=parent"}, "models": [limited, {"slug": BAD}], "hierarchy": hierarchy}
    body["budgets"] = [budget("MONTH", "500.00"), budget("TOTAL", "1000")]
    group = client.call("createGroup", body=body)
    assert (group.effective_budgets[0].amount, group.effective_budgets[0].source_group) == ("500", group.id)
    usage, total = client.models.UsageUnit, client.models.BudgetUnit.TOTAL
    assert group.models[0].usage_limits[1].unit == usage.WEEK and group.budgets[1].unit == total
    assert group.effective_models[0].rate_limits[0].source_group == group.id
    client.call("createGroup", body=body, expect=400)
    below = {"hierarchy": {"parent_group_id": group.id}, "metadata": {"external_entity_id": "child", "name": None}}
    child = client.call("createGroup", body={**body, **below})
    assert [one.id for one in client.call("listGroups", parent_group_id=group.id).items] == [child.id]
    assert client.call("updateGroup", group.id, body={"metadata": {"name": "Parent"}}).metadata.name == "Parent"
    assert client.call("getGroup", group.id).metadata.external_entity_id == "=parent"
    client.call("getGroup", "nothing", expect=404)
    assert client.call("search", q="child").items[0].kind == client.models.SearchKind.GROUP
    return group


def drive_keys(client, group):
    """Returns the group's complete key."""
    next_year = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=365)
    made = client.call("mintApiKey", group.id, body={"name": "laptop", "expires_at": next_year.isoformat()})
    assert client.call("getApiKey", group.id, made.prefix).expires_at.year == next_year.year
    cleared = client.call("updateApiKey", group.id, made.prefix, body={"expires_at": None, "name": None})
    assert cleared.expires_at is None and cleared.name is None

    private = Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    client.call("setSigningKey", body={"public_key": public})
    assert client.call("getSigningKey").public_key == public
    theirs = {"key": "=theirs-" + string.ascii_letters, "name": "theirs"}
    # The signature covers the body as the client's HTTP library encodes it.
    sent = httpx.Request("POST", "http://tollgate", json=client.body("registerApiKey", theirs).to_dict()).content
    signature = base64.b64encode(private.sign(sent)).decode()
    assert client.call("registerApiKey", group.id, body=theirs, x_tollgate_signature=signature).ok
    client.call("registerApiKey", group.id, body=theirs, x_baseten_signature="nonsense", expect=400)
    assert client.call("deleteSigningKey").public_key == public
    prefixes = [one.prefix for one in client.call("listApiKeys", group.id).items]
    assert sorted(prefixes) == sorted([made.prefix, theirs["key"][:16]])
    return made.api_key


def drive_failing_webhook(client, customer, receiver):
    """Leaves a webhook that has a dead letter and whose receiver keeps failing."""
    webhook = client.call("createWebhook", body={"url": receiver.url, "description": "Invoices"})
    assert webhook.secret and client.call("testWebhook", webhook.id).ok
    receiver.always(text(410, b"gone"))
    assert not client.call("testWebhook", webhook.id).ok
    assert customer.chat(GOOD).status == 200
    dead = lambda: client.call("listDeadLetters", webhook.id).items  # noqa: E731
    [letter] = Gateway.eventually(dead, len)
    assert letter.last_status == 410 and letter.events[0].model_slug == GOOD
    kinds, outcomes = client.models.DeliveryKind, client.models.DeliveryOutcome
    deliveries = lambda: client.call("listDeliveries", webhook.id).items  # noqa: E731
    given_up, tested, *_ = Gateway.eventually(deliveries, lambda items: items[0].outcome == outcomes.DEAD_LETTER)
    assert given_up.kind == kinds.EVENTS and (tested.kind, tested.outcome) == (kinds.TEST, outcomes.FAILED)
    state = lambda: client.call("getWebhook", webhook.id).delivery.state  # noqa: E731
    Gateway.eventually(state, lambda state: state == client.models.DeliveryState.FAILING)
    return webhook


def drive_calls(client, group, customer):
    """Leaves a failing upstream."""
    assert customer.chat(BAD).status == 502
    tried = {"route": "/v1/chat/completions", "body": {"model": GOOD, "messages": message("hello")}}
    assert client.call("tryModel", group.id, body=tried)["usage"]["prompt_tokens"] > 0
    streamed = {**tried, "body": {**tried["body"], "stream": True}}
    assert client.call_raw("tryModel", group.id, body=streamed).endswith("data: [DONE]\n\n")
    failed = client.call("tryModel", group.id, body={**tried, "body": {**tried["body"], "model": BAD}}, expect=502)
    assert failed.error.additional_properties["type"] == "server_error"
    unknown = client.call("tryModel", "nothing", body=tried, expect=404)
    assert unknown.code == "not_found"


def drive_gateway(client, gateway):
    status = client.call("getStatus")
    states = {upstream.slug: upstream.state for upstream in status.upstreams}
    assert states == {GOOD: client.models.UpstreamState.OK, BAD: client.models.UpstreamState.FAILING}
    assert [webhook.delivery.state for webhook in status.webhooks] == [client.models.DeliveryState.FAILING]
    assert status.attention
    watch_status(client, gateway)
    assert client.call("getActivity").step_s == 60
    assert client.call("checkHealth").status == client.call("checkReadiness").status == "ok"
    assert client.call("getSpec").additional_properties == client.specification
    assert "tollgate_build_info" in client.call("getMetrics")
    assert client.call_raw("getMetrics", accept="application/openmetrics-text").endswith("# EOF\n")
    client.call("createBackup")
    with tarfile.open(fileobj=io.BytesIO(client.answers[-1].content)) as backup:
        assert "SHA256SUMS" in backup.getnames()


def watch_status(client, gateway):
    """The generated function returns at the end of the stream, which ends when the watcher's key is deleted."""
    key = client.call("createOperatorKey", body={"type": "WORKSPACE_EXPORT_METRICS"}).api_key
    watcher = generated.Client(client.package, client.specification, gateway, key)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        watching = threads.submit(watcher.call, "watchStatus")
        last_used = lambda: client.call("listOperatorKeys").keys[-1].last_used_at  # noqa: E731
        Gateway.eventually(last_used, lambda at: at is not None or watching.done())
        client.call("deleteOperatorKey", prefix_of(key))
        assert "event: live\n" in watching.result()
    client.answers += watcher.answers


def drive_billing(client, group, customer):
    order = client.models.Order
    events = client.call("listEvents", start_time=EPOCH, order=order.DESC, api_keys=[prefix_of(customer.key)]).items
    assert [event.model_slug for event in events] == [GOOD] and events[0].cost.currency == "EUR"
    assert len(client.call("listEvents", start_time=EPOCH, limit=1000).items) == 3
    assert client.call("listEvents", expect=400).code == "invalid_parameter"
    assert client.call("listAlerts", start_time=EPOCH, limit=1000).items == []
    listed = client.call_raw("listEvents", start_time=EPOCH, format_=client.models.ListEventsFormat.CSV)
    assert [row["externalEntityId"] for row in csv.DictReader(io.StringIO(listed))] == ["'=parent"] * 3
    columns = {"start_time": EPOCH, "group_by": "group,model,key,day,hour"}
    rows = client.call("getUsageReport", **columns).items
    assert sum(row.requests for row in rows) == 3 and {row.external_entity_id for row in rows} == {"=parent"}
    report = client.call_raw("getUsageReport", format_=client.models.GetUsageReportFormat.CSV, **columns)
    assert [row["external_entity_id"] for row in csv.DictReader(io.StringIO(report))] == ["'=parent"] * len(rows)
    usage = client.call("getGroupUsage", group.id)
    assert usage.usage[GOOD][0].current_usage == 3
    month, total = usage.budgets
    assert float(month.spent) > 0 and month.spent == total.spent and month.reset_at and total.reset_at is None
    asked = client.call("getGroupLimits", group.id, slug=GOOD, tokens=200_000)
    assert asked.stopped_by == 0 and asked.limits[1].unit == client.models.Unit.CONCURRENT
    limits = [("rate", 100_000), ("rate", 64), ("usage", 50), ("usage", 10**9), ("budget", "500"), ("budget", "1000")]
    assert [(one.kind.value, one.threshold) for one in asked.limits] == limits
    hour_ago = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)).isoformat()
    tried = {"start_time": hour_ago, "budgets": [{"unit": "DAY", "currency": "EUR", "amount": "0"}]}
    simulated = client.call("simulateLimits", group.id, body=tried)
    assert simulated.requests == 3 and simulated.stopped_by[0].budget.amount == "0"
    root = client.call("getGroupTree").items[0]
    assert root.today.used == 3 and root.budget.spent == month.spent


def drive_recovery(client, webhook, receiver):
    receiver.always(text(200))
    rotated = client.call("rotateWebhookSecret", webhook.id)
    assert rotated.secret != webhook.secret and rotated.previous_secret_until
    letters = client.call("listDeadLetters", webhook.id, limit=1).items
    assert client.call("redeliverDeadLetters", webhook.id, body={"ids": [letters[0].id]}).queued == 1
    receiver.wait_events(1)
    assert client.call("updateWebhook", webhook.id, body={"description": None, "enabled": False}).enabled is False
    assert client.call("listWebhooks").items[0].delivery.state == client.models.DeliveryState.DISABLED


def drive_removal(client, group, webhook):
    assert client.call("deleteWebhook", webhook.id).id == webhook.id
    keys = client.call("listApiKeys", group.id, limit=1).items
    rotated = client.call("rotateApiKey", group.id, keys[0].prefix, body={"grace_s": 60})
    assert rotated.replaces == keys[0].prefix and rotated.old_expires_at
    assert client.call("revokeApiKey", group.id, keys[0].prefix).prefix == keys[0].prefix
    assert client.call("deleteGroup", group.id).metadata.name == "Parent"
    for endpoint in client.call("listEndpoints").items:
        client.call("deleteEndpoint", endpoint.id)
    page = client.call("listAuditLogs", limit=1)
    assert page.items[0].event_type == "endpoint.deleted" and page.items[0].actor.api_key_prefix == "env"
    changes = client.call("listAuditLogs", limit=1000).items
    assert {change.object_ for entry in changes for change in entry.event_data.changes} == set(client.models.AuditObject)


def test_the_generator_supports_every_media_type_except_tar(made):
    _, warnings = made
    assert warnings.count("WARNING") == 1 and "Unsupported content_type application/x-tar" in warnings


def test_the_client_covers_every_operation_and_media_type(client, specification):
    declared = {
        (operation_id, media_type)
        for operation_id, operation in generated.operations_of(specification).items()
        for media_type in operation["responses"]["200"]["content"]
    }
    driven = {(answer.operation, answer.media_type) for answer in client.answers if answer.status == 200}
    assert driven == declared


def test_every_answer_has_its_specified_type(client):
    for answer in client.answers:
        schema = client.declared(answer).get(answer.media_type)
        assert schema is not None, answer
        if name := generated.reference_name(schema):
            assert type(answer.parsed).__name__ == name, answer


def test_every_answer_is_valid_under_the_models_of_datamodel_codegen(client, models):
    validated = set()
    for answer in client.answers:
        if name := generated.reference_name(client.declared(answer)[answer.media_type]):
            generated.validate(models, name, answer.content)
            validated.add(name)
        elif answer.operation == "watchStatus":
            for event in generated.events_of(answer.parsed):
                generated.validate(models, "Live", json.dumps(event))
            validated.add("Live")
    assert {"Live", "Status", "Error", "AuditLogPage", "EventPage", "DeadLetterPage", "EndpointCheck"} <= validated
