"""A process with little memory: it limits the memory of request bodies accordingly, and no bodies can end it."""

import contextlib
import resource
import threading
import time

import pytest

from support.gateway import Customer, Gateway
from support.upstream import ScriptedUpstream
from support.wire import Connection

ALLOWED = 700 << 20
LARGE = 60 << 20


@pytest.fixture(scope="module")
def small():
    with Gateway(rlimits={resource.RLIMIT_AS: ALLOWED}, workers=2) as gateway:
        yield gateway


def test_many_large_bodies_at_once_do_not_end_the_process(small):
    upstream = ScriptedUpstream()
    slug = small.create_endpoint(upstream)["slug"]
    large, tiny = (Customer(small, small.mint_key(small.create_group(slug))) for _ in range(2))
    body = b'{"model":"%b","messages":[{"role":"user","content":"%b"}]}' % (slug.encode(), b"x" * LARGE)
    answers = []

    def send():
        answers.append(large.post("/v1/chat/completions", body))

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        assert tiny.chat(slug).status == 200
    for sender in senders:
        sender.join()
    outcomes = sorted({(answer.status, None if answer.status == 200 else answer.error["code"]) for answer in answers})
    assert len(answers) == 8 and set(outcomes) <= {(200, None), (503, "overloaded")} and (200, None) in outcomes, outcomes
    assert small.process.child.poll() is None
    upstream.stop()


def test_one_customer_with_many_slow_bodies_delays_nobody_else():
    upstream = ScriptedUpstream()
    with Gateway(max_body="10MiB", max_bodies="16MiB") as gateway, contextlib.ExitStack() as slow_ones:
        slug = gateway.create_endpoint(upstream)["slug"]
        slow, quick = (Customer(gateway, gateway.mint_key(gateway.create_group(slug))) for _ in range(2))
        for _ in range(12):
            connection = slow_ones.enter_context(Connection(gateway.address))
            connection.send_head("POST", "/v1/chat/completions", slow.headers([("content-length", 9 << 20)]))
            connection.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                connection.send(b" " * (4 << 20))
        for text in ["hello"] * 6 + ["x" * (60 << 10), "x" * (1 << 20)]:
            begun = time.monotonic()
            assert quick.chat(slug, text).status == 200
            assert time.monotonic() - begun < 5
        gateway.kill9()  # a stop would wait for the slow requests
    upstream.stop()


def test_the_default_is_a_quarter_of_the_memory_that_the_process_may_use(small):
    line = small.process.wait_line(lambda line: "limits of request bodies" in line)
    assert f"{ALLOWED // 4}" in line
