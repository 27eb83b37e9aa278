"""Prices of endpoints, and the exact costs of requests: tokens, requests, images, audio, speech and long prompts."""

import decimal

import pytest

from support.commands import run
from support.gateway import EPOCH, Customer, Gateway, fresh, prefix_of
from support.routes import CALLS
from support.upstream import Reply

ENDPOINTS = "/v1/gateway/endpoints"
TOKENS = {"currency": "EUR", "input": "2.500001", "output": "10.000003"}
LONG = {"above": 1000, "input": "5", "output": "22.5", "cache_write": "6.25"}
PRICING = TOKENS | {
    "cached": "0.25",
    "cache_write": "3.125",
    "request": "0.000007",
    "image": "0.04",
    "second": "0.000101",
    "characters": "15.000001",
    "long": LONG,
}


def chat(prompt, completion, cached=0, cache_write=0, stream=False):
    """A chat whose upstream reports these tokens."""
    details = {"cached_tokens": cached, "cache_write_tokens": cache_write}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}
    return lambda customer, slug: customer.chat(slug, stream=stream), Reply(usage=usage)


def route(name):
    return CALLS[name].send, CALLS[name].scripted()


# A call, and the amount that it costs at the prices of PRICING.
COSTS = {
    # 400 × 2.500001 + 400 × 0.25 + 100 × 3.125 + 30 × 10.000003, and the request's 7, in 10^-6
    "cached and cache-write tokens": (chat(900, 30, 400, 100), "0.00171950049"),
    "cached and cache-write tokens of a stream": (chat(900, 30, 400, 100, stream=True), "0.00171950049"),
    # 3 × 2.500001 + 5 × 0.25 + 2 × 3.125 + 8 × 10.000003 + 7
    "a message": (route("messages"), "0.000102000027"),
    # 5 × 2.500001 + 7
    "a rerank": (route("rerank"), "0.000019500005"),
    # 1000 × 2.500001 + 10.000003 + 7
    "a prompt that is not long": (chat(1000, 1), "0.002517001003"),
    # 500 × 5 + 500 × 5 + 6.25 + 2 × 22.5 + 7: cached tokens cost what input costs, since `long` has no price for them.
    "a long prompt": (chat(1001, 2, 500, 1), "0.00505825"),
    # 3 × 2.500001 + 32 × 10.000003 + 7 + 2 × 40000
    "images": (route("images"), "0.080334500099"),
    # 2.500001 + 6 × 10.000003 + 7 + 1.09375 × 101
    "audio": (route("translations verbose"), "0.000179968769"),
    # 4 × 2.500001 + 7 + 13 × 15.000001
    "speech": (route("speech"), "0.000212000017"),
}


def make(gateway, upstream, pricing):
    """A customer of a new endpoint with these prices: its key, and a function that makes one of the calls of COSTS."""
    slug = gateway.create_endpoint(upstream, pricing=pricing)["slug"]
    key = gateway.mint_key(gateway.create_group(slug))

    def call(name):
        (send, reply), _ = COSTS[name]
        upstream.reply_next(reply)
        answer = send(Customer(gateway, key), slug)
        assert answer.status == 200, answer

    return key, call


@pytest.mark.parametrize("name", COSTS)
def test_the_cost_of_a_request_has_all_its_parts(gateway, upstream, name):
    key, call = make(gateway, upstream, PRICING)
    call(name)
    assert gateway.events(key)[0]["cost"] == {"currency": "EUR", "amount": COSTS[name][1]}


def test_reports_and_webhooks_carry_the_same_costs(gateway, upstream, receiver, webhook):
    key, call = make(gateway, upstream, PRICING)
    for name in COSTS:
        call(name)
    delivered = receiver.wait_events(len(COSTS))
    assert delivered == gateway.events(key)
    amounts = {event["cost"]["amount"] for event in delivered}
    assert len(amounts) == len(COSTS) - 1, "only the two chats with the same tokens cost the same"
    query = {"start_time": EPOCH, "group_by": "key", "api_keys": prefix_of(key)}
    [row] = gateway.admin("GET", "/v1/gateway/usage_report", query=query)["items"]
    assert row["cost"] == {"EUR": str(sum(decimal.Decimal(event["cost"]["amount"]) for event in delivered))}


def test_what_has_no_price_costs_nothing(gateway, upstream):
    free = {"currency": "EUR", "input": "0", "output": "0"}
    for pricing, amount in ((free, "0"), (free | {"request": "0.5"}, "0.5")):
        key, call = make(gateway, upstream, pricing)
        for name in ("images", "audio", "speech", "a long prompt"):
            call(name)
        assert [event["cost"]["amount"] for event in gateway.events(key)] == [amount] * 4


def test_prices_are_shown_as_they_were_written(gateway, upstream):
    for written, also in (
        (PRICING, {}),
        (TOKENS, {"cached": TOKENS["input"]}),
        (TOKENS | {"cached": None, "request": None, "long": None}, {"cached": TOKENS["input"]}),
        (TOKENS | {"cached": "0", "image": "0", "long": {"above": 1, "input": "0", "output": "0"}}, {}),
        (PRICING | {"long": LONG | {"above": 2**53 - 1, "cached": "0.000001"}}, {}),
    ):
        made = gateway.create_endpoint(upstream, pricing=written)
        shown = {name: value for name, value in written.items() if value is not None} | also
        assert made["pricing"] == shown
        path = f"{ENDPOINTS}/{made['id']}"
        assert gateway.admin("GET", path) == made
        assert gateway.admin("PATCH", path, {"pricing": shown})["pricing"] == shown
        # A change replaces all prices.
        assert gateway.admin("PATCH", path, {"pricing": TOKENS})["pricing"] == TOKENS | {"cached": TOKENS["input"]}


def test_prices_outlive_the_process(tmp_path, upstream):
    with Gateway(data_dir=tmp_path / "data") as own:
        made = own.create_endpoint(upstream, fresh("acme/priced"), pricing=PRICING)
        own.kill9()
        own.start()
        assert own.admin("GET", f"{ENDPOINTS}/{made['id']}") == made
        own.stop()
        # From the snapshot that the stop wrote.
        (tmp_path / "data/store").rename(tmp_path / "gone")
        own.start()
        assert own.admin("GET", f"{ENDPOINTS}/{made['id']}") == made
        assert "No problems found." in run("verify", "--data-dir", own.data_dir)
