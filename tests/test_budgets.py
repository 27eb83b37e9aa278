"""Budgets: how they are set, inherited and pooled, and that no group spends more than its budgets allow."""

import pytest

from support.gateway import budget, fresh, model

GROUPS = "/v1/gateway/groups"
EXCEEDS = "Child group exceeds parent group limit."
EUR = {"currency": "EUR", "input": "1", "output": "2"}


@pytest.fixture
def priced(gateway, upstream):
    """The slug of an endpoint with prices in euros."""
    return gateway.create_endpoint(upstream, pricing=EUR)["slug"]


def effective(gateway, group):
    """`(unit, currency, amount, source group)` of each budget that applies, as the group shows it."""
    shown = gateway.admin("GET", f"{GROUPS}/{group['id']}")["effective_budgets"]
    return [(one["unit"], one["currency"], one["amount"], one["source_group"]) for one in shown]


# How they are set


def test_a_group_shows_its_budgets_as_they_were_written(gateway, slug):
    written = [budget("MONTH", "500.00"), budget("TOTAL", "0.000001", "USD"), budget("DAY", "999999999999.999999")]
    made = gateway.create_group(slug, budgets=written)
    shown = [budget("MONTH", "500"), budget("TOTAL", "0.000001", "USD"), budget("DAY", "999999999999.999999")]
    assert made["budgets"] == shown
    assert made["effective_budgets"] == [{**one, "source_group": made["id"]} for one in shown]
    assert gateway.admin("GET", f"{GROUPS}/{made['id']}") == made
    assert made in gateway.walk(GROUPS, {"limit": 1000})


def test_a_patch_replaces_all_budgets_and_an_empty_list_clears_them(gateway, slug):
    group = gateway.create_group(slug)
    assert group["budgets"] == group["effective_budgets"] == []
    assert gateway.patch_group(group, budgets=[budget("DAY", "1"), budget("WEEK", "5")])["budgets"][1]["amount"] == "5"
    assert gateway.patch_group(group, budgets=[budget("TOTAL", "0")])["budgets"] == [budget("TOTAL", "0")]
    unchanged = gateway.patch_group(group, budgets=None, metadata={"name": "Named"})
    assert unchanged["budgets"] == [budget("TOTAL", "0")]
    assert gateway.patch_group(group, models=[model(slug)])["budgets"] == [budget("TOTAL", "0")]
    assert gateway.patch_group(group, budgets=[])["budgets"] == []
    assert gateway.create_group(slug, budgets=[])["budgets"] == []


def test_the_audit_log_shows_budgets_before_and_after(gateway, slug):
    group = gateway.create_group(slug, budgets=[budget("MONTH", "10")])
    gateway.patch_group(group, budgets=[budget("MONTH", "20")])
    changed, created = gateway.admin("GET", "/v1/audit_logs", query={"limit": 2})["items"]
    [change] = changed["event_data"]["changes"]
    assert (change["before"]["budgets"], change["after"]["budgets"]) == ([budget("MONTH", "10")], [budget("MONTH", "20")])
    assert created["event_data"]["changes"][0]["after"]["budgets"] == [budget("MONTH", "10")]


@pytest.mark.parametrize(
    "budgets, named",
    [
        ({}, "budgets: must be a list"),
        ("500", "budgets: must be a list"),
        (["500"], "budgets[0]: must be an object"),
        ([[]], "budgets[0]: must be an object"),
        ([{}], "budgets[0]: missing field unit"),
        ([{"unit": "DAY", "amount": "1"}], "budgets[0]: missing field currency"),
        ([{"unit": "DAY", "currency": "EUR"}], "budgets[0]: missing field amount"),
        ([budget("DAY", "1") | {"rollover": True}], "budgets[0]: unknown field rollover"),
        *[([budget(bad, "1")], "budgets[0].unit: must be ") for bad in ("YEAR", "day", "MINUTE", "CONCURRENT", "", 1, None)],
        *[
            ([budget("DAY", "1"), budget("WEEK", bad)], "budgets[1].amount: must be ")
            for bad in (5, 5.5, None, True, [], {}, "", "-1", "+1", "1.", ".5", "1,5", "1e3", "NaN", " 1", "0.0000001")
        ],
        ([budget("DAY", "1000000000000")], "budgets[0].amount: must be "),
        ([budget("DAY", "9" * 400)], "budgets[0].amount: must be "),
        *[
            ([budget("DAY", "1", bad)], "budgets[0].currency: must be ")
            for bad in ("eur", "EU", "EURO", "", "E1R", "€€€", 978, None)
        ],
        ([budget("DAY", "1"), budget("MONTH", "1"), budget("DAY", "2", "USD")], "budgets[2]: there is already a budget"),
    ],
    ids=str,
)
def test_a_wrong_budget_is_named_and_nothing_changes(gateway, slug, budgets, named):
    group = gateway.create_group(slug, budgets=[budget("TOTAL", "7")])
    for method, path, body in (
        ("POST", GROUPS, {"metadata": {"external_entity_id": fresh("refused")}, "models": [model(slug)]}),
        ("PATCH", f"{GROUPS}/{group['id']}", {"metadata": {"name": "Renamed"}, "disabled": True}),
    ):
        answer = gateway.admin_answer(method, path, {**body, "budgets": budgets})
        assert answer.status == 400 and answer.json()["error"].replace("`", "").startswith(named), answer
    assert gateway.admin("GET", f"{GROUPS}/{group['id']}") == group
    assert gateway.walk(GROUPS, {"limit": 1000})[-1] == group


# Trees


def test_in_an_independent_tree_the_nearest_budget_of_each_unit_applies(gateway, slug):
    root = gateway.create_group(slug, budgets=[budget("MONTH", "100"), budget("DAY", "10")])
    child = gateway.create_group(slug, parent=root, budgets=[budget("DAY", "20", "USD"), budget("TOTAL", "5")])
    leaf = gateway.create_group(slug, parent=child, budgets=[budget("MONTH", "1")])
    of_root = [("MONTH", "EUR", "100", root["id"]), ("DAY", "EUR", "10", root["id"])]
    of_child = [("DAY", "USD", "20", child["id"]), ("TOTAL", "EUR", "5", child["id"])]
    assert effective(gateway, root) == of_root
    assert effective(gateway, child) == [*of_child, of_root[0]]
    assert effective(gateway, leaf) == [("MONTH", "EUR", "1", leaf["id"]), *of_child]


def test_in_a_cascading_tree_every_budget_on_the_path_applies(gateway, slug):
    root = gateway.create_group(slug, mode="CASCADING", budgets=[budget("MONTH", "100")])
    child = gateway.create_group(slug, parent=root, budgets=[budget("MONTH", "60"), budget("DAY", "5")])
    assert effective(gateway, child) == [
        ("MONTH", "EUR", "60", child["id"]),
        ("DAY", "EUR", "5", child["id"]),
        ("MONTH", "EUR", "100", root["id"]),
    ]


def test_no_cascading_budget_may_exceed_an_ancestors(gateway, slug):
    root = gateway.create_group(slug, mode="CASCADING", budgets=[budget("MONTH", "100")])
    middle = gateway.create_group(slug, parent=root)
    leaf = gateway.create_group(slug, parent=middle, budgets=[budget("MONTH", "80")])

    def refused(method, path, body):
        answer = gateway.admin_answer(method, path, body)
        assert (answer.status, answer.json()["error"]) == (400, EXCEEDS)

    body = {"metadata": {"external_entity_id": fresh("above")}, "models": [model(slug)]}
    below = {**body, "hierarchy": {"parent_group_id": middle["id"]}}
    refused("POST", GROUPS, {**below, "budgets": [budget("MONTH", "100.000001")]})
    refused("PATCH", f"{GROUPS}/{leaf['id']}", {"budgets": [budget("MONTH", "101")]})
    refused("PATCH", f"{GROUPS}/{root['id']}", {"budgets": [budget("MONTH", "79.999999")]})
    assert (effective(gateway, root)[0][2], effective(gateway, leaf)[0][2]) == ("100", "80")
    # Another unit or currency is another budget, and an equal amount is not above.
    for other in (budget("DAY", "1000"), budget("MONTH", "1000", "USD"), budget("MONTH", "100")):
        gateway.patch_group(leaf, budgets=[other])
    gateway.patch_group(root, budgets=[])
    gateway.patch_group(leaf, budgets=[budget("MONTH", "1000")])


def test_an_independent_child_may_have_a_larger_budget(gateway, slug):
    root = gateway.create_group(slug, budgets=[budget("MONTH", "100")])
    child = gateway.create_group(slug, parent=root, budgets=[budget("MONTH", "1000")])
    assert effective(gateway, child) == [("MONTH", "EUR", "1000", child["id"])]


# What does not count


def test_the_status_names_the_models_that_count_against_no_budget(own, upstream):
    endpoint = own.create_endpoint(upstream)
    slug, priced = endpoint["slug"], own.create_endpoint(upstream, pricing=EUR)["slug"]
    dollars = own.create_endpoint(upstream, pricing={**EUR, "currency": "USD"})["slug"]
    group = own.create_group(priced, slug, dollars, budgets=[budget("MONTH", "100")])
    child = own.create_group(slug, parent=group)
    entities = [one["metadata"]["external_entity_id"] for one in (group, child)]

    def notices():
        found = own.admin("GET", "/v1/gateway/status")["notices"]
        return [(one["about"]["kind"], one["about"]["id"], one["message"]) for one in found]

    not_priced = "Calls of {} by {} count against no budget: the model is not priced."
    in_dollars = f"Calls of {dollars} by {entities[0]} count against no budget: the model is priced in USD."
    assert notices() == [
        ("group", group["id"], not_priced.format(slug, entities[0])),
        ("group", group["id"], in_dollars),
        ("group", child["id"], not_priced.format(slug, entities[1])),
    ]
    own.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"pricing": EUR})
    assert notices() == [("group", group["id"], in_dollars)]
    own.patch_group(group, budgets=[budget("MONTH", "100"), budget("TOTAL", "100", "USD")])
    assert notices() == []
    own.admin("PATCH", f"/v1/gateway/endpoints/{endpoint['id']}", {"pricing": None})
    for _ in range(21):
        own.create_group(slug, parent=group)
    more = "Calls of a model count against no budget in 3 more cases of a group and a model."
    assert len(notices()) == 21 and notices()[-1] == ("groups", None, more)
