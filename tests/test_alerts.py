"""Alerts: one for each share of a usage limit or budget that is reached, once also after kills and restarts."""

import concurrent.futures
import itertools
import os
import random

import pytest

from support.gateway import Customer, DidNotStart, Gateway, budget, model, rate, seconds_to_midnight
from support.upstream import ScriptedUpstream

ALERTS = "/v1/gateway/alerts"
ROUNDS = int(os.environ.get("TOLLGATE_KILL_ROUNDS", "6"))
# One euro for a token of the prompt and two for a token of the answer.
PRICES = {"currency": "EUR", "input": "1000000", "output": "2000000"}
TOKENS = 3 + 8  # of a chat with this prompt
PROMPT = "one two three"
COST = 3 + 2 * 8


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 300:
        pytest.skip("the day is about to change")


@pytest.fixture
def slug(gateway, upstream):
    return gateway.create_endpoint(upstream, pricing=PRICES)["slug"]


def alerts(gateway, **query):
    """All alerts, the oldest first."""
    return gateway.walk(ALERTS, {"limit": 1000, **query})[::-1]


def name_of(group):
    return group["metadata"]["external_entity_id"]


def about(gateway, *groups):
    """`(external_entity_id, unit, percent)` of the alerts about these groups' use."""
    entities = {name_of(group) for group in groups}
    found = [one for one in alerts(gateway) if one["external_entity_id"] in entities]
    return [(one["external_entity_id"], one["unit"], one["percent"]) for one in found]


def wait_percents(gateway, group, expected):
    """Waits until the alerts about the group's use are these, in order, and checks that no more follow."""
    read = lambda: [percent for _, _, percent in about(gateway, group)]
    gateway.eventually(read, lambda percents: len(percents) >= len(expected))
    settle(gateway)
    assert read() == expected


def settle(gateway):
    """Waits until the use of every earlier event was compared: a later event of another group has made its alert."""
    slug = settle.slugs[gateway]
    group = gateway.create_group(model(slug, (), [rate("REQUEST", "DAY", 1)]))
    Customer(gateway, gateway.mint_key(group)).chat(slug, PROMPT)
    gateway.eventually(lambda: about(gateway, group), lambda found: found)


settle.slugs = {}


@pytest.fixture
def spender(gateway, slug):
    """Makes a group with these usage limits and budgets and a customer in it."""
    settle.slugs[gateway] = slug

    def make(*limits, **fields):
        group = gateway.create_group(model(slug, (), list(limits)), **fields)
        return group, Customer(gateway, gateway.mint_key(group))

    yield make
    del settle.slugs[gateway]


def call(customer, slug, times=1):
    for _ in range(times):
        assert customer.chat(slug, PROMPT).status == 200


# When they are made


def test_each_share_makes_one_alert_and_a_jump_over_several_makes_one_for_the_highest(gateway, spender, slug):
    group, customer = spender(rate("REQUEST", "DAY", 4))
    call(customer, slug, 2)
    settle(gateway)
    assert about(gateway, group) == []
    call(customer, slug)
    wait_percents(gateway, group, [75])
    call(customer, slug)
    wait_percents(gateway, group, [75, 100])
    assert customer.chat(slug, PROMPT).status == 429
    wait_percents(gateway, group, [75, 100])


def test_calls_at_once_make_each_alert_once(gateway, spender, slug):
    group, customer = spender(rate("REQUEST", "DAY", 40))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: call(customer, slug), range(40)))
    wait_percents(gateway, group, [75, 90, 100])
    found = [one for one in alerts(gateway) if one["external_entity_id"] == name_of(group)]
    assert [one["used"] for one in found] == [30, 36, 40]


def test_an_alert_says_what_it_is_about(gateway, spender, slug):
    limited, customer = spender(rate("TOKEN", "WEEK", TOKENS))
    call(customer, slug)
    rich, customer = spender(budgets=[budget("TOTAL", "25")])
    call(customer, slug)
    gateway.eventually(lambda: about(gateway, limited, rich), lambda found: len(found) == 2)
    of_limit, of_budget = alerts(gateway)[-2:]
    of_event = gateway.events()[-2]["timestamp"]
    assert of_event <= of_limit.pop("created_at") <= of_budget.pop("created_at")
    assert of_limit.pop("id") != of_budget.pop("id")
    reset = of_limit.pop("reset_at")
    assert of_limit.pop("window_start") < of_event < reset
    assert of_limit == {
        "group_id": limited["id"],
        "external_entity_id": name_of(limited),
        "kind": "limit",
        "model_slug": slug,
        "type": "TOKEN",
        "unit": "WEEK",
        "currency": None,
        "threshold": TOKENS,
        "used": TOKENS,
        "percent": 100,
    }
    assert of_budget == {
        "group_id": rich["id"],
        "external_entity_id": name_of(rich),
        "kind": "budget",
        "model_slug": None,
        "type": None,
        "unit": "TOTAL",
        "currency": "EUR",
        "threshold": "25",
        "used": str(COST),
        "percent": 75,
        "window_start": rich["created_at"],
        "reset_at": None,
    }


@pytest.mark.parametrize("unit", ["DAY", "WEEK", "MONTH"])
@pytest.mark.parametrize("kind", ["TOKEN", "REQUEST"])
def test_every_usage_limit_makes_alerts(gateway, spender, slug, kind, unit):
    group, customer = spender(rate(kind, unit, 10 * (TOKENS if kind == "TOKEN" else 1)))
    call(customer, slug, 10)
    wait_percents(gateway, group, [75, 90, 100])


@pytest.mark.parametrize("unit", ["DAY", "WEEK", "MONTH", "TOTAL"])
def test_every_budget_makes_alerts(gateway, spender, slug, unit):
    group, customer = spender(budgets=[budget(unit, str(COST * 10))])
    call(customer, slug, 10)
    wait_percents(gateway, group, [75, 90, 100])


def test_rates_and_budgets_in_another_currency_make_none(gateway, spender, slug):
    group, customer = spender(budgets=[budget("DAY", "1", "USD")])
    gateway.patch_group(group, models=[model(slug, [rate("REQUEST", "MINUTE", 1)])])
    call(customer, slug)
    settle(gateway)
    assert about(gateway, group) == []


def test_a_changed_threshold_starts_its_shares_anew_and_needs_no_event(gateway, spender, slug):
    group, customer = spender(rate("REQUEST", "DAY", 4))
    call(customer, slug, 3)
    wait_percents(gateway, group, [75])
    gateway.patch_group(group, models=[model(slug, (), [rate("REQUEST", "DAY", 3)])])
    wait_percents(gateway, group, [75, 100])
    gateway.patch_group(group, metadata={"name": "the threshold is as before"})
    wait_percents(gateway, group, [75, 100])
    gateway.patch_group(group, models=[model(slug, (), [rate("REQUEST", "DAY", 4)])])
    wait_percents(gateway, group, [75, 100, 75])


# Whose they are


def test_in_cascading_a_childs_use_makes_an_alert_of_its_parent(gateway, spender, slug):
    parent, _ = spender(rate("REQUEST", "DAY", 2), mode="CASCADING", budgets=[budget("DAY", str(2 * COST))])
    children = [gateway.create_group(slug, parent=parent) for _ in range(2)]
    for child in children:
        call(Customer(gateway, gateway.mint_key(child)), slug)
    gateway.eventually(lambda: about(gateway, parent), lambda found: len(found) == 2)
    settle(gateway)
    assert about(gateway, parent) == [(name_of(parent), "DAY", 100)] * 2
    assert about(gateway, *children) == []


def test_in_independent_each_group_makes_alerts_about_its_use_of_an_inherited_rule(gateway, spender, slug):
    parent, _ = spender(rate("REQUEST", "DAY", 2), budgets=[budget("DAY", "1000000")])
    children = [gateway.create_group(slug, parent=parent) for _ in range(2)]
    for child in children:
        call(Customer(gateway, gateway.mint_key(child)), slug, 2)
    for child in children:
        wait_percents(gateway, child, [100])
    assert about(gateway, parent) == []
    assert {one["group_id"] for one in alerts(gateway) if one["external_entity_id"] == name_of(children[0])} == {
        parent["id"]
    }
    # A lower budget of the parent is reached by both at once.
    gateway.patch_group(parent, budgets=[budget("DAY", str(2 * COST))])
    for child in children:
        wait_percents(gateway, child, [100, 100])
    assert about(gateway, parent) == []


# The list


def test_the_list_has_pages_and_a_time_range(gateway, spender, slug):
    group, customer = spender(rate("REQUEST", "DAY", 10), rate("REQUEST", "WEEK", 1000))
    call(customer, slug, 10)
    wait_percents(gateway, group, [75, 90, 100])
    every = gateway.admin("GET", ALERTS, query={"limit": 1000})["items"]
    times = [one["created_at"] for one in every]
    assert times == sorted(times, reverse=True) and len(every) >= 3
    for limit in (1, 2, 1000):
        assert gateway.walk(ALERTS, {"limit": limit}) == every
    since = every[1]["created_at"]
    assert gateway.walk(ALERTS, {"start_time": since, "limit": 1}) == [
        one for one in every if one["created_at"] >= since
    ]
    assert gateway.walk(ALERTS, {"end_time": since, "limit": 1000}) == [
        one for one in every if one["created_at"] < since
    ]
    first = gateway.admin("GET", ALERTS, query={"limit": 1})
    assert first["pagination"]["has_more"]
    for query, field in [
        ({"limit": 0}, "limit"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": since, "end_time": "2000-01-01T00:00:00Z"}, "end_time"),
        ({"cursor": "x"}, "cursor"),
        ({"group_id": group["id"]}, "group_id"),
    ]:
        answer = gateway.admin_answer("GET", ALERTS, query=query)
        assert answer.status == 400 and field in answer.json()["error"], answer


def test_the_export_of_metrics_may_read_alerts_and_the_keys_of_api_keys_may_not(gateway):
    for kind, status in [("WORKSPACE_EXPORT_METRICS", 200), ("WORKSPACE_MANAGE_API_KEYS", 403)]:
        key = gateway.mint_operator(kind)
        assert gateway.admin_answer("GET", ALERTS, key=key).status == status


# Settings


def test_shares_are_those_of_the_setting_and_an_empty_list_makes_none(upstream):
    with Gateway(alert_at="100, 50") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        group = gateway.create_group(model(slug, (), [rate("REQUEST", "DAY", 4)]))
        customer = Customer(gateway, gateway.mint_key(group))
        call(customer, slug, 3)
        gateway.eventually(lambda: about(gateway, group), lambda found: found)
        gateway.environment["TOLLGATE_ALERT_AT"] = ""
        gateway.restart()
        call(customer, slug)
        gateway.wait_events(4)
        # Alerts that are turned on again are about the use of now.
        assert [percent for _, _, percent in about(gateway, group)] == [50]
        gateway.environment["TOLLGATE_ALERT_AT"] = "60, 99"
        gateway.restart()
        gateway.eventually(lambda: about(gateway, group), lambda found: len(found) == 2)
        assert [percent for _, _, percent in about(gateway, group)] == [50, 99]


@pytest.mark.parametrize("wrong", ["0", "101", "75,75", "75.5", "many", "1,2,3,4,5,6,7,8,9,10,11"])
def test_wrong_shares_are_refused_at_the_start(wrong):
    with pytest.raises(DidNotStart) as refused:
        Gateway(alert_at=wrong)
    assert "alert_at" in refused.value.output.lower()


# Kills


def test_no_kill_loses_or_repeats_an_alert():
    rng = random.Random(7)
    with Gateway() as gateway:
        upstream = ScriptedUpstream()
        slug = gateway.create_endpoint(upstream, pricing=PRICES)["slug"]
        expected = {}
        for turn in range(ROUNDS):
            limits = [rate("REQUEST", unit, 4) for unit in ("DAY", "MONTH")]
            group = gateway.create_group(model(slug, (), limits), budgets=[budget("TOTAL", str(4 * COST))])
            customer = Customer(gateway, gateway.mint_key(group))
            for calls in itertools.count(1):
                call(customer, slug)
                if calls == 4:
                    break
                if calls == 3 or rng.random() < 0.3:
                    gateway.kill9()
                    gateway.start()
            if turn % 2:
                gateway.kill9()
                gateway.start()
            expected[name_of(group)] = sorted(
                [(unit, percent) for unit in ("DAY", "MONTH", "TOTAL") for percent in (75, 100)]
            )

        def found():
            of = {entity: [] for entity in expected}
            for one in alerts(gateway):
                of[one["external_entity_id"]].append((one["unit"], one["percent"]))
            return {entity: sorted(those) for entity, those in of.items()}

        gateway.eventually(found, lambda found: found == expected)
        for stop in (gateway.kill9, gateway.stop):
            stop()
            gateway.start()
            settle.slugs[gateway] = slug
            before = len(alerts(gateway))
            settle(gateway)
            # That of `settle` is the only new one.
            assert len(alerts(gateway)) == before + 1
        upstream.stop()
