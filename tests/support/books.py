"""Checks that counters, `usage` and reports equal exact sums over the billing events."""

import collections
import csv
import decimal
import io
import itertools
import json

from .gateway import EPOCH, prefix_of

TOKENS = {"input_tokens": "inputTokens", "output_tokens": "outputTokens", "cached_input_tokens": "cachedInputTokens"}

# The columns that each grouping adds to a row.
COLUMNS = {
    "group": lambda event: {"group_id": event["groupId"], "external_entity_id": event["externalEntityId"]},
    "model": lambda event: {"model_slug": event["modelSlug"]},
    "key": lambda event: {"api_key_prefix": event["apiKeyPrefix"]},
    "day": lambda event: {"day": event["timestamp"][:10]},
    "hour": lambda event: {"hour": event["timestamp"][:13] + ":00:00Z"},
}
GROUPINGS = [[], ["group"], ["model"], ["day"], ["group", "model"], ["key", "hour"], list(COLUMNS)]


def tokens_of(event):
    """The tokens of an event as limits count them."""
    return event["tokens"]["inputTokens"] + event["tokens"]["outputTokens"]


def call_of(event):
    """The name that a `Load` gave the request, or None if a test sent it directly."""
    return (event["requestMetadata"] or {}).get("call")


def answered(*upstreams):
    """The names of all calls that one of these upstreams answered 2xx."""
    received = itertools.chain.from_iterable(list(upstream.requests) for upstream in upstreams)
    return {one.json.get("metadata", {}).get("call") for one in received if one.answered and one.answered < 300}


def check_events(events, loads, upstreams):
    """Checks that each complete answer has exactly one event, that each event has an upstream's answer, and that events
    are in order of time."""
    assert len({event["idempotencyKey"] for event in events}) == len(events)
    by_call = {call_of(event): event for event in events}
    assert len(by_call) == len(events) == len({event["requestId"] for event in events}), "a request was billed twice"
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    unanswered = by_call.keys() - answered(*upstreams)
    assert not unanswered, f"billed without an upstream's 2xx: {unanswered}"
    for load in loads:
        # An answer that waits too long for its record is cut and billed. No other refused request is billed.
        billed = {load.refused[call][1]["error"]["code"] for call in by_call.keys() & load.refused.keys()}
        assert billed <= {"metering_unavailable"}
        for answer in load.completed:
            event = by_call.get(answer.call)
            assert event, f"{answer} has no event"
            tokens = event["tokens"]["inputTokens"], event["tokens"]["outputTokens"]
            billed = event["requestId"], event["modelSlug"], event["apiKeyPrefix"], tokens
            assert billed == (answer.request_id, answer.slug, prefix_of(answer.key), answer.tokens)
            assert event["usageSource"] == "upstream"


def check_counters(gateway, group, slug, events):
    """Checks that the group's own DAY limits on a slug show the sums of these events and hold nothing."""
    expected = {"REQUEST": len(events), "TOKEN": sum(map(tokens_of, events))}
    own = [limit for limit in gateway.limits(group, slug)["limits"] if limit["source_group"] == group["id"]]
    assert {limit["type"]: (limit["used"], limit["held"]) for limit in own} == {
        kind: (used, 0) for kind, used in expected.items()
    }, f"{group['id']} {slug}: used and held"
    entries = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["usage"][slug]
    current = {entry["type"]: entry["current_usage"] for entry in entries if entry["source_group"] == group["id"]}
    # Before the first request of a window, `current_usage` is null.
    assert current == (expected if events else dict.fromkeys(expected)), f"{group['id']} {slug}: current_usage"


def check_reports(gateway, events, groupings=GROUPINGS):
    """Checks that every report, in both formats, has one row with exact sums for each combination that occurs."""
    windows = [(events, {"start_time": EPOCH})]
    if events:
        start, end = (events[len(events) * part // 3]["timestamp"] for part in (1, 2))
        inside = [event for event in events if start <= event["timestamp"] < end]
        windows.append((inside, {"start_time": start, "end_time": end}))
    for (expected, window), group_by in itertools.product(windows, groupings):
        query = {**window, "group_by": ",".join(group_by)}
        report = gateway.admin("GET", "/v1/gateway/usage_report", query=query)
        assert "incomplete" not in report, report["incomplete"]
        assert keyed(report["items"]) == report_of(expected, group_by), query
        answer = gateway.admin_answer("GET", "/v1/gateway/usage_report", query={**query, "format": "csv"})
        assert from_csv(answer.body.decode()) == report["items"], query


def from_csv(text):
    """The rows of a CSV report as the JSON format shows them."""
    rows = list(csv.DictReader(io.StringIO(text)))
    for row in rows:
        row |= {name: int(row[name]) for name in ("requests", *TOKENS)} | {"cost": json.loads(row["cost"])}
    return rows


def report_of(events, group_by):
    """The expected report: `{the columns of a row: its figures}`."""
    report = {}
    for event in events:
        columns = {}
        for column in group_by:
            columns |= COLUMNS[column](event)
        nothing = dict.fromkeys(("requests", *TOKENS), 0) | {"cost": collections.defaultdict(decimal.Decimal)}
        figures = report.setdefault(frozenset(columns.items()), nothing)
        figures["requests"] += 1
        for name, of_event in TOKENS.items():
            figures[name] += event["tokens"][of_event]
        if event["cost"]:
            figures["cost"][event["cost"]["currency"]] += decimal.Decimal(event["cost"]["amount"])
    return report


def keyed(rows):
    """A report's rows in the form of `report_of`."""
    report = {}
    for row in rows:
        figures = {name: row[name] for name in ("requests", *TOKENS)}
        figures["cost"] = {currency: decimal.Decimal(amount) for currency, amount in row["cost"].items()}
        columns = frozenset((name, value) for name, value in row.items() if name not in figures)
        assert columns not in report, f"two rows for {row}"
        report[columns] = figures
    return report
