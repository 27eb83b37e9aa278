"""The verification samples in packaging/docs/webhooks.md: they accept genuine deliveries and refuse changed ones."""

import os
import pathlib
import subprocess
import sys

import pytest

from support.gateway import REPO, Customer
from support.readme import PAGES, samples
from support.receiver import Receiver
from support.upstream import ScriptedUpstream
from support.webhooks import Webhook

SAMPLES = pathlib.Path(__file__).parent / "samples"
COMMANDS = {"py": [sys.executable, SAMPLES / "verify.py"], "mjs": ["node", SAMPLES / "verify.mjs"]}
FENCES = {"python": "verify.py", "js": "verify.mjs", "rust": "verify.rs"}


class Captured:
    """Real deliveries: one `before` a rotation, and one `during` the day after it, with both signatures."""

    def __init__(self, gateway, receiver, upstream):
        endpoint = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(endpoint)))
        webhook = Webhook(gateway, receiver)
        self.old = webhook.secret
        assert customer.chat(endpoint, metadata={"name": "Größe \u2713 \\ \"</script>"}).status == 200
        self.before = receiver.wait_requests(1)
        self.new = webhook.rotate_secret()["secret"]
        assert customer.chat(endpoint).status == 200
        self.during = receiver.wait_requests(2)
        webhook.delete()


@pytest.fixture(scope="module")
def captured(gateway):
    receiver, upstream = Receiver(), ScriptedUpstream()
    yield Captured(gateway, receiver, upstream)
    receiver.stop(), upstream.stop()


@pytest.fixture(scope="module")
def rust():
    """The path of the Rust sample, which is an example of the package; `tests/run` has already built it."""
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--example", "verify_webhook"], cwd=REPO, check=True)
    return REPO / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/examples/verify_webhook"


@pytest.fixture(scope="module", params=["py", "mjs", "rs"])
def sample(request):
    return COMMANDS.get(request.param) or [request.getfixturevalue("rust")]


def is_genuine(sample, body, signature, secret):
    ended = subprocess.run([*sample, secret, signature], input=body, capture_output=True, timeout=60)
    assert ended.returncode in (0, 1) and not ended.stdout + ended.stderr, ended
    return ended.returncode == 0


GENUINE = {
    "before a rotation": lambda c: (c.before.body, c.before.signature, c.old),
    "during one, by the new secret": lambda c: (c.during.body, c.during.signature, c.new),
    "during one, by the old secret": lambda c: (c.during.body, c.during.signature, c.old),
    "by the other header": lambda c: (c.during.body, c.during.headers["x-baseten-signature"], c.old),
    "spaces between signatures": lambda c: (c.during.body, c.during.signature.replace(",", " , "), c.old),
    "beside a future scheme": lambda c: (c.before.body, f"v2=00,{c.before.signature}", c.old),
}


@pytest.mark.parametrize("case", GENUINE)
def test_a_genuine_delivery_is_accepted(sample, captured, case):
    assert is_genuine(sample, *GENUINE[case](captured))


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


CHANGED = {
    "first byte": lambda body: flipped(body, 0),
    "a byte in the middle": lambda body: flipped(body, len(body) // 2),
    "last byte": lambda body: flipped(body, len(body) - 1),
    "cut short": lambda body: body[:-1],
    "an extra line feed": lambda body: body + b"\n",
    "nothing": lambda body: b"",
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_body_is_refused(sample, captured, change):
    for delivery, secret in ((captured.before, captured.old), (captured.during, captured.new)):
        assert not is_genuine(sample, CHANGED[change](delivery.body), delivery.signature, secret)


def test_another_secret_is_refused(sample, captured):
    body, signature = captured.before.body, captured.before.signature
    for secret in (captured.new, "whsec_" + "0" * 43, captured.old[:-1], captured.old.removeprefix("whsec_"), ""):
        assert not is_genuine(sample, body, signature, secret), secret


def test_a_signature_of_another_delivery_is_refused(sample, captured):
    assert not is_genuine(sample, captured.before.body, captured.during.signature, captured.old)
    assert not is_genuine(sample, captured.during.body, captured.before.signature, captured.old)


HEADERS = {
    "empty": lambda right: "",
    "commas": lambda right: ",,,",
    "no hex": lambda right: "v1=",
    "no scheme": lambda right: right.removeprefix("v1="),
    "another scheme": lambda right: right.replace("v1=", "v0="),
    "odd": lambda right: right[:-1],
    "a byte short": lambda right: right[:-2],
    "a byte long": lambda right: right + "00",
    "a wrong digit": lambda right: right[:-1] + ("0" if right[-1] != "0" else "1"),
    "not hex": lambda right: "v1=" + "zz" * 32,
    "beyond ASCII": lambda right: "v1=" + "\u00e4" * 64,
    "multi-byte characters": lambda right: "v1=" + "a\u20ac" * 16,
    "long": lambda right: "v1=00," * 5000,
    "two wrong ones": lambda right: f"v1={'0' * 64},v1={'f' * 64}",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_does_not_match_is_refused(sample, captured, header):
    assert not is_genuine(sample, captured.before.body, HEADERS[header](captured.before.signature), captured.old)


def test_the_page_shows_the_tested_samples():
    for language, name in FENCES.items():
        found = samples(PAGES / "webhooks.md", language)
        assert found, f"no sample in {language}"
        for text in found:
            assert text in (SAMPLES / name).read_text(), f"not in {name}:\n{text}"
