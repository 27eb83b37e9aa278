"""A real Prometheus scrapes a real gateway: queries return what was sent, the dashboard and the alert rules work."""

import json
import re

import pytest

from support.gateway import REPO, Gateway, message, model, rate, target_of
from support.prometheus import PACKAGED, Prometheus, program, promtool
from support.receiver import Receiver
from support.reply import Reply
from support.scripted import Pause
from support.upstream import ScriptedUpstream
from support.webhooks import Webhook

DASHBOARD = json.loads((REPO / "packaging/grafana/tollgate.json").read_text())
# Grafana's variables, in a scrape interval of a quarter of a second.
VARIABLES = {"$__rate_interval": "5s", "$job": ".*", "$instance": ".*", "$model": ".*"}
PRICES = {"currency": "EUR", "input": "1000000", "output": "2000000"}


class Site:
    """A gateway to which every kind of request has been sent, and the Prometheus that scrapes it."""

    def __init__(self):
        program("prometheus")
        self.upstream, self.broken, self.receiver = ScriptedUpstream(), ScriptedUpstream(), Receiver()
        self.gateway = Gateway(metrics_groups=5)
        self.prometheus = Prometheus(self.gateway, self.gateway.mint_operator("WORKSPACE_EXPORT_METRICS"))
        self.send()

    def send(self):
        gateway, upstream = self.gateway, self.upstream
        upstream.always(Reply(cached=1))
        priced = gateway.create_endpoint(upstream, slug="acme/chat", pricing=PRICES)["slug"]
        gateway.create_endpoint(self.broken, slug="acme/broken")
        gateway.create_endpoint(target_of(upstream, max_concurrent=1), slug="acme/queued", queue_timeout_s=30)
        group = gateway.create_group(
            model(priced, [rate("REQUEST", "MINUTE", 7)]), "acme/broken", "acme/queued", entity="cust_42"
        )
        customer = gateway.customer(gateway.mint_key(group))
        self.receiver.always(Reply(400))
        self.webhook = Webhook(gateway, self.receiver)
        statuses = [customer.chat(priced, "one two three", stream=number % 2 > 0).status for number in range(9)]
        assert statuses == [200] * 7 + [429] * 2
        self.broken.always(Reply(500))
        assert [customer.chat("acme/broken").status for _ in range(5)] == [502] * 5
        upstream.reply_next(Reply(before_head=Pause(0.1)))
        first, second = customer.begin_chat("acme/queued"), customer.begin_chat("acme/queued")
        assert first.read_answer().status == second.read_answer().status == 200
        assert customer.post("/v1/embeddings", {"model": "acme/queued", "input": "one two"}).status == 200

    def close(self):
        self.prometheus.close()
        self.gateway.close()
        for server in (self.upstream, self.broken, self.receiver):
            server.stop()


@pytest.fixture(scope="module")
def site():
    running = Site()
    yield running
    running.close()


@pytest.fixture(scope="module")
def prometheus(site):
    site.prometheus.wait_value('tollgate_requests_total{route="/v1/embeddings"}', 1)
    return site.prometheus


@pytest.mark.parametrize(
    "expression, expected",
    [
        ('sum(tollgate_requests_total{model="acme/chat",status="200"})', 7),
        ('sum(tollgate_requests_total{model="acme/chat",status="429"})', 2),
        ('tollgate_refusals_total{model="acme/chat",code="rate_limit_exceeded"}', 2),
        ('tollgate_refusals_total{model="acme/broken",code="upstream_error"}', 5),
        ('tollgate_tokens_total{model="acme/chat",kind="input"}', 7 * 3),
        ('tollgate_tokens_total{model="acme/chat",kind="output"}', 7 * 8),
        ('tollgate_tokens_total{model="acme/chat",kind="cached"}', 7),
        ('tollgate_cost_total{model="acme/chat",currency="EUR"}', 7 * (3 + 2 * 8)),
        ('tollgate_target_attempts_total{model="acme/broken",target="0",outcome="failed"}', 5),
        ('tollgate_target_up{model="acme/broken",target="0"}', 0),
        ('tollgate_time_to_first_byte_seconds_count{model="acme/chat"}', 7),
        ('tollgate_queue_wait_seconds_bucket{model="acme/queued",le="+Inf"}', 1),
        ("sum(tollgate_overhead_seconds_count)", 7 + 2 + 1),
        ('tollgate_group_tokens_total{external_entity_id="cust_42",model="acme/chat"}', 7 * 11),
        ('tollgate_group_refusals_total{external_entity_id="cust_42",model="acme/chat"}', 2),
        ("sum(tollgate_requests_in_flight)", 0),
        ("count(tollgate_build_info)", 1),
    ],
)
def test_a_query_returns_what_was_sent(prometheus, expression, expected):
    prometheus.wait_value(expression, expected)


def test_the_scrape_was_in_openmetrics(prometheus):
    """Only OpenMetrics tells the unit of a metric."""

    def units():
        return prometheus.api("metadata", metric="tollgate_journal_bytes")[1]["data"]

    found = Gateway.eventually(units, bool)
    assert found["tollgate_journal_bytes"] == [
        {"type": "gauge", "help": "The size of all records in the journal.", "unit": "bytes"}
    ]


def queries():
    """Every query of the dashboard, with the title of its panel."""
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("title, expression", queries())
def test_a_query_of_the_dashboard_returns_data(prometheus, title, expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    found = prometheus.wait_for(expression)
    assert found, title


def test_the_variables_of_the_dashboard_have_values(prometheus):
    for variable in DASHBOARD["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
        for name, value in VARIABLES.items():
            selector = selector.replace(name, value)
        assert any(labels.get(label) for labels, _ in prometheus.wait_for(selector)), variable["name"]


def rules():
    text = (PACKAGED / "alerts.yml").read_text()
    return re.findall(r"- alert: (\w+)\n +expr: (?:>-\n)?(.*?)\n +(?:for|labels):", text, re.S)


@pytest.mark.parametrize("name, expression", rules())
def test_the_expression_of_an_alert_returns_data(prometheus, name, expression):
    """Without the comparison, which is left out because most faults are not there."""
    expression = " ".join(expression.split())
    measured, comparisons = re.subn(r" (==|<|>) [\de.]+$", "", expression)
    assert comparisons == 1, expression
    if name == "TollgateCannotBill":
        measured = measured.replace("metering_unavailable", "upstream_error")
    assert prometheus.wait_for(measured), name


def test_faults_make_alerts_pending_or_firing(prometheus):
    prometheus.wait_for("tollgate_webhook_dead_letters > 0")

    def active():
        alerts = prometheus.api("alerts")[1]["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts}

    expected = {"TollgateDeadLetters", "TollgateNoTarget", "TollgateTargetOut"}
    assert Gateway.eventually(active, expected.issubset) >= expected


def test_the_alert_rules_pass_their_tests(prometheus):
    for arguments in (["test", "rules", "alerts_test.yml"], ["check", "rules", "alerts.yml"]):
        checked = promtool(*arguments, cwd=PACKAGED)
        assert checked.returncode == 0 and "SUCCESS" in checked.stdout, checked
    assert len(rules()) == len(re.findall("- alert:", (PACKAGED / "alerts.yml").read_text()))
