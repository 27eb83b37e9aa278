"""Upstreams over TLS: certificates are verified against this machine's authorities, by name or by address."""

import ssl

import pytest
import trustme

from support.gateway import Customer, Gateway
from support.upstream import ScriptedUpstream


def serve_tls(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def gateway(authority, tmp_path_factory):
    """A gateway on a machine that trusts only this authority."""
    certificates = tmp_path_factory.mktemp("certificates")
    authority.cert_pem.write_to_path(certificates / "ca.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        patch.setenv("SSL_CERT_DIR", str(certificates))
        with Gateway() as running:
            yield running


def customer_of(gateway, upstream):
    slug = gateway.create_endpoint(upstream)["slug"]
    return slug, Customer(gateway, gateway.mint_key(gateway.create_group(slug)))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_trusted_upstream_answers_json_and_streams(gateway, authority, host):
    upstream = ScriptedUpstream(serve_tls(authority, host), host)
    slug, customer = customer_of(gateway, upstream)
    assert customer.chat(slug).status == 200
    connection, _, stream = customer.stream_chat(slug)
    assert stream.chunks()
    connection.close()
    assert len(gateway.events(customer.key)) == 2
    upstream.stop()


@pytest.mark.parametrize("mistrust", ["another authority", "another name"])
def test_an_upstream_without_a_valid_certificate_gets_no_request(gateway, authority, mistrust):
    context = serve_tls(trustme.CA(), "localhost") if mistrust == "another authority" else serve_tls(authority, "model.example")
    upstream = ScriptedUpstream(context, "localhost")
    slug, customer = customer_of(gateway, upstream)
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert upstream.count == 0
    [sentence] = [one for one in gateway.admin("GET", "/v1/gateway/status")["attention"] if slug in one]
    assert "TLS" in sentence or "certificate" in sentence
    upstream.stop()
