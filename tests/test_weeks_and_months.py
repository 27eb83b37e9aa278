"""Limits and budgets of a DAY, WEEK and MONTH follow the calendar of `time_zone`, also where clocks are changed."""

import datetime
import math

import pytest

from support.gateway import Customer, budget, model, parse_time, rate
from support.wall_clock import WallClock

UNITS = ("DAY", "WEEK", "MONTH")
BERLIN = "Europe/Berlin"
PRICES = {"currency": "EUR", "input": "1000000", "output": "2000000"}
COST = 3 + 2 * 8  # of a chat with a prompt of three words
# The last half hour of a day, a week and a month in Berlin.
SUNDAY = "2027-02-28T22:30:00Z"
MONDAY = "2027-02-28T23:00:00Z"


@pytest.fixture(scope="module")
def clock():
    with WallClock(SUNDAY) as running:
        yield running


@pytest.fixture
def at(clock, upstream):
    """Starts a gateway at a time: `gateway, group, customer, slug = at(SUNDAY, BERLIN)`. Each test has its own, since a
    journal's time never steps back."""
    started = []

    def at(moment, zone=BERLIN, threshold=100, amount="1000", **settings):
        clock.set(moment)
        gateway = clock.gateway(**({"time_zone": zone} if zone else {}), **settings)
        started.append(gateway)
        slug = gateway.create_endpoint(upstream, pricing=PRICES)["slug"]
        limits = [rate(kind, unit, threshold) for unit in UNITS for kind in ("REQUEST", "TOKEN")]
        group = gateway.create_group(model(slug, (), limits), budgets=[budget(unit, amount) for unit in UNITS])
        return gateway, group, Customer(gateway, gateway.mint_key(group)), slug

    yield at
    for gateway in started:
        gateway.kill9()
        gateway.close()


def figures(gateway, group, slug):
    """`{unit: (requests, tokens, spent)}`, each null until the first request of the window."""
    usage = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")
    used = {(one["type"], one["unit"]): one["current_usage"] for one in usage["usage"][slug]}
    spent = {one["unit"]: one["spent"] for one in usage["budgets"]}
    return {unit: (used["REQUEST", unit], used["TOKEN", unit], spent[unit]) for unit in UNITS}


def resets(gateway, group, slug):
    """The end of each window, which limits and budgets agree on."""
    ends = {}
    for one in gateway.limits(group, slug)["limits"]:
        assert ends.setdefault(one["unit"], one["reset_at"]) == one["reset_at"]
    assert set(ends) == set(UNITS)
    return {unit: end.replace(".000Z", "Z") for unit, end in ends.items()}


def used(calls):
    return (calls, 11 * calls, str(COST * calls)) if calls else (None, None, "0")


# Windows


def test_all_windows_end_together_at_the_end_of_a_month_on_a_sunday(clock, at):
    gateway, group, customer, slug = at(SUNDAY)
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(0))
    for calls in (1, 2):
        assert customer.chat(slug, "one two three").status == 200
        assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(calls))
    assert resets(gateway, group, slug) == dict.fromkeys(UNITS, MONDAY)
    clock.set(MONDAY)
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(0))
    assert resets(gateway, group, slug) == {
        "DAY": "2027-03-01T23:00:00Z",
        "WEEK": "2027-03-07T23:00:00Z",
        "MONTH": "2027-03-31T22:00:00Z",  # summer time
    }
    assert customer.chat(slug, "one two three").status == 200
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(1))


def test_each_window_ends_by_itself(clock, at):
    gateway, group, customer, slug = at("2027-04-27T12:00:00Z")  # a Tuesday
    assert customer.chat(slug, "one two three").status == 200
    for moment, calls in (
        ("2027-04-27T22:00:00Z", {"DAY": 0, "WEEK": 1, "MONTH": 1}),  # Wednesday
        ("2027-04-30T22:00:00Z", {"DAY": 0, "WEEK": 2, "MONTH": 0}),  # the first of May, a Saturday
        ("2027-05-02T22:00:00Z", {"DAY": 0, "WEEK": 0, "MONTH": 1}),  # Monday
    ):
        clock.set(moment)
        assert figures(gateway, group, slug) == {unit: used(count) for unit, count in calls.items()}
        assert customer.chat(slug, "one two three").status == 200
        assert figures(gateway, group, slug) == {unit: used(count + 1) for unit, count in calls.items()}


@pytest.mark.parametrize(
    "zone, moment, day, week, month",
    [
        # A day of 23 hours and one of 25.
        (BERLIN, "2027-03-28T12:00:00Z", "2027-03-28T22:00:00Z", "2027-03-28T22:00:00Z", "2027-03-31T22:00:00Z"),
        (BERLIN, "2027-10-31T00:30:00Z", "2027-10-31T23:00:00Z", "2027-10-31T23:00:00Z", "2027-10-31T23:00:00Z"),
        # A leap day, and a zone with a quarter of an hour.
        ("UTC", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z", "2028-03-06T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("Asia/Kathmandu", "2027-06-30T18:14:59Z", "2027-06-30T18:15:00Z", "2027-07-04T18:15:00Z", "2027-06-30T18:15:00Z"),
        # The default.
        (None, "2027-12-31T23:00:00Z", "2028-01-01T00:00:00Z", "2028-01-03T00:00:00Z", "2028-01-01T00:00:00Z"),
    ],
)
def test_windows_end_where_the_calendar_of_the_zone_says(at, zone, moment, day, week, month):
    gateway, group, customer, slug = at(moment, zone)
    assert resets(gateway, group, slug) == {"DAY": day, "WEEK": week, "MONTH": month}
    assert customer.get("/v1/usage").json()["budgets"][2]["reset_at"].replace(".000Z", "Z") == month
    assert customer.chat(slug, "one two three").status == 200
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(1))


def test_a_request_counts_in_the_windows_in_which_it_ends(clock, at, upstream):
    gateway, group, customer, slug = at(SUNDAY)
    gate = upstream.stall_next(after=3)
    running = customer.begin_chat(slug, "one two three", stream=True)
    gate.reached()
    assert all(one["held"] not in (0, "0") for one in gateway.limits(group, slug)["limits"])
    clock.set(MONDAY)
    assert all(one["used"] in (0, "0") and one["held"] not in (0, "0") for one in gateway.limits(group, slug)["limits"])
    gate.release()
    assert running.read_answer().status == 200
    running.close()
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(1))


# Refusals


@pytest.mark.parametrize(
    "kind, unit, words, wait",
    [
        ("REQUEST", "DAY", "1 request per day (Europe/Berlin)", "10 h 30 min"),
        ("TOKEN", "WEEK", "11 tokens per week (Europe/Berlin)", "2 days 11 h"),
        ("REQUEST", "MONTH", "1 request per month (Europe/Berlin)", "16 days 11 h"),
    ],
)
def test_a_refusal_names_the_window_and_says_the_wait_in_days(at, kind, unit, words, wait):
    gateway, group, customer, slug = at("2027-01-15T12:30:00Z", threshold=10**6)  # a Friday
    limit = rate(kind, unit, 1 if kind == "REQUEST" else 11)
    gateway.patch_group(group, models=[model(slug, (), [limit])])
    assert customer.chat(slug, "one two three").status == 200
    answer = customer.chat(slug, "one two three")
    message = answer.error["message"]
    assert answer.status == 429 and answer.error["code"] == "usage_limit_exceeded"
    assert message.startswith(f"Usage limit reached for {slug}: {words}. Used: ") and message.endswith(f" {wait}."), message
    assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"
    left = (parse_time(gateway.limit(group, slug, kind, unit)["reset_at"]) - gateway.clock.now).total_seconds()
    assert left <= answer.error["retry_after_s"] <= left + 60
    assert gateway.limits(group, slug)["retry_after_s"] in range(math.floor(left) - 60, math.ceil(left) + 60)


def test_the_longest_wait_of_several_windows_is_told(clock, at):
    gateway, group, customer, slug = at("2027-01-15T12:30:00Z", threshold=1, amount="1000000")
    gateway.patch_group(group, models=[model(slug, (), [rate("REQUEST", unit, 1) for unit in UNITS])])
    assert customer.chat(slug, "one two three").status == 200
    for moment, unit in (("2027-01-15T12:31:00Z", "month"), ("2027-01-31T12:00:00Z", "month")):
        clock.set(moment)
        assert f"per {unit} (Europe/Berlin)" in customer.chat(slug).error["message"]
    clock.set("2027-01-31T23:00:00Z")
    assert customer.chat(slug).status == 200


def test_rate_limit_headers_take_week_and_month_into_account(at):
    _, _, customer, slug = at("2027-01-15T12:30:00Z", threshold=1000)
    headers = customer.chat(slug, "one two three").headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1000", "999")
    assert headers["x-ratelimit-remaining-tokens"] == str(1000 - 11) or int(headers["x-ratelimit-remaining-tokens"]) < 1000


# Later


def test_a_limit_that_is_set_in_the_middle_of_a_month_counts_what_was_used_before(clock, at):
    gateway, group, customer, slug = at("2027-01-28T12:00:00Z")  # a Thursday
    gateway.patch_group(group, models=[model(slug)], budgets=[])
    for moment in ("2027-01-28T12:00:00Z", "2027-01-29T12:00:00Z", "2027-01-30T12:00:00Z"):
        clock.set(moment)
        assert customer.chat(slug, "one two three").status == 200
    limits = [rate(kind, unit, 100) for unit in UNITS for kind in ("REQUEST", "TOKEN")]
    gateway.patch_group(group, models=[model(slug, (), limits)], budgets=[budget(unit, "60") for unit in UNITS])
    assert figures(gateway, group, slug) == {"DAY": used(1), "WEEK": used(3), "MONTH": used(3)}


def test_all_windows_survive_a_kill(clock, at):
    gateway, group, customer, slug = at("2027-04-28T12:00:00Z")
    expected = {"DAY": 0, "WEEK": 0, "MONTH": 0}
    for moment, new in (
        ("2027-04-28T12:00:00Z", ()),
        ("2027-04-30T12:00:00Z", ("DAY",)),
        ("2027-05-01T12:00:00Z", ("DAY", "MONTH")),
        ("2027-05-03T12:00:00Z", ("DAY", "WEEK")),
    ):
        clock.set(moment)
        assert customer.chat(slug, "one two three").status == 200
        expected = {unit: 1 if unit in new else count + 1 for unit, count in expected.items()}
        gateway.kill9()
        gateway.start()
        assert figures(gateway, group, slug) == {unit: used(count) for unit, count in expected.items()}


def test_another_zone_after_a_restart_counts_in_its_own_windows(clock, at):
    gateway, group, customer, slug = at("2027-02-28T10:30:00Z", "UTC")
    assert customer.chat(slug, "one two three").status == 200
    clock.set("2027-02-28T12:30:00Z")
    assert customer.chat(slug, "one two three").status == 200
    gateway.stop()
    gateway.environment["TOLLGATE_TIME_ZONE"] = "Pacific/Auckland"  # where March begins at 11:00 UTC
    gateway.start()
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(1))
    gateway.stop()
    gateway.environment["TOLLGATE_TIME_ZONE"] = "Asia/Tokyo"
    gateway.start()
    assert figures(gateway, group, slug) == dict.fromkeys(UNITS, used(2))


def test_the_reset_of_a_day_is_the_midnight_of_the_zone(at):
    gateway, group, _, slug = at("2027-07-15T12:00:00Z", "America/New_York")
    end = parse_time(gateway.limit(group, slug, "REQUEST", "DAY")["reset_at"])
    assert end == datetime.datetime(2027, 7, 16, 4, tzinfo=datetime.timezone.utc)
