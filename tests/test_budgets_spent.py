"""Budgets in force: what counts, what is refused and how, and that no crowd of clients spends more than was agreed."""

import concurrent.futures
import datetime
import decimal
import itertools

import anthropic
import openai
import pytest

from support.gateway import Customer, Gateway, budget, model, parse_time, rate, seconds_to_midnight
from support.scripted import Pause
from support.upstream import Reply, ScriptedUpstream
from support.wire import DEADLINE
from test_prices import COSTS, PRICING

# One euro for a token of the prompt and two for a token of the answer.
PRICES = {"currency": "EUR", "input": "1000000", "output": "2000000"}
PROMPT = "one two three"
COST = 3 + 2 * 8  # of a chat with this prompt and the eight words that the scripted server answers
UNITS = ("DAY", "WEEK", "MONTH", "TOTAL")


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 400:
        pytest.skip("the day is about to change")


@pytest.fixture
def slug(gateway, upstream):
    return gateway.create_endpoint(upstream, pricing=PRICES)["slug"]


@pytest.fixture
def spender(gateway, slug):
    """Makes a group with these budgets and a customer in it."""

    def make(*budgets, **fields):
        group = gateway.create_group(slug, budgets=list(budgets), **fields)
        return group, Customer(gateway, gateway.mint_key(group))

    return make


def spent(gateway, group):
    """What the group has spent by each of its budgets, in euros: `{unit: amount}`."""
    budgets = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["budgets"]
    return {one["unit"]: decimal.Decimal(one["spent"]) for one in budgets}


def settled(gateway, group):
    """Waits until nothing is held; returns what was spent."""
    read = lambda: gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["budgets"]  # noqa: E731
    gateway.eventually(read, lambda budgets: all(one["held"] == "0" for one in budgets))
    return spent(gateway, group)


def is_refused(answer):
    """Checks that a budget refused the request; returns the message."""
    assert answer.status == 429, answer
    error = answer.error
    assert (error["type"], error["code"], error["param"]) == ("insufficient_quota", "insufficient_quota", None)
    assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"
    return error["message"]


# What counts


def test_the_exact_cost_counts_against_every_budget_and_a_used_up_one_refuses(gateway, upstream, spender, slug):
    group, customer = spender(*[budget(unit, "55") for unit in UNITS])
    for calls in range(1, 4):
        assert customer.chat(slug, PROMPT).status == 200
        assert spent(gateway, group) == dict.fromkeys(UNITS, calls * COST)
    is_refused(customer.chat(slug, PROMPT))
    assert upstream.count == 3 and spent(gateway, group) == dict.fromkeys(UNITS, 3 * COST)


@pytest.mark.parametrize("name", COSTS)
def test_each_part_of_a_cost_counts(gateway, upstream, name):
    slug = gateway.create_endpoint(upstream, pricing=PRICING)["slug"]
    group = gateway.create_group(slug, budgets=[budget("TOTAL", "1000"), budget("MONTH", "1000", "USD")])
    key = gateway.mint_key(group)
    (send, reply), amount = COSTS[name]
    for times in (1, 2):
        upstream.reply_next(reply)
        assert send(Customer(gateway, key), slug).status == 200
        total = decimal.Decimal(amount) * times
        assert spent(gateway, group) == {"TOTAL": total, "MONTH": 0}
        assert sum(decimal.Decimal(event["cost"]["amount"]) for event in gateway.events(key)) == total


def test_a_budget_covers_all_models_of_its_group(gateway, upstream, slug):
    other = gateway.create_endpoint(upstream, pricing=PRICES)["slug"]
    group = gateway.create_group(slug, other, budgets=[budget("DAY", "30")])
    customer = Customer(gateway, gateway.mint_key(group))
    assert [customer.chat(one, PROMPT).status for one in (slug, other, slug, other)] == [200, 200, 429, 429]
    assert spent(gateway, group) == {"DAY": 2 * COST}


def test_a_call_without_a_price_or_in_another_currency_passes_and_counts_nothing(gateway, upstream, slug):
    free = {"currency": "EUR", "input": "0", "output": "0"}
    others = [
        gateway.create_endpoint(upstream, pricing=pricing)["slug"]
        for pricing in (None, free, PRICES | {"currency": "USD"})
    ]
    group = gateway.create_group(slug, *others, budgets=[budget("TOTAL", "0")])
    customer = Customer(gateway, gateway.mint_key(group))
    assert [customer.chat(one, PROMPT).status for one in (slug, *others)] == [429, 200, 200, 200]
    count = customer.post("/v1/messages/count_tokens", {"model": slug, "messages": [{"role": "user", "content": "hi"}]})
    assert count.status == 200, "counting tokens costs nothing"
    assert spent(gateway, group) == {"TOTAL": 0}


def test_a_budget_that_is_set_later_counts_what_was_spent_before(gateway, spender, slug):
    group, customer = spender()
    for _ in range(3):
        assert customer.chat(slug, PROMPT).status == 200
    gateway.patch_group(group, budgets=[budget(unit, "40") for unit in UNITS])
    assert spent(gateway, group) == dict.fromkeys(UNITS, 3 * COST)
    is_refused(customer.chat(slug, PROMPT))


def test_a_top_up_is_in_force_for_the_next_request(gateway, spender, slug):
    group, customer = spender(budget("TOTAL", "0"))
    is_refused(customer.chat(slug, PROMPT))
    gateway.patch_group(group, budgets=[budget("TOTAL", "25")])
    assert customer.chat(slug, PROMPT).status == 200
    assert customer.chat(slug, "one").status == 200, "the prompt fits in what is left"
    assert is_refused(customer.chat(slug, PROMPT)).endswith("This budget does not reset.")
    gateway.patch_group(group, budgets=[budget("TOTAL", "1000")])
    assert customer.chat(slug, PROMPT).status == 200
    assert spent(gateway, group) == {"TOTAL": 2 * COST + 1 + 16}


# What must fit


@pytest.mark.parametrize(
    "path, body, pricing, amount",
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, {"request": "5"}, "5"),
        ("/v1/images/generations", {"prompt": "x", "n": 2}, {"image": "10"}, "20"),
        ("/v1/audio/speech", {"input": "x" * 13, "voice": "alloy"}, {"characters": "1000000"}, "13"),
    ],
)
def test_what_is_certain_to_be_charged_must_fit(gateway, upstream, path, body, pricing, amount):
    pricing = {"currency": "EUR", "input": "0", "output": "0", **pricing}
    slug = gateway.create_endpoint(upstream, pricing=pricing)["slug"]
    below = str(decimal.Decimal(amount) - decimal.Decimal("0.000001"))
    group = gateway.create_group(slug, budgets=[budget("MONTH", below)])
    customer = Customer(gateway, gateway.mint_key(group))
    message = is_refused(customer.post(path, {"model": slug, **body}))
    assert f"requested: {amount} EUR." in message and message.endswith("This request can never pass this budget.")
    assert upstream.count == 0 and spent(gateway, group) == {"MONTH": 0}
    gateway.patch_group(group, budgets=[budget("MONTH", amount)])
    assert customer.post(path, {"model": slug, **body}).status == 200
    assert spent(gateway, group) == {"MONTH": decimal.Decimal(amount)}


def test_a_running_request_holds_what_it_is_expected_to_cost_until_it_ends(gateway, upstream, spender, slug):
    group, customer = spender(budget("MONTH", "10000"))
    gate = upstream.hang_next()
    running = customer.begin_chat(slug, PROMPT, max_tokens=100)
    gate.reached()
    [limit] = gateway.limits(group, slug)["limits"]
    held = decimal.Decimal(limit["held"])
    assert 200 < held <= 200 + len(PROMPT) and decimal.Decimal(limit["left"]) == 10_000 - held
    [own] = customer.get("/v1/usage").json()["budgets"]
    assert (own["held"], own["spent"]) == (limit["held"], "0")
    gate.release()
    assert running.read_answer().status == 200
    running.close()
    assert settled(gateway, group) == {"MONTH": COST}


@pytest.mark.parametrize("after", [None, 3])
def test_a_hang_up_frees_what_was_held(gateway, upstream, spender, slug, after):
    group, customer = spender(budget("TOTAL", "10000"))
    gate = upstream.hang_next() if after is None else upstream.stall_next(after=after)
    connection = customer.begin_chat(slug, PROMPT, stream=after is not None)
    gate.reached()
    connection.close()
    upstream.requests[0].wait_hung_up()
    total = settled(gateway, group)["TOTAL"]
    assert total == 0 if after is None else 0 < total < 100


# Refusals


def next_month(moment):
    return datetime.datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=datetime.timezone.utc)


def test_a_refusal_says_which_budget_and_when_to_come_back(gateway, spender, slug):
    group, customer = spender(budget("MONTH", "19.5"), budget("TOTAL", "1000000"))
    assert customer.chat(slug, PROMPT).status == 200
    now = datetime.datetime.now(datetime.timezone.utc)
    answer = customer.chat(slug, PROMPT)
    message, left = is_refused(answer), (next_month(now) - now).total_seconds()
    words = f"Budget reached for {slug}: 19.5 EUR per month (UTC). Spent: 19 EUR, held by running requests: 0 EUR,"
    assert message.startswith(words) and "Try again in " in message, message
    assert left - 60 < answer.error["retry_after_s"] <= left + 1
    asked = gateway.limits(group, slug, tokens=1)
    assert (asked["admitted"], asked["stopped_by"]) == (False, 0)
    assert parse_time(asked["limits"][0]["reset_at"]) == next_month(now) and asked["limits"][1]["reset_at"] is None


def test_the_sdks_read_a_refusal(gateway, spender, slug):
    _, customer = spender(budget("TOTAL", "0"))
    before = gateway.admin("GET", "/v1/gateway/status")["requests"]["refused"]
    with gateway.sdk(customer.key, max_retries=2) as sdk, pytest.raises(openai.RateLimitError) as refused:
        sdk.chat.completions.create(model=slug, messages=[{"role": "user", "content": "hi"}])
    error = refused.value
    assert (error.code, error.type, error.status_code) == ("insufficient_quota", "insufficient_quota", 429)
    assert "0 EUR in total" in error.message and error.body["retry_after_s"] is None
    origin = f"http://{gateway.address}"
    with (
        anthropic.Anthropic(base_url=origin, api_key=customer.key, max_retries=2, timeout=DEADLINE) as sdk,
        pytest.raises(anthropic.RateLimitError) as refused,
    ):
        sdk.messages.create(model=slug, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    error = refused.value.body["error"]
    assert error["type"] == "rate_limit_error" and "Budget reached" in error["message"]
    assert gateway.admin("GET", "/v1/gateway/status")["requests"]["refused"] == before + 2
    for route in ("/v1/chat/completions", "/v1/messages"):
        logged = lambda line: '"code":"insufficient_quota"' in line and f'"route":"{route}"' in line  # noqa: B023, E731
        gateway.process.wait_line(logged)


def test_a_refusal_by_a_budget_takes_nothing_and_one_by_a_limit_spends_nothing(gateway, slug):
    limits = [rate("REQUEST", "MINUTE", 2)], [rate("TOKEN", "WEEK", 1_000_000)]
    group = gateway.create_group(model(slug, *limits), budgets=[budget("DAY", "0")])
    customer = Customer(gateway, gateway.mint_key(group))
    for _ in range(3):
        assert customer.chat(slug, PROMPT).error["code"] == "insufficient_quota"
    assert [one["used"] for one in gateway.limits(group, slug)["limits"]] == [0, 0, "0"]
    gateway.patch_group(group, budgets=[budget("DAY", "1000")])
    assert [customer.chat(slug, PROMPT).status for _ in range(3)] == [200, 200, 429]
    assert settled(gateway, group) == {"DAY": 2 * COST}


# Trees


def test_independent_groups_spend_an_inherited_budget_each_for_itself(gateway, slug):
    root = gateway.create_group(slug, budgets=[budget("MONTH", "30")])
    children = [gateway.create_group(slug, parent=root) for _ in range(2)]
    for group in (root, *children):
        customer = Customer(gateway, gateway.mint_key(group))
        assert [customer.chat(slug, PROMPT).status for _ in range(3)] == [200, 200, 429]
        [own] = customer.get("/v1/usage").json()["budgets"]
        assert (own["shared"], own["amount"], own["spent"], own["left"]) == (False, "30", str(2 * COST), "0")


def test_a_cascading_budget_is_shared_and_shows_nothing_of_the_others(gateway, slug):
    root = gateway.create_group(slug, mode="CASCADING", budgets=[budget("WEEK", "77.77"), budget("TOTAL", "999")])
    children = [gateway.create_group(slug, parent=root, budgets=[budget("WEEK", "70")]) for _ in range(2)]
    first, second = (Customer(gateway, gateway.mint_key(child)) for child in children)
    for _ in range(3):
        assert first.chat(slug, PROMPT).status == 200
    assert second.chat(slug, PROMPT).status == 200
    answer = second.chat(slug, PROMPT)
    message = answer.error["message"]
    assert answer.status == 429 and answer.error["code"] == "insufficient_quota"
    assert f"Budget reached for {slug}: a budget per week (UTC) that is shared with others. Try again in " in message
    usage = gateway.admin("GET", f"/v1/gateway/groups/{children[1]['id']}/usage")["budgets"]
    assert [(one["unit"], one["spent"], one["source_group"]) for one in usage] == [
        ("WEEK", str(COST), children[1]["id"]),
        ("WEEK", str(4 * COST), root["id"]),
        ("TOTAL", str(4 * COST), root["id"]),
    ]
    own, week, total = second.get("/v1/usage").json()["budgets"]
    assert own["shared"] is False and own["spent"] == str(COST)
    assert (week["shared"], week["unit"], week["currency"], week["left"]) == (True, "WEEK", "EUR", "1.77")
    assert week["reset_at"] == own["reset_at"] and total["reset_at"] is None
    assert all(one[figure] is None for one in (week, total) for figure in ("amount", "spent", "held"))
    for private in (root["id"], root["metadata"]["external_entity_id"], "77.77", "999 ", f"{3 * COST}"):
        assert private not in message


def test_what_a_deleted_child_spent_stays_with_its_ancestors(gateway, slug):
    root = gateway.create_group(slug, mode="CASCADING", budgets=[budget("TOTAL", "100")])
    child = gateway.create_group(slug, parent=root)
    assert Customer(gateway, gateway.mint_key(child)).chat(slug, PROMPT).status == 200
    gateway.admin("DELETE", f"/v1/gateway/groups/{child['id']}")
    assert spent(gateway, root) == {"TOTAL": COST}


# The questions


def test_limits_lists_budgets_after_the_limits_and_prices_the_tokens(gateway, slug):
    limited = model(slug, [rate("TOKEN", "MINUTE", 1000)])
    group = gateway.create_group(limited, budgets=[budget("MONTH", "12.50")])
    asked = gateway.limits(group, slug, tokens=12)
    assert asked["admitted"] is True and [one["kind"] for one in asked["limits"]] == ["rate", "budget"]
    assert asked["limits"][0]["threshold"] == 1000
    reset_at = asked["limits"][1].pop("reset_at")
    assert parse_time(reset_at) == next_month(datetime.datetime.now(datetime.timezone.utc))
    assert asked["limits"][1] == {
        "kind": "budget",
        "type": "COST",
        "unit": "MONTH",
        "currency": "EUR",
        "threshold": "12.5",
        "used": "0",
        "held": "0",
        "left": "12.5",
        "source_group": group["id"],
    }
    refused = gateway.limits(group, slug, tokens=13)
    assert (refused["admitted"], refused["stopped_by"], refused["retry_after_s"]) == (False, 1, None)
    assert spent(gateway, group) == {"MONTH": 0}


def test_a_group_without_models_shows_its_budgets(gateway, spender, slug):
    group, customer = spender(budget("MONTH", "100"), budget("TOTAL", "100"))
    assert customer.chat(slug, PROMPT).status == 200
    gateway.patch_group(group, models=[])
    usage = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")
    assert usage["usage"] == {} and [one["spent"] for one in usage["budgets"]] == [str(COST)] * 2


def test_the_tree_shows_the_budget_with_the_smallest_share_left(gateway, spender, slug):
    group, customer = spender(budget("DAY", "1000"), budget("TOTAL", "100"), budget("MONTH", "999999999999"))
    assert customer.chat(slug, PROMPT).status == 200
    items = gateway.walk("/v1/gateway/group_tree", {"limit": 1000})
    [item] = [item for item in items if item["id"] == group["id"]]
    assert (item["budget"]["unit"], item["budget"]["left"]) == ("TOTAL", str(100 - COST))
    assert item["budget"] in gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["budgets"]


# Crowds


CLIENTS = 64


def crowd(customer, slug, **fields):
    """Sends requests from 64 clients until each was refused; returns the number of answers."""

    def call(_):
        for calls in itertools.count():
            answer = customer.chat(slug, PROMPT, **fields)
            assert answer.status in (200, 429), answer
            if answer.status == 429:
                assert answer.error["code"] == "insufficient_quota"
                return calls

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(call, range(CLIENTS)))


@pytest.mark.parametrize("mode", ["INDEPENDENT", "CASCADING"])
def test_in_strict_64_clients_at_once_never_spend_more_than_the_budget(upstream, mode):
    with Gateway(token_admission="strict") as gateway:
        slug = gateway.create_endpoint(upstream, pricing=PRICES)["slug"]
        root = gateway.create_group(slug, mode=mode, budgets=[budget("MONTH", "1000"), budget("TOTAL", "1200")])
        group = gateway.create_group(slug, parent=root)
        customer = Customer(gateway, gateway.mint_key(group))
        answers = crowd(customer, slug, max_tokens=8)
        total = settled(gateway, group)["MONTH"]
        assert answers == upstream.count >= 1000 // COST and 1000 - COST < total <= 1000, total
        events = gateway.events(customer.key)
        assert sum(decimal.Decimal(event["cost"]["amount"]) for event in events) == total


def test_in_adaptive_the_overshoot_is_at_most_what_runs(gateway, upstream, spender, slug):
    pause = Pause(0.02)
    upstream.always(Reply(before_head=pause))
    group, customer = spender(budget("TOTAL", "2000"))
    answers = crowd(customer, slug)
    total = settled(gateway, group)["TOTAL"]
    assert total == answers * COST and 2000 - COST < total <= 2000 + pause.most * COST


# Restarts


def test_what_was_spent_survives_a_kill(own):
    upstream = ScriptedUpstream()
    try:
        slug = own.create_endpoint(upstream, pricing=PRICES)["slug"]
        root = own.create_group(slug, mode="CASCADING", budgets=[budget(unit, "100") for unit in UNITS])
        child = own.create_group(slug, parent=root, budgets=[budget("WEEK", "90")])
        customer = Customer(own, own.mint_key(child))
        for calls in range(1, 4):
            assert customer.chat(slug, PROMPT).status == 200
            own.kill9()
            own.start()
            assert spent(own, root) == dict.fromkeys(UNITS, calls * COST)
            assert own.admin("GET", f"/v1/gateway/groups/{child['id']}")["budgets"] == [budget("WEEK", "90")]
        # A budget that is set after the restart counts what was spent before it.
        own.patch_group(child, budgets=[budget("TOTAL", "60"), budget("DAY", "60")])
        usage = own.admin("GET", f"/v1/gateway/groups/{child['id']}/usage")["budgets"]
        assert [one["spent"] for one in usage if one["source_group"] == child["id"]] == [str(3 * COST)] * 2
        assert customer.chat(slug, PROMPT * 2).status == 429
    finally:
        upstream.stop()


def test_customers_see_no_budgets_if_costs_are_not_shown(upstream):
    with Gateway(show_cost="false") as private:
        slug = private.create_endpoint(upstream, pricing=PRICES)["slug"]
        group = private.patch_group(private.create_group(slug), budgets=[budget("DAY", "100")])
        customer = Customer(private, private.mint_key(group))
        assert customer.chat(slug).status == 200
        assert customer.get("/v1/usage").json()["budgets"] == []
        [seen] = private.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["budgets"]
        assert decimal.Decimal(seen["spent"]) > 0
