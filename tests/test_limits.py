"""Limits are exact under any number of threads, refuse before an upstream is called, and are reported correctly."""

import concurrent.futures
import datetime
import json
import re
import threading
import time

import pytest

from support.gateway import Customer, Gateway, message, model, parse_time, rate, seconds_to_midnight
from support.upstream import Reply
from support.wire import Connection

RESET = re.compile(r"\d+ms|(\d+h)?(\d+m)?\d+(\.\d+)?s")
MODES = pytest.mark.parametrize("mode", ["INDEPENDENT", "CASCADING"])
EVERY = [
    ("rate_limits", "REQUEST", "SECOND"),
    ("rate_limits", "REQUEST", "MINUTE"),
    ("rate_limits", "TOKEN", "SECOND"),
    ("rate_limits", "TOKEN", "MINUTE"),
    ("usage_limits", "REQUEST", "DAY"),
    ("usage_limits", "TOKEN", "DAY"),
]


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 90:
        pytest.skip("the day is about to change")


def storm(customers, slug, answered=lambda: None, **body):
    """Sends one request per customer at the same time, each on an open connection; returns the answers."""
    barrier = threading.Barrier(len(customers))

    def one(customer):
        with Connection(customer.gateway.address) as connection:
            barrier.wait(30)
            connection.request(
                "POST", "/v1/chat/completions", customer.headers(), {"model": slug, "messages": message("hi"), **body}
            )
            answer = connection.read_answer()
            answered()
            return answer

    with concurrent.futures.ThreadPoolExecutor(len(customers)) as pool:
        return list(pool.map(one, customers))


def statuses(answers):
    counts = {}
    for answer in answers:
        counts[answer.status] = counts.get(answer.status, 0) + 1
    return counts


def is_refused(answer, kind="rate", retry=None):
    assert answer.status == 429, answer
    assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", f"{kind}_limit_exceeded")
    wait = answer.error["retry_after_s"]
    if retry is None:
        assert wait is None
    else:
        low, high = retry
        assert low <= wait <= high
    is_short = wait is not None and wait <= 300
    assert answer.headers.get("retry-after") == (str(wait) if is_short else None)
    assert (answer.headers.get("x-should-retry") == "false") == (wait is None or wait > 60)
    return answer.error["message"]


# Every kind of limit


@MODES
@pytest.mark.parametrize("where, kind, unit", EVERY)
def test_a_threshold_of_zero_lets_nothing_pass(gateway, upstream, slug, mode, where, kind, unit):
    group = gateway.create_group(model(slug, **{where: [rate(kind, unit, 0)]}), mode=mode)
    answer = Customer(gateway, gateway.mint_key(group)).chat(slug)
    text = is_refused(answer, "usage" if unit == "DAY" else "rate")
    for word in (kind, unit):
        assert word.lower() in text.lower(), text
    assert upstream.count == 0


@MODES
@pytest.mark.parametrize(
    "where, unit, retry", [("rate_limits", "MINUTE", (1, 60)), ("usage_limits", "DAY", (301, 86400))]
)
def test_requests_up_to_the_threshold_pass(gateway, upstream, slug, mode, where, unit, retry):
    group = gateway.create_group(model(slug, **{where: [rate("REQUEST", unit, 3)]}), mode=mode)
    customer = Customer(gateway, gateway.mint_key(group))
    for left in (2, 1, 0):
        answer = customer.chat(slug)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
    text = is_refused(customer.chat(slug), "usage" if unit == "DAY" else "rate", retry)
    assert "3" in text and unit.lower() in text.lower() and "request" in text.lower()
    assert upstream.count == 3
    limit = gateway.limit(group, slug)
    assert (limit["used"], limit["held"], limit["left"], limit["threshold"], limit["source_group"]) == (
        3,
        0,
        0,
        3,
        group["id"],
    )


@MODES
@pytest.mark.parametrize(
    "where, unit, retry", [("rate_limits", "MINUTE", (1, 60)), ("usage_limits", "DAY", (301, 86400))]
)
def test_tokens_count_as_billed_and_a_prompt_that_does_not_fit_is_refused(
    gateway, upstream, slug, mode, where, unit, retry
):
    group = gateway.create_group(model(slug, **{where: [rate("TOKEN", unit, 100)]}), mode=mode)
    customer = Customer(gateway, gateway.mint_key(group))
    kind = "usage" if unit == "DAY" else "rate"
    is_refused(customer.chat(slug, "x" * 440), kind)  # 110 tokens: never fits
    upstream.reply_next(Reply(usage={"prompt_tokens": 40, "completion_tokens": 35, "total_tokens": 75}))
    assert customer.chat(slug, "hi").status == 200
    assert gateway.limit(group, slug, "TOKEN")["used"] == 75
    answer = customer.chat(slug, "y" * 4000, max_tokens=1)  # more than what is left, whatever ratio was learned
    is_refused(answer, kind, retry if "retry-after" in answer.headers else None)
    upstream.reply_next(Reply(usage={"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100}))
    assert customer.chat(slug, "hi").status == 200, "25 tokens are left, and this prompt has one or two"
    assert gateway.limit(group, slug, "TOKEN")["used"] == 175, (
        "output counts even if it exceeds the threshold"
    )
    assert gateway.limit(group, slug, "TOKEN")["left"] == 0
    text = is_refused(customer.chat(slug, "hi"), kind, retry)
    assert "token" in text.lower() and "100" in text and "175" in text
    assert upstream.count == 2


def test_a_second_has_room_again_after_the_wait_in_the_refusal(gateway, upstream, limited, slug):
    _, customer = limited([rate("REQUEST", "SECOND", 2)])
    admitted = []
    while (answer := customer.chat(slug)).status == 200:
        admitted.append(answer)
    assert len(admitted) >= 2
    is_refused(answer, retry=(1, 2))
    time.sleep(int(answer.headers["retry-after"]))
    assert customer.chat(slug).status == 200, "the wait in a refusal must be enough"


def test_no_second_admits_more_than_its_threshold(gateway, limited, slug):
    _, customer = limited([rate("REQUEST", "SECOND", 5)])
    admitted, end = [], time.monotonic() + 2.5
    with Connection(gateway.address) as connection:
        while time.monotonic() < end:
            sent = time.monotonic()
            connection.request(
                "POST",
                "/v1/chat/completions",
                customer.headers(),
                {"model": slug, "messages": message("hi"), "max_tokens": 1},
            )
            if connection.read_answer().status == 200:
                admitted.append((sent, time.monotonic()))
    # An admission lies between sending and answer: at least a second from one sending to the fifth answer after it.
    for (first_sent, _), (_, sixth_answered) in zip(admitted, admitted[5:]):
        assert sixth_answered - first_sent >= 1.0
    assert len(admitted) >= 10, "room that became free must be usable"


# Concurrent requests


@MODES
@pytest.mark.parametrize("where, unit", [("rate_limits", "MINUTE"), ("usage_limits", "DAY")])
def test_sixty_four_threads_get_exactly_the_threshold(gateway, upstream, slug, mode, where, unit):
    group = gateway.create_group(model(slug, **{where: [rate("REQUEST", unit, 23)]}), mode=mode)
    answers = storm([Customer(gateway, gateway.mint_key(group))] * 64, slug, max_tokens=1)
    assert statuses(answers) == {200: 23, 429: 41}
    assert upstream.count == 23
    assert len(gateway.events()) >= 23
    assert gateway.limit(group, slug)["used"] == 23


def test_all_children_together_get_exactly_their_parents_limit(gateway, upstream, slug):
    root = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 20)]), mode="CASCADING")
    middle = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 18)]), parent=root)
    children = [gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 15)]), parent=middle) for _ in range(4)]
    customers = [Customer(gateway, gateway.mint_key(child)) for child in children] * 16
    answers = storm(customers, slug, max_tokens=1)
    assert statuses(answers) == {200: 18, 429: 46}
    assert upstream.count == 18
    used = [gateway.limit(child, slug, source=child["id"])["used"] for child in children]
    assert sum(used) == 18
    assert gateway.limit(root, slug)["used"] == 18


def test_concurrent_requests_cannot_exceed_a_small_token_limit(gateway, upstream, limited, slug):
    """Of 64 concurrent requests the limit has room for a few. The tokens that those hold keep the others out."""
    group, customer = limited([rate("TOKEN", "MINUTE", 100)])
    upstream.always(
        Reply(before_head=upstream.gate(), usage={"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10})
    )

    answered = threading.Semaphore(0)

    def release():
        """Releases the first requests once the others have been refused, or after a timeout."""
        for _ in range(59):
            answered.acquire(timeout=5)
        upstream.gates[-1].release()

    threading.Thread(target=release, daemon=True).start()
    answers = storm([customer] * 64, slug, answered.release, max_tokens=20)
    counts = statuses(answers)
    assert 1 <= counts[200] <= 5, counts
    limit = gateway.limit(group, slug, "TOKEN")
    assert (limit["used"], limit["held"]) == (counts[200] * 10, 0)


def test_a_small_limit_admits_one_small_request_at_a_time(gateway, upstream, limited, slug):
    group, customer = limited([rate("TOKEN", "MINUTE", 50)])
    upstream.reply_next(
        Reply(before_head=upstream.gate(), usage={"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10})
    )
    connection = customer.begin_chat(slug, "hi")  # declares no maximum: 256 are expected, far above the limit
    upstream.gates[-1].reached()
    held = gateway.limit(group, slug, "TOKEN")
    assert held["held"] >= 200 and held["left"] == 0
    is_refused(customer.chat(slug, "hi"), retry=(1, 60))
    upstream.gates[-1].release()
    assert connection.read_answer().status == 200
    connection.close()
    assert customer.chat(slug, "hi").status == 200
    assert gateway.limit(group, slug, "TOKEN")["held"] == 0


def test_a_request_holds_at_most_its_declared_maximum(gateway, upstream, limited, slug):
    group, customer = limited([rate("TOKEN", "MINUTE", 100_000)])
    for fields, most in (
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20}, 20),
        ({"max_tokens": 10, "n": 4}, 40),
    ):
        gate = upstream.hang_next()
        connection = customer.begin_chat(slug, "hello world!", **fields)
        gate.reached()
        assert gateway.limit(group, slug, "TOKEN")["held"] <= most + 12, fields
        gate.release()
        assert connection.read_answer().status == 200
        connection.close()


def test_a_stream_holds_at_least_what_it_has_streamed(gateway, upstream, limited, slug):
    group, customer = limited([rate("TOKEN", "MINUTE", 1_000_000)])
    gate = upstream.stall_next(after=-3, words=["twelve bytes"] * 1000)
    connection, _, stream = customer.stream_chat(slug, "hi")
    for _ in range(1001):
        stream.next()
    gate.reached()
    assert gateway.limit(group, slug, "TOKEN")["held"] >= 3000 - 256
    gate.release()
    assert stream.chunks() and gateway.limit(group, slug, "TOKEN")["used"] == 1001
    connection.close()


# All or nothing


def test_a_refused_request_takes_nothing_from_its_ancestors(gateway, slug):
    wide = [rate("REQUEST", "MINUTE", 1000)], [rate("REQUEST", "DAY", 1000), rate("TOKEN", "DAY", 1_000_000)]
    root = gateway.create_group(model(slug, *wide), mode="CASCADING")
    middle = gateway.create_group(model(slug, *wide), parent=root)
    child = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 1)]), parent=middle)
    customer = Customer(gateway, gateway.mint_key(child))
    assert customer.chat(slug).status == 200
    before = gateway.limits(child, slug)["limits"]
    for _ in range(5):
        is_refused(customer.chat(slug), retry=(1, 60))
    after = gateway.limits(child, slug)["limits"]
    assert [(limit["used"], limit["held"]) for limit in before] == [(limit["used"], limit["held"]) for limit in after]
    assert gateway.limit(root, slug, "REQUEST", "DAY")["used"] == 1


def test_a_refusal_by_an_ancestor_takes_nothing_from_the_child(gateway, slug):
    root = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 1)]), mode="CASCADING")
    child = gateway.create_group(model(slug, (), [rate("REQUEST", "DAY", 1000)]), parent=root)
    customer = Customer(gateway, gateway.mint_key(child))
    assert customer.chat(slug).status == 200
    text = is_refused(customer.chat(slug), retry=(1, 60))
    assert "shared" in text.lower()
    assert root["id"] not in text and root["metadata"]["external_entity_id"] not in text
    assert gateway.limit(child, slug, "REQUEST", "DAY")["used"] == 1


def test_a_refusal_takes_nothing_from_another_limit_of_the_same_group(gateway, limited, slug):
    group, customer = limited([rate("REQUEST", "MINUTE", 1000), rate("TOKEN", "MINUTE", 100)])
    is_refused(customer.chat(slug, "x" * 4000))
    assert gateway.limit(group, slug, "REQUEST")["used"] == 0


# Modes


def test_independent_groups_inherit_the_nearest_limit_and_count_separately(gateway, slug):
    root = gateway.create_group(
        model(slug, [rate("REQUEST", "MINUTE", 2)], [rate("REQUEST", "DAY", 50)]), mode="INDEPENDENT"
    )
    child = gateway.create_group(slug, parent=root)
    own = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 5)]), parent=root)
    [effective] = own["effective_models"]
    assert effective["rate_limits"] == [{**rate("REQUEST", "MINUTE", 5), "source_group": own["id"]}]
    assert effective["usage_limits"] == [{**rate("REQUEST", "DAY", 50), "source_group": root["id"]}]
    for group, allowed in ((root, 2), (child, 2), (own, 5)):
        customer = Customer(gateway, gateway.mint_key(group))
        seen = [customer.chat(slug).status for _ in range(allowed + 1)]
        assert seen == [200] * allowed + [429]


def test_a_limit_with_another_unit_does_not_hide_an_inherited_one(gateway, slug):
    """Limits are inherited by (slug, kind, type, unit): a limit per SECOND does not replace the parent's per MINUTE."""
    root = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 1)]), mode="INDEPENDENT")
    child = gateway.create_group(model(slug, [rate("REQUEST", "SECOND", 100)]), parent=root)
    assert len(child["effective_models"][0]["rate_limits"]) == 2
    customer = Customer(gateway, gateway.mint_key(child))
    assert [customer.chat(slug).status for _ in range(2)] == [200, 429]


def test_cascading_consumption_counts_for_ancestors_that_lack_the_slug(gateway, slug, upstream):
    other = gateway.create_endpoint(upstream)["slug"]
    root = gateway.create_group(model(slug, (), [rate("REQUEST", "DAY", 3)]), mode="CASCADING")
    middle = gateway.create_group(other, parent=root)
    child = gateway.create_group(slug, parent=middle)
    customer = Customer(gateway, gateway.mint_key(child))
    assert [customer.chat(slug).status for _ in range(4)] == [200, 200, 200, 429]
    # A limit that the middle group gets now counts its child's earlier requests.
    gateway.patch_group(middle, models=[model(other), model(slug, (), [rate("REQUEST", "DAY", 3)])])
    assert gateway.limit(middle, slug, source=middle["id"])["used"] == 3
    assert [limit["source_group"] for limit in gateway.limits(child, slug)["limits"]] == [middle["id"], root["id"]]


def test_usage_of_a_cascading_group_covers_its_whole_subtree(gateway, slug):
    root = gateway.create_group(
        model(slug, (), [rate("REQUEST", "DAY", 100), rate("TOKEN", "DAY", 10_000)]), mode="CASCADING"
    )
    children = [gateway.create_group(slug, parent=root) for _ in range(2)]
    for child in children:
        assert Customer(gateway, gateway.mint_key(child)).chat(slug, "one two three").status == 200
    for group in (root, *children):
        usage = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")
        assert usage["customer_id"] == group["metadata"]["external_entity_id"]
        entries = {entry["type"]: entry for entry in usage["usage"][slug]}
        assert (entries["REQUEST"]["current_usage"], entries["TOKEN"]["current_usage"]) == (2, 22)
        assert {entry["source_group"] for entry in entries.values()} == {root["id"]}
        tomorrow = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=1)
        assert parse_time(entries["TOKEN"]["reset_at"]) == datetime.datetime.combine(
            tomorrow, datetime.time(), datetime.timezone.utc
        )


# Changes


def test_a_changed_limit_is_in_force_for_the_next_request(gateway, limited, slug):
    group, customer = limited([rate("REQUEST", "MINUTE", 100)])
    for _ in range(3):
        assert customer.chat(slug).status == 200
    for threshold, status in ((3, 429), (4, 200), (4, 429), (0, 429), (10, 200)):
        gateway.patch_group(group, models=[model(slug, [rate("REQUEST", "MINUTE", threshold)])])
        assert customer.chat(slug).status == status


@pytest.mark.parametrize(
    "where, kind, unit",
    [
        ("rate_limits", "REQUEST", "MINUTE"),
        ("rate_limits", "TOKEN", "MINUTE"),
        ("usage_limits", "REQUEST", "DAY"),
        ("usage_limits", "TOKEN", "DAY"),
    ],
)
def test_a_limit_that_is_set_later_counts_earlier_requests(gateway, group, customer, slug, where, kind, unit):
    for _ in range(3):
        assert customer.chat(slug, "one two three").status == 200
    gateway.patch_group(group, models=[model(slug, **{where: [rate(kind, unit, 3)]})])
    assert gateway.limit(group, slug, kind)["used"] == (3 if kind == "REQUEST" else 33)
    is_refused(customer.chat(slug), "usage" if unit == "DAY" else "rate", retry=(1, 86400))


def test_counters_survive_the_removal_of_a_slug_and_follow_its_renaming(gateway, upstream):
    endpoint = gateway.create_endpoint(upstream)
    limits = [rate("REQUEST", "MINUTE", 3)], [rate("REQUEST", "DAY", 100)]
    group = gateway.create_group(model(endpoint["slug"], *limits))
    customer = Customer(gateway, gateway.mint_key(group))
    assert customer.chat(endpoint["slug"]).status == 200
    gateway.patch_group(group, models=[])
    assert customer.chat(endpoint["slug"]).status == 404
    gateway.patch_group(group, models=[model(endpoint["slug"], *limits)])
    assert customer.chat(endpoint["slug"]).status == 200
    renamed = endpoint["slug"] + "-renamed"
    assert gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": renamed})["slug"] == renamed
    assert gateway.admin("GET", f"/v1/gateway/groups/{group['id']}")["models"][0]["slug"] == renamed
    assert customer.chat(endpoint["slug"]).status == 404
    assert customer.chat(renamed).status == 200
    is_refused(customer.chat(renamed), retry=(1, 60))
    assert gateway.limit(group, renamed, unit="DAY")["used"] == 3
    assert [event["modelSlug"] for event in gateway.events(customer.key)] == [endpoint["slug"]] * 2 + [renamed]


def test_a_disabled_ancestor_disables_the_whole_subtree(gateway, upstream, slug):
    root = gateway.create_group(slug)
    child = gateway.create_group(slug, parent=root)
    customer = Customer(gateway, gateway.mint_key(child))
    assert customer.chat(slug).status == 200
    assert gateway.patch_group(root, disabled=True)["disabled"] is True
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"]) == (403, "access_disabled")
    assert upstream.count == 1
    gateway.patch_group(root, disabled=False)
    assert customer.chat(slug).status == 200


# Failed requests


@pytest.mark.parametrize("status, rate_used", [(500, 0), (503, 0), (302, 0), (401, 0), (400, 1), (404, 1)])
def test_a_request_without_an_event_uses_no_usage_limit_and_a_rate_limit_only_if_a_target_answered(
    gateway, upstream, limited, slug, status, rate_used
):
    group, customer = limited(
        [rate("REQUEST", "MINUTE", 100), rate("TOKEN", "MINUTE", 1000)],
        [rate("REQUEST", "DAY", 100), rate("TOKEN", "DAY", 1000)],
    )
    upstream.fail_next(1, status)
    assert customer.chat(slug).status == (status if status in (400, 404) else 502)
    used = {(limit["type"], limit["unit"]): limit["used"] for limit in gateway.limits(group, slug)["limits"]}
    assert used == {
        ("REQUEST", "MINUTE"): rate_used,
        ("TOKEN", "MINUTE"): 0,
        ("REQUEST", "DAY"): 0,
        ("TOKEN", "DAY"): 0,
    }
    assert all(limit["held"] == 0 for limit in gateway.limits(group, slug)["limits"])


# Reporting


def test_the_answer_to_a_malformed_request_shows_its_limits_and_takes_nothing(upstream, limited, slug):
    _, customer = limited([rate("REQUEST", "MINUTE", 4)])
    for fields in ({"n": 0}, {"stream": "yes"}):
        answer = customer.chat(slug, **fields)
        assert answer.status == 400 and answer.headers["x-ratelimit-limit-requests"] == "4"
        assert answer.headers["x-ratelimit-remaining-requests"] == "4"
    unknown = customer.chat("acme/unknown", n=0)
    assert unknown.status == 400 and not [name for name in unknown.headers if name.startswith("x-ratelimit")]
    assert upstream.count == 0


def test_every_answer_carries_the_limits_with_least_left(gateway, upstream, limited, slug):
    _, customer = limited(
        [rate("REQUEST", "MINUTE", 10), rate("TOKEN", "MINUTE", 5000)],
        [rate("REQUEST", "DAY", 4), rate("TOKEN", "DAY", 100_000)],
    )
    json_headers = customer.chat(slug, "one two three").headers
    connection, stream_headers, stream = customer.stream_chat(slug, "one two three")
    stream.chunks()
    connection.close()
    upstream.fail_next(1, 503)
    for headers in (json_headers, stream_headers, customer.chat(slug).headers):
        assert headers["x-ratelimit-limit-requests"] == "4"
        assert headers["x-ratelimit-limit-tokens"] == "5000"
        assert 0 <= int(headers["x-ratelimit-remaining-tokens"]) <= 5000
        for kind in ("requests", "tokens"):
            assert RESET.fullmatch(headers[f"x-ratelimit-reset-{kind}"]), headers
    assert (
        json_headers["x-ratelimit-remaining-requests"] == "3"
        and stream_headers["x-ratelimit-remaining-requests"] == "2"
    )
    for _ in range(2):
        customer.chat(slug)
    refused = customer.chat(slug)
    assert refused.status == 429 and refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_a_customer_does_not_see_the_threshold_of_a_shared_limit(gateway, slug):
    root = gateway.create_group(
        model(slug, [rate("REQUEST", "MINUTE", 777)], [rate("TOKEN", "DAY", 88_888)]), mode="CASCADING"
    )
    child = gateway.create_group(model(slug, (), [rate("TOKEN", "DAY", 5000)]), parent=root)
    customer = Customer(gateway, gateway.mint_key(child))
    answer = customer.chat(slug)
    assert (
        "x-ratelimit-limit-requests" not in answer.headers and answer.headers["x-ratelimit-remaining-requests"] == "776"
    )
    assert answer.headers["x-ratelimit-limit-tokens"] == "5000"
    document = customer.get("/v1/usage").json()
    assert document["external_entity_id"] == child["metadata"]["external_entity_id"]
    limits = {(limit["kind"], limit["type"], limit["shared"]): limit for limit in document["models"][slug]}
    assert set(limits) == {("rate", "REQUEST", True), ("usage", "TOKEN", True), ("usage", "TOKEN", False)}
    for limit in limits.values():
        assert set(limit) == {"kind", "type", "unit", "threshold", "used", "held", "left", "reset_at", "shared"}
        if limit["shared"]:
            assert limit["threshold"] is limit["used"] is limit["held"] is None
    assert limits["rate", "REQUEST", True]["left"] == 776
    own = limits["usage", "TOKEN", False]
    assert (own["threshold"], own["used"], own["held"], own["left"]) == (5000, 10, 0, 4990)
    text = json.dumps(document)
    assert root["id"] not in text and "777" not in text and "88888" not in text


def test_an_operator_sees_every_limit_with_its_figures(gateway, slug):
    root = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 50)]), mode="CASCADING")
    child = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 1)], [rate("TOKEN", "DAY", 1000)]), parent=root)
    document = gateway.limits(child, slug)
    assert (document["slug"], document["tokens"], document["admitted"]) == (slug, 0, True)
    assert document["retry_after_s"] is None and document["stopped_by"] is None
    for limit in document["limits"]:
        assert set(limit) == {"kind", "type", "unit", "threshold", "used", "held", "left", "reset_at", "source_group"}
    assert {limit["source_group"] for limit in document["limits"]} == {root["id"], child["id"]}
    rolling = next(limit for limit in document["limits"] if limit["unit"] == "MINUTE")
    assert rolling["reset_at"] is None, "an empty window has no reset time"
    assert Customer(gateway, gateway.mint_key(child)).chat(slug).status == 200
    document = gateway.limits(child, slug)
    assert document["admitted"] is False and 1 <= document["retry_after_s"] <= 60
    stopped = document["limits"][document["stopped_by"]]
    assert (stopped["source_group"], stopped["unit"], stopped["left"]) == (child["id"], "MINUTE", 0)
    now = datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(0) < parse_time(stopped["reset_at"]) - now <= datetime.timedelta(seconds=62)
    assert gateway.limits(child, slug)["limits"][document["stopped_by"]]["used"] == 1, "a read must take nothing"


def test_the_operator_can_ask_about_tokens(gateway, limited, slug):
    group, customer = limited((), [rate("TOKEN", "DAY", 1000)])
    assert gateway.limits(group, slug, tokens=1000)["admitted"] is True
    refused = gateway.limits(group, slug, tokens=1001)
    assert refused["admitted"] is False and refused["retry_after_s"] is None, "the request can never fit"
    assert customer.chat(slug, "one two").status == 200
    refused = gateway.limits(group, slug, tokens=991)
    assert refused["admitted"] is False and refused["retry_after_s"] >= 1
    assert gateway.limits(group, slug, tokens=990)["admitted"] is True


class TestStrict:
    """`token_admission = "strict"`: the threshold is a hard cap."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls):
        with Gateway(token_admission="strict", strict_output=64) as running:
            yield running

    @staticmethod
    def maximum(received):
        sent = received.json
        return sent.get("max_tokens", sent.get("max_completion_tokens"))

    def test_a_maximum_is_set_where_the_customer_set_none(self, upstream, limited, slug):
        _, customer = limited([rate("TOKEN", "MINUTE", 10_000)])
        assert customer.chat(slug).status == 200
        assert self.maximum(upstream.requests[0]) == 64

    def test_a_declared_maximum_is_held_and_sent(self, gateway, upstream, limited, slug):
        group, customer = limited([rate("TOKEN", "MINUTE", 10_000)])
        gate = upstream.hang_next()
        connection = customer.begin_chat(slug, "hi", max_tokens=2000)
        gate.reached()
        assert 2000 <= gateway.limit(group, slug, "TOKEN")["held"] <= 2010
        assert upstream.requests[0].json["max_tokens"] == 2000
        gate.release()
        assert connection.read_answer().status == 200
        connection.close()

    def test_a_maximum_is_lowered_to_what_is_left(self, gateway, upstream, limited, slug):
        group, customer = limited((), [rate("TOKEN", "DAY", 100)])
        assert customer.chat(slug, "hi", max_completion_tokens=5000).status == 200
        sent = upstream.requests[0].json
        assert 90 <= sent["max_completion_tokens"] <= 100
        assert sent["max_tokens"] == sent["max_completion_tokens"], "some servers support only that name"

    def test_concurrent_requests_do_not_exceed_the_cap(self, gateway, upstream, limited, slug):
        group, customer = limited((), [rate("TOKEN", "DAY", 200)])
        upstream.always(Reply(words=500))  # writes until its maximum stops it
        answers = storm([customer] * 32, slug, max_tokens=50)
        assert statuses(answers)[200] >= 3
        assert gateway.limit(group, slug, "TOKEN")["used"] <= 200 + 8  # each prompt's estimate may be off by one token
