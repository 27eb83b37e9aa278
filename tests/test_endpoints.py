"""Endpoints are shown as they were written, and what was read can be sent back."""

import pytest

from support.commands import run
from support.gateway import Customer, Gateway, fresh

ENDPOINTS = "/v1/gateway/endpoints"
OWN = {"provider": "OPENAI_COMPATIBLE", "base_url": "http://127.0.0.1:9/v1"}


def path_of(endpoint):
    return f"{ENDPOINTS}/{endpoint['id']}"


def create(gateway, *targets, **fields):
    made = gateway.admin("POST", ENDPOINTS, {"slug": fresh("acme/model"), "targets": list(targets), **fields})
    assert gateway.admin("GET", path_of(made)) == made
    return made


def settled(endpoint):
    """An endpoint without the time of its last change."""
    return endpoint | {"updated_at": None}


@pytest.fixture(scope="module")
def secret(gateway):
    return gateway.admin("POST", "/v1/secrets", {"name": fresh("credential"), "value": "a-credential"})["id"]


def test_an_endpoint_is_routed_by_priority_without_queue_or_bounds_unless_it_says_otherwise(gateway):
    nulls = {"weight": None, "max_concurrent": None}
    for made in (create(gateway, OWN), create(gateway, OWN | nulls, routing=None, queue_timeout_s=None)):
        assert (made["routing"], made["queue_timeout_s"]) == ("PRIORITY", 0)
        assert (made["targets"][0]["weight"], made["targets"][0]["max_concurrent"]) == (1, None)


def test_targets_of_every_provider_take_a_weight_and_a_bound(gateway, secret):
    own = {"weight": 100, "max_concurrent": 100_000}
    targets = [
        OWN | own,
        {"provider": "OPENAI", "secret_id": secret} | own,
        {"provider": "ANTHROPIC", "secret_id": secret} | own,
        {"provider": "BASETEN", "model_id": "abc"} | own,
        {"provider": "DEMO", "weight": 1, "max_concurrent": 1},
    ]
    made = create(gateway, *targets, routing="SPREAD", queue_timeout_s=600)
    assert (made["routing"], made["queue_timeout_s"]) == ("SPREAD", 600)
    for shown, target in zip(made["targets"], targets, strict=True):
        assert shown == shown | target


def test_an_endpoint_has_up_to_16_targets(gateway):
    targets = [OWN | {"weight": weight} for weight in range(1, 17)]
    assert [target["weight"] for target in create(gateway, *targets)["targets"]] == list(range(1, 17))


def test_a_list_of_targets_can_be_sent_back_as_it_was_read(gateway, secret):
    openai = {"provider": "OPENAI", "secret_id": secret, "weight": 3}
    baseten = {"provider": "BASETEN", "model_id": "abc", "environment_name": "dev", "max_concurrent": 5}
    made = create(gateway, OWN, openai, baseten, routing="SPREAD", queue_timeout_s=7)
    targets = made["targets"]
    for changed in (
        targets,
        targets[::-1],
        [targets[0] | {"weight": 9}, *targets[1:]],
        [targets[0] | {"max_concurrent": 4}, *targets[1:]],
        [*targets[:2], targets[2] | {"max_concurrent": None}],
    ):
        patched = gateway.admin("PATCH", path_of(made), {"targets": changed})
        assert settled(patched) == settled(made) | {"targets": changed}
        assert gateway.admin("GET", path_of(made)) == patched


def test_a_field_that_a_change_does_not_name_keeps_its_value(gateway):
    made = create(gateway, OWN | {"weight": 9, "max_concurrent": 4}, routing="SPREAD", queue_timeout_s=7)
    for patch in ({"routing": "PRIORITY"}, {"queue_timeout_s": 0}, {"routing": "SPREAD", "queue_timeout_s": None}):
        given = {name: value for name, value in patch.items() if value is not None}
        made = settled(made) | given
        assert settled(gateway.admin("PATCH", path_of(made), patch)) == made


def test_routing_and_bounds_outlive_the_process(tmp_path, upstream):
    with Gateway(data_dir=tmp_path / "data") as own:
        targets = [OWN | {"base_url": upstream.base_url, "weight": 2, "max_concurrent": 3}, OWN]
        made = create(own, *targets, routing="SPREAD", queue_timeout_s=30)
        key = own.mint_key(own.create_group(made["slug"]))
        own.kill9()
        own.start()
        assert own.admin("GET", path_of(made)) == made
        assert Customer(own, key).chat(made["slug"]).status == 200
        own.stop()
        # From the snapshot that the stop wrote.
        (tmp_path / "data/store").rename(tmp_path / "gone")
        own.start()
        assert own.admin("GET", path_of(made)) == made
        assert "No problems found." in run("verify", "--data-dir", own.data_dir)
