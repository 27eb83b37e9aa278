"""Request smuggling: requests whose end two parsers could see in different places. Both listeners follow RFC 9112
strictly, and nothing that is sent after a request of this kind runs."""

import json
import re

import pytest

from support.gateway import fresh, message
from support.proxy import SharingProxy
from support.wire import Connection

CHAT = "/v1/chat/completions"
GROUPS = "/v1/gateway/groups"


def request(path, key, body, *fields):
    """A complete POST in bytes."""
    fields = [f"authorization: Bearer {key}", "content-type: application/json", *fields]
    return f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n".encode() + "\r\n".join([*fields, "", ""]).encode() + body


def chunk(data, extension=b""):
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


class Inference:
    """The inference listener. A request that runs reaches the upstream."""

    path = CHAT

    def __init__(self, gateway, upstream, key, slug):
        self.gateway, self.upstream, self.address, self.key = gateway, upstream, gateway.address, key
        self.body = json.dumps({"model": slug, "messages": message("hi")}).encode()

    @property
    def runs(self):
        return self.upstream.count

    def check_refusal(self, answer, code):
        assert set(answer.json()) == {"error"}
        assert answer.error["type"] == "invalid_request_error" and answer.error["code"] == code, answer.error
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["x-request-id"])
        return answer.error["message"]


class Admin:
    """The admin listener. A request that runs makes a group."""

    path = GROUPS

    def __init__(self, gateway, slug):
        self.gateway, self.address, self.key = gateway, gateway.admin_address, gateway.admin_key
        self.entity = fresh("smuggled")
        self.body = json.dumps({"metadata": {"external_entity_id": self.entity}, "models": [{"slug": slug}]}).encode()

    @property
    def runs(self):
        return len(self.gateway.admin("GET", GROUPS, query={"external_entity_id": self.entity})["items"])

    def check_refusal(self, answer, code):
        assert set(answer.json()) == {"error", "code"} and answer.json()["code"] == code, answer
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        return answer.json()["error"]


@pytest.fixture(params=["inference", "admin"])
def listener(request, gateway, upstream, slug, key):
    return Inference(gateway, upstream, key, slug) if request.param == "inference" else Admin(gateway, slug)


def check_refused(listener, connection, code="malformed_http", status=400):
    """Checks that one refusal ends the connection and that nothing has run; returns the error message."""
    answer = connection.read_answer()
    assert answer.status == status, answer
    assert answer.headers["connection"] == "close" and answer.headers["content-type"] == "application/json"
    words = listener.check_refusal(answer, code)
    assert connection.is_closed_by_peer(), connection.buffer
    assert listener.runs == 0
    return words


# Chunks

CHUNKED = "transfer-encoding: chunked"

ENDINGS = [
    b"0\r\n\n",
    b"00\r\n\n",
    b"0;x\r\n\n",
    b"0\n\r\n",
    b"0\n\n",
    b"0;x\n\r\n",
    b"0 \r\n\r\n",
    b"0\t\r\n\r\n",
    b"0 ;x\r\n\r\n",
    b'0;x="\r\n\r\n',
    b"0\r\nx: y\n\r\n",
    b"0\r\nx: y\r\n\n",
    b"0\r\nx: y\n\n",
    b"0\r\nx: y\rz: 1\r\n\r\n",
    b"0\r\nx : y\r\n\r\n",
    b"0\r\nx\r\n\r\n",
    b"0\r\ncontent-length: 4\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"0x0\r\n\r\n",
    b"1\r\n \n0\r\n\r\n",
    b"1\r\n  \r\n0\r\n\r\n",
    b"1;\n \r\n0\r\n\r\n",
    b"1 \r\n \r\n0\r\n\r\n",
    b"1\r\n 0\r\n\r\n",
    b"10000000000000000\r\n \r\n0\r\n\r\n",
]


@pytest.mark.parametrize("ending", ENDINGS, ids=repr)
def test_chunks_with_an_ambiguous_end_run_nothing(listener, ending):
    """The known attack: a malformed request, followed by a hidden one."""
    hidden = request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}")
    malformed = request(listener.path, listener.key, chunk(listener.body) + ending, CHUNKED)
    with Connection(listener.address) as connection:
        connection.send(malformed + hidden + hidden)
        check_refused(listener, connection)
    # The same applies if the handler already waits for the body.
    head = request(listener.path, listener.key, b"", CHUNKED, "expect: 100-continue")
    with Connection(listener.address) as connection:
        connection.send(head)
        assert connection.read_head()[0] == 100
        connection.send(chunk(listener.body) + ending + hidden)
        check_refused(listener, connection)


@pytest.mark.parametrize("ending", [b"0\r\n\n", b"0\r\nx: y\n\r\n", b"0 \r\n\r\n"], ids=repr)
def test_malformed_chunks_that_arrive_byte_by_byte_run_nothing(listener, ending):
    hidden = request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}")
    malformed = request(listener.path, listener.key, chunk(listener.body) + ending, CHUNKED)
    with Connection(listener.address) as connection:
        for byte in malformed + hidden:
            try:
                connection.send(bytes([byte]))
            except ConnectionError:
                break
        check_refused(listener, connection)


@pytest.mark.parametrize(
    "ending",
    [b"0\r\n\r\n", b"000\r\n\r\n", b"0;x\r\n\r\n", b'0;x="a b";y\r\n\r\n', b"0\r\nx-sum: 1\r\nempty:\r\n\r\n"],
    ids=repr,
)
def test_valid_chunks_are_read(listener, ending):
    half = len(listener.body) // 2
    body = chunk(listener.body[:half], b";a=b") + chunk(listener.body[half:]) + ending
    with Connection(listener.address) as connection:
        for byte in request(listener.path, listener.key, body, CHUNKED):
            connection.send(bytes([byte]))
        assert connection.read_answer().status == 200
        # The next request on the same connection.
        connection.send(request(listener.path, listener.key, b"{}", "content-length: 2"))
        assert connection.read_answer().status == 400
    assert listener.runs == 1


# Heads

LENGTHS = [
    ["content-length: {}", "content-length: {}"],
    ["content-length: {}", "content-length: 0"],
    ["content-length: 0", "content-length: {}"],
    ["content-length: {0}, {0}"],
    ["content-length: +{}"],
    ["content-length: -1"],
    ["content-length: abc"],
    ["content-length: 0x10"],
    ["content-length: 18446744073709551616"],
    ["content-length:"],
    ["content-length : {}"],
    ["content-length: {}", " folded"],
    ["content-length: {}", CHUNKED],
    [CHUNKED, "content-length: {}"],
    [CHUNKED, CHUNKED],
    ["transfer-encoding: chunked, identity"],
    ["transfer-encoding: gzip, chunked"],
    ["transfer-encoding: xchunked"],
    ["transfer-encoding: identity"],
    ["transfer-encoding: identity", "content-length: {}"],
    ["transfer-encoding:\x0bchunked"],
    ["transfer-encoding: chunked\nx: y"],
    ["transfer-encoding : chunked"],
    ["x: y\ncontent-length: {}"],
    ["x: y\rcontent-length: {}"],
    ["x: y\x00"],
    ["host: other"],
    ["no colon"],
    ["bad name: x"],
    ["x\x00y: z"],
    [": no name"],
]


@pytest.mark.parametrize("fields", LENGTHS, ids=repr)
def test_a_head_with_ambiguous_framing_runs_nothing(listener, fields):
    hidden = request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}")
    fields = [field.format(len(listener.body)) for field in fields]
    for body in (listener.body, chunk(listener.body) + b"0\r\n\r\n", b""):
        with Connection(listener.address) as connection:
            connection.send(request(listener.path, listener.key, body, *fields) + hidden)
            check_refused(listener, connection)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.2\r\nhost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
        b'GET /"<> HTTP/1.1\r\nhost: x\r\n\r\n',
        b"GET @ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}",
        b"\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=repr,
)
def test_a_head_that_is_not_http_is_refused_with_an_explanation(listener, head):
    hidden = request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}")
    with Connection(listener.address) as connection:
        connection.send(head + hidden)
        assert check_refused(listener, connection).startswith("The request is not valid HTTP/1.1")


@pytest.mark.parametrize("field", ["x: " + "y" * (64 << 10), "\r\n".join(["x: y"] * 100)], ids=["long", "many"])
def test_a_head_that_is_too_large_is_a_431(listener, field):
    with Connection(listener.address) as connection:
        connection.send(request(listener.path, listener.key, listener.body, field))
        check_refused(listener, connection, "header_too_large", 431)


def test_a_request_target_that_is_too_large_is_a_431(listener):
    with Connection(listener.address) as connection:
        connection.send(b"GET /" + b"x" * (65 << 10) + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        check_refused(listener, connection, "header_too_large", 431)


def test_the_largest_head_and_an_empty_line_before_it_are_accepted(listener):
    fields = [f"content-length: {len(listener.body)}", *[f"x-{n}: y" for n in range(90)]]
    head = request(listener.path, listener.key, b"", *fields)
    padding = (64 << 10) - len(head) - len("\r\nx: \r\n")
    with Connection(listener.address) as connection:
        connection.send(b"\r\n" + request(listener.path, listener.key, listener.body, *fields, "x: " + "y" * padding))
        assert connection.read_answer().status == 200
    assert listener.runs == 1


# Pipelined requests


def test_a_running_answer_is_not_harmed_by_a_malformed_request_after_it(gateway, upstream, customer, slug, key):
    listener = Inference(gateway, upstream, key, slug)
    gate = upstream.stall_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    with connection:
        assert stream.next()
        connection.send(request(CHAT, key, b"0\r\n\n", CHUNKED) + request(CHAT, key, b"", "content-length: 0"))
        gate.release()
        assert stream.chunks()
        answer = connection.read_answer()
        assert answer.status == 400
        listener.check_refusal(answer, "malformed_http")
        assert connection.is_closed_by_peer()
    assert upstream.count == 1 and len(gateway.wait_events(1, key)) == 1


def test_a_hang_up_is_noticed_despite_pipelined_requests(gateway, upstream, customer, slug, key):
    upstream.stall_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    assert stream.next()
    connection.send(request(CHAT, key, b"{}", "content-length: 2") * 10)
    connection.close()
    upstream.wait_requests(1).wait_hung_up()
    assert len(gateway.wait_events(1, key)) == 1
    assert upstream.count == 1


@pytest.mark.parametrize("framing", ["content-length", "chunks"])
def test_nothing_runs_after_a_refusal_that_closes(listener, framing):
    """A refusal that leaves the body unread announces the close, so that a proxy sends the next request again."""
    if framing == "chunks":
        refused = request(listener.path, "wrong", chunk(listener.body) + b"0\r\n\r\n", CHUNKED)
    else:
        refused = request(listener.path, "wrong", listener.body, f"content-length: {len(listener.body)}")
    with Connection(listener.address) as connection:
        connection.send(refused + request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}"))
        answer = connection.read_answer()
        assert answer.status == 401
        if answer.headers.get("connection") == "close":
            assert connection.is_closed_by_peer()
            assert listener.runs == 0
        else:
            assert connection.read_answer().status == 200
            assert listener.runs == 1


@pytest.mark.parametrize("framing", ["content-length", "chunks"])
@pytest.mark.parametrize("behind", ["request", "garbage"])
def test_nothing_runs_after_the_rest_of_a_request_that_was_answered_early(listener, framing, behind):
    """An answer that comes before the end of its request announces the close, and the connection does close."""
    if framing == "chunks":
        head, rest = request("/nowhere", "wrong", b"5\r\nhello\r\n", CHUNKED), b"0\r\n\r\n"
    else:
        head, rest = request("/nowhere", "wrong", b"hello", "content-length: 10"), b"world"
    with Connection(listener.address) as connection:
        connection.send(head)
        answer = connection.read_answer()
        assert answer.status == 404 and answer.headers["connection"] == "close", answer
        good = request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}")
        connection.send(rest + (b"GARBAGE\r\n\r\n" if behind == "garbage" else good))
        assert connection.is_closed_by_peer(), "a second answer arrived"
    assert listener.runs == 0


def test_an_early_answer_closes_without_waiting_for_the_rest_of_the_request(listener):
    with Connection(listener.address) as connection:
        connection.send(request("/nowhere", "wrong", b"3\r\nabc", CHUNKED))
        assert connection.read_answer().status == 404
        assert connection.is_closed_by_peer(timeout=10)


def test_pipelined_requests_are_each_answered_once_and_in_order(listener):
    """Refused requests that leave nothing unread do not end the connection."""
    good = request(listener.path, listener.key, listener.body, f"content-length: {len(listener.body)}")
    no_route = b"GET /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    with Connection(listener.address) as connection:
        connection.send(no_route + good + no_route * 30)
        statuses = [connection.read_answer().status for _ in range(32)]
    assert statuses == [404, 200] + [404] * 30
    assert listener.runs == 1


def test_a_client_that_reads_late_gets_the_answers_to_all_its_requests(gateway, customer, upstream, slug):
    """Answers that do not fit into the socket buffers delay the next request but do not lose it."""
    words = ["a" * 100_000] * 60
    upstream.always(upstream.default_reply(words=words))
    with Connection(gateway.address) as connection:
        for _ in range(3):
            connection.request("POST", CHAT, customer.headers(), {"model": slug, "messages": message("hi")})
        upstream.wait_requests(1)
        for _ in range(3):
            text = connection.read_answer().json()["choices"][0]["message"]["content"]
            assert text == "".join(words)
    assert upstream.count == 3


def test_customers_who_share_a_connection_through_a_proxy_get_their_own_answers(gateway, upstream, slug, group):
    """The proxy accepts a bare LF as the end of a line and sends all requests over one connection. For the proxy the
    attacker's first request ends early; a lenient gateway would run the request hidden in the second one's body."""
    attacker, victim = gateway.mint_key(group), gateway.mint_key(group)
    body = json.dumps({"model": slug, "messages": message("for the victim")}).encode()
    hidden_body = json.dumps({"model": slug, "messages": message("hidden")}).encode()
    hidden = request(CHAT, attacker, hidden_body, f"content-length: {len(hidden_body)}")
    for ending in (b"0\r\n\n", b"00\r\n\n", b"0;x\r\n\n", b"0\r\nx: y\n\r\n"):
        before = upstream.count
        with SharingProxy(gateway.address) as proxy:
            proxy.forward(request(CHAT, attacker, chunk(body) + ending, CHUNKED))
            proxy.forward(request(CHAT, attacker, hidden, f"content-length: {len(hidden)}"))
            victims = proxy.forward(request(CHAT, victim, body, f"content-length: {len(body)}"))
            answers = proxy.answers()
        assert [answer.status for answer in answers] == [400], (ending, answers)
        assert len(answers) <= victims, "the victim got somebody else's answer"
        assert upstream.count == before
    assert gateway.events(attacker) == gateway.events(victim) == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["upgrade", "tunnel"],
)
def test_a_refused_upgrade_or_tunnel_ends_the_connection(gateway, upstream, slug, key, head):
    """After this request, one parser may see an endless body and another one the next request."""
    good = Inference(gateway, upstream, key, slug)
    with Connection(gateway.address) as connection:
        connection.send(head + request(CHAT, key, good.body, f"content-length: {len(good.body)}"))
        answer = connection.read_answer()
        assert answer.status in (404, 426) and answer.headers["connection"] == "close", answer
        assert connection.is_closed_by_peer()
    assert upstream.count == 0


def test_the_gateway_is_still_healthy_afterwards(gateway, customer, slug):
    assert customer.chat(slug).status == 200
    assert "panicked" not in gateway.log and '"level":"ERROR"' not in gateway.log
