"""A process with little memory: what bodies may take follows from it, and nobody's bodies end it."""

import resource
import threading

import pytest

from support.gateway import Customer, Gateway
from support.upstream import ScriptedUpstream

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
    told = sorted({(answer.status, None if answer.status == 200 else answer.error["code"]) for answer in answers})
    assert len(answers) == 8 and set(told) <= {(200, None), (503, "overloaded")} and (200, None) in told, told
    assert small.process.child.poll() is None
    upstream.stop()


def test_the_default_is_a_quarter_of_what_the_process_may_use(small):
    line = small.process.wait_line(lambda line: "bounds of bodies" in line)
    assert f"{ALLOWED // 4}" in line
