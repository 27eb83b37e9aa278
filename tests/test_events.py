"""Billing events: their exact shape, their order and the windows in which they are read."""

import base64
import datetime
import decimal
import json
import re
import threading
import time

import pytest

from support.gateway import EPOCH, Customer, parse_time, prefix_of
from support.upstream import Reply

ULID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {
    "idempotencyKey",
    "timestamp",
    "requestId",
    "requestMetadata",
    "modelSlug",
    "externalEntityId",
    "apiKeyPrefix",
    "tokens",
    "usageSource",
    "groupId",
    "route",
    "streamed",
    "status",
    "durationMs",
    "ttftMs",
    "queueMs",
    "target",
    "units",
    "cost",
}


def page(gateway, **query):
    return gateway.admin("GET", "/v1/gateway/events", query=query)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_event_has_exactly_the_documented_shape(gateway, upstream, group, customer, slug, key, streamed):
    upstream.always(Reply(cached=2))
    before = datetime.datetime.now(datetime.timezone.utc)
    connection = customer.begin_chat(slug, "one two three", stream=streamed, metadata={"team": "search", "n": "1"})
    headers = dict(connection.read_head()[1])
    connection.read_body()
    connection.close()
    after = datetime.datetime.now(datetime.timezone.utc)
    [event] = gateway.events(key)
    assert set(event) == FIELDS
    assert (
        ULID.fullmatch(event["idempotencyKey"])
        and UUID.fullmatch(event["requestId"])
        and TIMESTAMP.fullmatch(event["timestamp"])
    )
    assert before - datetime.timedelta(milliseconds=1) <= parse_time(event["timestamp"]) <= after
    assert event["requestId"] == headers["x-request-id"]
    assert event["requestMetadata"] == {"team": "search", "n": "1"}
    assert event["modelSlug"] == slug
    assert event["externalEntityId"] == group["metadata"]["external_entity_id"] and event["groupId"] == group["id"]
    assert event["apiKeyPrefix"] == prefix_of(key)
    assert event["tokens"] == {"inputTokens": 3, "outputTokens": 8, "cachedInputTokens": 2, "cacheWriteInputTokens": 0}
    assert (event["usageSource"], event["route"], event["streamed"], event["status"]) == (
        "upstream",
        "/v1/chat/completions",
        streamed,
        200,
    )
    assert type(event["durationMs"]) is int and 0 <= event["ttftMs"] <= event["durationMs"] <= 20_000
    assert (event["queueMs"], event["target"], event["units"], event["cost"]) == (0, 0, None, None)


def test_the_time_to_first_token_ends_at_the_first_token(gateway, upstream, customer, slug, key):
    gate = upstream.stall_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    stream.next(), stream.next()
    begun = datetime.datetime.now()
    gateway.eventually(
        lambda: datetime.datetime.now() - begun, lambda passed: passed > datetime.timedelta(milliseconds=300)
    )
    gate.release()
    stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert event["durationMs"] >= 300 and event["durationMs"] - event["ttftMs"] >= 250


def test_an_event_is_readable_as_soon_as_its_answer_ends(gateway, customer, slug, key):
    for count in range(1, 31):
        if count % 2:
            assert customer.chat(slug).status == 200
        else:
            connection, _, stream = customer.stream_chat(slug)
            stream.chunks()
            connection.close()
        assert len(gateway.events(key)) == count


@pytest.mark.parametrize(
    "metadata, kept",
    [
        (None, None),
        ({}, {}),
        ({"a": {"b": [1, None, "\u00e9"]}}, {"a": {"b": [1, None, "\u00e9"]}}),
        ({"big": "x" * (16 << 10)}, None),
        ({"fits": "x" * 16_000}, {"fits": "x" * 16_000}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_requests_metadata_is_kept_up_to_16_kib(gateway, upstream, customer, slug, key, metadata, kept):
    assert customer.chat(slug, metadata=metadata).status == 200
    assert gateway.events(key)[0]["requestMetadata"] == kept
    assert upstream.requests[0].json["metadata"] == metadata, "the upstream must always get it"


def test_missing_metadata_is_null(gateway, customer, slug, key):
    assert customer.chat(slug).status == 200
    assert gateway.events(key)[0]["requestMetadata"] is None


# Cost


@pytest.mark.parametrize(
    "pricing, usage, amount",
    [
        ({"input": "0.15", "output": "0.60", "cached": "0.075"}, (1000, 333, 200), "0.0003348"),
        ({"input": "1", "output": "2", "cached": "0.5"}, (1, 1, 0), "0.000003"),
        ({"input": "0.000001", "output": "0", "cached": "0"}, (1, 0, 0), "0.000000000001"),
        ({"input": "0", "output": "0", "cached": "0"}, (3, 8, 0), "0"),
        (
            {"input": "999999.999999", "output": "999999.999999", "cached": "999999.999999"},
            (2_000_000, 1_000_000, 500_000),
            "2999999.999997",
        ),
    ],
)
def test_the_cost_is_exact(gateway, upstream, pricing, usage, amount):
    slug = gateway.create_endpoint(upstream, pricing={"currency": "EUR", **pricing})["slug"]
    key = gateway.mint_key(gateway.create_group(slug))
    prompt, completion, cached = usage
    upstream.reply_next(
        Reply(
            usage={
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached},
            }
        )
    )
    assert Customer(gateway, key).chat(slug).status == 200
    cost = gateway.events(key)[0]["cost"]
    assert set(cost) == {"currency", "amount"} and cost["currency"] == "EUR"
    assert re.fullmatch(r"\d+(\.\d+)?", cost["amount"]), "a decimal string, no exponent"
    assert decimal.Decimal(cost["amount"]) == decimal.Decimal(amount)


def test_a_request_is_priced_at_its_settlement(gateway, upstream):
    endpoint = gateway.create_endpoint(upstream)
    key = gateway.mint_key(gateway.create_group(endpoint["slug"]))
    gate = upstream.hang_next()
    connection = Customer(gateway, key).begin_chat(endpoint["slug"], "one two three")
    gate.reached()
    gateway.admin(
        "PATCH",
        f"/v1/gateway/endpoints/{endpoint['id']}",
        {"pricing": {"currency": "USD", "input": "1000000", "output": "0", "cached": "0"}},
    )
    gate.release()
    assert connection.read_answer().status == 200
    connection.close()
    assert decimal.Decimal(gateway.events(key)[0]["cost"]["amount"]) == 3
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"pricing": None})
    assert Customer(gateway, key).chat(endpoint["slug"]).status == 200
    first, second = gateway.events(key)
    assert decimal.Decimal(first["cost"]["amount"]) == 3 and second["cost"] is None


# Reading


@pytest.fixture
def three(gateway, slug):
    """Three groups with a key each and two events each, in turn: [(group, key)]."""
    made = [(group, gateway.mint_key(group)) for group in (gateway.create_group(slug) for _ in range(3))]
    for _ in range(2):
        for _, key in made:
            assert Customer(gateway, key).chat(slug).status == 200
    return made


def test_events_are_in_order_and_have_unique_idempotency_keys(gateway, three):
    events = gateway.events()
    stamps = [event["timestamp"] for event in events]
    assert stamps == sorted(stamps)
    assert (
        len({event["idempotencyKey"] for event in events})
        == len({event["requestId"] for event in events})
        == len(events)
    )
    keys = [key for _, key in three]
    assert [event["apiKeyPrefix"] for event in gateway.events(*keys)] == [prefix_of(key) for key in keys] * 2


def test_filters_can_be_repeated_and_combined(gateway, three):
    (first, first_key), (second, second_key), (third, _) = three
    names = [group["metadata"]["external_entity_id"] for group in (first, second, third)]
    assert len(page(gateway, start_time=EPOCH, api_keys=prefix_of(first_key))["items"]) == 2
    assert len(page(gateway, start_time=EPOCH, api_keys=[prefix_of(first_key), prefix_of(second_key)])["items"]) == 4
    assert {
        event["externalEntityId"] for event in page(gateway, start_time=EPOCH, external_entity_ids=names[:2])["items"]
    } == set(names[:2])
    assert len(page(gateway, start_time=EPOCH, external_entity_ids=names, api_keys=prefix_of(second_key))["items"]) == 2
    assert page(gateway, start_time=EPOCH, external_entity_ids=names[2], api_keys=prefix_of(second_key))["items"] == []
    assert page(gateway, start_time=EPOCH, api_keys="sk_unknownkey00")["items"] == []


def test_the_window_includes_its_start_and_excludes_its_end(gateway, three):
    events = gateway.events(*[key for _, key in three])
    third = events[2]["timestamp"]
    everything = gateway.events()
    from_third = page(gateway, start_time=third, limit=1000)["items"]
    assert from_third == [event for event in everything if event["timestamp"] >= third] and events[2] in from_third
    until_third = page(gateway, start_time=EPOCH, end_time=third, limit=1000)["items"]
    assert until_third == [event for event in everything if event["timestamp"] < third] and events[2] not in until_third
    assert page(gateway, start_time=third, end_time=third)["items"] == []
    assert page(gateway, start_time="2100-01-01T00:00:00Z")["items"] == []


def test_a_time_may_have_an_offset(gateway, three):
    events = gateway.events()
    moment = parse_time(events[3]["timestamp"]).astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    found = page(gateway, start_time=moment.isoformat(), limit=1000)["items"]
    assert found == [event for event in events if event["timestamp"] >= events[3]["timestamp"]]


def test_a_cursor_pins_the_window_and_the_filter(gateway, three, slug):
    keys = [key for _, key in three]
    seen, query = [], {"start_time": EPOCH, "limit": 2, "api_keys": [prefix_of(key) for key in keys]}
    while True:
        found = page(gateway, **query)
        seen += found["items"]
        assert len(found["items"]) <= 2
        if not found["pagination"]["has_more"]:
            break
        for key in keys:  # later events are not in the window of the first page
            assert Customer(gateway, key).chat(slug).status == 200
        query = {"limit": 2, "cursor": found["pagination"]["cursor"]}
    assert len(seen) == 6 and seen == gateway.events(*keys)[:6]


def test_a_poller_that_continues_from_its_last_end_misses_nothing(gateway, slug, key, customer):
    done = threading.Event()

    def work():
        for _ in range(60):
            assert customer.chat(slug).status == 200
        done.set()

    threading.Thread(target=work, daemon=True).start()
    seen, start, last = [], "2000-01-01T00:00:00.000Z", False
    while True:
        last = done.is_set()
        now = datetime.datetime.now(datetime.timezone.utc)
        if last:
            now += datetime.timedelta(milliseconds=5)
            time.sleep(0.01)  # until `now` is in the past
        end = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        seen += [
            event["requestId"]
            for event in page(gateway, start_time=start, end_time=end, limit=1000, api_keys=prefix_of(key))["items"]
        ]
        start = end
        if last:
            break
    assert len(seen) == len(set(seen)) == 60


# Newest first


def test_descending_order_lists_all_events_from_the_newest(gateway, three):
    everything = gateway.events()
    assert page(gateway, order="desc", limit=1000)["items"] == everything[::-1]
    assert page(gateway, order="desc", start_time=everything[2]["timestamp"], limit=1000)["items"] == [
        event for event in everything[::-1] if event["timestamp"] >= everything[2]["timestamp"]
    ]
    first = page(gateway, order="desc", limit=3)
    assert first["items"] == everything[:-4:-1] and first["pagination"]["has_more"]
    assert page(gateway, order="asc", start_time=EPOCH, limit=1000)["items"] == everything
    assert page(gateway, order="desc", end_time=everything[0]["timestamp"])["items"] == []
    assert page(gateway, order="desc", start_time="2100-01-01T00:00:00Z")["items"] == []


def test_a_descending_cursor_pins_its_window_too(gateway, three, slug):
    keys = [key for _, key in three]
    known = gateway.events(*keys)
    seen, query = [], {"order": "desc", "limit": 2, "api_keys": [prefix_of(key) for key in keys]}
    query["start_time"] = known[1]["timestamp"]
    while True:
        found = page(gateway, **query)
        seen += found["items"]
        if not found["pagination"]["has_more"]:
            break
        for key in keys:
            assert Customer(gateway, key).chat(slug).status == 200
        query = {"limit": 2, "cursor": found["pagination"]["cursor"]}
    assert seen == [event for event in known[::-1] if event["timestamp"] >= known[1]["timestamp"]]


def test_an_event_is_the_newest_as_soon_as_its_answer_ends(gateway, customer, slug, key):
    for _ in range(20):
        connection = customer.begin_chat(slug)
        request_id = dict(connection.read_head()[1])["x-request-id"]
        connection.read_body()
        connection.close()
        [newest] = page(gateway, order="desc", limit=1)["items"]
        assert newest["requestId"] == request_id


def test_a_cursor_is_valid_for_its_own_order_only(gateway, three):
    for order, other in (("asc", "desc"), ("desc", "asc")):
        cursor = page(gateway, start_time=EPOCH, order=order, limit=2)["pagination"]["cursor"]
        assert page(gateway, cursor=cursor, order=order, limit=2) == page(gateway, cursor=cursor, limit=2)
        answer = gateway.admin_answer("GET", "/v1/gateway/events", query={"cursor": cursor, "order": other})
        assert answer.status == 400 and "order" in answer.json()["error"]


def test_a_cursor_of_an_earlier_version_still_works(gateway, three):
    """Cursors of earlier versions contain no order and fewer filters."""
    keys = [prefix_of(key) for _, key in three]
    given = page(gateway, start_time=EPOCH, limit=2, api_keys=keys)
    cursor = given["pagination"]["cursor"]
    name, position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    position = {name: position[name] for name in ("seq", "end_ms", "api_keys", "external_entity_ids")}
    earlier = base64.urlsafe_b64encode(json.dumps([name, position]).encode()).decode().rstrip("=")
    assert page(gateway, cursor=earlier) == page(gateway, cursor=cursor)


def test_events_are_filtered_by_model_and_group(gateway, upstream, slug):
    other = gateway.create_endpoint(upstream)["slug"]
    root = gateway.create_group(slug, other)
    child = gateway.create_group(slug, other, parent=root)
    for group in (root, child):
        customer = Customer(gateway, gateway.mint_key(group))
        for called in (slug, other, other):
            assert customer.chat(called).status == 200
    for order in ("asc", "desc"):

        def found(**filters):
            events = page(gateway, start_time=EPOCH, order=order, **filters)["items"]
            return sorted((event["groupId"] == root["id"], event["modelSlug"]) for event in events)

        everything = sorted((is_root, called) for is_root in (True, False) for called in (slug, other, other))
        assert found(group_ids=[root["id"], child["id"]]) == everything == found(model_slugs=[slug, other])
        assert found(group_ids=root["id"]) == [one for one in everything if one[0]], "only its own events"
        assert found(model_slugs=other) == [one for one in everything if one[1] == other]
        assert found(model_slugs=slug, group_ids=child["id"]) == [(False, slug)]
        assert found(model_slugs="acme/unknown") == [] == found(group_ids="01J9X7Y0Z3K4M5N6P7Q8R9S0T1")
    cursor = page(gateway, start_time=EPOCH, limit=1, model_slugs=slug)["pagination"]["cursor"]
    for more in ({"model_slugs": other}, {"group_ids": root["id"]}, {"model_slugs": [slug, other]}):
        answer = gateway.admin_answer("GET", "/v1/gateway/events", query={"cursor": cursor, **more})
        assert answer.status == 400 and "filters" in answer.json()["error"]
    gateway.admin("DELETE", f"/v1/gateway/groups/{root['id']}")
    assert len(page(gateway, start_time=EPOCH, group_ids=root["id"])["items"]) == 3, "also after its deletion"


@pytest.mark.parametrize(
    "query, named",
    [
        ({}, "start_time"),
        ({"order": "asc"}, "start_time"),
        ({"order": "newest"}, "order"),
        ({"order": ["desc", "desc"]}, "order"),
        ({"order": "desc", "start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": EPOCH, "group_ids": "nonsense"}, "group_ids"),
        ({"start_time": EPOCH, "groups": "x"}, "groups"),
    ],
)
def test_a_wrong_parameter_is_named(gateway, query, named):
    answer = gateway.admin_answer("GET", "/v1/gateway/events", query=query)
    assert answer.status == 400 and named in answer.json()["error"]


def test_events_of_a_deleted_group_and_a_renamed_slug_stay_as_they_were(gateway, upstream):
    endpoint = gateway.create_endpoint(upstream)
    group = gateway.create_group(endpoint["slug"])
    key = gateway.mint_key(group)
    assert Customer(gateway, key).chat(endpoint["slug"]).status == 200
    before = gateway.events(key)
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": endpoint["slug"] + "-renamed"})
    gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}")
    assert gateway.events(key) == before and len(before) == 1


def test_refused_requests_make_no_events(gateway, upstream, customer, slug, key):
    upstream.fail_next(1, 500)
    upstream.fail_next(1, 400)
    assert [customer.chat(slug).status for _ in range(2)] == [502, 400]
    assert customer.chat("acme/unknown").status == 404
    assert customer.post("/v1/chat/completions", b"{").status == 400
    assert gateway.events(key) == []
