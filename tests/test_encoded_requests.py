"""Request bodies with a content encoding: decoded as they arrive, in bounded memory, and passed on without it."""

import gzip
import json
import pathlib
import random
import re
import threading
import time
import zlib

import pytest
import zstandard

from support.encodings import ENCODERS, header, whole
from support.gateway import Customer, Gateway, message
from support.wire import Connection

CHAT = "/v1/chat/completions"
MIB = 1 << 20

encoded = pytest.mark.parametrize("name", ENCODERS)
in_each_format = pytest.mark.parametrize("name", [name for name in ENCODERS if name != "x-gzip"])

# The first bytes of a zstd frame with a window of 2 GiB, and of Brotli data with a "large window".
ZSTD_2_GIB = b"\x28\xb5\x2f\xfd\x00\xa8"
BROTLI_LARGE = b"\x11\x1e"


def raw(slug, text="hello there"):
    return json.dumps({"model": slug, "messages": message(text)}).encode()


def post(customer, name, body, **more):
    return customer.post(CHAT, body, [header(name)], **more)


def assert_invalid(answer, words=""):
    assert (answer.status, answer.error["code"]) == (400, "invalid_encoding"), answer
    assert re.search(words, answer.error["message"]) and answer.error["message"].endswith("."), answer


def send_in_pieces(customer, name, pieces):
    """Sends the body in chunks of the given pieces, each in a packet of its own."""
    with Connection(customer.gateway.address) as connection:
        connection.send_head("POST", CHAT, customer.headers([header(name), ("transfer-encoding", "chunked")]))
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        return connection.read_answer()


def cut(body, most):
    """Cuts the body into pieces of random lengths of at most `most` bytes."""
    lengths, at = random.Random(len(body)), 0
    while at < len(body):
        end = at + lengths.randint(1, most)
        yield body[at:end]
        at = end


@encoded
def test_an_encoded_body_is_passed_on_plain_and_billed_as_the_plain_one(gateway, upstream, customer, slug, key, name):
    body = raw(slug)
    plain, decoded = customer.post(CHAT, body), post(customer, name, whole(name, body))
    assert (plain.status, decoded.status) == (200, 200)
    first, second = upstream.requests
    assert first.body == second.body and second.json["messages"] == message("hello there")
    assert "content-encoding" not in second.headers and second.headers["content-length"] == str(len(second.body))
    differ = {"idempotencyKey", "timestamp", "requestId", "durationMs", "ttftMs"}
    events = [{name: value for name, value in event.items() if name not in differ} for event in gateway.events(key)]
    assert len(events) == 2 and events[0] == events[1]


@in_each_format
def test_a_large_body_is_decoded_wherever_it_is_split(upstream, customer, slug, name):
    text = random.Random(1).randbytes(MIB).hex() + "x" * MIB
    body = raw(slug, text)
    packed = whole(name, body)
    assert post(customer, name, packed).status == 200
    assert send_in_pieces(customer, name, cut(packed, 100_000)).status == 200
    for received in upstream.requests:
        assert received.json["messages"] == message(text)


@encoded
def test_a_body_may_arrive_byte_by_byte(upstream, customer, slug, name):
    packed = whole(name, raw(slug))
    assert send_in_pieces(customer, name, (packed[at : at + 1] for at in range(len(packed)))).status == 200
    assert upstream.requests[0].json["messages"] == message("hello there")


@encoded
def test_an_empty_or_incomplete_body_is_refused(gateway, upstream, customer, slug, key, name):
    packed = whole(name, raw(slug, "hello there " * 50))
    for length in (0, 1, 5, len(packed) // 2, len(packed) - 5, len(packed) - 1):
        assert_invalid(post(customer, name, packed[:length]), "incomplete")
    assert_invalid(send_in_pieces(customer, name, cut(packed[:-1], 7)), "incomplete")
    assert upstream.count == 0 and gateway.events(key) == []


@encoded
def test_a_body_that_is_not_of_its_encoding_is_refused(upstream, customer, slug, name):
    for body in (raw(slug), b"\xff" * 100, bytes(range(256)) * 8):
        assert_invalid(post(customer, name, body), "cannot be decoded as")
    for other in ENCODERS:
        if header(other)[1].lower().removeprefix("x-") != header(name)[1].lower().removeprefix("x-"):
            assert_invalid(post(customer, name, whole(other, raw(slug))))
    assert upstream.count == 0


@encoded
def test_data_after_the_encoded_data_are_refused(upstream, customer, slug, name):
    packed = whole(name, raw(slug))
    for more in (b"x", b"\0" * 10, raw(slug)):
        assert_invalid(post(customer, name, packed + more))
        assert_invalid(send_in_pieces(customer, name, [packed, more]))
    assert upstream.count == 0


@pytest.mark.parametrize("name", ["deflate", "deflate without its frame", "br"])
def test_encoded_data_twice_are_other_data(customer, slug, name):
    assert_invalid(post(customer, name, whole(name, raw(slug)) * 2), "other data follow the encoded ones")


def test_a_changed_checksum_is_found(customer, slug):
    for name, at in (("gzip", -8), ("deflate", -1)):
        packed = bytearray(whole(name, raw(slug)))
        packed[at] ^= 1
        assert_invalid(post(customer, name, bytes(packed)), "not valid")


def test_several_gzip_members_or_zstd_frames_are_one_body(upstream, customer, slug):
    body = raw(slug)
    skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    zstd = zstandard.compress(body[:20]) + skipped + zstandard.compress(b"") + zstandard.compress(body[20:])
    for name, packed in (("gzip", gzip.compress(body[:20]) + gzip.compress(body[20:])), ("zstd", skipped + zstd)):
        assert post(customer, name, packed).status == 200
        assert send_in_pieces(customer, name, cut(packed, 9)).status == 200
    assert [received.json["messages"] for received in upstream.requests] == [message("hello there")] * 4


def test_an_encoded_body_without_its_header_is_not_json(customer, slug):
    answer = customer.post(CHAT, gzip.compress(raw(slug)))
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("headers", [["compress"], ["gzip, br"], ["gzip", "br"], ["gzip", "gzip"], ["gzip;q=1"]])
def test_an_unsupported_encoding_is_refused_before_the_body_is_read(gateway, customer, headers):
    with Connection(gateway.address) as connection:
        lines = [("content-encoding", value) for value in headers]
        connection.send_head("POST", CHAT, customer.headers([*lines, ("content-length", 100)]))
        answer = connection.read_answer()
    assert (answer.status, answer.error["code"]) == (415, "unsupported_encoding")
    assert "one of gzip, deflate, br, zstd and identity" in answer.error["message"]


@pytest.mark.parametrize("headers", [["GZip"], ["gzip, identity"], ["identity", "gzip"]])
def test_case_and_identity_do_not_matter(customer, slug, headers):
    lines = [("content-encoding", value) for value in headers]
    assert customer.post(CHAT, gzip.compress(raw(slug)), lines).status == 200


def test_the_admin_api_refuses_encoded_bodies(gateway):
    body = gzip.compress(b'{"type":"MANAGE_ALL"}')
    for encoding in ("gzip", "compress"):
        answer = gateway.admin_answer("POST", "/v1/api_keys", body, headers=[("content-encoding", encoding)])
        assert (answer.status, answer.json()["code"]) == (415, "unsupported_encoding")
        assert "without Content-Encoding" in answer.json()["error"]


# The rest needs a gateway with little memory for bodies.


@pytest.fixture(scope="module")
def small():
    with Gateway(max_body="1MiB", max_bodies="24MiB", workers=1) as gateway:
        yield gateway


@pytest.fixture
def caller(small, upstream):
    slug = small.create_endpoint(upstream)["slug"]
    caller = Customer(small, small.mint_key(small.create_group(slug)))
    caller.slug = slug
    return caller


def resident(gateway, name):
    status = pathlib.Path(f"/proc/{gateway.process.child.pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_ends_at_max_body_in_little_memory_and_delays_nobody(small, caller, upstream, name):
    encoder = ENCODERS[name][1]()
    bomb = encoder.compress(b'{"model":"') + b"".join(encoder.compress(b" " * MIB) for _ in range(64)) + encoder.finish()
    assert len(bomb) * 900 < 64 * MIB
    pathlib.Path(f"/proc/{small.process.child.pid}/clear_refs").write_text("5")  # resets the peak
    before, answers = resident(small, "VmRSS"), []
    senders = [threading.Thread(target=lambda: answers.append(post(caller, name, bomb))) for _ in range(4)]
    for sender in senders:
        sender.start()
    slowest = 0
    while any(sender.is_alive() for sender in senders):
        begun = time.monotonic()
        assert caller.get("/v1/models").status == 200
        slowest = max(slowest, time.monotonic() - begun)
    assert [answer.status for answer in answers] == [413] * 4 and slowest < 1
    assert "must be at most 1048576 bytes after it is decoded" in answers[0].error["message"]
    assert resident(small, "VmHWM") - before < 24 * MIB
    assert upstream.count == 0


@pytest.mark.parametrize("name, start", [("zstd", ZSTD_2_GIB), ("br", BROTLI_LARGE)])
def test_a_window_of_gigabytes_is_refused_at_once(small, caller, name, start):
    before = resident(small, "VmHWM")
    answer = post(caller, name, start + b"\0" * 1000)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "the window is larger than 8 MiB" in answer.error["message"]
    assert resident(small, "VmHWM") - before < 16 * MIB


@in_each_format
def test_max_body_holds_for_the_decoded_body(caller, upstream, name):
    start = b'{"model":"%b","messages":[{"role":"user","content":"' % caller.slug.encode()
    noise = random.Random(2).randbytes(MIB).translate(bytes(b"abcdefghijklmnop"[byte % 16] for byte in range(256)))
    body = start + noise[: MIB - len(start) - 4] + b'"}]}'
    assert len(body) == MIB
    assert post(caller, name, whole(name, body)).status == 200
    assert upstream.requests[0].json["messages"][0]["content"].encode() == noise[: len(body) - len(start) - 4]
    assert post(caller, name, whole(name, body + b" ")).status == 413


def test_data_that_cannot_be_compressed_may_be_a_little_larger_than_max_body(caller):
    body = raw(caller.slug)
    body += b" " * (MIB - len(body))
    stored = zlib.compress(body, 0)
    assert len(stored) > MIB and post(caller, "deflate", stored).status == 200
    # Members without content never decode to anything.
    answer = post(caller, "gzip", gzip.compress(b"") * (2 * MIB // 20))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_a_hang_up_in_the_middle_frees_the_memory(small, caller, upstream, name):
    body = raw(caller.slug, random.Random(3).randbytes(MIB // 4).hex())
    packed = whole(name, body)
    for _ in range(32):
        with Connection(small.address) as connection:
            connection.send_head("POST", CHAT, caller.headers([header(name), ("content-length", len(packed))]))
            connection.send(packed[: len(packed) // 2])
    # All the halves and their decoders would not fit beside one more.
    assert post(caller, name, packed).status == 200
    assert upstream.count == 1 and len(small.events(caller.key)) == 1


def test_slow_encoded_bodies_of_one_customer_delay_nobody_else(small, caller, upstream):
    other = Customer(small, small.mint_key(small.create_group(caller.slug)))
    slow = []
    for name in ("zstd", "br", "zstd", "br"):
        connection = Connection(small.address)
        connection.send_head("POST", CHAT, caller.headers([header(name), ("content-length", 1000)]))
        connection.send(whole(name, raw(caller.slug))[:8])
        slow.append(connection)
    for name in ("gzip", "zstd"):
        begun = time.monotonic()
        assert post(other, name, whole(name, raw(caller.slug))).status == 200
        assert time.monotonic() - begun < 5
    for connection in slow:
        connection.close()
