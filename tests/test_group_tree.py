"""The group tree: a summary of each group with its key count and tightest DAY limit, in the order of the group list."""

import threading

import pytest

from support.gateway import Customer, Gateway, fresh, model, prefix_of, rate

PATH = "/v1/gateway/group_tree"
MANAGE_KEYS, METRICS = "WORKSPACE_MANAGE_API_KEYS", "WORKSPACE_EXPORT_METRICS"
FIELDS = {
    "id",
    "parent_group_id",
    "name",
    "external_entity_id",
    "limit_enforcement",
    "disabled",
    "models",
    "keys",
    "today",
    "budget",
    "alert_percent",
}


def tree(gateway, **more):
    return gateway.admin("GET", PATH, query={"limit": 1000}, **more)["items"]


def item(gateway, group, **more):
    return next(item for item in tree(gateway, **more) if item["id"] == group["id"])


def day(kind, threshold):
    return rate(kind, "DAY", threshold)


def test_a_group_has_a_short_summary(gateway, upstream):
    slugs = [gateway.create_endpoint(upstream)["slug"] for _ in range(2)]
    root = gateway.create_group(*slugs, mode="CASCADING", name="Zürich \u2014 東京 🚀")
    child = gateway.create_group(slugs[1], parent=root)
    keys = [gateway.mint_key(child) for _ in range(3)]
    summary, below = item(gateway, root), item(gateway, child)
    assert set(summary) == FIELDS
    assert summary == {
        "id": root["id"],
        "parent_group_id": None,
        "name": "Zürich \u2014 東京 🚀",
        "external_entity_id": root["metadata"]["external_entity_id"],
        "limit_enforcement": "CASCADING",
        "disabled": False,
        "models": slugs,
        "keys": 0,
        "today": None,
        "budget": None,
        "alert_percent": None,
    }
    assert (below["parent_group_id"], below["name"], below["models"], below["keys"]) == (root["id"], None, slugs[1:], 3)
    gateway.admin("DELETE", f"/v1/gateway/groups/{child['id']}/api_keys/{prefix_of(keys[0])}")
    gateway.patch_group(root, disabled=True)
    assert item(gateway, child)["keys"] == 2
    assert item(gateway, root)["disabled"] and not item(gateway, child)["disabled"], "each group shows its own setting"


def test_groups_are_in_the_order_of_the_group_list(gateway, slug):
    root = gateway.create_group(slug)
    for _ in range(7):
        gateway.create_group(slug, parent=root)
    listed = [group["id"] for group in gateway.walk("/v1/gateway/groups", {"limit": 3})]
    assert [item["id"] for item in gateway.walk(PATH, {"limit": 2})] == listed == [item["id"] for item in tree(gateway)]


def test_a_deleted_subtree_is_not_listed(gateway, slug):
    root = gateway.create_group(slug)
    child = gateway.create_group(slug, parent=root)
    gateway.admin("DELETE", f"/v1/gateway/groups/{root['id']}")
    assert not {root["id"], child["id"]} & {item["id"] for item in tree(gateway)}


# Today


def test_today_is_the_limit_with_the_smallest_share_left_of_all_models(gateway, upstream):
    one, other = (gateway.create_endpoint(upstream)["slug"] for _ in range(2))
    group = gateway.create_group(
        model(one, [rate("REQUEST", "MINUTE", 3)], [day("REQUEST", 10), day("TOKEN", 1_000_000)]),
        model(other, [], [day("REQUEST", 4)]),
    )
    customer = Customer(gateway, gateway.mint_key(group))
    assert item(gateway, group)["today"] == {
        "slug": one,
        "type": "REQUEST",
        "unit": "DAY",
        "threshold": 10,
        "used": 0,
        "held": 0,
        "left": 10,
        "source_group": group["id"],
    }, "the first of several equal limits"
    assert customer.chat(other).status == 200
    for slug in (one, one):
        assert customer.chat(slug).status == 200
    today = item(gateway, group)["today"]
    assert (today["slug"], today["threshold"], today["used"], today["left"]) == (other, 4, 1, 3), "3 of 4, not 8 of 10"
    assert customer.chat(one).status == 200
    today = item(gateway, group)["today"]
    assert (today["slug"], today["used"], today["left"]) == (one, 3, 7)
    for key in ("used", "held", "left", "threshold", "source_group"):
        assert today[key] == gateway.limit(group, one, "REQUEST", "DAY")[key]


def test_today_counts_running_requests(gateway, upstream, slug, limited):
    group, customer = limited(usage_limits=[day("REQUEST", 3)])
    gate = upstream.hang_next()
    connection = customer.begin_chat(slug)
    gate.reached()
    today = item(gateway, group)["today"]
    assert (today["used"], today["held"], today["left"]) == (0, 1, 2)
    gate.release()
    assert connection.read_answer().status == 200
    connection.close()
    today = item(gateway, group)["today"]
    assert (today["used"], today["held"], today["left"]) == (1, 0, 2)


def test_a_shared_limit_shows_the_use_of_the_whole_subtree(gateway, slug):
    root = gateway.create_group(model(slug, [], [day("REQUEST", 10)]), mode="CASCADING")
    children = [gateway.create_group(model(slug, [], [day("REQUEST", 8)]), parent=root) for _ in range(2)]
    customers = [Customer(gateway, gateway.mint_key(child)) for child in children]
    for _ in range(4):
        assert customers[0].chat(slug).status == 200
    first, second = (item(gateway, child)["today"] for child in children)
    assert (first["source_group"], first["used"], first["left"]) == (children[0]["id"], 4, 4)
    assert (second["source_group"], second["used"], second["left"]) == (root["id"], 4, 6)


def test_an_inherited_limit_counts_each_independent_group_separately(gateway, slug):
    root = gateway.create_group(model(slug, [], [day("REQUEST", 10)]))
    child = gateway.create_group(slug, parent=root)
    assert Customer(gateway, gateway.mint_key(root)).chat(slug).status == 200
    today = item(gateway, child)["today"]
    assert (today["source_group"], today["used"]) == (root["id"], 0)


def test_a_threshold_of_zero_has_nothing_left(gateway, limited, slug):
    group, _ = limited(usage_limits=[day("REQUEST", 0), day("TOKEN", 5)])
    today = item(gateway, group)["today"]
    assert (today["type"], today["threshold"], today["left"]) == ("REQUEST", 0, 0)


def test_the_highest_share_that_a_limit_or_budget_has_reached_is_shown(gateway, slug):
    group = gateway.create_group(model(slug, [], [day("REQUEST", 4), rate("REQUEST", "WEEK", 100)]))
    customer = Customer(gateway, gateway.mint_key(group))
    shares = []
    for _ in range(4):
        assert customer.chat(slug).status == 200
        shares.append(item(gateway, group)["alert_percent"])
    assert shares == [None, None, 75, 100]
    gateway.patch_group(group, models=[model(slug, [], [day("REQUEST", 400), rate("REQUEST", "WEEK", 5)])])
    assert item(gateway, group)["alert_percent"] == 75, "4 of 5 in this week"
    gateway.patch_group(group, models=[model(slug)])
    assert item(gateway, group)["alert_percent"] is None


def test_the_tree_needs_the_manage_keys_scope(gateway, limited):
    group, _ = limited(usage_limits=[day("REQUEST", 5)])
    assert item(gateway, group)["today"] is not None
    assert item(gateway, group, key=gateway.mint_operator(MANAGE_KEYS)) == item(gateway, group)
    assert gateway.admin_answer("GET", PATH, key=gateway.mint_operator(METRICS)).status == 403


# Queries


@pytest.mark.parametrize(
    "query, named",
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"parent_group_id": "x"}, "parent_group_id"),
    ],
)
def test_a_wrong_parameter_is_named(gateway, query, named):
    answer = gateway.admin_answer("GET", PATH, query=query)
    assert answer.status == 400 and named in answer.json()["error"]


def test_a_cursor_of_the_group_list_is_refused(gateway, slug):
    for _ in range(2):
        gateway.create_group(slug)
    cursor = gateway.admin("GET", "/v1/gateway/groups", query={"limit": 1})["pagination"]["cursor"]
    assert gateway.admin_answer("GET", PATH, query={"cursor": cursor}).status == 400


def test_a_page_walk_shows_each_group_once_during_concurrent_changes(upstream):
    with Gateway() as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        root = gateway.create_group(slug)
        stay = {root["id"]} | {gateway.create_group(slug, parent=root)["id"] for _ in range(1100)}
        stop = threading.Event()

        def write():
            while not stop.is_set():
                made = gateway.create_group(slug, entity=fresh("passing"))
                gateway.patch_group(made, metadata={"name": "renamed"})
                gateway.admin("DELETE", f"/v1/gateway/groups/{made['id']}")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for limit in (1000, 100, 77):
                seen = [item["id"] for item in gateway.walk(PATH, {"limit": limit})]
                assert len(seen) == len(set(seen)) and stay <= set(seen)
        finally:
            stop.set()
            writer.join()
        assert {item["id"] for item in gateway.walk(PATH, {"limit": 1000})} == stay
