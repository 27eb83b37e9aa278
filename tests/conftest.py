"""Fixtures. Each module has one gateway and each test its own upstream: tests share no group, key or script."""

import pytest

from support.gateway import Customer, Gateway, model
from support.llama import LlamaServer
from support.receiver import Receiver
from support.site import DirectSite, GatewaySite
from support.upstream import ScriptedUpstream
from support.webhooks import Webhook


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as running:
        yield running


@pytest.fixture
def own():
    """A gateway for one test, which may kill it."""
    gateway = Gateway()
    yield gateway
    if gateway.process.child.poll() is None:
        gateway.kill9()
    gateway.close()


@pytest.fixture
def upstream():
    scripted = ScriptedUpstream()
    yield scripted
    scripted.stop()


@pytest.fixture
def second():
    """Another upstream, for endpoints with two targets."""
    scripted = ScriptedUpstream()
    yield scripted
    scripted.stop()


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def webhook_to(gateway):
    """Makes a webhook that is deleted after the test: `webhook = webhook_to(receiver, enabled=False)`."""
    made = []

    def make(to, **fields):
        made.append(Webhook(gateway, to, **fields))
        return made[-1]

    yield make
    for webhook in made:
        assert gateway.admin_answer("DELETE", webhook.path).status in (200, 404)


@pytest.fixture
def webhook(webhook_to, receiver):
    return webhook_to(receiver)


@pytest.fixture
def slug(gateway, upstream):
    """The slug of an endpoint on this test's upstream."""
    return gateway.create_endpoint(upstream)["slug"]


@pytest.fixture
def group(gateway, slug):
    """A root group that carries the slug, without limits."""
    return gateway.create_group(slug)


@pytest.fixture
def key(gateway, group):
    return gateway.mint_key(group)


@pytest.fixture
def customer(gateway, key):
    return Customer(gateway, key)


@pytest.fixture(params=["directly", "through the gateway"])
def site(request, upstream):
    """Where an SDK sends its requests."""
    if request.param == "directly":
        return DirectSite(upstream)
    return GatewaySite(*map(request.getfixturevalue, ["gateway", "slug", "key"]))


@pytest.fixture
def call(gateway, customer, slug, key):
    """Sends `times` chats; returns all events of this test's key."""

    def call(times=1):
        for _ in range(times):
            assert customer.chat(slug).status == 200
        return gateway.events(key)

    return call


@pytest.fixture
def limited(gateway, slug):
    """Makes a root group with these limits and a customer in it: `group, customer = limited(rate_limits=[...])`."""

    def make(rate_limits=(), usage_limits=(), **fields):
        made = gateway.create_group(model(slug, rate_limits, usage_limits), **fields)
        return made, Customer(gateway, gateway.mint_key(made))

    return make


@pytest.fixture(scope="session")
def llama():
    server = LlamaServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def llama_embeddings():
    server = LlamaServer("MEAN")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def llama_rerank():
    server = LlamaServer("RANK")
    yield server
    server.stop()
