"""The endpoint check: its results for servers of every kind, with sentences that help the operator."""

import json
import os
import socket
import time

import pytest

from support import scripted
from support.gateway import Gateway, fresh
from support.scripted import Pause, ScriptedServer
from support.upstream import MODEL, BreakOff, Reply, ScriptedUpstream
from support.wire import DEADLINE, Connection

PATH = "/v1/gateway/endpoints/check"
NAMES = ["reachable", "model", "stream", "usage"]
CREDENTIAL = "sk-hush-0123456789"


def target(upstream, **fields):
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    return {"provider": "OPENAI_COMPATIBLE", "base_url": base_url, "target_model": MODEL, **fields}


def checks(gateway, *targets):
    """Checks an endpoint; returns a dict `{name: (ok, detail)}` for each target."""
    answer = gateway.admin("POST", PATH, {"slug": fresh("acme/checked"), "targets": list(targets)})
    assert set(answer) == {"targets"}
    assert [one["index"] for one in answer["targets"]] == list(range(len(targets)))
    for one in answer["targets"]:
        assert set(one) == {"index", "checks"} and [check["name"] for check in one["checks"]] == NAMES
        for check in one["checks"]:
            assert set(check) == {"name", "ok", "detail"} and check["detail"].endswith((".", "?", "!")), check
            assert CREDENTIAL not in check["detail"]
    return [{check["name"]: (check["ok"], check["detail"]) for check in one["checks"]} for one in answer["targets"]]


def check(gateway, upstream, **fields):
    [found] = checks(gateway, target(upstream, **fields))
    return found


def oks(found):
    return [found[name][0] for name in NAMES]


def listing(*names, **more):
    return Reply(json_body={"object": "list", "data": [{"id": name, "object": "model"} for name in names]}, **more)


def error(status, message, code=None, param=None, **more):
    return Reply(status, json_body={"error": {"message": message, "code": code, "param": param}}, **more)


NO_ROUTE = Reply(404, json_body={"detail": "Not Found"})


@pytest.fixture
def secret(gateway):
    return gateway.admin("POST", "/v1/secrets", {"name": fresh("secret"), "value": CREDENTIAL})["id"]


def test_a_good_server_gets_the_same_requests_as_from_customers(gateway, upstream, secret):
    upstream.reply_next(listing("another", MODEL))
    found = check(gateway, upstream, secret_id=secret)
    assert oks(found) == [True, True, True, True], found
    assert upstream.origin in found["reachable"][1] and MODEL in found["model"][1]
    listed, called = upstream.requests
    assert (listed.method, listed.path, listed.body) == ("GET", "/v1/models", b"")
    assert (called.method, called.path) == ("POST", "/v1/chat/completions")
    for request in (listed, called):
        assert request.headers["authorization"] == f"Bearer {CREDENTIAL}"
    assert called.json["model"] == MODEL and called.json["stream"] is True and 1 <= called.json["max_tokens"] <= 64
    assert called.json["stream_options"] == {"include_usage": True}
    # A customer's call has the same headers, except for the length and the request id.
    slug = gateway.admin(
        "POST", "/v1/gateway/endpoints", {"slug": fresh("a/b"), "targets": [target(upstream, secret_id=secret)]}
    )["slug"]
    group = gateway.create_group(slug)
    connection, _, stream = gateway.customer(gateway.mint_key(group)).stream_chat(slug)
    stream.chunks()
    connection.close()
    ours, theirs = (
        {name: value for name, value in request.header_list if name not in ("content-length", "x-request-id")}
        for request in upstream.requests[1:]
    )
    assert ours == theirs


def test_nothing_is_stored_billed_or_counted(gateway, upstream):
    def everything():
        status = gateway.admin("GET", "/v1/gateway/status")
        return (
            gateway.admin("GET", "/v1/gateway/endpoints")["items"],
            gateway.audit_logs(),
            gateway.events(),
            status["requests"],
            status["attention"],
        )

    slug = gateway.create_endpoint(upstream)["slug"]
    before = everything()
    upstream.reply_next(listing(MODEL))
    body = {"slug": slug, "targets": [target(upstream)]}
    first = gateway.admin("POST", PATH, body)
    assert [one["ok"] for one in first["targets"][0]["checks"]] == [True] * 4, "a slug in use must not be an error"
    upstream.stop()
    assert oks(check(gateway, upstream)) == [False, None, None, None]
    assert everything() == before


def test_a_refused_connection_is_reported(gateway, upstream):
    upstream.refuse_connections()
    found = check(gateway, upstream)
    assert oks(found) == [False, None, None, None]
    detail = found["reachable"][1]
    assert upstream.origin in detail and "refused" in detail and "running" in detail


def test_an_unknown_host_name_is_reported(gateway):
    found = check(gateway, "http://model-server.invalid:8000")
    assert oks(found) == [False, None, None, None]
    assert "model-server.invalid" in found["reachable"][1] and "DNS" in found["reachable"][1]


def begin(gateway, *targets):
    """Requests a check; returns the connection before anything is read from it."""
    connection = Connection(gateway.admin_address, timeout=30)
    headers = [("authorization", f"Bearer {gateway.admin_key}")]
    connection.request("POST", PATH, headers, {"slug": "a/b", "targets": list(targets)})
    return connection


def test_https_to_a_server_without_tls_is_reported(gateway):
    with socket.create_server(("127.0.0.1", 0)) as plain:
        connection = begin(gateway, target(f"https://127.0.0.1:{plain.getsockname()[1]}"))
        plain.settimeout(DEADLINE)
        client, _ = plain.accept()
        client.recv(1 << 16)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        [found] = connection.read_answer().json()["targets"]
        client.close(), connection.close()
    reachable = found["checks"][0]
    assert reachable["ok"] is False and "TLS" in reachable["detail"] and "http://" in reachable["detail"]


def test_a_server_that_closes_or_does_not_speak_http_is_reported(gateway, upstream):
    upstream.reply_next(Reply(status=None, steps=[b"SSH-2.0-OpenSSH_9.6\r\n"]))
    found = check(gateway, upstream)
    assert oks(found) == [False, None, None, None] and "port" in found["reachable"][1]
    upstream.reply_next(Reply(status=None, steps=[]))
    found = check(gateway, upstream)
    assert oks(found) == [False, None, None, None] and "https://" in found["reachable"][1]


@pytest.mark.parametrize("base_url", ["http://169.254.169.254/v1", "http://[fe80::1]:8000"])
def test_link_local_addresses_are_refused(gateway, base_url):
    found = check(gateway, base_url)
    assert oks(found) == [False, None, None, None] and "link-local" in found["reachable"][1]


def test_our_own_listeners_are_refused(gateway):
    for address in (gateway.address, gateway.admin_address):
        for host in ("127.0.0.1", "localhost"):
            found = check(gateway, f"http://{host}:{address.rsplit(':', 1)[1]}/v1")
            assert oks(found) == [False, None, None, None] and "Tollgate's own listeners" in found["reachable"][1]


def test_a_model_that_is_not_listed_is_reported_with_those_that_are(gateway, upstream):
    names = [f"m{index}" for index in range(7)]
    upstream.reply_next(listing(*names))
    upstream.reply_next(error(404, f"The model `{MODEL}` does not exist.", code=404, param="model"))
    upstream.reply_next(error(404, f"The model `{MODEL}` does not exist.", code=404, param="model"))
    found = check(gateway, upstream)
    assert oks(found) == [True, False, None, None]
    detail = found["model"][1]
    assert MODEL in detail and "m0, m1, m2, m3, m4 and 2 more" in detail and "target_model" in detail
    assert "m5" not in detail and "anyway" not in detail


def test_a_server_that_ignores_the_model_name_is_reported(gateway, upstream):
    upstream.reply_next(listing("its-own"))
    found = check(gateway, upstream)
    assert oks(found) == [True, False, True, True]
    assert "its-own" in found["model"][1] and "anyway" in found["model"][1]


NO_LISTS = {
    "404": NO_ROUTE,
    "405": Reply(405, steps=[b""]),
    "no json": Reply(steps=[b"<html>"], headers=[("content-type", "text/html")]),
    "other json": Reply(json_body=[1]),
    "empty": listing(),
    "broken off": Reply(steps=[b'{"data": ['], headers=[("content-length", "100"), ("connection", "close")]),
}


@pytest.mark.parametrize("reply", NO_LISTS.values(), ids=NO_LISTS)
def test_without_a_model_list_the_model_check_is_undecided(gateway, upstream, reply):
    upstream.reply_next(reply)
    found = check(gateway, upstream)
    assert oks(found) == [True, None, True, True], found
    assert "gives no list" in found["model"][1]


@pytest.mark.parametrize(
    "said",
    [
        error(404, f"The model `{MODEL}` does not exist.", code="model_not_found"),
        error(404, f'model "{MODEL}" not found, try pulling it first'),
        Reply(404, json_body={"object": "error", "message": f"The model `{MODEL}` does not exist.", "code": 404}),
    ],
)
def test_without_a_model_list_the_call_shows_that_the_model_is_missing(gateway, upstream, said):
    upstream.reply_next(NO_ROUTE)
    upstream.reply_next(said, times=2)
    found = check(gateway, upstream)
    assert oks(found) == [True, False, None, None]
    assert MODEL in found["model"][1] and "target_model" in found["model"][1]


def test_a_path_that_does_not_exist_is_reported(gateway, upstream):
    upstream.reply_next(NO_ROUTE, times=3)
    found = check(gateway, upstream)
    assert oks(found) == [True, None, False, None]
    assert "404" in found["stream"][1] and "base_url" in found["stream"][1]


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("lists", [True, False])
def test_a_refused_credential_is_reported(gateway, upstream, secret, status, lists):
    refusal = error(status, f"Incorrect API key provided: {CREDENTIAL}", code="invalid_api_key")
    upstream.reply_next(listing(MODEL) if lists else refusal)
    upstream.reply_next(refusal)
    found = check(gateway, upstream, secret_id=secret)
    assert oks(found) == [True, True if lists else None, False, None]
    assert "credential" in found["stream"][1] and "secret" in found["stream"][1]
    assert upstream.count == 2, "a refused credential must not be sent again"


def test_details_never_show_the_credential(gateway, upstream):
    value = "plain-credential-without-a-mark"
    secret = gateway.admin("POST", "/v1/secrets", {"name": fresh("secret"), "value": value})["id"]
    says = f"you sent Bearer {value}"
    for replies in (
        [listing(f"x-{value}"), error(400, says), error(400, says)],
        [NO_ROUTE, error(500, says)],
        [NO_ROUTE, Reply(steps=[f'data: {{"error": {{"message": "{says}"}}}}\n\n'.encode()],
                         headers=[("content-type", "text/event-stream")])],
        [NO_ROUTE, Reply(steps=[], headers=[("content-type", f"text/plain; {says}")])],
        [Reply(307, headers=[("location", f"http://{value}@a.example/{value}?k={value}#{value}")], steps=[])],
    ):  # fmt: skip
        for reply in replies:
            upstream.reply_next(reply)
        found = check(gateway, upstream, secret_id=secret)
        said = json.dumps(found, ensure_ascii=False)
        assert value not in said and "[…]" in said, found


def test_missing_usage_is_reported(gateway, upstream):
    upstream.reply_next(listing(MODEL))
    upstream.reply_next(Reply(usage=None))
    found = check(gateway, upstream)
    assert oks(found) == [True, True, True, False]
    assert "counted" in found["usage"][1] and "usageSource" in found["usage"][1]


@pytest.mark.parametrize("usage", [..., None])
def test_an_answer_in_one_piece_is_reported(gateway, upstream, usage):
    body = {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "OK."}}]}
    if usage is ...:
        body["usage"] = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    upstream.reply_next(listing(MODEL))
    upstream.reply_next(Reply(json_body=body, headers=[("content-type", "application/json")]))
    found = check(gateway, upstream)
    assert oks(found) == [True, True, False, usage is ...]
    assert "one piece" in found["stream"][1]


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_a_server_that_is_not_a_model_server_is_reported(gateway, upstream, content_type):
    page = Reply(steps=[b"<html>Welcome</html>"], headers=[("content-type", content_type)])
    upstream.reply_next(page, times=2)
    found = check(gateway, upstream)
    assert oks(found) == [True, None, False, None]
    assert "another server" in found["stream"][1]


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_an_embeddings_server_passes(gateway, upstream, status):
    upstream.reply_next(listing(MODEL))
    upstream.reply_next(error(status, "this server does not chat"))
    found = check(gateway, upstream)
    assert oks(found) == [True, True, None, True]
    assert "embeddings" in found["stream"][1]
    assert upstream.requests[-1].path == "/v1/embeddings" and upstream.requests[-1].json["model"] == MODEL


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("first", [True, False])
def test_redirects_are_reported_and_not_followed(gateway, upstream, status, first):
    elsewhere, path = ScriptedUpstream(), "/models" if first else "/chat/completions"
    if not first:
        upstream.reply_next(listing(MODEL))
    upstream.reply_next(Reply(status, headers=[("location", f"{elsewhere.origin}/v2{path}?x=1")], steps=[]))
    found = check(gateway, upstream)
    assert oks(found) == [True, None if first else True, False, None]
    assert f"give {elsewhere.origin}/v2 as base_url" in found["stream"][1]
    assert elsewhere.connections == 0
    elsewhere.stop()


@pytest.mark.parametrize("status, ok", [(500, False), (503, False), (429, None), (422, False)])
def test_a_server_error_is_reported(gateway, upstream, status, ok):
    upstream.reply_next(listing(MODEL))
    upstream.reply_next(error(status, "out of memory on the second card"), times=2)
    found = check(gateway, upstream)
    assert oks(found) == [True, True, ok, None]
    assert str(status) in found["stream"][1] and "out of memory on the second card" in found["stream"][1]


def test_a_broken_encoded_or_empty_stream_is_reported(gateway, upstream):
    for reply, word in (
        (Reply(insert={2: BreakOff(reset=True)}), "broke off"),
        (Reply(steps=[b"\x1f\x8b"], headers=[("content-encoding", "gzip")]), "cannot be decoded"),
        (Reply(steps=[b": ping\n\n"], headers=[("content-type", "text/event-stream")]), "no piece"),
    ):
        upstream.reply_next(listing(MODEL))
        upstream.reply_next(reply)
        found = check(gateway, upstream)
        assert oks(found) == [True, True, False, None], found
        assert word in found["stream"][1]


@pytest.fixture(scope="module")
def impatient():
    with Gateway(upstream_first_byte_timeout="300ms", upstream_idle_timeout="300ms") as running:
        yield running


def test_a_silent_server_is_reported_after_the_timeout(impatient, upstream):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts connections, but nothing answers
        found = check(impatient, f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
    assert oks(found) == [False, None, None, None]
    assert "in time" in found["reachable"][1] and "loading" in found["reachable"][1]
    upstream.reply_next(listing(MODEL))
    upstream.hang_next()
    found = check(impatient, upstream)
    assert oks(found) == [True, True, False, None] and "in time" in found["stream"][1]


@pytest.mark.skipif("TOLLGATE_SLOW_TESTS" not in os.environ, reason="takes half a minute: set TOLLGATE_SLOW_TESTS")
def test_a_check_takes_at_most_twenty_seconds(gateway):
    def drip(head):
        yield head
        for _ in range(60):
            yield Pause(0.5)
            yield b" "

    upstream = ScriptedServer()
    upstream.reply_next(scripted.Reply(steps=drip(b'{"data": [')))
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "OK"}, "finish_reason": null}]}\n\n: '
    upstream.reply_next(scripted.Reply(steps=drip(chunk), headers=[("content-type", "text/event-stream")]))
    began = time.monotonic()
    connection = begin(gateway, target(upstream.origin))
    [one] = connection.read_answer().json()["targets"]
    assert [check["ok"] for check in one["checks"]] == [True, None, True, None]
    assert 18 < time.monotonic() - began < 21
    upstream.stop()


def test_a_hang_up_ends_the_check(gateway, upstream):
    gate = upstream.hang_next()
    connection = begin(gateway, target(upstream))
    gate.reached()
    connection.close()
    upstream.requests[0].wait_hung_up()


def test_targets_are_checked_concurrently_and_reported_in_order(gateway, upstream):
    second = ScriptedUpstream()
    gate, other_gate = upstream.gate(), second.gate()
    upstream.reply_next(listing(MODEL, before_head=gate))
    second.reply_next(listing("another", before_head=other_gate))
    connection = begin(gateway, target(upstream), {"provider": "DEMO"}, target(second))
    gate.reached(), other_gate.reached()
    other_gate.release()
    second.wait_requests(2)
    gate.release()
    answer = connection.read_answer().json()
    assert [one["index"] for one in answer["targets"]] == [0, 1, 2]
    found = [[one["ok"] for one in each["checks"]] for each in answer["targets"]]
    assert found == [[True, True, True, True], [True, True, True, True], [True, False, True, True]]
    connection.close(), second.stop()


def test_without_a_target_model_the_slug_is_checked(gateway, upstream):
    upstream.reply_next(listing("acme/chat"))
    body = {"slug": "acme/chat", "targets": [{"provider": "OPENAI_COMPATIBLE", "base_url": upstream.base_url}]}
    [one] = gateway.admin("POST", PATH, body)["targets"]
    assert one["checks"][1]["ok"] is True and upstream.requests[1].json["model"] == "acme/chat"


def test_openai_gets_max_completion_tokens(gateway, upstream, secret):
    upstream.reply_next(listing(MODEL))
    [found] = checks(gateway, target(upstream, provider="OPENAI", secret_id=secret))
    assert oks(found) == [True, True, True, True]
    assert "max_completion_tokens" in upstream.requests[1].json and "max_tokens" not in upstream.requests[1].json


def test_a_check_has_the_same_rules_as_a_new_endpoint(gateway, upstream):
    good = {"slug": fresh("acme/model"), "targets": [target(upstream)]}
    for wrong in (
        {**good, "slug": "no slash"},
        {**good, "targets": []},
        {**good, "targets": [target(upstream)] * 17},
        {**good, "targets": [target(upstream, secret_id="01J9X7Y0Z3K4M5N6P7Q8R9S0T1")]},
        {**good, "targets": [{"provider": "OPENAI"}]},
        {**good, "targets": [target(upstream, model_id="x")]},
        {**good, "targets": [target("ftp://x/v1")]},
        {**good, "targets": [target(upstream, weight=0)]},
        {**good, "targets": [target(upstream, max_concurrent="many")]},
        {**good, "region": "MOON"},
        {**good, "routing": "RANDOM"},
        {**good, "queue_timeout_s": 601},
        {**good, "pricing": {"currency": "EUR"}},
        {**good, "nonsense": 1},
        {"targets": good["targets"]},
        [],
        b"{",
    ):
        answers = [gateway.admin_answer("POST", path, wrong) for path in (PATH, "/v1/gateway/endpoints")]
        assert answers[0].status == 400 and answers[0].body == answers[1].body, wrong
    full = {**good, "region": "EU", "pricing": {"currency": "EUR", "input": "1", "output": "2"}}
    upstream.reply_next(listing(MODEL))
    assert gateway.admin_answer("POST", PATH, full).status == 200
    assert upstream.count == 2


def test_only_post_is_allowed(gateway):
    for method in ("GET", "DELETE"):
        assert gateway.admin_answer(method, PATH).status == 405


def test_a_real_llama_cpp_server_passes(gateway, llama):
    found = check(gateway, llama.base_url, target_model="tiny-random")
    assert oks(found) == [True, True, True, True], found
    found = check(gateway, llama.base_url, target_model="not-there")
    assert found["model"][0] is False and "tiny-random" in found["model"][1]
