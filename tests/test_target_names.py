"""Names of model servers that cannot be resolved, or of whose addresses some are dead."""

import time

import pytest

from support.faults import BlackHole, ClosedPort
from support.gateway import Customer
from support.names import Names

NAME = "model.example"


@pytest.fixture(scope="module")
def names():
    with Names() as names:
        yield names


@pytest.fixture(scope="module")
def gateway(names):
    with names.gateway(upstream_connect_timeout="2s") as running:
        yield running


def customer_of(gateway, *targets):
    slug = gateway.create_endpoint(list(targets))["slug"]
    return slug, Customer(gateway, gateway.mint_key(gateway.create_group(slug)))


def named(upstream):
    return f"http://{NAME}:{upstream.port}/v1"


def test_a_name_that_cannot_be_resolved_is_a_failure_until_it_can(gateway, names, upstream, second):
    names.set(NAME)
    alone, both = customer_of(gateway, named(upstream)), customer_of(gateway, named(upstream), second)
    answer = alone[1].chat(alone[0])
    assert (answer.status, answer.error["code"]) == (502, "upstream_error") and NAME.encode() not in answer.body
    assert both[1].chat(both[0]).status == 200 and (upstream.count, second.count) == (0, 1)
    [sentence] = [one for one in gateway.admin("GET", "/v1/gateway/status")["attention"] if alone[0] in one]
    assert f"http://{NAME}:{upstream.port}: the name could not be resolved" in sentence
    names.set(NAME, "127.0.0.1")
    for slug, customer in (alone, both):
        assert customer.chat(slug).status == 200
    assert (upstream.count, second.count) == (2, 1)
    assert [event["target"] for event in gateway.events(alone[1].key)] == [0]
    assert [event["target"] for event in gateway.events(both[1].key)] == [1, 0]


@pytest.mark.parametrize("dead", [ClosedPort, BlackHole])
@pytest.mark.parametrize("before", [1, 2])
def test_a_dead_address_is_followed_by_the_next_one(gateway, names, upstream, second, dead, before):
    hosts = [f"127.0.0.{2 + number}" for number in range(before)]
    ports = [dead(host, upstream.port) for host in hosts]
    names.set(NAME, *hosts, "127.0.0.1")
    slug, customer = customer_of(gateway, named(upstream), second)
    begun = time.monotonic()
    assert customer.chat(slug).status == 200
    took = time.monotonic() - begun
    # RFC 8305 gives each address 250 ms before the next one is tried as well.
    assert before * 0.25 * (dead is BlackHole) <= took < before * 0.25 + 0.6
    assert [event["target"] for event in gateway.events(customer.key)] == [0]
    assert (upstream.count, second.count) == (1, 0)
    for port in ports:
        port.stop()


def test_a_name_whose_addresses_are_all_dead_is_a_failure(gateway, names, upstream, second):
    names.set(NAME, "127.0.0.2", "::1")
    alone, both = customer_of(gateway, named(upstream)), customer_of(gateway, named(upstream), second)
    answer = alone[1].chat(alone[0])
    assert (answer.status, answer.error["code"]) == (502, "upstream_error") and gateway.events(alone[1].key) == []
    assert both[1].chat(both[0]).status == 200 and (upstream.count, second.count) == (0, 1)


def test_a_resolver_that_does_not_answer_is_a_timeout(names, upstream, second):
    names.set(NAME, "silence")
    with names.gateway(upstream_connect_timeout="300ms") as impatient:
        alone, both = customer_of(impatient, named(upstream)), customer_of(impatient, named(upstream), second)
        answer = alone[1].chat(alone[0])
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert both[1].chat(both[0]).status == 200 and (upstream.count, second.count) == (0, 1)
        assert [event["target"] for event in impatient.events()] == [1]
