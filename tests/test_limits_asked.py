"""Reading limits takes nothing and shows a customer nothing of others; a bad query gets an explanation."""

import concurrent.futures
import json
import threading

import pytest

from support.gateway import Customer, fresh, message, model, rate, seconds_to_midnight
from support.upstream import Reply
from support.wire import Connection

LIMITS = (
    [rate("REQUEST", "MINUTE", 20), rate("TOKEN", "MINUTE", 10_000)],
    [rate("REQUEST", "DAY", 20), rate("TOKEN", "DAY", 100_000)],
)


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 90:
        pytest.skip("the day is about to change")


def figures(gateway, group, slug):
    return [(limit["used"], limit["held"], limit["left"]) for limit in gateway.limits(group, slug)["limits"]]


# Reads take nothing


class Askers:
    """Four threads that read every view of the limits for the duration of a `with` block."""

    def __init__(self, gateway, group, slug, customer):
        path = f"/v1/gateway/groups/{group['id']}"
        self.questions = [
            (gateway.admin_address, f"{path}/limits?slug={slug}", gateway.admin_key),
            (gateway.admin_address, f"{path}/limits?slug={slug}&tokens=5000", gateway.admin_key),
            (gateway.admin_address, f"{path}/usage", gateway.admin_key),
            (gateway.address, "/v1/usage", customer.key),
        ]
        self.over = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(len(self.questions))

    def ask(self, address, path, key):
        asked = 0
        with Connection(address) as connection:
            while asked < 100 or not self.over.is_set():
                connection.request("GET", path, [("authorization", f"Bearer {key}")])
                assert connection.read_answer().status == 200
                asked += 1
        return asked

    def __enter__(self):
        self.asking = [self.pool.submit(self.ask, *question) for question in self.questions]

    def __exit__(self, *_):
        self.over.set()
        assert all(future.result() >= 100 for future in self.asking)
        self.pool.shutdown()


def storm(customer, slug, threads, each, **body):
    """Sends `each` requests from each of `threads` threads; returns how many were admitted."""
    body = {"model": slug, "messages": message("one two three"), "max_tokens": 1, **body}

    def call(_):
        with Connection(customer.gateway.address) as connection:
            seen = []
            for _ in range(each):
                connection.request("POST", "/v1/chat/completions", customer.headers(), body)
                seen.append(connection.read_answer().status)
        return seen

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        seen = sum(pool.map(call, range(threads)), [])
    assert set(seen) <= {200, 429}
    return seen.count(200)


@pytest.mark.parametrize("mode", ["INDEPENDENT", "CASCADING"])
def test_concurrent_reads_do_not_change_how_many_requests_are_admitted(gateway, upstream, limited, slug, mode):
    group, customer = limited(*LIMITS, mode=mode)
    with Askers(gateway, group, slug, customer):
        assert storm(customer, slug, 16, 4) == 20
    assert upstream.count == 20
    assert figures(gateway, group, slug) == [(20, 0, 0), (80, 0, 9_920), (20, 0, 0), (80, 0, 99_920)]


def test_reads_and_refusals_change_nothing_at_a_full_limit(gateway, upstream, limited, slug):
    group, customer = limited(*LIMITS)
    assert storm(customer, slug, 4, 6) == 20
    before = figures(gateway, group, slug), customer.get("/v1/usage").json()["models"][slug]
    with Askers(gateway, group, slug, customer):
        assert storm(customer, slug, 8, 10) == 0
    after = figures(gateway, group, slug), customer.get("/v1/usage").json()["models"][slug]
    assert before[0] == after[0] and upstream.count == 20
    for limit in before[1] + after[1]:
        limit.pop("reset_at")
    assert before[1] == after[1]


def test_reading_the_limits_of_an_unused_group_creates_no_counters(gateway, limited, slug):
    group, customer = limited(*LIMITS)
    for _ in range(50):
        assert gateway.limits(group, slug, tokens=10_001)["admitted"] is False
        assert customer.get("/v1/usage").status == 200
    assert figures(gateway, group, slug) == [(0, 0, 20), (0, 0, 10_000), (0, 0, 20), (0, 0, 100_000)]
    usage = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["usage"][slug]
    assert all(entry["current_usage"] is None and entry["reset_at"] is None for entry in usage)


# Privacy


class Tree:
    """Three CASCADING levels whose figures and names are all distinct, so that a leak can be recognized."""

    def __init__(self, gateway, upstream, slug, stops):
        """`stops` is the level whose REQUEST limit is almost full: `top`, `middle` or `own`."""
        self.thresholds = {"top": 777_001, "middle": 666_002, "own": 555_003}
        levels = list(self.thresholds)
        requests = {"top": 7_003, "middle": 6_005} | {stops: 4}

        def group(level, parent=None):
            limits = [rate("TOKEN", "DAY", self.thresholds[level])]
            if levels.index(level) <= levels.index(stops):
                limits.append(rate("REQUEST", "DAY", requests[level]))
            carried = model(slug, (), limits)
            names = {"entity": fresh(f"{level}-entity"), "name": f"Name of {level}"}
            return gateway.create_group(carried, parent=parent, mode=None if parent else "CASCADING", **names)

        self.top = group("top")
        self.middle = group("middle", self.top)
        self.own = group("own", self.middle)
        self.sibling = gateway.create_group(slug, parent=self.middle, entity=fresh("sibling-entity"), name="Sibling")
        self.customer = Customer(gateway, gateway.mint_key(self.own))
        upstream.reply_next(Reply(usage={"prompt_tokens": 31_000, "completion_tokens": 337, "total_tokens": 31_337}))
        assert Customer(gateway, gateway.mint_key(self.sibling)).chat(slug).status == 200

    def check_private(self, text):
        for group in (self.top, self.middle, self.sibling):
            metadata = group["metadata"]
            for private in (group["id"], metadata["external_entity_id"], metadata["name"]):
                assert private not in text, text
        for figure in (31_337, *(self.thresholds[level] for level in ("top", "middle"))):
            assert str(figure) not in text and f"{figure:,}" not in text, text


@pytest.mark.parametrize("stops", ["top", "middle", "own"])
def test_a_customer_of_a_tree_never_sees_the_others(gateway, upstream, slug, stops):
    tree = Tree(gateway, upstream, slug, stops)
    customer = tree.customer
    answers = [customer.get(path) for path in ("/v1/usage", "/v1/models")]
    answers += [customer.chat("acme/unknown"), customer.chat(slug, n=0), customer.chat(slug, "z" * 4_000_000)]
    answers += [customer.chat(slug, stream=True)]
    while (answer := customer.chat(slug)).status == 200:
        answers.append(answer)
    assert answer.status == 429
    answers += [answer, customer.chat(slug, stream=True), customer.get("/v1/usage")]
    for seen in answers:
        tree.check_private(f"{seen.header_list} {seen.body.decode()}")
    text = answer.error["message"]
    if stops == "own":
        assert "Used: 4" in text and "4 requests per day" in text
        assert answer.headers["x-ratelimit-limit-requests"] == "4"
    else:
        assert "shared" in text and "request" in text and "day" in text
        assert "x-ratelimit-limit-requests" not in answer.headers, "the limit with least left is not the customer's own"
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert "used" not in text.lower() and "held" not in text.lower()
    assert answer.error["retry_after_s"] > 0
    # The same in `/v1/usage`: of a shared limit's figures, only `left` is shown.
    limits = customer.get("/v1/usage").json()["models"][slug]
    assert [limit["shared"] for limit in limits if limit["type"] == "TOKEN"] == [False, True, True]
    for limit in limits:
        assert [limit[figure] is None for figure in ("threshold", "used", "held")] == [limit["shared"]] * 3
        assert limit["left"] >= 0 and limit["reset_at"]


def test_a_customer_of_an_independent_group_sees_only_their_own_group(gateway, slug):
    parent = gateway.create_group(
        model(slug, (), [rate("REQUEST", "DAY", 9)]), mode="INDEPENDENT", entity=fresh("parent-entity")
    )
    children = [gateway.create_group(slug, parent=parent) for _ in range(2)]
    customers = [Customer(gateway, gateway.mint_key(child)) for child in children]
    for _ in range(3):
        assert customers[0].chat(slug).status == 200
    for child, customer, used in zip(children, customers, (3, 0)):
        document = customer.get("/v1/usage").json()
        assert document["external_entity_id"] == child["metadata"]["external_entity_id"]
        [limit] = document["models"][slug]
        assert (limit["shared"], limit["threshold"], limit["used"], limit["left"]) == (False, 9, used, 9 - used)
        assert "parent-entity" not in json.dumps(document) and parent["id"] not in json.dumps(document)


def test_query_parameters_do_not_change_a_customers_view(gateway, limited, slug):
    other, _ = limited(*LIMITS)
    group, customer = limited(*LIMITS)
    plain = customer.get("/v1/usage").json()
    entity = other["metadata"]["external_entity_id"]
    for query in (f"group_id={other['id']}", f"external_entity_id={entity}", "slug=%00"):
        assert customer.get(f"/v1/usage?{query}").json() == plain
    assert customer.get(f"/v1/gateway/groups/{group['id']}/limits?slug={slug}").status == 404, "an admin route"


# Bad queries


@pytest.mark.parametrize(
    "query, names",
    [
        ("tokens=1", "slug"),
        ("slug=", "slug"),
        ("slug=%00", "slug"),
        ("slug=%FF%FE", "slug"),
        ("slug=acme", "slug"),
        ("slug=SLUG&slug=SLUG", "slug"),
        ("Slug=SLUG", "Slug"),
        ("slug=SLUG&tokens=", "tokens"),
        ("slug=SLUG&tokens=%2B1", "tokens"),
        ("slug=SLUG&tokens=1e3", "tokens"),
        ("slug=SLUG&tokens=0x10", "tokens"),
        ("slug=SLUG&tokens=%D9%A3", "tokens"),
        ("slug=SLUG&tokens=%201", "tokens"),
        ("slug=SLUG&tokens=null", "tokens"),
        (f"slug=SLUG&tokens={2**53}", "tokens"),
        (f"slug=SLUG&tokens={2**63}", "tokens"),
        (f"slug=SLUG&tokens={'9' * 30_000}", "tokens"),
        ("slug=SLUG&tokens=1&tokens=1", "tokens"),
        ("slug=SLUG&token=1", "token"),
        ("slug=SLUG&limit=1", "limit"),
        ("slug=SLUG&=1", "parameter"),
    ],
)
def test_a_bad_query_names_the_fault(gateway, group, slug, query, names):
    path = f"/v1/gateway/groups/{group['id']}/limits?{query.replace('SLUG', slug)}"
    answer = gateway.admin_answer("GET", path)
    assert answer.status == 400, answer
    error = answer.json()
    assert names in error["error"] and error["code"] and set(error) == {"error", "code"}
    assert "panicked" not in gateway.log


def test_a_slug_that_another_group_carries_is_unknown_to_this_one(gateway, upstream, group):
    other = gateway.create_endpoint(upstream)["slug"]
    gateway.create_group(other)
    answer = gateway.admin_answer("GET", f"/v1/gateway/groups/{group['id']}/limits", query={"slug": other})
    assert answer.status == 400 and "slug" in answer.json()["error"] and other in answer.json()["error"]


def test_an_unknown_group_is_a_404(gateway, limited, slug):
    group, customer = limited(*LIMITS)
    gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}")
    for unknown in (group["id"], "01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        answer = gateway.admin_answer("GET", f"/v1/gateway/groups/{unknown}/limits", query={"slug": slug})
        assert answer.status == 404 and answer.json()["code"] == "not_found" and "group" in answer.json()["error"]
    assert customer.get("/v1/usage").status == 401


def test_the_largest_and_smallest_token_counts_are_accepted(gateway, limited, slug):
    most = 2**53 - 1
    group, _ = limited([rate("TOKEN", "MINUTE", most)], [rate("TOKEN", "DAY", most)])
    for text, tokens in (("0", 0), ("00", 0), ("1", 1), (f"{most}", most), (f"000{most}", most)):
        document = gateway.limits(group, slug, tokens=text)
        assert (document["tokens"], document["admitted"], document["retry_after_s"]) == (tokens, True, None)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_get_is_allowed(gateway, group, slug, method):
    answer = gateway.admin_answer(method, f"/v1/gateway/groups/{group['id']}/limits?slug={slug}", {})
    assert answer.status == 405
