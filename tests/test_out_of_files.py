"""A process that cannot open more files reports its own limit as the cause and does not blame targets."""

import contextlib
import os
import resource

import pytest

from support.gateway import Customer, Gateway, message
from support.upstream import ScriptedUpstream
from support.wire import Connection

STATUS = "/v1/gateway/status"


@contextlib.contextmanager
def no_file_left(gateway):
    """Lowers the process's limit so that it can open no more files; yields the limit."""
    pid = gateway.process.child.pid
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    limit = min(set(range(len(used) + 1)) - used)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield limit
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_lack_of_files_does_not_count_as_a_failure_of_the_target(own, upstream, host):
    other = ScriptedUpstream()
    base_urls = [one.base_url.replace("127.0.0.1", host) for one in (upstream, other)]
    targets = [{"provider": "OPENAI_COMPATIBLE", "base_url": url, "target_model": "m"} for url in base_urls]
    slug = own.admin("POST", "/v1/gateway/endpoints", {"slug": "acme/files", "targets": targets})["slug"]
    group = own.create_group(slug)
    customer = Customer(own, own.mint_key(group))
    body = {"model": slug, "messages": message("hello")}
    authorization = [("authorization", f"Bearer {own.admin_key}")]
    with Connection(own.address) as calling, Connection(own.admin_address) as looking:
        for connection in calling, looking:
            connection.request("GET", "/healthz")
            assert connection.read_answer().status == 200
        with no_file_left(own) as limit:
            for _ in range(3):
                calling.request("POST", "/v1/chat/completions", customer.headers(), body)
                answer = calling.read_answer()
                assert (answer.status, answer.error["code"]) == (503, "overloaded")
                assert answer.headers["retry-after"]
            looking.request("GET", STATUS, authorization)
            status = looking.read_answer().json()
        [notice] = status["notices"]
        assert notice["about"] == {"kind": "process", "id": None}
        assert notice["message"].startswith("3 requests were refused") and f" {limit} files" in notice["message"]
        assert status["requests"]["errors"] == 3
        own.process.wait_line(lambda line: "files open" in line)
        logged = [line for line in own.log.splitlines() if "files open" in line]
        assert len(logged) == 1, "at most one line per minute"
        assert "passed over" not in own.log
        assert (upstream.count, other.count) == (0, 0)

        calling.request("POST", "/v1/chat/completions", customer.headers(), body)
        assert calling.read_answer().status == 200
    other.stop()


def test_streams_leave_files_for_operators():
    upstream = ScriptedUpstream()
    with Gateway(rlimits={resource.RLIMIT_NOFILE: 64}, workers=2) as gateway, contextlib.ExitStack() as open_ones:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        body = {"model": slug, "messages": message("hello"), "stream": True}
        gates = [upstream.stall_next(after=2) for _ in range(20)]
        streams = []
        for _ in gates:
            stream = open_ones.enter_context(Connection(gateway.address))
            streams.append(stream)
            stream.request("POST", "/v1/chat/completions", customer.headers([("connection", "close")]), body)
        upstream.wait_requests(4)
        for _ in range(3):
            assert gateway.admin("GET", STATUS)["notices"] == []
        for gate in gates:
            gate.release()
        # The other requests waited for a file to become free.
        assert [stream.read_answer().status for stream in streams] == [200] * len(streams)
    upstream.stop()
