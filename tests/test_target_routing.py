"""Several targets share the load, and requests of one session stay with their target."""

import pytest

from support.gateway import Customer, target_of
from support.upstream import Reply, ScriptedUpstream


@pytest.fixture
def servers():
    running = [ScriptedUpstream() for _ in range(4)]
    yield running
    for server in running:
        server.stop()


@pytest.fixture
def slug(gateway, servers):
    return gateway.create_endpoint(servers, routing="SPREAD")["slug"]


def counts(servers):
    return [server.count for server in servers]


def answered(servers):
    """The number of requests that each server has answered with 200."""
    return [sum(request.answered == 200 for request in server.requests) for server in servers]


def changed(before, after):
    """The index of the only server whose number has grown by 1."""
    grown = [late - early for early, late in zip(before, after, strict=True)]
    assert sorted(grown) == [0] * (len(grown) - 1) + [1]
    return grown.index(1)


def home(customer, slug, servers, session):
    """Makes a request of the session; returns the index of the target that answers."""
    before = answered(servers)
    assert customer.chat(slug, prompt_cache_key=session).status == 200
    return changed(before, answered(servers))


def test_priority_sends_everything_to_the_first_target(gateway, servers):
    slug = gateway.create_endpoint(servers)["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    for session in range(8):
        assert customer.chat(slug, prompt_cache_key=f"session {session}").status == 200
    assert counts(servers) == [8, 0, 0, 0]


def test_spread_sends_a_request_to_the_target_with_the_fewest_running_for_its_weight(gateway, servers):
    targets = [target_of(server, weight=weight) for server, weight in zip(servers, (1, 1, 1, 5), strict=True)]
    slug = gateway.create_endpoint(targets, routing="SPREAD")["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    gates = [server.gate() for server in servers]
    for server, gate in zip(servers, gates, strict=True):
        server.always(Reply(before_head=gate))
    running = []
    for number in range(1, 9):
        running.append(customer.begin_chat(slug))
        gateway.eventually(lambda: sum(counts(servers)), number.__eq__)
        if number <= 4:
            assert counts(servers) == [1] * number + [0] * (4 - number), "ties go in order"
    assert counts(servers) == [1, 1, 1, 5]
    assert [target["running"] for target in gateway.targets(slug)] == [1, 1, 1, 5]
    for gate in gates:
        gate.release()
    for connection in running:
        assert connection.read_answer().status == 200
        connection.close()


@pytest.mark.parametrize("how", ["header", "body", "header beats body"])
def test_the_requests_of_a_session_stay_with_their_target(customer, servers, slug, how):
    def call(session, number):
        headers = [] if how == "body" else [("x-session-affinity", f"session {session}")]
        keys = {"body": {"prompt_cache_key": f"session {session}"}, "header": {}}
        key = keys.get(how, {"prompt_cache_key": f"other {number}"})
        body = {"model": slug, "messages": [{"role": "user", "content": "hello"}], **key}
        before = answered(servers)
        assert customer.post("/v1/chat/completions", body, headers).status == 200
        return changed(before, answered(servers))

    homes = [{call(session, number) for number in range(3)} for session in range(16)]
    assert all(len(home) == 1 for home in homes)
    assert len(set.union(*homes)) > 1, "sessions are spread"


def test_the_same_session_name_of_another_group_is_another_session(gateway, servers, slug):
    customers = [Customer(gateway, gateway.mint_key(gateway.create_group(slug))) for _ in range(12)]
    assert len({home(customer, slug, servers, "the same") for customer in customers}) > 1


def test_a_session_moves_while_its_target_is_loaded_or_out_and_then_returns(gateway, customer, servers, slug):
    first = home(customer, slug, servers, "mine")
    gate = servers[first].hang_next()
    connection = customer.begin_chat(slug, prompt_cache_key="mine")
    gate.reached()
    moved = home(customer, slug, servers, "mine")
    assert moved != first and home(customer, slug, servers, "mine") == moved, "both go to the same other target"
    gate.release()
    assert connection.read_answer().status == 200
    connection.close()
    assert home(customer, slug, servers, "mine") == first
    servers[first].fail_next(5, 500)
    for _ in range(5):
        assert home(customer, slug, servers, "mine") == moved
    assert gateway.targets(slug)[first]["state"] == "out"
    gateway.eventually(lambda: home(customer, slug, servers, "mine"), first.__eq__)


def test_the_removal_of_a_target_moves_only_its_own_sessions(gateway, customer, servers):
    endpoint = gateway.create_endpoint(servers, routing="SPREAD")
    slug = endpoint["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))

    def homes():
        return {session: home(customer, slug, servers, f"session {session}") for session in range(40)}

    before = homes()
    kept = [endpoint["targets"][index] for index in (3, 0, 1)]
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"targets": kept})
    after = homes()
    assert {s for s in before if before[s] != after[s]} == {s for s in before if before[s] == 2} != set()
