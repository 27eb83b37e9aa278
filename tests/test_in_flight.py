"""Requests that are in flight at a kill have no event; the status and the log of the next start list them."""

import json
import random
import shutil
import threading

import pytest

from support.gateway import Customer, DidNotStart, Gateway, parse_time
from support.wire import Broken


@pytest.fixture
def scene(own, upstream):
    """Returns `(gateway, slug, group, customer)`."""
    slug = own.create_endpoint(upstream)["slug"]
    group = own.create_group(slug)
    return own, slug, group, Customer(own, own.mint_key(group))


NOTHING = {"known": True, "count": 0, "requests": []}


def status(gateway):
    return gateway.admin("GET", "/v1/gateway/status")


def left(gateway):
    return status(gateway)["in_flight_at_last_stop"]


def logged(gateway):
    """The log lines about requests that were running at the last stop, by request id."""
    lines = [json.loads(line) for line in gateway.log.splitlines() if line.startswith("{")]
    lines = [line for line in lines if line.get("message") == "was running at the last stop"]
    return {line["id"]: line for line in lines}


def test_a_new_gateway_lists_nothing(own):
    assert left(own) == NOTHING and status(own)["attention"] == []
    assert (own.data_dir / "inflight").stat().st_mode & 0o777 == 0o600


def test_after_a_kill_running_requests_are_listed_and_ended_ones_are_not(scene, upstream):
    gateway, slug, group, customer = scene
    began = gateway.admin_answer("GET", "/v1/gateway/status").json()["started_at"]
    ended = [customer.chat(slug).headers["x-request-id"] for _ in range(3)]
    upstream.fail_next(1, 400)
    ended.append(customer.chat(slug).headers["x-request-id"])
    assert customer.chat("acme/unknown").status == 404
    gates = [upstream.stall_next(after=3), upstream.hang_next()]
    connection, headers, stream = customer.stream_chat(slug)
    stream.next()
    gates[0].reached()
    waiting = customer.begin_chat(slug)
    gates[1].reached()
    gateway.kill9()
    with pytest.raises(Broken):
        waiting.read_head()
    connection.close(), waiting.close()

    gateway.start()
    report = left(gateway)
    assert report["known"] and report["count"] == 2
    # The oldest comes first, but both may have the same millisecond.
    first, second = sorted(report["requests"], key=lambda request: request["request_id"] != headers["x-request-id"])
    assert first["request_id"] == headers["x-request-id"]
    assert second["request_id"] not in [*ended, first["request_id"]] and second["admitted_at"] >= first["admitted_at"]
    for request in report["requests"]:
        assert request["group_id"] == group["id"] and request["model_slug"] == slug
        assert parse_time(began) <= parse_time(request["admitted_at"]) <= parse_time(status(gateway)["started_at"])
    [sentence] = status(gateway)["attention"]
    assert sentence.startswith("2 requests were running")
    lines = logged(gateway)
    assert set(lines) == {first["request_id"], second["request_id"]}
    assert lines[first["request_id"]]["admitted_at"] == first["admitted_at"]
    assert {line["group"] for line in lines.values()} == {group["id"]}
    assert {event["requestId"] for event in gateway.events()} == set(ended[:3])


@pytest.mark.parametrize("durability", ["disk", "process"])
def test_under_load_every_request_that_began_has_an_event_or_is_listed(upstream, durability):
    with Gateway(durability=durability) as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        key = gateway.mint_key(gateway.create_group(slug))
        begun = set()
        for seed in range(3):
            load = [threading.Thread(target=stream_on, args=(Customer(gateway, key), slug, begun)) for _ in range(8)]
            for thread in load:
                thread.start()
            upstream.wait_requests(upstream.count + random.Random(seed).randrange(40, 120))
            gateway.kill9()
            for thread in load:
                thread.join(60)
            gateway.start()
            listed = {request["request_id"] for request in left(gateway)["requests"]}
            billed = {event["requestId"] for event in gateway.events()}
            assert left(gateway)["count"] == len(listed) <= len(load)
            assert not listed & billed
            assert begun - billed <= listed, "a request that began has no event and is not listed"
            begun &= billed


def stream_on(customer, slug, begun):
    """Streams one answer after another, recording each as it begins, until the gateway is gone."""
    try:
        while True:
            connection, headers, stream = customer.stream_chat(slug)
            begun.add(headers["x-request-id"])
            assert stream.chunks()
            connection.close()
    except (Broken, OSError):
        return


def test_a_crash_is_reported_only_until_the_next_stop(scene, upstream):
    gateway, slug, _, customer = scene
    gate = upstream.hang_next()
    waiting = customer.begin_chat(slug)
    gate.reached()
    gateway.kill9()
    waiting.close()
    gateway.start()
    assert left(gateway)["count"] == 1 and customer.chat(slug).status == 200
    assert left(gateway)["count"] == 1
    gateway.kill9()
    gateway.start()
    assert left(gateway) == NOTHING and logged(gateway) == {}
    gateway.restart()
    assert left(gateway) == NOTHING and status(gateway)["attention"] == []


def test_a_failed_start_leaves_the_report_to_the_next_one(scene, upstream):
    gateway, slug, _, customer = scene
    gate = upstream.hang_next()
    waiting = customer.begin_chat(slug)
    gate.reached()
    gateway.kill9()
    waiting.close()
    with pytest.raises(DidNotStart):
        Gateway(data_dir=gateway.data_dir, listen=f"127.0.0.1:{upstream.port}")
    gateway.start()
    assert left(gateway)["count"] == 1


def test_an_orderly_stop_lists_nothing(upstream):
    with Gateway(shutdown_grace="1s") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        gates = [upstream.stall_next(after=3), upstream.hang_next()]
        connection, _, stream = customer.stream_chat(slug)
        stream.next()
        waiting = customer.begin_chat(slug)
        for gate in gates:
            gate.reached()
        gateway.stop()  # both are cut: the stream is billed for its part, the other request makes no event
        connection.close(), waiting.close()
        gateway.start()
        assert left(gateway) == NOTHING and len(gateway.events()) == 1


def test_a_customer_who_hung_up_is_not_listed(scene, upstream):
    gateway, slug, _, customer = scene
    gates = [upstream.stall_next(after=3), upstream.hang_next()]
    connection, _, stream = customer.stream_chat(slug)
    stream.next()
    waiting = customer.begin_chat(slug)
    for gate in gates:
        gate.reached()
    connection.close(), waiting.close()
    gateway.eventually(lambda: status(gateway)["requests"]["running"], lambda running: running == 0)
    gateway.wait_events(1)
    gateway.kill9()
    gateway.start()
    assert left(gateway) == NOTHING


def test_a_renamed_model_is_listed_by_its_name_at_the_kill(scene, upstream):
    gateway, slug, _, customer = scene
    endpoint = next(e for e in gateway.admin("GET", "/v1/gateway/endpoints")["items"] if e["slug"] == slug)
    gate = upstream.hang_next()
    waiting = customer.begin_chat(slug)
    gate.reached()
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": f"{slug}-renamed"})
    gateway.kill9()
    waiting.close()
    gateway.start()
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": f"{slug}-again"})
    assert [request["model_slug"] for request in left(gateway)["requests"]] == [f"{slug}-renamed"]


@pytest.fixture
def killed(scene, upstream):
    gateway, slug, _, customer = scene
    gate = upstream.hang_next()
    waiting = customer.begin_chat(slug)
    gate.reached()
    gateway.kill9()
    waiting.close()
    return gateway


def lose_power(gateway):
    """Makes the file look as if another boot had written it: its fifth word identifies the boot."""
    path = gateway.data_dir / "inflight"
    content = bytearray(path.read_bytes())
    content[4 * 8] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [lose_power, lambda gateway: (gateway.data_dir / "inflight").write_bytes(b"x" * 9999)])
def test_a_lost_or_damaged_list_is_reported_as_unknown(killed, damage):
    damage(killed)
    killed.start()
    assert left(killed) == {"known": False, "count": None, "requests": []}
    [sentence] = status(killed)["attention"]
    assert sentence.startswith("It is not known which requests were running")
    killed.restart()
    assert left(killed) == NOTHING and status(killed)["attention"] == []


def test_after_an_orderly_stop_a_loss_of_power_changes_nothing(own):
    own.stop()
    lose_power(own)
    own.start()
    assert left(own) == NOTHING


def test_a_gateway_that_cannot_track_requests_serves_and_warns(scene):
    gateway, slug, _, customer = scene
    gateway.stop()
    path = gateway.data_dir / "inflight"
    path.unlink()
    path.mkdir()
    (path / "occupied").touch()
    gateway.start()
    assert customer.chat(slug).status == 200
    assert any("are not tracked" in sentence for sentence in status(gateway)["attention"])
    gateway.stop()
    shutil.rmtree(path)
    gateway.start()
    assert not left(gateway)["known"], "the requests were not tracked"
    gateway.restart()
    assert left(gateway) == NOTHING and status(gateway)["attention"] == []
