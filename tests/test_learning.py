"""The tokens that a running request holds: a default estimate, then learned figures, which survive restarts."""

import pytest

from support.gateway import Customer, Gateway, message, model, rate
from support.upstream import Reply

ENOUGH = 25  # answered requests, after which a group's own figures are used
PROMPT = "x" * 796  # 800 bytes with the role's name, which counts too
START_RATIO, START_OUTPUT = 1 / 4, 256
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@pytest.fixture(params=["stop", "kill9"])
def restart(request, gateway):
    """Stops or kills the gateway and starts it again."""

    def stop_and_start():
        getattr(gateway, request.param)()
        gateway.start()

    return stop_and_start


@pytest.fixture
def gateway():
    """A gateway for one test, which may kill it."""
    with Gateway() as own:
        yield own


@pytest.fixture
def new_customer(gateway, slug):
    def make():
        group = gateway.create_group(model(slug, (), [rate("TOKEN", "DAY", 10**9)]))
        return group, Customer(gateway, gateway.mint_key(group))

    return make


@pytest.fixture
def held(gateway, upstream, slug):
    """Returns the tokens that one request holds. Its upstream then fails, so that nothing is learned from it."""

    def ask(group, customer, path=CHAT, called=slug, **fields):
        prompt = {CHAT: {"messages": message(PROMPT)}, COMPLETIONS: {"prompt": PROMPT}, EMBEDDINGS: {"input": PROMPT}}
        gate = upstream.gate()
        upstream.reply_next(Reply(503, json_body={"error": {"message": "scripted"}}, before_head=gate))
        running = customer.begin(path, {"model": called, **prompt[path], **fields})
        gate.reached()
        found = gateway.limit(group, called, "TOKEN")["held"]
        gate.release()
        assert running.read_answer().status == 502
        running.close()
        return found

    return ask


def teach(upstream, customer, slug, ratio, output, times=ENOUGH, path=CHAT):
    """Sends requests whose answers report `ratio` tokens per byte of prompt and `output` tokens of output."""
    prompt = int(bytes_of(path) * ratio)
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    upstream.reply_next(Reply(usage=usage), times)
    for _ in range(times):
        body = {"messages": message(PROMPT)} if path == CHAT else {"prompt": PROMPT}
        assert customer.post(path, {"model": slug, **body}).status == 200


def bytes_of(path):
    return len(PROMPT) + len("user") if path == CHAT else len(PROMPT)


def expected(ratio, output, path=CHAT):
    return bytes_of(path) * ratio + output


def test_a_slug_without_samples_has_the_default_estimate(new_customer, held):
    customer = new_customer()
    assert held(*customer) == expected(START_RATIO, START_OUTPUT)
    assert held(*customer, path=COMPLETIONS) == expected(START_RATIO, START_OUTPUT, COMPLETIONS)
    assert held(*customer, path=EMBEDDINGS) == expected(START_RATIO, 0, EMBEDDINGS)
    assert held(*customer, n=3) == expected(START_RATIO, 3 * START_OUTPUT)
    assert held(*customer, max_tokens=9) == expected(START_RATIO, 9)


def test_learned_figures_survive_a_restart(upstream, slug, new_customer, held, restart):
    group, customer = new_customer()
    teach(upstream, customer, slug, 1 / 2, 40)

    def check(*caller):
        assert held(*caller) == expected(1 / 2, 40)
        assert held(*caller, n=3) == expected(1 / 2, 120)
        assert held(*caller, max_tokens=9) == expected(1 / 2, 9)
        assert held(*caller, max_tokens=32_000) == expected(1 / 2, 40), "a declared maximum is not an estimate"
        assert held(*caller, path=EMBEDDINGS) == expected(1 / 2, 0, EMBEDDINGS)

    check(group, customer)
    check(*new_customer())  # a new customer is estimated by the slug's figures
    restart()
    check(group, customer)
    check(*new_customer())


def test_each_route_has_its_own_output_estimate(upstream, slug, new_customer, held, restart):
    group, customer = new_customer()
    teach(upstream, customer, slug, 1 / 4, 40)
    assert held(group, customer, path=COMPLETIONS) == expected(1 / 4, START_OUTPUT, COMPLETIONS)
    teach(upstream, customer, slug, 1 / 4, 500, path=COMPLETIONS)
    for _ in range(2):
        assert held(group, customer) == expected(1 / 4, 40)
        assert held(group, customer, path=COMPLETIONS) == expected(1 / 4, 500, COMPLETIONS)
        restart()


def test_a_groups_own_figures_take_precedence_over_the_slugs(upstream, slug, new_customer, held, restart):
    """The slug uses the lower of two customers' figures, so that neither can raise what a third one holds."""
    dense, sparse = new_customer(), new_customer()
    teach(upstream, dense[1], slug, 1 / 2, 40)
    teach(upstream, sparse[1], slug, 1 / 8, 40)
    for _ in range(2):
        assert held(*dense) == expected(1 / 2, 40)
        assert held(*sparse) == expected(1 / 8, 40)
        assert held(*new_customer()) == expected(1 / 8, 40)
        restart()


def test_a_few_requests_do_not_give_a_group_its_own_figures(upstream, slug, new_customer, held):
    for _ in range(2):
        teach(upstream, new_customer()[1], slug, 1 / 4, 40)
    few = new_customer()
    teach(upstream, few[1], slug, 1 / 2, 90, times=3)
    assert held(*few) == expected(1 / 4, 40), "the slug's figure, where this group is one of three"


def test_short_prompts_do_not_raise_the_estimate_of_a_document(gateway, upstream, slug):
    """The tokens that a chat template or an image adds to a short question say nothing about long texts."""
    limit = model(slug, [rate("TOKEN", "MINUTE", 100_000)])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1000}}
    for content, prompt_tokens in (("hi", 30), ([{"type": "text", "text": "What is this?"}, image], 1100)):
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(limit)))
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 10, "total_tokens": prompt_tokens + 10}
        upstream.reply_next(Reply(usage=usage), ENOUGH)
        messages = [{"role": "user", "content": content}]
        for _ in range(ENOUGH):
            assert customer.post(CHAT, {"model": slug, "messages": messages}).status == 200
        document = "word " * 25_000
        newcomer = Customer(gateway, gateway.mint_key(gateway.create_group(limit)))
        assert [customer.chat(slug, document).status, newcomer.chat(slug, document).status] == [200, 200]


def test_each_customer_of_a_plan_has_the_same_weight(gateway, upstream, slug, held):
    """Two of three customers get short answers. The long answers of the third do not set the plan's estimate."""
    plan = gateway.create_group(model(slug, (), [rate("TOKEN", "DAY", 10**9)]), mode="INDEPENDENT")
    customers = [(group, Customer(gateway, gateway.mint_key(group))) for group in
                 [gateway.create_group(slug, parent=plan) for _ in range(4)]]
    for (_, customer), output in zip(customers, (50, 50, 30_000)):
        teach(upstream, customer, slug, 1 / 4, output)
    assert held(*customers[3]) == expected(1 / 4, 50)


def test_counted_usage_teaches_nothing(gateway, upstream, slug, new_customer, held, restart):
    group, customer = new_customer()
    upstream.reply_next(Reply(usage=None, words=3), ENOUGH)
    for _ in range(ENOUGH):
        assert customer.chat(slug, PROMPT).status == 200
    assert {event["usageSource"] for event in gateway.events(customer.key)} == {"counted"}
    for _ in range(2):
        assert held(group, customer) == expected(START_RATIO, START_OUTPUT)
        restart()


def test_another_slug_is_not_affected(gateway, upstream, slug, new_customer, held):
    teach(upstream, new_customer()[1], slug, 1 / 2, 40)
    other = gateway.create_endpoint(upstream)["slug"]
    group = gateway.create_group(model(other, (), [rate("TOKEN", "DAY", 10**9)]))
    customer = Customer(gateway, gateway.mint_key(group))
    assert held(group, customer, called=other) == expected(START_RATIO, START_OUTPUT)


def test_learned_figures_follow_a_renamed_slug(gateway, upstream, held):
    endpoint = gateway.create_endpoint(upstream)
    group = gateway.create_group(model(endpoint["slug"], (), [rate("TOKEN", "DAY", 10**9)]))
    customer = Customer(gateway, gateway.mint_key(group))
    teach(upstream, customer, endpoint["slug"], 1 / 2, 40)
    renamed = endpoint["slug"] + "-renamed"
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": renamed})
    assert held(group, customer, called=renamed) == expected(1 / 2, 40)
