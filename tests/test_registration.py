"""Registration of keys that customers already have, with an Ed25519 signature by the operator's key system."""

import base64
import concurrent.futures
import json
import string
import urllib.parse

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.gateway import Customer, Gateway, fresh
from support.readme import run_commands
from support.wire import call

SIGNING_KEY = "/v1/gateway/signing_key"
UNSIGNED = {"error": "Signature verification failed", "code": "invalid_signature"}
NO_PUBLIC_KEY = {"error": "Must configure a public key before registering API keys", "code": "no_public_key"}


def base64_of(data):
    return base64.b64encode(data).decode()


class KeySystem:
    """The operator's key system: it holds the private key and signs its requests."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.private = Ed25519PrivateKey.generate()
        self.public_text = base64_of(self.private.public_key().public_bytes_raw())
        gateway.admin("PUT", SIGNING_KEY, {"public_key": self.public_text})

    def sign(self, body):
        return base64_of(self.private.sign(body))

    def answer(self, group, body, header="X-Tollgate-Signature", **more):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [*more.pop("headers", ()), (header, self.sign(body))]
        return self.gateway.admin_answer("POST", register_path(group), body, headers=headers, **more)

    def register(self, group, key, **fields):
        answer = self.answer(group, {"key": key, **fields})
        assert answer.status == 200 and answer.json() == {"ok": True}, answer
        return key


def register_path(group):
    return f"/v1/gateway/groups/{group['id']}/api_keys/register"


def key_path(group, key):
    return f"/v1/gateway/groups/{group['id']}/api_keys/{urllib.parse.quote(key[:16], safe='')}"


def own_key(begin="", length=40):
    """A customer's own key, unique in its first 16 characters; `begin` has at most nine characters."""
    begin = (begin + fresh("k")).ljust(16, "_")
    assert len(begin) == 16, begin
    return (begin + string.ascii_letters + string.digits + string.ascii_letters + string.digits)[:length]


@pytest.fixture(scope="module")
def key_system(gateway):
    return KeySystem(gateway)


@pytest.fixture
def register(key_system, group):
    return lambda key, **fields: key_system.register(group, key, **fields)


@pytest.fixture
def refused(gateway, key_system, group):
    """Sends a registration that must be refused with an error that names `says`; checks that no key was added."""

    def request(body, says, **more):
        listed = gateway.admin("GET", register_path(group).removesuffix("/register"))
        answer = key_system.answer(group, body, **more)
        assert answer.status == 400 and set(answer.json()) == {"error", "code"}, answer
        assert says in answer.json()["error"], answer
        if isinstance(body, dict) and len(key := str(body.get("key"))) > 8:
            assert key not in answer.json()["error"] and key not in gateway.log
        assert gateway.admin("GET", register_path(group).removesuffix("/register")) == listed
        return answer.json()

    return request


# The public key


def test_the_public_key_is_written_read_replaced_and_deleted():
    with Gateway() as gateway:
        for method in ("GET", "DELETE"):
            answer = gateway.admin_answer(method, SIGNING_KEY)
            assert answer.status == 404 and answer.json()["code"] == "not_found"
        for _ in range(2):
            key = {"public_key": base64_of(Ed25519PrivateKey.generate().public_key().public_bytes_raw())}
            assert gateway.admin("PUT", SIGNING_KEY, key) == key
            assert gateway.admin("GET", SIGNING_KEY) == key
        gateway.kill9()
        gateway.start()
        assert gateway.admin("DELETE", SIGNING_KEY) == key
        assert gateway.admin_answer("GET", SIGNING_KEY).status == 404


@pytest.mark.parametrize(
    "public_key, says",
    [
        ("", "but has 0"),
        (base64_of(b"k" * 31), "but has 31"),
        (base64_of(b"k" * 33), "but has 33"),
        (base64_of(b"k" * 44), "but has 44: it is in DER form, and its last 32 bytes are the key"),
        (base64_of(b"k" * 32)[:-1], "in base64"),
        (base64_of(b"k" * 32) + "\n", "in base64"),
        (base64.urlsafe_b64encode(b"\xff" * 32).decode(), "in base64"),
        ("-----BEGIN PUBLIC KEY-----", "in base64"),
        ((b"k" * 32).hex(), "but has 48"),
        (base64_of(bytes(32)), "anyone can forge"),
        (base64_of(b"\1" + bytes(31)), "anyone can forge"),
        (None, "public_key"),
        (5, "must be a string"),
    ],
)
def test_an_invalid_public_key_is_refused_with_the_reason(gateway, key_system, public_key, says):
    answer = gateway.admin_answer("PUT", SIGNING_KEY, {"public_key": public_key})
    assert answer.status == 400 and says in answer.json()["error"], answer
    assert gateway.admin("GET", SIGNING_KEY) == {"public_key": key_system.public_text}


# The order of the checks: scope, group, public key, signature, JSON, rules


def test_without_a_public_key_nothing_can_be_registered():
    with Gateway() as gateway:
        group = gateway.create_group(gateway.create_endpoint("http://127.0.0.1:9/v1")["slug"])
        for body in (b"{", b'{"key": "short"}', json.dumps({"key": own_key()}).encode()):
            answer = gateway.admin_answer("POST", register_path(group), body)
            assert (answer.status, answer.json()) == (400, NO_PUBLIC_KEY)
        key_system = KeySystem(gateway)
        key_system.register(group, own_key())
        gateway.admin("DELETE", SIGNING_KEY)
        answer = key_system.answer(group, {"key": own_key()})
        assert (answer.status, answer.json()) == (400, NO_PUBLIC_KEY)


def test_the_scope_is_checked_before_anything_else(gateway, key_system, key):
    nowhere = {"id": "01J9X7Y0Z3K4M5N6P7Q8R9S0T1"}
    metrics = gateway.mint_operator("WORKSPACE_EXPORT_METRICS")
    assert key_system.answer(nowhere, b"{", key=None).status == 401
    assert key_system.answer(nowhere, b"{", key=metrics).status == 403
    assert key_system.answer(nowhere, b"{", key=key).status == 403
    for unknown in (nowhere, {"id": "nothing"}):
        for header in ("X-Tollgate-Signature", "X-Other"):
            assert key_system.answer(unknown, b"{", header=header).status == 404


def test_a_key_system_needs_only_the_manage_keys_scope(gateway, key_system, group):
    operator = gateway.mint_operator("WORKSPACE_MANAGE_API_KEYS")
    assert key_system.answer(group, {"key": own_key()}, key=operator).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"key": "short"}', b'{"nonsense": 1}'])
def test_a_body_without_a_signature_is_not_parsed(gateway, key_system, group, body):
    answer = gateway.admin_answer("POST", register_path(group), body)
    assert (answer.status, answer.json()) == (400, UNSIGNED)
    assert key_system.answer(group, body).json()["code"] in ("invalid_json", "invalid_field")


def test_only_a_signature_over_the_exact_bytes_is_accepted(gateway, key_system, group):
    body = json.dumps({"key": own_key()}).encode()
    right, other = key_system.sign(body), base64_of(Ed25519PrivateKey.generate().sign(body))
    raw = base64.b64decode(right)
    wrong = {
        "none": [],
        "empty": [("x-tollgate-signature", "")],
        "not base64": [("x-tollgate-signature", "!" * 88)],
        "not ascii": [("x-tollgate-signature", b"\xff\xfe")],
        "hex": [("x-tollgate-signature", raw.hex())],
        "unpadded": [("x-tollgate-signature", right.rstrip("="))],
        "short": [("x-tollgate-signature", base64_of(raw[:63]))],
        "long": [("x-tollgate-signature", base64_of(raw + b"\0"))],
        "of another key": [("x-tollgate-signature", other)],
        "of other bytes": [("x-tollgate-signature", key_system.sign(body + b" "))],
        "all zero": [("x-tollgate-signature", base64_of(bytes(64)))],
        "after a wrong one": [("x-tollgate-signature", other), ("x-baseten-signature", right)],
        "after an empty one": [("x-tollgate-signature", ""), ("x-baseten-signature", right)],
        "in another header": [("x-signature", right)],
    }
    for name, headers in wrong.items():
        answer = gateway.admin_answer("POST", register_path(group), body, headers=headers)
        assert (answer.status, answer.json()) == (400, UNSIGNED), name
    for position in range(len(body)):
        changed = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
        headers = [("x-tollgate-signature", right)]
        assert gateway.admin_answer("POST", register_path(group), changed, headers=headers).json() == UNSIGNED, position
    assert gateway.admin("GET", register_path(group).removesuffix("/register"))["items"] == []
    headers = [("x-tollgate-signature", right), ("x-baseten-signature", other)]
    assert gateway.admin_answer("POST", register_path(group), body, headers=headers).json() == {"ok": True}


@pytest.mark.parametrize("header", ["X-Tollgate-Signature", "x-tollgate-signature", "X-Baseten-Signature"])
def test_both_signature_headers_are_accepted(key_system, group, header):
    assert key_system.answer(group, {"key": own_key()}, header=header).json() == {"ok": True}


def test_the_signature_covers_the_bytes_as_sent(key_system, group, customer):
    key = own_key()
    body = b' \r\n{ "name" : "caf\\u00e9 \xe2\x98\x95" ,\t"key":"' + key.encode() + b'"}\n\n'
    assert key_system.answer(group, body).json() == {"ok": True}
    assert key_system.gateway.admin("GET", key_path(group, key))["name"] == "café ☕"


def test_a_replaced_public_key_is_invalid_from_the_next_request_on():
    with Gateway() as gateway:
        group = gateway.create_group(gateway.create_endpoint("http://127.0.0.1:9/v1")["slug"])
        first, second = KeySystem(gateway), KeySystem(gateway)
        assert first.answer(group, {"key": own_key()}).json() == UNSIGNED
        second.register(group, own_key())


# The rules


@pytest.mark.parametrize(
    "key, says",
    [
        ("abcdefgh" * 3 + "abcdefg", "must be 32 to 128 characters long; this one has 31"),
        ("abcdefgh" * 16 + "a", "must be 32 to 128 characters long; this one has 129"),
        ("", "this one has 0"),
        (own_key() + " x", "visible ASCII"),
        (own_key() + "\t", "visible ASCII"),
        (own_key() + "\x7f", "visible ASCII"),
        (own_key() + "é", "visible ASCII"),
        ("abcdefgh" * 4 + "a", "must have at least 3.0 bits of entropy per character; this one has 2.9"),
        ("a" * 64, "this one has 0.0"),
        (None, "key"),
        (["k" * 40], "must be a string"),
    ],
)
def test_a_key_that_breaks_a_rule_is_refused_with_that_rule(refused, key, says):
    refused({"key": key}, says)


def test_a_body_with_other_fields_is_refused_by_their_names(refused):
    refused({"key": own_key(), "nonsense": 1}, "nonsense")
    refused({"key": own_key(), "name": "x" * 256}, "`name`")
    refused({"name": "no key"}, "key")
    refused(b'{"key": "a", "key": "b"}', "key")


@pytest.mark.parametrize("length", [32, 128])
def test_the_shortest_and_the_longest_keys_are_accepted(gateway, register, slug, length):
    key = register(own_key(length=length))
    assert Customer(gateway, key).chat(slug).status == 200


def test_exactly_three_bits_are_enough(register):
    register("hgfedcba" * 4)


def test_the_first_sixteen_characters_must_be_unique(gateway, register, refused, key):
    first = register(own_key())
    refused({"key": first[:16] + first[:15:-1]}, "the same first 16 characters")
    refused({"key": first + "x"}, "the same first 16 characters")
    register(own_key())


def test_a_known_key_is_refused_regardless_of_its_owner(gateway, register, refused, group, key):
    """The refusal is the same for customer, operator and environment keys, so it does not reveal the owner."""
    known = [register(own_key()), key, gateway.mint_operator("WORKSPACE_EXPORT_METRICS")]
    refusals = [refused({"key": one}, "this key already exists") for one in known]
    with Gateway(admin_key=own_key(length=64)) as other:
        other_group = other.create_group(other.create_endpoint("http://127.0.0.1:9/v1")["slug"])
        answer = KeySystem(other).answer(other_group, {"key": other.admin_key})
        assert answer.status == 400
        refusals.append(answer.json())
    assert all(one == refusals[0] for one in refusals)


def test_a_key_can_be_registered_again_only_after_its_deletion(gateway, key_system, group, slug):
    key = key_system.register(group, own_key())
    other = gateway.create_group(slug)
    assert "this key already exists" in key_system.answer(other, {"key": key}).json()["error"]
    assert gateway.admin("DELETE", key_path(group, key)) == {"prefix": key[:16]}
    key_system.register(other, key)
    gateway.admin("DELETE", f"/v1/gateway/groups/{other['id']}")
    key_system.register(group, key)


def test_a_minted_keys_prefix_cannot_be_taken_or_imitated(gateway, group, key, slug, refused, key_system):
    """A key that begins like a minted one is a different key, with its own prefix and its own group's rights."""
    prefix, secret = key.split(".")
    imitation = f"{prefix}.{secret[::-1]}"
    poor = gateway.create_group(slug)
    key_system.register(poor, imitation)
    assert gateway.admin("GET", key_path(poor, imitation))["prefix"] == imitation[:16] != prefix
    for used, owner in ((key, group), (imitation, poor)):
        answer = Customer(gateway, used).get("/v1/usage")
        assert answer.json()["external_entity_id"] == owner["metadata"]["external_entity_id"]
    with Gateway(key_brand="abc") as other:  # with this brand, minted prefixes have 16 characters too
        slug = other.create_endpoint("http://127.0.0.1:9/v1")["slug"]
        group = other.create_group(slug)
        minted = other.mint_key(group)
        answer = KeySystem(other).answer(group, {"key": minted[:16] + own_key()})
        assert "the same first 16 characters" in answer.json()["error"]


def test_one_of_many_concurrent_registrations_gets_the_prefix(gateway, key_system, group, slug):
    begin = own_key()[:16]
    keys = [begin + "".join(string.ascii_letters[(i + j) % 52] for j in range(30)) for i in range(12)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda key: key_system.answer(group, {"key": key}).status, keys))
    assert sorted(statuses) == [200] + [400] * 11
    works = [Customer(gateway, key).get("/v1/models").status for key in keys]
    assert works == [200 if status == 200 else 401 for status in statuses]


# The documented commands


def test_the_documented_commands_register_a_key(own, upstream, tmp_path):
    """The commands use openssl and curl."""
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(slug)
    public_key, registered, models = run_commands(own, "customer-keys.md", tmp_path, GROUP=group["id"])
    assert len(base64.b64decode(public_key["public_key"])) == 32
    assert registered == {"ok": True} and [item["id"] for item in models["data"]] == [slug]
    [item] = own.admin("GET", register_path(group).removesuffix("/register"))["items"]
    assert item["name"] == "from the old gateway" and item["prefix"].startswith("acme-live-")
    assert not (tmp_path / "registration.json").exists()


# Use


ODD = ["with.dots", "/sla/../", "per%ct%2F", "plus++", "ask?me#it", '"quo\\t\'&', "~.~", "@host:80"]


@pytest.mark.parametrize("begin", ODD)
def test_a_registered_key_works_like_any_other_whatever_characters_it_has(gateway, key_system, group, slug, begin):
    key = own_key(begin, length=50) + ".a/b%2Bc+d?e"
    key_system.register(group, key, name="theirs")
    customer = Customer(gateway, key)
    assert customer.chat(slug).status == 200
    assert call(gateway.address, "GET", "/v1/models", [("x-api-key", key)]).status == 200
    for wrong in (key[:-1], key[:16], key + "e", key.swapcase(), urllib.parse.quote(key), key.split(".")[0]):
        assert wrong == key or Customer(gateway, wrong).get("/v1/models").status == 401, wrong
    item = gateway.admin("GET", key_path(group, key))
    assert item["prefix"] == key[:16] and item["name"] == "theirs" and item["expires_at"] is None
    [event] = gateway.events(start_time="2000-01-01T00:00:00Z", api_keys=[key[:16]])
    assert event["apiKeyPrefix"] == key[:16] and item["last_used_at"] == event["timestamp"]
    assert item in gateway.admin("GET", register_path(group).removesuffix("/register"))["items"]
    assert gateway.admin("PATCH", key_path(group, key), {"disabled": True})["disabled"] is True
    assert customer.chat(slug).status == 401
    assert gateway.admin("PATCH", key_path(group, key), {"disabled": False, "name": None})["name"] is None
    assert customer.chat(slug).status == 200
    assert gateway.admin("DELETE", key_path(group, key)) == {"prefix": key[:16]}
    assert customer.chat(slug).status == 401
    assert gateway.admin_answer("GET", key_path(group, key)).status == 404


def test_a_registered_key_is_never_shown_and_never_stored(own, upstream):
    key_system, slug = KeySystem(own), own.create_endpoint(upstream)["slug"]
    group = own.create_group(slug)
    key = key_system.register(group, own_key(length=64))
    assert Customer(own, key).chat(slug).status == 200
    own.kill9()
    own.start()
    assert Customer(own, key).chat(slug).status == 200
    own.stop()
    assert key[16:] not in own.log
    for path in own.data_dir.rglob("*"):
        if path.is_file():
            assert key[16:].encode() not in path.read_bytes(), path


def test_a_registered_key_is_not_an_operator_key(gateway, key_system, group):
    key = key_system.register(group, own_key())
    assert gateway.admin_answer("GET", "/v1/gateway/groups", key=key).status == 403
