"""Alerts by mail, sent to a real mail server."""

import socket
import ssl
import time

import pytest
import trustme

from support.gateway import Customer, Gateway, budget, fresh, model, rate, seconds_to_midnight
from support.mail import MailServer
from support.upstream import ScriptedUpstream
from support.wall_clock import WallClock

LOGIN = ("alerts@example.com", "p@ss/wörd")
ENCODED = "alerts%40example.com:p%40ss%2Fw%C3%B6rd"
ADDRESSES = {"smtp_from": "Tollgate <tollgate@example.com>", "smtp_to": "ops@example.com, Boss <boss@example.com>"}
RECIPIENTS = ["ops@example.com", "boss@example.com"]


@pytest.fixture(autouse=True)
def not_over_midnight():
    if seconds_to_midnight() < 300:
        pytest.skip("the day is about to change")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority, tmp_path_factory):
    """Settings of a machine that trusts only this authority."""
    certificates = tmp_path_factory.mktemp("certificates")
    authority.cert_pem.write_to_path(certificates / "ca.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        patch.setenv("SSL_CERT_DIR", str(certificates))
        yield


@pytest.fixture
def mail_server():
    """Starts mail servers, which are stopped after the test."""
    running = []

    def start(**settings):
        running.append(MailServer(**settings))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def server(mail_server):
    return mail_server()


@pytest.fixture(scope="module")
def model_server():
    scripted = ScriptedUpstream()
    yield scripted
    scripted.stop()


class Site:
    """A gateway that mails, with an endpoint. `alert` makes one alert and returns the group that it is about."""

    def __init__(self, gateway, model_server):
        self.gateway = gateway
        self.slug = gateway.create_endpoint(model_server)["slug"]

    def group(self, *limits, name=None, **fields):
        limits = limits or ([] if "budgets" in fields else [rate("REQUEST", "DAY", 1)])
        return self.gateway.create_group(model(self.slug, (), list(limits)), name=name or fresh("Customer"), **fields)

    def call(self, group):
        assert Customer(self.gateway, self.gateway.mint_key(group)).chat(self.slug).status == 200

    def alert(self, **fields):
        group = self.group(**fields)
        self.call(group)
        entity = group["metadata"]["external_entity_id"]
        listed = lambda: self.gateway.walk("/v1/gateway/alerts", {"limit": 1000})
        self.gateway.eventually(listed, lambda every: any(one["external_entity_id"] == entity for one in every))
        return group

    def mail(self):
        """The mails as the status shows them."""
        return self.gateway.admin("GET", "/v1/gateway/status")["mail"]

    def wait_mail(self, condition):
        return self.gateway.eventually(self.mail, condition)

    def notices(self):
        notices = self.gateway.admin("GET", "/v1/gateway/status")["notices"]
        return [one["message"] for one in notices if one["about"] == {"kind": "mail", "id": None}]


@pytest.fixture
def site(model_server):
    """Starts a gateway that mails through this URL."""
    running = []

    def start(url, gateway=Gateway, **settings):
        running.append(gateway(smtp_url=url, **{**ADDRESSES, **settings}))
        return Site(running[-1], model_server)

    yield start
    for gateway in running:
        if gateway.process.child.poll() is None:
            gateway.kill9()
        gateway.close()


def context(authority, name="localhost"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


# The mail


def test_an_alert_is_one_mail_that_says_who_has_used_how_much_and_when_it_resets(site, server):
    at = site(server.url(), admin_url="https://admin.example/", time_zone="Europe/Berlin")
    group = at.alert(name="Acme prod", entity="cust_42")
    [mail] = server.wait(1)
    assert mail.subject == f"Acme prod has used 100 % of its requests a day ({at.slug})"
    assert (mail.sender, mail.recipients) == ("tollgate@example.com", RECIPIENTS)
    headers = mail.message
    assert (headers["From"], headers["To"]) == (
        "Tollgate <tollgate@example.com>",
        "ops@example.com, Boss <boss@example.com>",
    )
    assert headers["Auto-Submitted"] == "auto-generated" and headers["Date"].datetime
    assert headers["Message-ID"].endswith("@example.com>")
    for part in [
        "Customer:  Acme prod (cust_42)\n",
        f"Model:     {at.slug}\n",
        "Used:      1 of 1 requests (100.0 %)\n",
        ", 00:00\n",
        f"Group:     https://admin.example/#/groups/{group['id']}\n",
        "Europe/Berlin",
        "smtp.to",
    ]:
        assert part in mail.text, mail.text
    state = at.wait_mail(lambda state: state["mails"] == 1)
    assert state["server"] == f"127.0.0.1:{server.port}"
    assert (state["waiting"], state["failing_since"], state["last_error"], state["given_up"]) == (0, None, None, 0)
    assert state["last_sent_at"] > group["created_at"]
    assert at.notices() == []


def test_a_mail_about_a_budget_has_its_currency(site, server, model_server):
    at = site(server.url())
    prices = {"currency": "EUR", "input": "1000000", "output": "1000000"}
    at.slug = at.gateway.create_endpoint(model_server, pricing=prices)["slug"]
    group = at.group(name="Büro", budgets=[budget("MONTH", "1000000.5")])
    at.call(group)
    at.gateway.patch_group(group, budgets=[budget("MONTH", "0.5")])
    [mail] = server.wait(1)
    assert mail.subject == "Büro has used 100 % of its monthly budget"
    assert " of 0.50 EUR (" in mail.text and "Model:" not in mail.text


def test_no_name_can_add_a_header_or_a_line(site, server):
    at = site(server.url())
    at.alert(name="Acme\u2028Bcc: all@example.com\u2029Used: nothing\u202e =?utf-8?q?_paid?= <x@example.com>, \\")
    [mail] = server.wait(1)
    name = "Acme Bcc: all@example.com Used: nothing = ?utf-8?q?_paid?= <x@example.com>, \\"
    assert mail.subject == f"{name} has used 100 % of its requests a day ({at.slug})"
    assert mail.message["Bcc"] is None and mail.recipients == RECIPIENTS
    assert mail.message.keys().count("Subject") == 1 and mail.raw.isascii()
    assert not any(line.startswith(("Bcc", "Used: n")) for line in mail.text.splitlines())


# The connection


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls", "smtp"])
def test_a_login_and_the_mail_go_over_the_connection_that_the_url_asks_for(site, mail_server, trust, authority, scheme):
    encryption = {"smtps": "tls", "smtp+starttls": "starttls"}.get(scheme)
    server = mail_server(login=LOGIN, **({encryption: context(authority)} if encryption else {}))
    at = site(server.url(scheme, "localhost", ENCODED))
    at.alert()
    [mail] = server.wait(1)
    assert mail.encrypted == (encryption is not None)
    assert server.logins == [(LOGIN, encryption is not None)]
    assert LOGIN[1] not in at.gateway.log and ENCODED not in at.gateway.log


def test_nothing_is_sent_to_a_server_that_cannot_encrypt_or_is_not_trusted(site, mail_server, trust):
    other = context(trustme.CA())
    for server, scheme, why in [
        (mail_server(login=LOGIN), "smtp+starttls", "STARTTLS"),
        (mail_server(login=LOGIN, starttls=other), "smtp+starttls", "certificate"),
        (mail_server(login=LOGIN, tls=other), "smtps", "certificate"),
    ]:
        at = site(server.url(scheme, "localhost", ENCODED))
        at.alert()
        assert why in at.wait_mail(lambda state: state["last_error"])["last_error"]
        [notice] = at.notices()
        assert f"localhost:{server.port}" in notice and why in notice
        assert server.logins == server.mails == []
        at.gateway.close()


def test_a_refused_login_is_shown_and_the_alert_is_mailed_once_it_is_corrected(site, mail_server):
    server = mail_server(login=LOGIN)
    at = site(server.url(login="alerts%40example.com:hunter2secret"))
    at.alert()
    state = at.wait_mail(lambda state: state["last_error"])
    assert f"127.0.0.1:{server.port} answered 535" in state["last_error"] and state["waiting"] == 1
    [notice] = at.notices()
    assert notice.startswith("Alerts cannot be mailed since ") and "535" in notice and "1 alert waits" in notice
    assert "hunter2" not in notice + at.gateway.log
    at.gateway.stop()
    at.gateway.environment["TOLLGATE_SMTP_URL"] = server.url(login=ENCODED)
    at.gateway.start()
    server.wait(1)
    assert at.wait_mail(lambda state: state["mails"] == 1)["waiting"] == 0
    assert at.notices() == []


def test_a_refused_recipient_does_not_keep_the_others_from_their_mail(site, server):
    server.refused["boss@example.com"] = "550 5.1.1 no such person"
    at = site(server.url())
    at.alert()
    [mail] = server.wait(1)
    assert mail.recipients == ["ops@example.com"]
    at.wait_mail(lambda state: state["mails"] == 1)
    [notice] = at.notices()
    assert "boss@example.com" in notice and "550 5.1.1 no such person" in notice


# Trouble


def test_alerts_that_are_made_while_the_server_is_down_are_one_mail_once_it_is_up(site, mail_server):
    server = mail_server(up=False)
    at = site(server.url())
    groups = [at.alert() for _ in range(3)]
    state = at.wait_mail(lambda state: state["last_error"])
    assert state["waiting"] == 3 and state["mails"] == 0
    [notice] = at.notices()
    assert f"127.0.0.1:{server.port}" in notice and "refused" in notice and state["failing_since"] in notice
    server.up()
    [mail] = server.wait(1)
    assert mail.subject == "3 alerts from Tollgate"
    places = [mail.text.index(group["metadata"]["name"]) for group in groups]
    assert places == sorted(places)
    assert at.wait_mail(lambda state: state["mails"] == 1)["waiting"] == 0
    assert at.notices() == []


def test_a_server_that_asks_to_try_later_gets_the_mail_again(site, server):
    server.answer = "451 4.3.0 later"
    at = site(server.url())
    at.alert()
    assert "451 4.3.0 later" in at.wait_mail(lambda state: state["last_error"])["last_error"]
    server.answer = "250 taken"
    server.wait(1)


def test_a_silent_server_delays_neither_requests_nor_the_stop(site):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = site(f"smtp://127.0.0.1:{silent.getsockname()[1]}")
        at.alert()
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            group = at.group(rate("REQUEST", "DAY", 10))
            begun = time.monotonic()
            at.call(group)
            assert time.monotonic() - begun < 5
            begun = time.monotonic()
            at.gateway.stop()
            assert time.monotonic() - begun < 15


def test_the_second_mail_waits_for_its_minute_and_has_all_alerts_of_it_also_after_a_kill(site, server):
    with WallClock("2027-03-14T10:00:00Z") as clock:
        at = site(server.url(), clock.gateway)
        at.alert()
        server.wait(1)
        for _ in range(3):
            at.alert()
        assert at.wait_mail(lambda state: state["waiting"] == 3)["mails"] == 1
        at.gateway.kill9()
        at.gateway.start()
        state = at.mail()
        assert (state["waiting"], state["mails"], len(server.mails)) == (3, 0, 1)
        at.gateway.stop()
        clock.jump(minutes=1)
        at.gateway.start()
        assert server.wait(2)[1].subject == "3 alerts from Tollgate"


def test_a_kill_between_an_alert_and_its_mail_loses_and_repeats_nothing(site, mail_server):
    server = mail_server(up=False)
    at = site(server.url())
    at.alert()
    at.wait_mail(lambda state: state["waiting"] == 1)
    at.gateway.kill9()
    server.up()
    at.gateway.start()
    server.wait(1)
    at.wait_mail(lambda state: state["waiting"] == 0)
    for stop in (at.gateway.kill9, at.gateway.stop):
        stop()
        at.gateway.start()
        state = at.mail()
        assert (state["waiting"], state["mails"], len(server.mails)) == (0, 0, 1)
        assert state["last_sent_at"] is not None


def test_a_kill_before_the_servers_answer_repeats_the_mail_once_with_the_same_id(site, server):
    at = site(server.url())
    server.before_answer = at.gateway.kill9
    at.call(at.group())
    server.wait(1)
    server.before_answer = lambda: None
    at.gateway.start()
    first, second = server.wait(2)
    assert first.message["Message-ID"] == second.message["Message-ID"] and first.text == second.text
    at.wait_mail(lambda state: state["waiting"] == 0)
    at.gateway.restart()
    assert (at.mail()["mails"], len(server.mails)) == (0, 2)


def test_an_alert_that_cannot_be_mailed_for_a_day_is_given_up(site, mail_server):
    server = mail_server(up=False)
    with WallClock("2027-03-14T10:00:00Z") as clock:
        at = site(server.url(), clock.gateway)
        at.alert()
        at.wait_mail(lambda state: state["last_error"])
        # A time without a running gateway does not count.
        at.gateway.stop()
        clock.jump(hours=24, minutes=1)
        at.gateway.start()
        state = at.wait_mail(lambda state: state["last_error"])
        assert (state["waiting"], state["given_up"]) == (1, 0)
        clock.jump(hours=24, minutes=1)
        at.alert()
        state = at.wait_mail(lambda state: state["given_up"] == 1)
        assert state["waiting"] == 1
        assert any("1 alert could not be mailed for a day" in notice for notice in at.notices())
        assert "given up" in at.gateway.log
        server.up()
        [mail] = server.wait(1)
        assert "has used 100 %" in mail.subject


def test_mails_that_are_turned_on_begin_with_the_next_alert(site, server):
    at = site("")
    assert at.mail() is None
    at.alert()
    at.gateway.stop()
    at.gateway.environment["TOLLGATE_SMTP_URL"] = server.url()
    at.gateway.start()
    assert at.mail()["waiting"] == 0
    group = at.alert()
    [mail] = server.wait(1)
    assert mail.subject.startswith(group["metadata"]["name"])
    at.gateway.stop()
    at.gateway.environment["TOLLGATE_SMTP_URL"] = ""
    at.gateway.start()
    at.alert()
    at.gateway.stop()
    at.gateway.environment["TOLLGATE_SMTP_URL"] = server.url()
    at.gateway.start()
    assert at.mail()["waiting"] == 0


def test_a_damaged_position_is_reported_and_no_alert_of_the_last_day_is_lost(site, mail_server):
    server = mail_server(up=False)
    at = site(server.url())
    at.alert()
    at.gateway.stop()
    path = at.gateway.data_dir / "mail.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{")
    server.up()
    at.gateway.start()
    server.wait(1)
    assert "mail.json is damaged" in at.gateway.log
    [notice] = at.notices()
    assert "the last 24 hours are mailed again" in notice and "mail.json is damaged" in notice
