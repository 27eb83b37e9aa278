"""Suspension of a group or key, and expiry of a key: in force for the next request, without effect on running ones."""

import datetime
import json

import pytest

from support.gateway import Customer, message, prefix_of
from support.wall_clock import WallClock
from support.wire import Connection

EXPIRY = "2027-05-01T12:00:00Z"


def disable(gateway, group, disabled=True):
    assert gateway.patch_group(group, disabled=disabled)["disabled"] is disabled


def patch_key(gateway, group, key, **fields):
    return gateway.admin("PATCH", f"/v1/gateway/groups/{group['id']}/api_keys/{key.split('.')[0]}", fields)


class Tree:
    """A group, its parent and grandparent, a sibling of the parent, and a customer of each."""

    def __init__(self, gateway, slug, mode):
        self.gateway = gateway
        self.root = gateway.create_group(slug, mode=mode)
        self.parent, self.sibling = (gateway.create_group(slug, parent=self.root) for _ in range(2))
        self.child = gateway.create_group(slug, parent=self.parent)
        groups = {name: getattr(self, name) for name in ("root", "parent", "sibling", "child")}
        self.keys = {name: gateway.mint_key(group) for name, group in groups.items()}
        self.customers = {name: Customer(gateway, key) for name, key in self.keys.items()}

    def suspended(self, slug):
        """The names of the groups whose calls are refused. Every route must give the same result."""
        found = set()
        for name, customer in self.customers.items():
            answers = [customer.chat(slug), customer.chat(slug, stream=True)]
            answers += [customer.get(path) for path in ("/v1/models", f"/v1/models/{slug}", "/v1/usage")]
            outcomes = {(answer.status, answer.error["code"] if answer.status != 200 else None) for answer in answers}
            assert outcomes in ({(200, None)}, {(403, "access_disabled")}), (name, outcomes)
            if outcomes != {(200, None)}:
                found.add(name)
        return found


@pytest.mark.parametrize("mode", ["INDEPENDENT", "CASCADING"])
def test_a_disabled_group_suspends_exactly_its_own_subtree_at_once(gateway, upstream, slug, mode):
    tree = Tree(gateway, slug, mode)
    assert tree.suspended(slug) == set()
    for group, below in (
        (tree.child, {"child"}),
        (tree.parent, {"parent", "child"}),
        (tree.root, {"root", "parent", "sibling", "child"}),
    ):
        disable(gateway, group)
        calls = upstream.count
        assert tree.suspended(slug) == below
        assert upstream.count == calls + 2 * (4 - len(below)), "no upstream may be called for a suspended group"
        disable(gateway, group, False)
        assert tree.suspended(slug) == set()
    disable(gateway, tree.child)
    disable(gateway, tree.root)
    disable(gateway, tree.root, False)
    assert tree.suspended(slug) == {"child"}, "each group has its own setting"


def test_a_new_group_below_a_disabled_one_is_suspended_too(gateway, slug):
    root = gateway.create_group(slug)
    disable(gateway, root)
    child = gateway.create_group(slug, parent=root)
    assert Customer(gateway, gateway.mint_key(child)).chat(slug).error["code"] == "access_disabled"


def test_a_suspension_is_in_force_on_an_open_connection(gateway, group, customer, slug):
    with Connection(gateway.address) as connection:
        for disabled, status in ((False, 200), (True, 403), (False, 200)):
            disable(gateway, group, disabled)
            connection.request("GET", "/v1/models", customer.headers())
            assert connection.read_answer().status == status


def test_a_disabled_group_stays_disabled_after_a_crash(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(slug)
    key = own.mint_key(group)
    disable(own, group)
    own.kill9()
    own.start()
    assert Customer(own, key).chat(slug).error["code"] == "access_disabled"


def expire(gateway, group, key):
    patch_key(gateway, group, key, expires_at="2020-01-01T00:00:00Z")


def disable_key(gateway, group, key):
    patch_key(gateway, group, key, disabled=True)


def disable_parent(gateway, group, key):
    disable(gateway, gateway.admin("GET", f"/v1/gateway/groups/{group['hierarchy']['parent_group_id']}"))


def disable_own_group(gateway, group, key):
    disable(gateway, group)


WAYS = [(expire, 401), (disable_key, 401), (disable_own_group, 403), (disable_parent, 403)]
each_way = pytest.mark.parametrize("suspend, status", WAYS, ids=lambda value: getattr(value, "__name__", ""))


@each_way
def test_a_running_stream_ends_normally_and_is_billed(gateway, upstream, slug, suspend, status):
    group = gateway.create_group(slug, parent=gateway.create_group(slug))
    key = gateway.mint_key(group)
    customer = Customer(gateway, key)
    gate = upstream.stall_next(after=3)
    connection, _, stream = customer.stream_chat(slug, "one two three")
    stream.next()
    suspend(gateway, group, key)
    assert customer.chat(slug).status == status
    gate.release()
    assert stream.chunks()
    connection.close()
    [event] = gateway.events(key)
    assert event["tokens"]["inputTokens"] == 3 and event["tokens"]["outputTokens"] == 8 and event["streamed"]


@each_way
def test_a_request_whose_body_is_still_arriving_is_refused(gateway, upstream, slug, suspend, status):
    """The request is not admitted yet, and nothing goes to the upstream."""
    group = gateway.create_group(slug, parent=gateway.create_group(slug))
    key = gateway.mint_key(group)
    body = json.dumps({"model": slug, "messages": message("hi")}).encode()
    with Connection(gateway.address) as connection:
        headers = Customer(gateway, key).headers([("content-length", len(body))])
        connection.send_head("POST", "/v1/chat/completions", headers)
        connection.send(body[:10])
        suspend(gateway, group, key)
        connection.send(body[10:])
        assert connection.read_answer().status == status
    assert upstream.count == 0 and gateway.events(key) == []


@pytest.mark.parametrize("never", ["9999-12-31T23:59:59Z", "9999-12-30T22:30:00Z", "9999-12-29T23:59:59Z"])
def test_the_last_representable_days_are_kept_unchanged(gateway, group, never):
    key = gateway.mint_key(group, expires_at=never)
    path = f"/v1/gateway/groups/{group['id']}/api_keys/{prefix_of(key)}"
    assert gateway.admin("GET", path)["expires_at"] == never.replace("Z", ".000Z")


def test_a_key_expires_exactly_at_its_time(upstream):
    with WallClock("2027-05-01T11:00:00Z") as clock, clock.gateway() as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        group = gateway.create_group(slug)
        keys = [gateway.mint_key(group, expires_at=EXPIRY), gateway.mint_key(group)]
        patch_key(gateway, group, keys[1], expires_at=EXPIRY)
        at, seen = datetime.datetime.fromisoformat(EXPIRY), set()
        clock.set(at - datetime.timedelta(seconds=2))
        while clock.now < at + datetime.timedelta(milliseconds=200):
            for key in keys:
                before = clock.now
                status = Customer(gateway, key).get("/v1/models").status
                after = clock.now
                if after < at:
                    assert status == 200, before
                elif before >= at:
                    assert status == 401, before
                seen.add((after < at, status))
        assert {(True, 200), (False, 401)} <= seen
        gateway.kill9()
        gateway.start()
        assert [Customer(gateway, key).chat(slug).status for key in keys] == [401, 401]
        patch_key(gateway, group, keys[0], expires_at="2027-05-02T12:00:00Z")
        patch_key(gateway, group, keys[1], expires_at=None)
        assert [Customer(gateway, key).chat(slug).status for key in keys] == [200, 200]
        clock.jump(days=2)
        assert [Customer(gateway, key).chat(slug).status for key in keys] == [401, 200]


def test_a_key_cannot_be_minted_with_an_expiry_in_the_past(gateway, group):
    answer = gateway.admin_answer(
        "POST", f"/v1/gateway/groups/{group['id']}/api_keys", {"expires_at": "2020-01-01T00:00:00Z"}
    )
    assert answer.status == 400 and "expires_at" in answer.json()["error"]
