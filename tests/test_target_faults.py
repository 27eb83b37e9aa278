"""Faults of model servers: the next target answers in time, or the customer gets one clear error."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from support.faults import BlackHole, ClosedPort, HastyUpstream, ResetAfterHead, SilentTls
from support.gateway import Customer, Gateway, message
from support.scripted import Pause
from support.upstream import BreakOff, Reply, ScriptedUpstream
from support.wire import DEADLINE, Connection

PATIENCE = "300ms"
SILENCE = Pause(20)
PAGE = b"<html><body>502 Bad Gateway: gpu-7.internal</body></html>"
JSON, HTML = [("content-type", "application/json")], [("content-type", "text/html")]
WORDS = {"error": {"message": "out of memory", "type": "server_error"}}
FAILED, TOO_SLOW, LIMITED = (502, "upstream_error"), (504, "upstream_timeout"), (429, "upstream_rate_limited")


def answering(status=200, headers=(), steps=None, **reply):
    """A target whose every answer is this one."""

    def make():
        target = ScriptedUpstream()
        target.always(Reply(status, headers, steps, **reply))
        return target

    return make


FAULTS = {
    "refused connection": (ClosedPort, FAILED),
    "black-holed connect": (BlackHole, TOO_SLOW),
    "slow TLS": (SilentTls, TOO_SLOW),
    "reset after the request's head": (ResetAfterHead, FAILED),
    "reset after the request": (answering(before_head=BreakOff(reset=True)), FAILED),
    "closed after the request": (answering(before_head=BreakOff()), FAILED),
    "reset within the answer's head": (answering(None, steps=[b"HTTP/1.1 200 O", BreakOff(reset=True)]), FAILED),
    "reset after the answer's head": (answering(headers=JSON, steps=[BreakOff(reset=True)]), FAILED),
    "stall before the first byte": (answering(before_head=SILENCE), TOO_SLOW),
    "stall within the answer's head": (answering(None, steps=[b"HTTP/1.1 200 O", SILENCE]), TOO_SLOW),
    "stall after the answer's head": (answering(headers=JSON, steps=[SILENCE]), TOO_SLOW),
    "no HTTP": (answering(None, steps=[b"SSH-2.0-OpenSSH_9.6\r\n", SILENCE]), FAILED),
    "HTML with 200": (answering(headers=HTML, steps=[PAGE]), FAILED),
    "HTML called JSON with 200": (answering(headers=JSON, steps=[PAGE]), FAILED),
    "429": (answering(429, steps=[]), LIMITED),
    "429 with Retry-After": (answering(429, [("retry-after", "7")], json_body=WORDS), LIMITED),
}
for status in (500, 502, 503, 529):
    FAULTS[f"{status}"] = answering(status, steps=[]), FAILED
    FAULTS[f"{status} with an error"] = answering(status, json_body=WORDS), FAILED
    FAULTS[f"{status} with a page"] = answering(status, HTML, [PAGE]), FAILED


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway with little patience that trusts one authority, since it connects to no TLS server without any."""
    certificates = tmp_path_factory.mktemp("certificates")
    trustme.CA().cert_pem.write_to_path(certificates / "ca.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        patch.setenv("SSL_CERT_DIR", str(certificates))
        timeouts = dict.fromkeys(["connect", "first_byte", "idle"], PATIENCE)
        with Gateway(**{f"upstream_{name}_timeout": time for name, time in timeouts.items()}) as running:
            yield running


@pytest.fixture
def faulty(fault):
    target = FAULTS[fault][0]()
    yield target
    target.stop()


def customer_of(gateway, *targets):
    slug = gateway.create_endpoint(list(targets))["slug"]
    return slug, Customer(gateway, gateway.mint_key(gateway.create_group(slug)))


def answers(customer, slug):
    """The answers to a plain request and a streamed one, which run at the same time. Their prompts are longer than a
    server reads at once."""
    calls = [customer.begin_chat(slug, "hello " * 20_000, stream=streamed) for streamed in (False, True)]
    for call in calls:
        with call:
            yield call.read_answer()


def assert_each_asked_once(target, most):
    ids = [request.headers["x-request-id"] for request in target.requests]
    assert len(ids) <= most and len(set(ids)) == len(ids), ids


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_target_answers_in_place_of_a_faulty_one(gateway, faulty, second, fault):
    slug, customer = customer_of(gateway, faulty, second)
    document, stream = answers(customer, slug)
    assert (document.status, stream.status) == (200, 200)
    assert document.json()["choices"][0]["message"]["content"] == "w0 w1 w2 w3 w4 w5 w6 w7 "
    assert stream.body.count(b'"w7 "') == 1 and stream.body.endswith(b"data: [DONE]\n\n") and b"error" not in stream.body
    events = gateway.wait_events(2, customer.key)
    assert [(event["target"], event["status"]) for event in events] == [(1, 200)] * 2
    assert {event["requestId"] for event in events} == {one.headers["x-request-id"] for one in (document, stream)}
    assert second.count == 2
    assert_each_asked_once(faulty, 2)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_target_without_another_is_one_clear_error(gateway, faulty, fault):
    slug, customer = customer_of(gateway, faulty)
    for answer in answers(customer, slug):
        assert (answer.status, answer.error["code"]) == FAULTS[fault][1]
        assert answer.headers.get("retry-after") == ("7" if "Retry-After" in fault else None)
        assert b"gpu-7" not in answer.body
    assert gateway.events(customer.key) == []
    assert_each_asked_once(faulty, 2)


def test_a_stream_that_stalls_in_the_middle_ends_in_an_error_and_is_not_restarted(gateway, upstream, second):
    slug, customer = customer_of(gateway, upstream, second)
    upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug)
    with connection:
        *_, last = list(stream)
    assert '"code":"upstream_error"' in last
    [event] = gateway.wait_events(1, customer.key)
    assert (event["target"], event["usageSource"], second.count) == (0, "counted", 0)
    upstream.requests[0].wait_hung_up()


def test_an_upstream_that_closes_idle_connections_costs_no_request(gateway):
    """Customers call at the same moments, spaced around the upstream's idle timeout: connections are used again, found
    closed, or closed while a request is on its way."""
    clients, rounds = 10, 50
    upstream = HastyUpstream()
    slug, customer = customer_of(gateway, upstream)
    together = threading.Barrier(clients)

    def call(number):
        statuses = []
        with Connection(gateway.address) as connection:
            for turn in range(rounds):
                together.wait(DEADLINE)
                time.sleep(upstream.IDLE * turn / rounds)
                body = {"model": slug, "messages": message(f"{number} {turn}")}
                connection.request("POST", "/v1/chat/completions", customer.headers(), body)
                statuses.append(connection.read_answer().status)
        return statuses

    with ThreadPoolExecutor(clients) as pool:
        statuses = [status for part in pool.map(call, range(clients)) for status in part]
    assert statuses == [200] * clients * rounds
    assert_each_asked_once(upstream, clients * rounds)
    assert upstream.count == clients * rounds == len(gateway.wait_events(clients * rounds, customer.key))
    assert upstream.crossed and clients < upstream.connections < clients * rounds, "all three cases occurred"
    upstream.stop()
