"""Model servers that restart under load."""

import pytest

from support.books import call_of
from support.gateway import Customer, message
from support.load import Load, Request
from support.model_server import ModelServer


@pytest.fixture
def servers():
    with ModelServer() as one, ModelServer() as other:
        yield one, other


@pytest.fixture
def begin_load(gateway):
    """Starts customers of models with these lists of targets; returns the load and its key."""
    begun = []

    def begin(clients, *targets):
        slugs = [gateway.create_endpoint(list(servers))["slug"] for servers in targets]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(*slugs)))

        def ask(rng):
            body = {"model": rng.choice(slugs), "messages": message("one two three"), "stream": rng.random() < 0.5}
            return Request(customer, "/v1/chat/completions", body, 3)

        begun.append(Load(gateway, ask, clients))
        return begun[-1], customer.key

    yield begin
    for load in begun:
        load.end()


def test_a_rolling_restart_of_two_targets_fails_no_request(gateway, servers, begin_load):
    load, key = begin_load(64, servers, servers[::-1])
    load.wait_completed(64)
    for server in servers:
        server.restart()
        load.wait_completed(64)
    load.end()
    assert load.statuses() == {200: len(load.completed)} and load.begun == {answer.call for answer in load.completed}
    events = gateway.events(key)
    assert {event["target"] for event in events} == {0, 1}, "requests went to the other target"
    billed, answered = [event["requestId"] for event in events], [answer.request_id for answer in load.completed]
    handled = [request for server in servers for request in server.requests]
    assert sorted(billed) == sorted(answered) == sorted(handled)


def test_a_server_that_dies_under_load_loses_only_streams_that_had_begun(gateway, servers, begin_load):
    pair, pair_key = begin_load(48, servers, servers[::-1])
    alone, alone_key = begin_load(16, servers[:1])
    pair.wait_completed(64), alone.wait_completed(16)
    servers[0].kill9()
    alone.wait_refused(502)
    servers[0].start()
    pair.wait_completed(64), alone.wait_completed(16)
    pair.end(), alone.end()
    assert pair.statuses().keys() == {200} and alone.statuses().keys() == {200, 502}
    for load, key, clients in ((pair, pair_key, 48), (alone, alone_key, 16)):
        # Streams that broke off are billed, once. Refused requests are not.
        assert sorted(map(call_of, gateway.events(key))) == sorted(load.begun)
        assert len(load.begun) - len(load.completed) <= clients
    for server in servers:
        assert len(server.requests) == len(set(server.requests)), "no request was sent to it twice"
