"""Slow clients: every wait has a limit, and the rest of a refused body is not read."""

import threading
import time

from support.gateway import Customer
from support.wire import Connection

CHAT = "/v1/chat/completions"


def seconds_until_closed(connection):
    begun = time.monotonic()
    try:
        while connection.socket.recv(65536):
            pass
    except OSError:
        pass
    return time.monotonic() - begun


def test_every_head_times_out_after_ten_seconds(gateway):
    health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    waits = {}

    def wait(name, *parts):
        with Connection(gateway.address, timeout=30) as connection:
            for part in parts:
                connection.send(part)
                if part is health:
                    assert connection.read_answer().status == 200
            waits[name] = seconds_until_closed(connection)

    slow = {"first": (b"GET /heal",), "later": (health, b"G"), "nothing": (b"",)}
    threads = [threading.Thread(target=wait, args=(name, *parts)) for name, parts in slow.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(waits) == set(slow) and all(5 < seconds < 20 for seconds in waits.values()), waits


def test_the_rest_of_a_refused_body_is_not_read(gateway):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with Connection(gateway.address) as connection:
        connection.send_head("POST", CHAT, [("transfer-encoding", "chunked")])
        assert connection.read_answer().status == 401
        begun = time.monotonic()
        try:
            while time.monotonic() < begun + 10:
                connection.send(chunk)
            raise AssertionError("the body is still being read")
        except OSError:
            pass


def test_a_key_that_is_revoked_while_the_body_arrives_is_refused(gateway, upstream, group, slug, key):
    customer = Customer(gateway, key)
    body = b'{"model":"%b","messages":[]}' % slug.encode()
    with Connection(gateway.address) as connection:
        connection.send_head("POST", CHAT, customer.headers([("content-length", str(len(body)))]))
        connection.send(body[:10])
        gateway.admin("DELETE", f"/v1/gateway/groups/{group['id']}/api_keys/{key.split('.')[0]}")
        connection.send(body[10:])
        answer = connection.read_answer()
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert upstream.count == 0


def test_an_http_1_0_client_gets_a_stream_that_ends_with_its_connection(customer, gateway, slug):
    body = b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"hi"}]}' % slug.encode()
    with Connection(gateway.address) as connection:
        lines = [f"POST {CHAT} HTTP/1.0", *(f"{name}: {value}" for name, value in customer.headers()), f"content-length: {len(body)}"]
        connection.send("\r\n".join([*lines, "", ""]).encode() + body)
        received = b""
        while data := connection.socket.recv(65536):
            received += data
    head, _, answer = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert answer.startswith(b"data: {") and answer.endswith(b"data: [DONE]\n\n")
