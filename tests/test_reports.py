"""Usage reports: exact to the event, for any columns and any window, as JSON and as CSV."""

import csv
import io
import itertools

import pytest

from support.books import COLUMNS, from_csv, keyed, report_of
from support.commands import run
from support.gateway import EPOCH, Customer, parse_time, prefix_of
from support.upstream import Reply, ScriptedUpstream
from support.wall_clock import WallClock

PATH = "/v1/gateway/usage_report"


def report(gateway, columns=(), **query):
    query = {"start_time": EPOCH, "group_by": ",".join(columns), **query}
    answer = gateway.admin("GET", PATH, query=query)
    assert set(answer) == {"items"}, answer
    return keyed(answer["items"])


@pytest.fixture(scope="module")
def billed(gateway):
    """Events of two groups, three keys, two models with prices in two currencies and one without."""
    upstream = ScriptedUpstream()
    models = [
        gateway.create_endpoint(upstream, pricing=price)["slug"]
        for price in (
            {"currency": "EUR", "input": "2.5", "output": "10", "cached": "0.000001"},
            {"currency": "USD", "input": "0.1", "output": "0.3", "cached": "0"},
        )
    ]
    free = gateway.create_endpoint(upstream)["slug"]
    groups = [gateway.create_group(*models, free) for _ in range(2)]
    keys = [gateway.mint_key(group) for group in (groups[0], groups[0], groups[1])]
    for key, slug in itertools.product(keys, (*models, free)):
        for words in range(1, 4):
            assert Customer(gateway, key).chat(slug, "one two three", max_tokens=words).status == 200
    events = gateway.events(*keys)
    assert len(events) == 27
    yield events, keys
    upstream.stop()


@pytest.mark.parametrize(
    "columns", [columns for count in range(6) for columns in itertools.combinations(COLUMNS, count)], ids="-".join
)
def test_sums_equal_those_of_the_events_for_any_columns(gateway, billed, columns):
    assert report(gateway, columns) == report_of(gateway.events(), columns)


def test_a_window_is_exact_to_the_event(gateway, billed):
    events = gateway.events()
    for start, end in itertools.combinations(range(0, len(events), 5), 2):
        window = {"start_time": events[start]["timestamp"], "end_time": events[end]["timestamp"]}
        inside = [event for event in events if window["start_time"] <= event["timestamp"] < window["end_time"]]
        assert report(gateway, ("key",), **window) == report_of(inside, ("key",))
    assert report(gateway, ("key",), start_time="2000-01-01T00:00:00Z", end_time="2000-01-02T00:00:00Z") == {}
    assert report(gateway, ("key",), start_time="2999-01-01T00:00:00Z") == {}


def test_an_event_is_in_the_report_as_soon_as_its_answer_ends(gateway, upstream):
    slug = gateway.create_endpoint(upstream)["slug"]
    key = gateway.mint_key(gateway.create_group(slug))
    for count in range(1, 6):
        assert Customer(gateway, key).chat(slug).status == 200
        rows = report(gateway, ("key",))
        assert rows[frozenset({("api_key_prefix", prefix_of(key))})]["requests"] == count


def test_csv_has_the_same_columns_and_the_same_rows(gateway, billed):
    query = {"start_time": EPOCH, "group_by": "hour,group,key", "format": "csv"}
    answer = gateway.admin_answer("GET", PATH, query=query)
    assert answer.status == 200 and answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    text = answer.body.decode()
    assert text.splitlines()[0] == (
        "group_id,external_entity_id,api_key_prefix,hour,requests,input_tokens,output_tokens,cached_input_tokens,cost"
    )
    assert keyed(from_csv(text)) == report(gateway, ("hour", "group", "key"))


def test_csv_holds_no_spreadsheet_formulas(gateway, upstream):
    slug = gateway.create_endpoint(upstream, slug="-acme/chat")["slug"]
    group = gateway.create_group(slug, entity="=cmd|' /C calc'!A0")
    assert Customer(gateway, gateway.mint_key(group)).chat(slug, max_tokens=2).status == 200
    query = {"start_time": EPOCH, "group_by": "group,model", "format": "csv", "group_ids": group["id"]}
    [row] = csv.DictReader(io.StringIO(gateway.admin_answer("GET", PATH, query=query).body.decode()))
    assert row["external_entity_id"] == "'=cmd|' /C calc'!A0" and row["model_slug"] == "'-acme/chat"
    assert row["output_tokens"] == "2"
    [item] = gateway.admin("GET", PATH, query={**query, "format": "json"})["items"]
    assert item["external_entity_id"] == "=cmd|' /C calc'!A0" and item["model_slug"] == "-acme/chat"
    exported = run("export", "--events", "--format", "csv", "--data-dir", gateway.data_dir)
    last = list(csv.DictReader(io.StringIO(exported)))[-1]
    assert last["externalEntityId"] == "'=cmd|' /C calc'!A0" and last["modelSlug"] == "'-acme/chat"


# Filters


def test_filtered_sums_equal_those_of_the_matching_events(gateway, billed):
    events, keys = billed
    values = {
        "api_keys": ("apiKeyPrefix", [prefix_of(key) for key in keys[:2]]),
        "external_entity_ids": ("externalEntityId", [events[0]["externalEntityId"]]),
        "model_slugs": ("modelSlug", sorted({event["modelSlug"] for event in events})[:2]),
        "group_ids": ("groupId", [events[-1]["groupId"]]),
    }
    everything = gateway.events()
    for count in range(1, 5):
        for names in itertools.combinations(values, count):
            filters = {name: values[name][1] for name in names}
            chosen = [event for event in everything if all(event[values[name][0]] in filters[name] for name in names)]
            for columns in ((), ("model",), ("group", "key", "hour")):
                assert report(gateway, columns, **filters) == report_of(chosen, columns), names
    middle = {"start_time": events[5]["timestamp"], "end_time": events[20]["timestamp"]}
    inside = [event for event in everything if middle["start_time"] <= event["timestamp"] < middle["end_time"]]
    mine = [event for event in inside if event["apiKeyPrefix"] == prefix_of(keys[0])]
    assert report(gateway, ("model",), **middle, api_keys=prefix_of(keys[0])) == report_of(mine, ("model",))
    assert report(gateway, ("key",), api_keys="sk_unknownkey00") == {}
    assert report(gateway, ("key",), group_ids="01J9X7Y0Z3K4M5N6P7Q8R9S0T1") == {}


def test_top_selects_the_rows_with_the_most_tokens(gateway, upstream):
    slug = gateway.create_endpoint(upstream)["slug"]
    groups = [gateway.create_group(slug) for _ in range(4)]
    ids = [group["id"] for group in groups]
    # Tokens and requests of each: the second and third have as many tokens, the third in fewer requests.
    for group, usages in zip(groups, ([(0, 5)], [(10, 5), (0, 5)], [(2, 18)], [(4, 1)])):
        customer = Customer(gateway, gateway.mint_key(group))
        for prompt, completion in usages:
            upstream.reply_next(Reply(usage={"prompt_tokens": prompt, "completion_tokens": completion}))
            assert customer.chat(slug).status == 200

    def top(count, columns="group", **query):
        query = {"start_time": EPOCH, "group_by": columns, "top": count, "group_ids": ids, **query}
        return gateway.admin("GET", PATH, query=query)["items"]

    in_order = [ids[1], ids[2], ids[0], ids[3]]
    for count in (1, 2, 3, 4, 1000):
        assert [row["group_id"] for row in top(count)] == in_order[:count]
    everything = gateway.admin("GET", PATH, query={"start_time": EPOCH, "group_by": "group", "group_ids": ids})["items"]
    assert sorted(top(4), key=lambda row: row["group_id"]) == everything, "the same rows in another order"
    assert [row["input_tokens"] + row["output_tokens"] for row in top(9, "model")] == [50], "after the grouping"
    answer = gateway.admin_answer(
        "GET", PATH, query={"start_time": EPOCH, "group_by": "group", "top": 2, "group_ids": ids, "format": "csv"}
    )
    assert [row["group_id"] for row in from_csv(answer.body.decode())] == in_order[:2]


@pytest.mark.parametrize(
    "query, named",
    [
        ({}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": EPOCH, "end_time": "1999-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": EPOCH, "group_by": "week"}, "group_by"),
        ({"start_time": EPOCH, "group_by": "day,day"}, "group_by"),
        ({"start_time": EPOCH, "format": "xml"}, "format"),
        ({"start_time": EPOCH, "limit": "5"}, "limit"),
        ({"start_time": EPOCH, "top": "0"}, "top"),
        ({"start_time": EPOCH, "top": "1001"}, "top"),
        ({"start_time": EPOCH, "top": ["1", "2"]}, "top"),
        ({"start_time": EPOCH, "group_ids": "nonsense"}, "group_ids"),
        ({"start_time": EPOCH, "models": "x"}, "models"),
    ],
)
def test_a_wrong_parameter_is_named(gateway, query, named):
    answer = gateway.admin_answer("GET", PATH, query=query)
    assert answer.status == 400 and named in answer.json()["error"]


def test_deleted_groups_and_renamed_models_are_still_named(gateway, upstream):
    endpoint = gateway.create_endpoint(upstream)
    group = gateway.create_group(endpoint["slug"])
    key = gateway.mint_key(group)
    assert Customer(gateway, key).chat(endpoint["slug"]).status == 200
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": endpoint["slug"] + "-2"})
    assert Customer(gateway, key).chat(endpoint["slug"] + "-2").status == 200
    gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}")
    mine = [dict(row) for row in report(gateway, ("group", "model", "key")) if ("api_key_prefix", prefix_of(key)) in row]
    assert [row["model_slug"] for row in mine] == [endpoint["slug"], endpoint["slug"] + "-2"]
    assert {row["external_entity_id"] for row in mine} == {group["metadata"]["external_entity_id"]}


def test_days_are_closed_and_reports_stay_the_same_after_a_kill(upstream):
    with WallClock("2026-03-01T22:30:00Z") as clock, clock.gateway() as gateway:
        slug = gateway.create_endpoint(upstream, pricing={"currency": "EUR", "input": "1", "output": "2", "cached": "0"})["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        for _ in range(4):
            assert customer.chat(slug).status == 200
            clock.jump(hours=11)
        days = ("2026-03-01", "2026-03-02")
        rollups = gateway.data_dir / "rollups"
        gateway.eventually(lambda: rollups.exists() and sorted(p.name for p in rollups.iterdir()), lambda found: found == list(days))
        events = gateway.events()
        before = [report(gateway, columns) for columns in (("day",), ("hour", "key"), ("day", "model"), ())]
        assert before[0] == report_of(events, ("day",)) and len(before[0]) == 3
        assert before[1] == report_of(events, ("hour", "key"))
        cut = events[1]["timestamp"]
        assert report(gateway, ("day",), start_time=cut) == report_of(events[1:], ("day",)), "from mid-day"
        gateway.kill9()
        gateway.start()
        assert [report(gateway, columns) for columns in (("day",), ("hour", "key"), ("day", "model"), ())] == before
        assert parse_time(gateway.events()[-1]["timestamp"]).hour == parse_time(events[-1]["timestamp"]).hour
