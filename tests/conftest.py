"""One gateway a module, one upstream a test: what tests share is the process, never a group, a key or a script."""

import pytest

from support.gateway import Customer, Gateway, model
from support.llama import LlamaServer
from support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as running:
        yield running


@pytest.fixture
def own():
    """A gateway of the test's own, which it may kill."""
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


@pytest.fixture
def limited(gateway, slug):
    """Makes a root group with these limits and a customer of it: `group, customer = limited(rate_limits=[...])`."""

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
    server = LlamaServer(embeddings=True)
    yield server
    server.stop()
