"""Search for groups, endpoints and customer keys by part of a name: best matches first, and never a secret."""

import pytest

from support.gateway import Gateway, prefix_of
from test_registration import KeySystem, own_key

PATH = "/v1/gateway/search"
MANAGE_KEYS, METRICS = "WORKSPACE_MANAGE_API_KEYS", "WORKSPACE_EXPORT_METRICS"


def search(gateway, text, **more):
    answer = gateway.admin("GET", PATH, query={"q": text}, **more)
    assert set(answer) == {"items", "more"}
    for item in answer["items"]:
        assert set(item) == {"kind", "id", "group_id", "title", "detail"}
        assert (item["group_id"] is not None) == (item["kind"] == "api_key")
    assert len(answer["items"]) <= 20
    return answer


def found(gateway, text, **more):
    return [(item["kind"], item["id"]) for item in search(gateway, text, **more)["items"]]


@pytest.fixture(scope="module")
def names(gateway):
    """Objects to find: a group with two keys, one of them named, and an endpoint."""
    endpoint = gateway.create_endpoint("http://127.0.0.1:9/v1", slug="wonder/land-7b")
    group = gateway.create_group("wonder/land-7b", entity="wl_00042", name="Alice's Looking-Glass")
    named, plain = gateway.mint_key(group, name="white rabbit"), gateway.mint_key(group)
    return endpoint, group, named, plain


def test_a_group_is_found_by_name_entity_and_id(gateway, names):
    _, group, *_ = names
    for text in ("Alice's Looking-Glass", "looking-g", "LOOKING", "wl_00042", "_00042", group["id"], group["id"].lower()):
        [item] = search(gateway, text)["items"]
        assert item == {
            "kind": "group",
            "id": group["id"],
            "group_id": None,
            "title": "Alice's Looking-Glass",
            "detail": "wl_00042",
        }, text


def test_a_group_without_a_name_is_shown_by_its_entity(gateway, slug):
    group = gateway.create_group(slug, entity="nameless-one")
    [item] = search(gateway, "NAMELESS")["items"]
    assert (item["title"], item["detail"]) == ("nameless-one", group["id"])


def test_an_endpoint_is_found_by_a_part_of_its_slug(gateway, names):
    endpoint, *_ = names
    for text in ("wonder/land-7b", "WONDER/", "land-7"):
        [item] = search(gateway, text)["items"]
        assert (item["kind"], item["id"], item["title"]) == ("endpoint", endpoint["id"], "wonder/land-7b")


def test_a_key_is_found_by_prefix_and_name_and_shows_its_group(gateway, names):
    _, group, named, plain = names
    for text, key, title in (
        (prefix_of(plain), plain, prefix_of(plain)),
        (prefix_of(plain)[3:].upper(), plain, prefix_of(plain)),
        (prefix_of(named)[:-2], named, "white rabbit"),
        ("Rabbit", named, "white rabbit"),
    ):
        [item] = search(gateway, text)["items"]
        assert item == {
            "kind": "api_key",
            "id": prefix_of(key),
            "group_id": group["id"],
            "title": title,
            "detail": "Alice's Looking-Glass",
        }


def test_a_complete_key_is_found_by_its_prefix_and_its_secret_appears_nowhere(names, gateway):
    _, _, _, plain = names
    secret = plain.split(".")[1]
    for text in (plain, f"  {plain}\n", prefix_of(plain) + ".wrong"):
        answer = gateway.admin_answer("GET", PATH, query={"q": text})
        assert [item["id"] for item in answer.json()["items"]] == [prefix_of(plain)]
        assert secret not in answer.body.decode()
    assert gateway.admin_answer("GET", PATH, query={"q": plain * 9}).status == 400
    assert secret not in gateway.admin_answer("GET", PATH, query={"q": plain * 9}).body.decode()
    gateway.admin_answer("GET", PATH, query={"q": plain, "x": plain})
    gateway.process.wait_line(lambda line: PATH in line)
    assert secret not in gateway.log


def test_a_complete_registered_key_is_found_too(gateway, slug):
    group = gateway.create_group(slug)
    key = KeySystem(gateway).register(group, own_key())
    assert found(gateway, key) == [("api_key", key[:16])]
    assert key[16:] not in gateway.log


def test_the_best_matches_come_first(gateway, slug):
    for name in ("a cheshire cat", "Cheshire Cat", "cheshire cats", "my cheshire cat", "CHESHIRE CAT"):
        gateway.create_group(slug, name=name)
    titles = [item["title"] for item in search(gateway, "cheshire cat")["items"]]
    assert titles == ["Cheshire Cat", "CHESHIRE CAT", "cheshire cats", "a cheshire cat", "my cheshire cat"]


@pytest.mark.parametrize("name, text", [("Ünïcødé Straße", "ÜNÏCØDÉ"), ("東京大学 🚀", "大学 🚀"), ("Ёлка", "ёлк"), ("100%_+&=", "%_+&")])
def test_names_of_any_script_are_found_in_any_case(gateway, slug, name, text):
    group = gateway.create_group(slug, name=name)
    assert found(gateway, text) == [("group", group["id"])]


def test_renamed_and_deleted_objects_are_found_by_their_current_state(gateway, upstream):
    endpoint = gateway.create_endpoint(upstream, slug="march/hare")
    root = gateway.create_group("march/hare", name="mock turtle")
    child = gateway.create_group("march/hare", parent=root, entity="gryphon")
    key = gateway.mint_key(child, name="lobster quadrille")
    assert len(found(gateway, "gryphon")) == 1 == len(found(gateway, key))
    gateway.patch_group(root, metadata={"name": "soup"})
    assert found(gateway, "mock turtle") == [] and found(gateway, "soup") == [("group", root["id"])]
    gateway.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"slug": "april/hare"})
    assert found(gateway, "march/") == [] and found(gateway, "april/") == [("endpoint", endpoint["id"])]
    gateway.admin("DELETE", f"/v1/gateway/groups/{root['id']}")
    gateway.admin("DELETE", f"/v1/gateway/endpoints/{endpoint['id']}")
    for text in ("soup", "gryphon", "lobster", key, prefix_of(key), "april/hare", child["id"]):
        assert search(gateway, text) == {"items": [], "more": False}, text


def test_at_most_twenty_matches_are_shown_and_more_are_announced(upstream):
    with Gateway() as gateway:
        gateway.create_endpoint(upstream, slug="dodo/chat")
        groups = [gateway.create_group("dodo/chat", name=f"the dodo {number:02}") for number in range(19)]
        answer = search(gateway, "dodo")
        assert len(answer["items"]) == 20 and not answer["more"]
        assert answer["items"][0]["kind"] == "endpoint", "its slug begins with the text"
        gateway.create_group("dodo/chat", name="Dodo")
        answer = search(gateway, "dodo")
        assert len(answer["items"]) == 20 and answer["more"] and answer["items"][0]["title"] == "Dodo"
        for group in groups:
            for _ in range(2):
                gateway.mint_key(group)
        answer = search(gateway, "sk_")
        assert len(answer["items"]) == 20 and answer["more"]


@pytest.mark.parametrize(
    "query, named",
    [
        ({}, "q"),
        ({"q": ""}, "`q`: must be 1 to 256"),
        ({"q": "  "}, "`q`: must be 1 to 256"),
        ({"q": "x" * 257}, "`q`: must be 1 to 256"),
        ({"q": ["x", "y"]}, "`q`: may be given only once"),
        ({"q": "x", "limit": 5}, "limit"),
    ],
)
def test_a_wrong_parameter_is_named(gateway, query, named):
    answer = gateway.admin_answer("GET", PATH, query=query)
    assert answer.status == 400 and named in answer.json()["error"]
    assert gateway.admin_answer("GET", PATH, query={"q": "é" * 256}).status == 200


def test_search_needs_the_manage_keys_scope(gateway, names):
    managing, reading = gateway.mint_operator(MANAGE_KEYS), gateway.mint_operator(METRICS)
    assert found(gateway, "wl_00042", key=managing)
    assert found(gateway, "wonder/land-7b") and not found(gateway, "wonder/land-7b", key=managing), "no endpoints"
    assert gateway.admin_answer("GET", PATH, query={"q": "x"}, key=reading).status == 403
