"""Strangers on one listener cannot block the other: connections, descriptors and memory without a key are bounded."""

import contextlib
import json
import os
import resource
import threading

import pytest

from support.gateway import Customer, Gateway
from support.wire import Connection, call

SESSION = "/v1/session"
JSON = ("content-type", "application/json")
KEYLESS = 4 << 10


def resident(gateway):
    """The process's resident memory in bytes."""
    with open(f"/proc/{gateway.process.child.pid}/status") as status:
        [line] = [line for line in status if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


def session_body(gateway, length):
    body = json.dumps({"key": gateway.admin_key}).encode()
    return body + b" " * (length - len(body))


def test_a_body_without_a_key_is_at_most_four_kibibytes(gateway):
    assert call(gateway.admin_address, "POST", SESSION, [JSON], session_body(gateway, KEYLESS)).status == 200
    with Connection(gateway.admin_address) as connection:
        connection.send_head("POST", SESSION, [JSON, ("content-length", KEYLESS + 1)])
        answer = connection.read_answer()
        assert (answer.status, answer.json()["code"]) == (413, "request_too_large"), "before the body has arrived"
        assert connection.is_closed_by_peer()
    with Connection(gateway.admin_address) as connection:
        connection.send_head("POST", SESSION, [JSON, ("transfer-encoding", "chunked")])
        connection.send(b"%x\r\n%b" % (2 * KEYLESS, session_body(gateway, KEYLESS + 1)))
        assert connection.read_answer().status == 413
        assert connection.is_closed_by_peer()


@pytest.mark.skipif("TOLLGATE_SLOW_TESTS" not in os.environ, reason="takes half a minute: set TOLLGATE_SLOW_TESTS")
def test_a_body_without_a_key_must_arrive_within_half_a_minute(gateway):
    answered = threading.Event()
    with Connection(gateway.admin_address, timeout=60) as connection:

        def trickle():
            while not answered.wait(0.5):
                connection.send(b" ")

        connection.send_head("POST", SESSION, [JSON, ("content-length", KEYLESS)])
        trickling = threading.Thread(target=trickle)
        trickling.start()
        answer = connection.read_answer()
        answered.set()
        trickling.join()
        assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
        assert connection.is_closed_by_peer()


def test_a_body_with_a_wrong_key_is_not_read(gateway):
    headers = [("authorization", "Bearer tgo_0123456789ab.wrong"), JSON, ("content-length", 4 << 20)]
    with Connection(gateway.admin_address, source="127.2.0.1") as connection:
        connection.send_head("POST", "/v1/gateway/groups", headers)
        assert connection.read_answer().status == 401
        assert connection.is_closed_by_peer()


def test_bodies_without_a_key_take_no_memory(own):
    with contextlib.ExitStack() as open_ones:
        connections = [open_ones.enter_context(Connection(own.admin_address)) for _ in range(150)]
        assert call(own.admin_address, "GET", "/healthz").status == 200
        before = resident(own)
        for connection in connections:
            connection.send_head("POST", SESSION, [JSON, ("transfer-encoding", "chunked")])
            with contextlib.suppress(ConnectionError):
                connection.send(b"40000\r\n" + session_body(own, 0x40000 - 1))
        assert [connection.read_head()[0] for connection in connections] == [413] * 150
        assert resident(own) - before < 8 << 20


@pytest.fixture(scope="module")
def with_few_files():
    with Gateway(rlimits={resource.RLIMIT_NOFILE: 128}) as gateway:
        yield gateway


@pytest.mark.parametrize("crowded", ["admin", "inference"])
def test_idle_connections_keep_nobody_out(with_few_files, upstream, crowded):
    gateway = with_few_files
    slug = gateway.create_endpoint(upstream)["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
    with contextlib.ExitStack() as open_ones:
        for _ in range(150):
            connection = open_ones.enter_context(Connection(gateway.process.addresses[crowded]))
            connection.request("GET", "/healthz")
            assert connection.read_answer().status == 200
        for _ in range(3):
            assert customer.chat(slug).status == 200
            assert gateway.admin("GET", "/v1/gateway/status")


def test_a_start_with_few_files_is_logged(with_few_files):
    line = with_few_files.process.wait_line(lambda line: "limit of open files is low" in line)
    assert "128" in line
