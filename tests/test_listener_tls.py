"""TLS on both listeners: what clients see, faults of the files, and reloads that disturb no connection.

The imported tests are the same as over plain TCP: this module's gateway speaks TLS.
"""

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import threading
import time

import pytest

from support.certificates import Certificate
from support.gateway import Customer, DidNotStart, Gateway, message
from support.readme import PAGES, README, samples
from support.wire import DEADLINE, Connection, TlsAddress, call
from test_expect import test_a_valid_key_gets_a_100_and_then_the_answer  # noqa: F401
from test_framing import (  # noqa: F401
    listener,
    test_a_client_that_reads_late_gets_the_answers_to_all_its_requests,
    test_a_head_that_is_too_large_is_a_431,
    test_a_hang_up_is_noticed_despite_pipelined_requests,
    test_a_running_answer_is_not_harmed_by_a_malformed_request_after_it,
    test_an_early_answer_closes_without_waiting_for_the_rest_of_the_request,
    test_customers_who_share_a_connection_through_a_proxy_get_their_own_answers,
    test_pipelined_requests_are_each_answered_once_and_in_order,
)
from test_hangups import (  # noqa: F401
    metered,
    test_a_close_after_done_is_not_a_hang_up,
    test_a_hang_up_before_the_head_makes_no_event,
    test_a_hang_up_in_mid_stream_is_billed_for_the_text_passed_on,
    test_a_hang_up_while_reading_a_large_answer_is_billed,
    test_a_hang_up_while_sending_the_body_takes_nothing,
    test_forty_hang_ups_at_once_leave_nothing_held,
)
from test_slow_clients import test_the_rest_of_a_refused_body_is_not_read  # noqa: F401

STATUS = "/v1/gateway/status"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def gateway(certificate):
    with Gateway(tls=certificate, admin_tls=certificate, log="info,tollgate::http=debug") as running:
        yield running


@pytest.fixture(scope="module")
def renewed(tmp_path_factory):
    """A gateway with a certificate of its own, which tests may replace by a valid one."""
    with Gateway(tls=Certificate(tmp_path_factory.mktemp("renewed"))) as running:
        yield running


@pytest.fixture(params=["inference", "admin"])
def address(request, gateway):
    return gateway.address if request.param == "inference" else gateway.admin_address


def plain(address):
    """A connection to the port without TLS."""
    return Connection(str(address))


# What clients see


def test_a_model_answers_json_and_streams_over_tls(gateway, customer, slug):
    assert customer.chat(slug).status == 200
    connection, _, stream = customer.stream_chat(slug)
    assert stream.chunks()
    connection.close()
    assert len(gateway.events(customer.key)) == 2


def test_sdks_need_only_the_authority(gateway, certificate, customer, slug, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
    client = gateway.sdk(customer.key)
    asked = {"model": slug, "messages": message("hello")}
    assert client.chat.completions.create(**asked).choices[0].message.content
    assert [chunk for chunk in client.chat.completions.create(stream=True, **asked)]
    assert len(gateway.events(customer.key)) == 2


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_1_2_and_1_3_are_spoken_with_http_1_1_and_sessions_are_resumed(address, version):
    context = address.context
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(context.get_ca_certs(binary_form=True)[0]))
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_alpn_protocols(["h2", "http/1.1"])
    session, resumed = None, []
    for _ in range(2):
        with socket.create_connection(address.split(":"), DEADLINE) as tcp:
            with context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls:
                assert (tls.version(), tls.selected_alpn_protocol()) == (version.replace("_", "."), "http/1.1")
                tls.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                while tls.recv(1000):
                    pass
                session = tls.session
                resumed.append(tls.session_reused)
    assert resumed == [False, True]


def test_a_client_without_http_1_1_is_refused_in_the_handshake(address, certificate):
    context = certificate.context()
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError):
        Connection(TlsAddress(address, context))


def test_plain_http_gets_a_400_in_words(gateway):
    for address, is_inference in ((gateway.address, True), (gateway.admin_address, False)):
        with plain(address) as connection:
            connection.request("POST", "/v1/chat/completions", [("authorization", "Bearer x")], b"x" * 70_000)
            answer = connection.read_answer()
            assert answer.status == 400 and answer.headers["connection"] == "close"
            error = answer.error if is_inference else answer.json()
            words = error["message"] if is_inference else error["error"]
            assert error["code"] == "https_required" and words.startswith("This port speaks HTTPS")


@pytest.mark.parametrize(
    "garbage", [b"\0" * 100, b"\x80\x2e\x01\x03", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\x16" * 20_000]
)
def test_garbage_ends_the_connection_with_a_line_in_the_debug_log(gateway, address, garbage):
    with plain(address) as connection:
        peer = "{}:{}".format(*connection.socket.getsockname())
        with contextlib.suppress(ConnectionError):
            connection.send(garbage)
        with contextlib.suppress(ConnectionError):
            # A TLS alert may come first.
            while data := connection.socket.recv(1000):
                assert data[0] == 0x15
    reason = "TLS handshake failed" if garbage[0] == 0x16 else "the first byte is neither TLS nor HTTP"
    gateway.process.wait_line(lambda line: reason in line and peer in line)


def test_a_client_that_stops_in_the_handshake_is_disconnected(gateway):
    """Three clients at the same time: one sends nothing, one half a message, one finishes and asks nothing."""
    begun, waits = time.monotonic(), []

    def wait(connection, *parts):
        with connection:
            for part in parts:
                connection.send(part)
            with contextlib.suppress(OSError):
                connection.socket.settimeout(30)
                while connection.socket.recv(1000):
                    pass
            waits.append(time.monotonic() - begun)

    half = b"\x16\x03\x01\x02\x00\x01"
    clients = [(plain(gateway.address),), (plain(gateway.address), half), (Connection(gateway.address),)]
    threads = [threading.Thread(target=wait, args=client) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == 3 and all(5 < seconds < 20 for seconds in waits), waits


def test_handshakes_that_never_end_keep_nobody_out(certificate):
    few_files = {resource.RLIMIT_NOFILE: 128}
    with Gateway(tls=certificate, rlimits=few_files) as gateway, contextlib.ExitStack() as open_ones:
        for number in range(150):
            connection = open_ones.enter_context(plain(gateway.address))
            with contextlib.suppress(ConnectionError):
                connection.send(b"\x16\x03\x01" if number % 2 else b"")
        with Connection(gateway.address) as connection:
            connection.request("GET", "/healthz")
            assert connection.read_answer().status == 200


@pytest.mark.parametrize("ending", ["the client asks for it", "a malformed request", "a stop"])
def test_a_connection_ends_with_a_close_notify(gateway, certificate, ending):
    with contextlib.ExitStack() as own:
        if ending == "a stop":
            gateway = own.enter_context(Gateway(tls=certificate))
        host, port = gateway.address.split(":")
        tcp = socket.create_connection((host, int(port)), DEADLINE)
        settings = {"server_hostname": host, "suppress_ragged_eofs": False}
        with certificate.context().wrap_socket(tcp, **settings) as tls:
            last = "close" if ending == "the client asks for it" else "keep-alive"
            tls.sendall(f"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: {last}\r\n\r\n".encode())
            assert tls.recv(1000).startswith(b"HTTP/1.1 200")
            if ending == "a malformed request":
                tls.sendall(b"GET / HTTP/1.1\nhost: x\r\n\r\n")
            elif ending == "a stop":
                gateway.terminate()
            while tls.recv(1000):
                pass  # an end without close_notify would be an error


def test_the_admin_listener_is_an_https_site(gateway, certificate):
    session = gateway.admin_answer("POST", "/v1/session", {"key": gateway.admin_key}, key=None)
    cookie = session.headers["set-cookie"]
    assert "Secure" in cookie and "strict-transport-security" not in session.headers
    change = [("cookie", cookie.split(";")[0]), ("content-type", "application/json"), ("x-tollgate-csrf", "1")]
    for scheme, status in (("https", 200), ("http", 403)):
        origin = ("origin", f"{scheme}://{gateway.admin_address}")
        body = {"type": "WORKSPACE_EXPORT_METRICS"}
        answer = gateway.admin_answer("POST", "/v1/api_keys", body, key=None, headers=[*change, origin])
        assert answer.status == status
    current = gateway.admin_answer("GET", "/v1/session", key=None, headers=change[:1]).json()
    assert current["gateway"]["inference_url"] == f"https://{gateway.address}"
    urls = {"admin_url": "https://tollgate.example", "public_url": "https://models.example"}
    with Gateway(admin_tls=certificate, **urls) as site:
        answer = site.admin_answer("GET", STATUS)
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert [one["listener"] for one in answer.json()["certificates"]] == ["admin"]


def test_the_status_shows_the_certificates(gateway, certificate):
    found = gateway.admin("GET", STATUS)["certificates"]
    assert [one["listener"] for one in found] == ["inference", "admin"]
    for one in found:
        assert one["file"] == str(certificate.cert) and one["fault"] is None and one["not_before"] < one["not_after"]
        assert "trustme" in one["issuer"]


# Faults of the files


def test_a_start_with_unusable_files_names_the_file_and_opens_no_port(tmp_path):
    good = Certificate(tmp_path)
    chain, key = good.cert.read_bytes(), good.key.read_bytes()
    other_key = good.issue()[1]
    expired, not_yet = good.issue(days=-1, since=30), good.issue(since=-1)
    cases = [
        ("tls_cert", b"", key, "tls.cert: {cert} is not PEM"),
        ("admin_tls_cert", chain, b"\x30\x82garbage", "admin_tls.key: {key} is not PEM"),
        ("tls_cert", key, key, "tls.cert: {cert} has no certificate"),
        ("tls_cert", chain, chain, "tls.key: {key} has no private key"),
        ("tls_cert", chain, key.replace(b" EC PRIVATE", b" ENCRYPTED PRIVATE"), "tls.key: {key} is encrypted"),
        ("tls_cert", chain, other_key, "tls.key: {key} does not match the first certificate"),
        ("tls_cert", *expired, "tls.cert: {cert} has expired: it was valid until 20"),
        ("tls_cert", *not_yet, "tls.cert: {cert} is not valid yet: it is valid from 20"),
        ("tls_cert", None, key, "tls.cert: {cert} cannot be read: No such file"),
    ]
    for setting, cert_text, key_text, error in cases:
        for path, text in ((good.cert, cert_text), (good.key, key_text)):
            path.unlink(missing_ok=True) if text is None else path.write_bytes(text)
        settings = {setting: good.cert, setting.replace("cert", "key"): good.key}
        with pytest.raises(DidNotStart) as failed:
            Gateway(data_dir=tmp_path / "data", **settings)
        expected = error.format(cert=good.cert, key=good.key)
        assert failed.value.status == 1 and expected in failed.value.output, failed.value.output
        assert "listening" not in failed.value.output and not (tmp_path / "data").exists()
        assert b"".join(key.split(b"\n")[1:2]).decode() not in failed.value.output


def test_a_certificate_without_its_key_is_an_error_of_the_configuration(certificate):
    with pytest.raises(DidNotStart) as failed:
        Gateway(admin_tls_cert=certificate.cert)
    assert "admin_tls.key: must be set, because admin_tls.cert is set" in failed.value.output


def test_the_settings_in_the_documentation_are_valid(certificate):
    files = {"fullchain": certificate.cert, "privkey": certificate.key}
    for text in [*samples(README, "toml"), *samples(PAGES / "tls.md", "toml")]:
        config = re.sub(r'"[^"]*/(fullchain|privkey)\.pem"', lambda found: f'"{files[found[1]]}"', text)
        with Gateway(config=config) as gateway:
            assert call(TlsAddress(gateway.address, certificate.context()), "GET", "/healthz").status == 200


# Reloads


def served(gateway):
    """The certificate that a new connection gets, as DER."""
    with Connection(gateway.address) as connection:
        return connection.socket.getpeercert(binary_form=True)


def hang_up(gateway):
    gateway.process.child.send_signal(signal.SIGHUP)


def test_a_reload_disturbs_no_stream(renewed, upstream):
    slug = renewed.create_endpoint(upstream)["slug"]
    customer = Customer(renewed, renewed.mint_key(renewed.create_group(slug)))
    gate = upstream.stall_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    assert stream.next() and stream.next()
    gate.reached()
    old = served(renewed)
    renewed.tls.renew()
    hang_up(renewed)
    assert renewed.eventually(lambda: served(renewed), lambda new: new != old)
    gate.release()
    assert stream.chunks() or stream.raw.endswith(b"[DONE]\n\n")
    connection.request("GET", "/healthz")
    assert connection.read_answer().status == 200, "the old connection goes on"
    connection.close()
    assert len(renewed.wait_events(1, customer.key)) == 1


def test_a_replaced_symbolic_link_is_noticed_without_a_signal(tmp_path):
    """This is what certbot and Kubernetes do."""
    certificate = Certificate(tmp_path)
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        for name, contents in zip(("cert.pem", "key.pem"), certificate.issue()):
            (tmp_path / version / name).write_bytes(contents)
    (tmp_path / "live").symlink_to("1")
    certificate.cert, certificate.key = tmp_path / "live" / "cert.pem", tmp_path / "live" / "key.pem"
    with Gateway(tls=certificate) as gateway:
        old = served(gateway)
        assert gateway.process.wait_line(lambda line: "all users of this machine may use" in line)
        (tmp_path / "new").symlink_to("2")
        os.replace(tmp_path / "new", tmp_path / "live")
        assert gateway.eventually(lambda: served(gateway), lambda new: new != old)


def test_files_that_cannot_be_used_keep_the_old_certificate_in_force(renewed):
    old, key = served(renewed), renewed.tls.key.read_bytes()
    renewed.tls.replace(renewed.tls.key, renewed.tls.issue()[1])
    hang_up(renewed)
    status = renewed.eventually(lambda: renewed.admin("GET", STATUS), lambda status: status["attention"])
    [notice] = status["notices"]
    fault = f"{renewed.tls.key} does not match the first certificate"
    assert notice["about"] == {"kind": "tls", "id": None} and fault in notice["message"]
    assert fault in status["certificates"][0]["fault"]
    assert served(renewed) == old
    renewed.tls.replace(renewed.tls.key, key)
    hang_up(renewed)
    renewed.eventually(lambda: renewed.admin("GET", STATUS)["attention"], lambda attention: attention == [])
    lines = [line for line in renewed.log.splitlines() if "cannot be used" in line]
    assert len(lines) == 1 and fault in lines[0]


def test_an_expiring_certificate_is_a_notice(tmp_path):
    certificate = Certificate(tmp_path)
    certificate.renew(days=10, since=80)
    with Gateway(tls=certificate) as gateway:
        [notice] = gateway.admin("GET", STATUS)["notices"]
        assert notice["about"]["kind"] == "tls" and "(" + str(certificate.cert) + ") expires at" in notice["message"]


def test_a_hang_up_signal_without_tls_ends_nothing(own):
    hang_up(own)
    own.process.wait_line(lambda line: "SIGHUP" in line)
    assert own.admin("GET", STATUS)["certificates"] == []
