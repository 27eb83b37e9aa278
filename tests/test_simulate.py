"""`simulate` tells which past requests other limits and budgets would have refused, as a live gateway refuses them."""

import concurrent.futures
import datetime

import pytest

from support.gateway import EPOCH, Customer, fresh, model, rate
from support.upstream import Reply

PRICES = {"currency": "EUR", "input": "10", "output": "20"}
USAGE = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
WARM_UP, RECORDED = 30, 60


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def simulate(gateway, group, start, **body):
    return gateway.admin("POST", f"/v1/gateway/groups/{group['id']}/simulate", {"start_time": start, **body})


def budget(amount, unit="DAY"):
    return {"unit": unit, "currency": "EUR", "amount": amount}


@pytest.fixture
def priced(gateway, upstream):
    """The slug of an endpoint with prices, whose answers all cost 30 × 10 + 20 × 20 = 700 millionths."""
    upstream.always(Reply(usage=USAGE))
    return gateway.create_endpoint(upstream, pricing=PRICES)["slug"]


@pytest.fixture
def recorded(gateway, priced):
    """A group without limits, and the time from which it made RECORDED requests, after WARM_UP others."""
    group = gateway.create_group(priced)
    customer = Customer(gateway, gateway.mint_key(group))
    assert [customer.chat(priced).status for _ in range(WARM_UP)] == [200] * WARM_UP
    gateway.wait_events(WARM_UP, customer.key)
    start = now()
    assert [customer.chat(priced).status for _ in range(RECORDED)] == [200] * RECORDED
    return group, start


PROPOSALS = {
    "requests of a minute": ([rate("REQUEST", "MINUTE", 41)], [], None),
    "tokens of a minute": ([rate("TOKEN", "MINUTE", 2222)], [], None),
    "requests of a week": ([], [rate("REQUEST", "WEEK", 37)], None),
    "tokens of a day": ([], [rate("TOKEN", "DAY", 1717)], None),
    "money of a month": ([], [], budget("0.0261", "MONTH")),
    "money in all": ([], [], budget("0.01", "TOTAL")),
    "nothing": ([], [rate("REQUEST", "DAY", 0)], None),
    "more than enough": ([rate("REQUEST", "MINUTE", 1000)], [rate("TOKEN", "MONTH", 10**6)], budget("1")),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_simulation_refuses_the_requests_that_a_live_gateway_refuses(gateway, priced, recorded, name):
    rates, usages, money = PROPOSALS[name]
    group, start = recorded
    models, budgets = [model(priced, rates, usages)], [money] if money else []
    live = gateway.create_group(*models)
    gateway.patch_group(live, budgets=budgets)
    customer = Customer(gateway, gateway.mint_key(live))
    # The replayed group had used WARM_UP requests before, which count in calendar windows and not in the last minute.
    simulated = simulate(gateway, gateway.create_group(priced), start, models=models, budgets=budgets)
    assert simulated["requests"] == 0, "only requests of the group and its descendants are replayed"
    statuses = [customer.chat(priced).status for _ in range(WARM_UP + RECORDED)]
    simulated = simulate(gateway, group, start, models=models, budgets=budgets)
    refused = statuses[WARM_UP:].count(429)
    assert simulated["requests"] == RECORDED
    assert (simulated["admitted"], simulated["refused"]) == (RECORDED - refused, refused), simulated
    assert (simulated["first_refused_at"] is None) == (refused == 0)
    assert sum(one["refused"] for one in simulated["stopped_by"]) == refused
    assert sum(day["requests"] for day in simulated["by_day"]) == RECORDED
    if refused:
        [stop] = simulated["stopped_by"]
        declared = stop.get("limit") or stop["budget"]
        assert declared["source_group"] == group["id"]
        assert declared["unit"] == (rates + usages + budgets)[0]["unit"]
        assert start <= simulated["first_refused_at"] <= now()
    assert "incomplete" not in simulated


def test_requests_that_ran_at_once_are_replayed_at_once(gateway, upstream, priced):
    group = gateway.create_group(priced)
    customer = Customer(gateway, gateway.mint_key(group))
    gates = [upstream.stall_next(after=1) for _ in range(8)]
    start = now()
    streams = [customer.stream_chat(priced) for _ in gates]
    for gate in gates:
        gate.release()
    for connection, _, stream in streams:
        list(stream)
        connection.close()
    gateway.wait_events(8, customer.key)
    for most in (5, 8):
        models = [model(priced, [rate("REQUEST", "CONCURRENT", most)])]
        assert simulate(gateway, group, start, models=models)["refused"] == 8 - most


def test_what_others_use_of_a_shared_limit_counts_but_is_not_reported(gateway, priced):
    root = gateway.create_group(model(priced, [], [rate("REQUEST", "DAY", 10)]), mode="CASCADING")
    one, other = (gateway.create_group(priced, parent=root) for _ in range(2))
    start = now()
    for child, count in ((other, 6), (one, 4)):
        customer = Customer(gateway, gateway.mint_key(child))
        assert [customer.chat(priced).status for _ in range(count)] == [200] * count
    tighter = simulate(gateway, root, start, models=[model(priced, [], [rate("REQUEST", "DAY", 8)])])
    assert (tighter["requests"], tighter["refused"]) == (10, 2)
    assert tighter["stopped_by"][0]["limit"]["source_group"] == root["id"]
    own = simulate(gateway, one, start, models=[model(priced, [], [rate("REQUEST", "DAY", 3)])])
    assert (own["requests"], own["refused"], own["stopped_by"][0]["limit"]["source_group"]) == (4, 1, one["id"])
    gateway.patch_group(root, models=[model(priced, [], [rate("REQUEST", "DAY", 8)])])
    now_tighter = simulate(gateway, one, start)
    assert (now_tighter["requests"], now_tighter["refused"]) == (4, 2), "the others' six count against the root's eight"


def test_a_simulation_takes_and_changes_nothing(gateway, priced, recorded):
    group, start = recorded
    audits, events = len(gateway.audit_logs()), len(gateway.events())
    limits = gateway.limits(group, priced)
    simulate(gateway, group, start, models=[model(priced, [], [rate("REQUEST", "DAY", 1)])], budgets=[budget("0.1")])
    assert gateway.limits(group, priced) == limits
    assert (len(gateway.audit_logs()), len(gateway.events())) == (audits, events)
    assert gateway.admin("GET", f"/v1/gateway/groups/{group['id']}")["models"] == [model(priced)]


def test_the_end_of_the_window_is_exclusive_and_descendants_are_included(gateway, priced, recorded):
    group, start = recorded
    end = now()
    child = gateway.create_group(priced, parent=group)
    assert Customer(gateway, gateway.mint_key(child)).chat(priced).status == 200
    assert simulate(gateway, group, start)["requests"] == RECORDED + 1
    assert simulate(gateway, group, start, end_time=end)["requests"] == RECORDED
    assert simulate(gateway, group, end, end_time=end)["by_day"] == []


BAD = [
    ({}, "start_time"),
    ({"start_time": "yesterday"}, "start_time"),
    ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
    ({"start_time": EPOCH}, "start_time"),
    ({"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-04-04T00:00:00Z"}, "start_time"),
    ({"budgets": [budget("-1")]}, "budgets[0].amount"),
    ({"budgets": [budget("1"), budget("2")]}, "budgets[1]"),
    ({"models": [{"slug": "no/such"}]}, "models[0].slug"),
    ({"models": [model("a/b", [rate("TOKEN", "CONCURRENT", 1)])]}, "models[0].rate_limits[0].type"),
    ({"models": {}}, "models"),
    ({"limits": []}, "limits"),
]


@pytest.mark.parametrize("body, field", BAD)
def test_bad_input_is_refused_by_name(gateway, group, body, field):
    if field != "start_time":
        body = {"start_time": now(), **body}
    answer = gateway.admin_answer("POST", f"/v1/gateway/groups/{group['id']}/simulate", body)
    assert answer.status == 400 and field in answer.json()["error"], answer


def test_an_unknown_group_is_not_found(gateway):
    path = f"/v1/gateway/groups/{fresh('01')}/simulate"
    assert gateway.admin_answer("POST", path, {"start_time": now()}).status == 404


def test_simultaneous_simulations_all_answer(gateway, recorded):
    group, start = recorded
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: simulate(gateway, group, start), range(8)))
    assert [answer["requests"] for answer in answers] == [RECORDED] * 8
