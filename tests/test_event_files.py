"""Billing events as CSV: the whole window in one file, read as it is sent. An incomplete file breaks off or says so."""

import concurrent.futures
import csv
import io
import json

import pytest

from support.gateway import EPOCH, Customer, Gateway, prefix_of
from support.upstream import ScriptedUpstream
from support.wire import Broken, Connection

PATH = "/v1/gateway/events"
MANY = 400  # more than one page


@pytest.fixture(scope="module")
def billed():
    """A gateway with many events of a few customers; those with a price come from a second model."""
    upstream = ScriptedUpstream()
    with Gateway() as gateway:
        free = gateway.create_endpoint(upstream, slug="-acme/chat")["slug"]
        priced = gateway.create_endpoint(upstream, pricing={"currency": "EUR", "input": "2.5", "output": "10"})["slug"]
        group = gateway.create_group(free, priced, entity="=cmd|' /C calc'!A0")
        customers = [Customer(gateway, gateway.mint_key(group)) for _ in range(3)]

        def chat(number):
            metadata = {"number": f"<{number}>", "text": 'two, with "quotes"\nand lines'}
            customer, slug = customers[number % 3], priced if number % 7 == 0 else free
            assert customer.chat(slug, max_tokens=2, metadata=metadata).status == 200

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(chat, range(MANY)))
        gateway.customers = customers
        yield gateway
    upstream.stop()


def ask(gateway, **query):
    return gateway.admin_answer("GET", PATH, query={"start_time": EPOCH, "format": "csv", **query})


def rows(gateway, **query):
    answer = ask(gateway, **query)
    assert answer.status == 200 and "x-tollgate-incomplete" not in answer.headers, answer
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))


def row_of(event):
    """An event as a row of the file shows it."""
    plain = {name: event[name] for name in event if name not in ("tokens", "units", "cost", "requestMetadata")}
    cost = event["cost"] or {"currency": "", "amount": ""}
    units = dict.fromkeys(("images", "seconds", "characters")) | (event["units"] or {})
    row = plain | event["tokens"] | units | {"costCurrency": cost["currency"], "costAmount": cost["amount"]}
    text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
    text |= {name: "" for name, value in row.items() if value is None}
    guarded = {name: f"'{text[name]}" for name in ("externalEntityId", "modelSlug") if text[name][0] in "=-"}
    return text | guarded | {"requestMetadata": event["requestMetadata"]}


def parsed(row):
    return row | {"requestMetadata": json.loads(row["requestMetadata"])}


def test_a_file_has_every_event_of_the_window_in_order_and_no_formula(billed):
    answer = ask(billed)
    assert answer.status == 200 and answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="events-20')
    assert "content-length" not in answer.headers, "it is read while it is sent"
    events = billed.events()
    assert len(events) == MANY and {event["cost"] is None for event in events} == {True, False}
    found = [parsed(row) for row in rows(billed)]
    assert found == [row_of(event) for event in events]
    assert {row["externalEntityId"] for row in found} == {"'=cmd|' /C calc'!A0"}
    assert [parsed(row) for row in rows(billed, order="desc")] == found[::-1]


def test_a_file_has_the_same_filters_and_window_as_the_list(billed):
    events = billed.events()
    of = {
        "api_keys": prefix_of(billed.customers[0].key),
        "model_slugs": "-acme/chat",
        "start_time": events[100]["timestamp"],
        "end_time": events[350]["timestamp"],
    }
    wanted = [event["idempotencyKey"] for event in billed.events(**of)]
    assert 20 < len(wanted) < 150
    assert [row["idempotencyKey"] for row in rows(billed, **of)] == wanted
    assert [row["idempotencyKey"] for row in rows(billed, **of, limit=7)] == wanted[:7]
    assert [row["idempotencyKey"] for row in rows(billed, limit=300)] == [one["idempotencyKey"] for one in events[:300]]
    assert rows(billed, api_keys="sk_nobody") == []


@pytest.mark.parametrize(
    "query, named",
    [
        ({"format": "xml"}, "format"),
        ({"format": ["csv", "json"]}, "format"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"end_time": "1970-01-01T00:00:00Z", "start_time": "1971-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": ()}, "start_time"),
    ],
)
def test_a_wrong_parameter_is_named_before_a_file_begins(billed, query, named):
    answer = ask(billed, **query)
    assert answer.status == 400 and answer.json()["error"].startswith(f"`{named}`: "), answer


def test_a_client_may_hang_up_after_the_head(billed):
    for _ in range(20):
        with begin(billed) as connection:
            assert connection.read_head()[0] == 200
    assert len(rows(billed)) == MANY


def test_a_file_with_an_unreadable_event_breaks_off_and_later_files_say_that_they_are_incomplete(billed):
    damage(billed, b"<380>")
    with begin(billed) as connection:
        status, headers = connection.read_head()
        assert status == 200 and "x-tollgate-incomplete" not in dict(headers), "the damage is not known yet"
        with pytest.raises(Broken):
            connection.read_body()
    answer = ask(billed)
    assert answer.status == 200 and answer.headers["x-tollgate-incomplete"] == "true"
    numbers = [row["requestMetadata"] for row in csv.DictReader(io.StringIO(answer.body.decode(), newline=""))]
    assert len(numbers) == MANY - 1 and not any("<380>" in number for number in numbers)


def begin(gateway):
    connection = Connection(gateway.admin_address)
    connection.request("GET", f"{PATH}?start_time={EPOCH}&format=csv", [("authorization", f"Bearer {gateway.admin_key}")])
    return connection


def damage(gateway, mark):
    """Changes a byte of the one record of the journal that holds `mark`."""
    [segment] = [path for path in (gateway.data_dir / "journal").iterdir() if mark in path.read_bytes()]
    with segment.open("r+b") as file:
        file.seek(segment.read_bytes().index(mark))
        file.write(b"!")
