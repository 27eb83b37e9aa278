"""Recordings are uploaded as multipart forms: they reach the upstream byte for byte except for the model, without a
second copy in memory, and a form that two servers could read in two ways reaches none."""

import os
import re

import pytest

from support.gateway import Customer, Gateway, rate
from support.upstream import Reply

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
USAGE = {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}
FILE = b'form-data; name="file"; filename="a.wav"'
MEBIBYTE = 1 << 20


def part(disposition, content, *headers):
    head = [b"Content-Disposition: " + disposition, *headers]
    return b"--b0undary\r\n" + b"\r\n".join(head) + b"\r\n\r\n" + content + b"\r\n"


def field(name, text, *headers):
    return part(b'form-data; name="%b"' % name.encode(), text.encode(), *headers)


def form(*parts):
    return b"".join(parts) + b"--b0undary--\r\n"


def form_type(boundary="b0undary"):
    return [("content-type", f"multipart/form-data; boundary={boundary}")]


def upload(customer, body, path=TRANSCRIPTIONS):
    return customer.post(path, body, form_type())


@pytest.fixture(autouse=True)
def transcribed(upstream):
    upstream.always(Reply(json_body={"text": "hello there", "usage": USAGE}))


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
def test_a_form_is_sent_on_unchanged_but_for_the_model(gateway, upstream, customer, slug, key, path):
    wave = b"RIFF\0\xff\r\n\r\n--b0undar\r\n--\r\n" + slug.encode()
    # Some servers take a Content-Length for the end of a part.
    length = b"Content-Length: %d"
    parts = [
        part(FILE, wave, b"Content-Type: audio/wav"),
        field("prompt", slug),
        field("model", slug, length % len(slug)),
        field("timestamp_granularities[]", "word"),
        field("timestamp_granularities[]", "segment"),
        field("response_format", "json"),
    ]
    answer = upload(customer, form(*parts), path)
    assert (answer.status, answer.json()["text"]) == (200, "hello there"), answer
    parts[2] = field("model", "upstream-model", length % len("upstream-model"))
    [received] = upstream.requests
    assert (received.path, received.body) == (path, form(*parts))
    assert received.headers["content-type"] == form_type()[0][1]
    [event] = gateway.events(key)
    assert (event["modelSlug"], event["route"], event["streamed"]) == (slug, path, False)
    assert (event["tokens"]["inputTokens"], event["tokens"]["outputTokens"]) == (14, 3)


def test_the_openai_library_can_transcribe(gateway, upstream, key, slug):
    client = gateway.sdk(key)
    file = ("a b;\"ü\".wav", b"RIFF\r\n--", "audio/wav")
    transcript = client.audio.transcriptions.create(model=slug, file=file, prompt="Tollgate", response_format="json")
    assert transcript.text == "hello there"
    [received] = upstream.requests
    assert b'name="model"\r\n\r\nupstream-model\r\n' in received.body and slug.encode() not in received.body


def test_the_next_target_gets_its_own_model(gateway, upstream, second):
    target = {"provider": "OPENAI_COMPATIBLE"}
    targets = [{**target, "base_url": up.base_url, "target_model": name} for up, name in [(upstream, "a"), (second, "b")]]
    made = gateway.admin("POST", "/v1/gateway/endpoints", {"slug": "acme/two-ears", "targets": targets})
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(made["slug"])))
    upstream.fail_next(1, 503)
    second.always(Reply(json_body={"text": "hello there"}))
    recording = part(FILE, os.urandom(100 << 10))
    assert upload(customer, form(field("model", made["slug"]), recording)).status == 200
    assert upstream.requests[0].body == form(field("model", "a"), recording)
    assert second.requests[0].body == form(field("model", "b"), recording)


def test_a_recording_is_in_memory_once(upstream):
    def kibibytes(name):
        with open(f"/proc/{gateway.process.child.pid}/status") as status:
            [line] = [line for line in status if line.startswith(name)]
        return int(line.split()[1])

    recording = part(FILE, os.urandom(MEBIBYTE) * 30)
    with Gateway(workers=1) as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
        assert upload(customer, form(field("model", slug), part(FILE, b"warm"))).status == 200
        before = kibibytes("VmRSS:")
        with open(f"/proc/{gateway.process.child.pid}/clear_refs", "w") as control:
            control.write("5")  # the peak starts anew
        assert upload(customer, form(recording, field("model", slug))).status == 200
        assert upstream.requests[-1].body == form(recording, field("model", "upstream-model"))
        grown = kibibytes("VmHWM:") - before
        assert 30 << 10 <= grown < 38 << 10, f"{grown} KiB for a recording of 30 MiB"


def bad_forms(slug):
    """Forms that are refused: the body, the code, the parameter and a part of the message."""
    model, file = field("model", slug), part(FILE, b"RIFF")
    good = form(model, file)
    malformed = [
        (b"", "does not begin"),
        (b"x\r\n" + good, "does not begin"),
        (good[:-12], "cut off"),
        (good[: len(good) // 2], "cut off"),
        (good + good, "last boundary"),
        (good.replace(b"\r\n", b"\n"), "CRLF"),
        (good.replace(b"RIFF\r\n", b"RIFF\n"), "CRLF"),
        (form(model, *[field("x", "")] * 9_999), "more than 256 parts"),
        (form(model, field("x", "", b"X: " + b"x" * MEBIBYTE)), "16 KiB"),
        (form(model, part(FILE.replace(b"a.wav", b"a\0.wav"), b"")), "control character"),
        (form(model, part(b"form-data", b"x")), "name"),
        (form(model, part(b'form-data; filename="; name=model"; name="x"', b"x")), "begins with"),
        (form(part(b'form-data; name="model"; name="x"', slug.encode()), model), "only one filename"),
        (form(model, field("x", "x", b"Content-Length: 100")), "Content-Length"),
    ]
    return [(body, "invalid_multipart", None, says) for body, says in malformed] + [
        (form(file), "missing_model", "model", "missing"),
        (form(model, file, field("model", "other")), "duplicate_key", "model", "twice"),
        (form(model, field("Model", "other")), "invalid_key", "model", "spelled exactly"),
        (form(model, field("model[]", "other")), "invalid_key", "model", "spelled exactly"),
        (form(model, field("_charset_", "utf-7")), "invalid_key", "_charset_", "UTF-8"),
        (form(part(b'form-data; name="model"; filename="m"', slug.encode())), "invalid_type", "model", "file name"),
        (form(field("model", slug, b"Content-Transfer-Encoding: base64")), "invalid_type", "model", "encoding"),
        (form(field("model", "m" * 1025)), "invalid_value", "model", "1024 bytes"),
        (form(model, field("stream", "maybe")), "invalid_value", "stream", "true or false"),
        (form(model, field("prompt", "x" * 65_537)), "invalid_value", "prompt", "65536 bytes"),
        (form(model, part(b'form-data; name="prompt"', b"\xff")), "invalid_value", "prompt", "UTF-8"),
    ]


def test_a_bad_form_is_refused_and_takes_nothing(gateway, upstream, limited, slug):
    group, customer = limited([rate("REQUEST", "MINUTE", 1000)])
    for body, code, param, says in bad_forms(slug):
        answer = upload(customer, body)
        shown = f"{body[:300]!r}: {answer}"
        assert answer.status == 400, shown
        error = answer.error
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param), shown
        assert says in error["message"] and re.fullmatch(r"[A-Z`].+\.", error["message"]), shown
        assert slug not in error["message"], shown
    for content_type in ["application/json", "multipart/form-data", "multipart/form-data; boundary=a; boundary=b0undary"]:
        answer = customer.post(TRANSLATIONS, form(field("model", slug)), [("content-type", content_type)])
        assert (answer.status, answer.error["code"]) == (400, "invalid_multipart"), answer
    answer = customer.post(TRANSCRIPTIONS, {"model": slug, "file": "x"})
    assert answer.status == 400 and "multipart/form-data" in answer.error["message"], answer
    answer = customer.post("/v1/chat/completions", form(field("model", slug)), form_type())
    assert (answer.status, answer.error["code"]) == (400, "invalid_json"), answer
    answer = upload(customer, form(field("model", "acme/none-of-yours")))
    assert (answer.status, answer.error["code"]) == (404, "model_not_found"), answer
    assert upstream.count == 0 and gateway.events(customer.key) == []
    assert gateway.limit(group, slug)["used"] == 0
