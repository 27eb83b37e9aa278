"""The limit CONCURRENT: no more requests run at once than it says, and each gives its place back however it ends."""

import concurrent.futures
import contextlib

import pytest

from support.gateway import Customer, Gateway, model, rate, target_of
from support.routes import CALLS
from support.scripted import BreakOff, Pause
from support.upstream import Reply
from support.wire import Connection

CLIENTS = 64


def at_once(threshold):
    return rate("REQUEST", "CONCURRENT", threshold)


def standing(gateway, group, slug):
    limit = gateway.limit(group, slug, "REQUEST", "CONCURRENT")
    return limit["used"], limit["held"], limit["left"]


def wait_running(gateway, group, slug, count):
    gateway.eventually(lambda: standing(gateway, group, slug)[0], count.__eq__)


# Never exceeded


@pytest.mark.parametrize("mode", ["INDEPENDENT", "CASCADING"])
@pytest.mark.parametrize("streamed", [False, True])
def test_no_more_requests_run_at_once_than_the_limit_says(gateway, upstream, slug, mode, streamed):
    pause = Pause(0.01)
    upstream.always(Reply(insert={2: pause}) if streamed else Reply(before_head=pause))
    root = gateway.create_group(model(slug, [at_once(5)]), mode=mode)
    group = gateway.create_group(slug, parent=root)
    customer = Customer(gateway, gateway.mint_key(group))

    def call(_):
        statuses = []
        with Connection(gateway.address) as connection:
            for _ in range(10):
                body = {"model": slug, "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
                connection.request("POST", "/v1/chat/completions", customer.headers(), body)
                statuses.append(connection.read_answer().status)
        return statuses

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        statuses = sum(pool.map(call, range(CLIENTS)), [])
    assert set(statuses) == {200, 429} and statuses.count(200) == upstream.count
    assert 1 <= pause.most <= 5, "the upstream saw at most as many at once as the limit admits"
    wait_running(gateway, group, slug, 0)


def test_a_cascading_limit_is_shared_by_the_subtree_and_an_inherited_one_is_not(gateway, upstream, slug):
    for mode, second_status in (("CASCADING", 429), ("INDEPENDENT", 200)):
        root = gateway.create_group(model(slug, [at_once(1)]), mode=mode)
        groups = [gateway.create_group(slug, parent=root) for _ in range(2)]
        first, second = (Customer(gateway, gateway.mint_key(group)) for group in groups)
        gate = upstream.hang_next()
        running = first.begin_chat(slug)
        gate.reached()
        answer = second.chat(slug)
        assert answer.status == second_status
        if mode == "CASCADING":
            words = f"Rate limit reached for {slug}: requests at once, a limit that is shared with others."
            assert answer.error["message"] == f"{words} Try again in 1 s."
            [limit] = second.get("/v1/usage").json()["models"][slug]
            assert (limit["shared"], limit["left"], limit["used"], limit["threshold"]) == (True, 0, None, None)
        gate.release()
        assert running.read_answer().status == 200
        running.close()


def test_requests_in_a_queue_count(gateway, upstream):
    slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=30)["slug"]
    group = gateway.create_group(model(slug, [at_once(2)]))
    customer = Customer(gateway, gateway.mint_key(group))
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    second = customer.begin_chat(slug)
    gateway.eventually(lambda: gateway.queue(slug)["waiting"], (1).__eq__)
    assert standing(gateway, group, slug) == (2, 0, 0)
    assert customer.chat(slug).status == 429 and upstream.count == 1
    gate.release()
    for connection in (first, second):
        assert connection.read_answer().status == 200
        connection.close()
    wait_running(gateway, group, slug, 0)


def test_a_limit_that_is_set_later_sees_what_runs(gateway, upstream, slug, group, customer):
    gates = [upstream.hang_next() for _ in range(3)]
    running = [customer.begin_chat(slug) for _ in gates]
    for gate in gates:
        gate.reached()
    gateway.patch_group(group, models=[model(slug, [at_once(2)])])
    assert standing(gateway, group, slug) == (3, 0, 0) and customer.chat(slug).status == 429
    gateway.patch_group(group, models=[model(slug, [at_once(4)])])
    assert customer.chat(slug).status == 200
    for gate in gates:
        gate.release()
    for connection in running:
        assert connection.read_answer().status == 200
        connection.close()
    wait_running(gateway, group, slug, 0)


def test_it_stands_beside_a_limit_on_the_rate(limited, slug):
    group, customer = limited([rate("REQUEST", "MINUTE", 2), at_once(1), rate("TOKEN", "SECOND", 10**6)])
    assert [limit["unit"] for limit in group["models"][0]["rate_limits"]] == ["MINUTE", "CONCURRENT", "SECOND"]
    assert [customer.chat(slug).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("name", CALLS)
def test_it_counts_requests_of_every_route(gateway, upstream, slug, limited, name):
    group, customer = limited([at_once(1)])
    call, gate = CALLS[name], upstream.gate()
    upstream.reply_next(call.scripted(before_head=gate))
    running = call.begin(customer, slug)
    gate.reached()
    assert standing(gateway, group, slug) == (1, 0, 0) and customer.chat(slug).status == 429
    gate.release()
    assert running.read_answer().status == 200
    running.close()
    wait_running(gateway, group, slug, 0)


# How it is shown


def test_a_refusal_says_what_runs_and_to_come_back_at_once(gateway, upstream, slug, limited):
    group, customer = limited([at_once(1)])
    gate = upstream.hang_next()
    running = customer.begin_chat(slug)
    gate.reached()
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    words = f"Rate limit reached for {slug}: 1 request at once. Running: 1, requested: 1. Try again in 1 s."
    assert answer.error["message"] == words
    assert (answer.headers["retry-after"], answer.error["retry_after_s"]) == ("1", 1)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit") or name == "x-should-retry"]
    asked = gateway.limits(group, slug)
    assert (asked["admitted"], asked["stopped_by"], asked["retry_after_s"]) == (False, 0, 1)
    assert asked["limits"] == [
        {
            "kind": "rate",
            **at_once(1),
            "used": 1,
            "held": 0,
            "left": 0,
            "reset_at": None,
            "source_group": group["id"],
        }
    ]
    [shown] = customer.get("/v1/usage").json()["models"][slug]
    assert (shown["unit"], shown["used"], shown["held"], shown["left"]) == ("CONCURRENT", 1, 0, 0)
    assert shown["reset_at"] is None and shown["shared"] is False
    assert gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["usage"] == {slug: []}
    gate.release()
    answer = running.read_answer()
    running.close()
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_a_threshold_of_zero_never_admits(upstream, limited, slug):
    _, customer = limited([at_once(0)])
    answer = customer.chat(slug)
    assert answer.status == 429 and upstream.count == 0
    assert answer.error["message"].endswith("This request can never pass this limit.")
    assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"
    assert answer.error["retry_after_s"] is None


# Every end of a request


class Scene:
    """A group whose limit admits one request, on an upstream that is slow to be given up on nothing but request."""

    def __init__(self, gateway, upstream, **endpoint):
        self.gateway, self.upstream = gateway, upstream
        self.slug = gateway.create_endpoint(target_of(upstream, **endpoint.pop("target", {})), **endpoint)["slug"]
        limits = [at_once(1), rate("TOKEN", "MINUTE", 1000)]
        self.group = gateway.create_group(model(self.slug, limits))
        self.customer = Customer(gateway, gateway.mint_key(self.group))

    def hang_up_at(self, gate, streamed=False):
        connection = self.customer.begin_chat(self.slug, stream=streamed)
        gate.reached()
        assert standing(self.gateway, self.group, self.slug) == (1, 0, 0)
        connection.close()


def answer_of(scene, reply, status, **fields):
    scene.upstream.reply_next(reply)
    assert scene.customer.chat(scene.slug, **fields).status == status


def stream_of(scene, reply=None):
    if reply:
        scene.upstream.reply_next(reply)
    connection, _, stream = scene.customer.stream_chat(scene.slug)
    with contextlib.closing(connection):
        return list(stream)


def wait_in_vain(scene):
    """Another group occupies the only place; ours waits for it until the timeout."""
    other = scene.gateway.create_group(scene.slug)
    gate = scene.upstream.hang_next()
    running = Customer(scene.gateway, scene.gateway.mint_key(other)).begin_chat(scene.slug)
    gate.reached()
    assert scene.customer.chat(scene.slug).status == 503
    gate.release()
    assert running.read_answer().status == 200
    running.close()


def hang_up_in_the_queue(scene):
    other = scene.gateway.create_group(scene.slug)
    gate = scene.upstream.hang_next()
    running = Customer(scene.gateway, scene.gateway.mint_key(other)).begin_chat(scene.slug)
    gate.reached()
    waiting = scene.customer.begin_chat(scene.slug)
    scene.gateway.eventually(lambda: scene.gateway.queue(scene.slug)["waiting"], (1).__eq__)
    assert standing(scene.gateway, scene.group, scene.slug) == (1, 0, 0)
    waiting.close()
    wait_running(scene.gateway, scene.group, scene.slug, 0)
    gate.release()
    assert running.read_answer().status == 200
    running.close()


ENDS = {
    "an answer": lambda scene: answer_of(scene, Reply(), 200),
    "the end of a stream": stream_of,
    "a hang-up before the head": lambda scene: scene.hang_up_at(scene.upstream.hang_next()),
    "a hang-up before the head of a stream": lambda scene: scene.hang_up_at(scene.upstream.hang_next(), streamed=True),
    "a hang-up in a stream": lambda scene: scene.hang_up_at(scene.upstream.stall_next(after=3), streamed=True),
    "a hang-up in a JSON answer": lambda scene: scene.hang_up_at(scene.upstream.stall_next(after=0)),
    "a stream that breaks off": lambda scene: stream_of(scene, Reply(insert={3: BreakOff()})),
    "a stream that breaks off before its content": lambda scene: answer_of(
        scene, Reply(insert={0: BreakOff()}), 502, stream=True
    ),
    "an answer that breaks off": lambda scene: answer_of(scene, Reply(before_head=BreakOff()), 502),
    "an error of the server": lambda scene: answer_of(scene, Reply(500), 502),
    "a refusal that is passed on": lambda scene: answer_of(scene, Reply(400, json_body={"error": {"message": "no"}}), 400),
    "a wrong credential": lambda scene: answer_of(scene, Reply(401), 502),
    "no answer in time": lambda scene: answer_of(scene, Reply(before_head=Pause(2)), 504),
    "silence in a stream": lambda scene: stream_of(scene, Reply(insert={3: Pause(2)})),
    "a refusal by another limit": lambda scene: answer_of(scene, Reply(), 429, text="x" * 10_000),
}


@pytest.fixture(scope="module")
def impatient():
    settings = {"upstream_first_byte_timeout": "500ms", "upstream_idle_timeout": "500ms"}
    with Gateway(**settings) as running:
        yield running


@pytest.mark.parametrize("end", ENDS)
def test_every_end_of_a_request_gives_its_place_back(impatient, upstream, end):
    scene = Scene(impatient, upstream)
    ENDS[end](scene)
    wait_running(impatient, scene.group, scene.slug, 0)
    # What the request has left in the script must not disturb the next one.
    upstream.script.clear()
    for _ in range(2):
        assert scene.customer.chat(scene.slug).status == 200
    wait_running(impatient, scene.group, scene.slug, 0)


@pytest.mark.parametrize("end", [wait_in_vain, hang_up_in_the_queue])
def test_every_end_in_a_queue_gives_its_place_back(gateway, upstream, end):
    timeout = 1 if end is wait_in_vain else 30
    scene = Scene(gateway, upstream, target={"max_concurrent": 1}, queue_timeout_s=timeout)
    end(scene)
    wait_running(gateway, scene.group, scene.slug, 0)
    assert scene.customer.chat(scene.slug).status == 200


def test_an_unreachable_server_gives_the_place_back(gateway):
    slug = gateway.create_endpoint("http://127.0.0.1:9/v1")["slug"]
    group = gateway.create_group(model(slug, [at_once(1)]))
    customer = Customer(gateway, gateway.mint_key(group))
    assert [customer.chat(slug).status for _ in range(3)] == [502] * 3
    wait_running(gateway, group, slug, 0)
