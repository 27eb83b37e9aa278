"""Several Tollgates behind Envoy, as in packaging/scale-out: a request goes to the box whose brand begins its key."""

import anthropic
import openai
import pytest

from support.envoy import Envoy
from support.gateway import REPO, Customer, Gateway, message
from support.wire import DEADLINE

SLUG = "acme/chat"


class Box:
    """A gateway with one customer."""

    def __init__(self, brand, upstream):
        self.gateway = Gateway(key_brand=brand)
        self.gateway.create_endpoint(upstream, slug=SLUG)
        self.key = self.gateway.mint_key(self.gateway.create_group(SLUG))

    def events(self):
        return len(self.gateway.events())


@pytest.fixture
def boxes(upstream):
    made = [Box("sk1", upstream), Box("sk2", upstream)]
    yield made
    for box in made:
        box.gateway.close()


@pytest.fixture
def envoy(boxes):
    running = Envoy(
        REPO / "packaging/scale-out/envoy.yaml", {"tollgate-1": boxes[0].gateway, "tollgate-2": boxes[1].gateway}
    )
    yield running
    running.close()


def openai_sdk(envoy, key):
    return openai.OpenAI(base_url=envoy.base_url, api_key=key, max_retries=0, timeout=DEADLINE)


def chat(envoy, key):
    return openai_sdk(envoy, key).chat.completions.create(model=SLUG, messages=message("hello"))


def test_a_request_goes_to_the_box_of_its_keys_brand(envoy, boxes):
    for count, box in enumerate(boxes, start=1):
        answer = chat(envoy, box.key)
        assert answer.choices[0].message.content
        client = anthropic.Anthropic(base_url=f"http://{envoy.address}", api_key=box.key, max_retries=0, timeout=DEADLINE)
        assert client.messages.create(model=SLUG, max_tokens=9, messages=message("hello")).content
        assert [one.events() for one in boxes] == [2, 2 if count == 2 else 0]
    with pytest.raises(openai.AuthenticationError):
        chat(envoy, "sk3_of.another")


def test_a_stream_passes_piece_by_piece_and_a_hang_up_reaches_the_upstream(envoy, boxes, upstream):
    gate = upstream.stall_next(after=2)
    stream = openai_sdk(envoy, boxes[1].key).chat.completions.create(
        model=SLUG, messages=message("hello"), stream=True
    )
    assert next(stream).choices[0].delta.role == "assistant"
    stream.close()
    assert upstream.requests[0].hung_up.wait(DEADLINE)
    gate.release()
    [event] = boxes[1].gateway.wait_events(1)
    assert event["streamed"]


def test_a_box_that_is_down_affects_only_its_own_customers(envoy, boxes):
    first, second = boxes
    first.gateway.kill9()
    with pytest.raises(openai.InternalServerError) as failed:
        chat(envoy, first.key)
    assert failed.value.status_code == 503 and failed.value.code == "unavailable"
    assert failed.value.response.headers["retry-after"] == "5"
    assert chat(envoy, second.key).choices


def test_an_answer_carries_the_headers_of_the_gateway_only(envoy, boxes):
    gateway, key = boxes[0].gateway, boxes[0].key
    direct = gateway.customer(key).get("/v1/models")
    through = Customer(envoy, key).get("/v1/models")
    assert through.json() == direct.json()
    assert set(through.headers) == set(direct.headers)
