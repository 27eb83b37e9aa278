"""Invalid requests and attempts to bypass the meter get a documented 4xx, reach no upstream and make no event."""

import gzip
import json
import os

import pytest

from support.gateway import Customer, Gateway, message, rate
from support.routes import check_error
from support.wire import Broken, Connection, Stream, call

CHAT = "/v1/chat/completions"


@pytest.fixture
def refused(gateway, upstream, customer, key):
    """Sends a body that must be refused with this status and code; nothing may be forwarded or billed."""

    def request(body, status=400, code=None, param=None, headers=(), path=CHAT):
        answer = customer.post(path, body, headers)
        assert answer.status == status, f"{body!r:.200}: {answer}"
        check_error(answer, path, code, param)
        assert upstream.count == 0
        assert gateway.events(key) == []

    return request


def raw(slug, *fields, messages='[{"role":"user","content":"hi"}]'):
    """A chat body with fields given as text, so that it can hold JSON that a library would not write."""
    return "{{{}}}".format(",".join([f'"model":"{slug}"', f'"messages":{messages}', *fields])).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"hello",
        b"\x00",
        b'{"model":"\xff"}',
        b'{"model":"a/b",}',
        b"{'model':'a/b'}",
        b'{"model":"a/b"',
        b'{"model":"a/b\n"}',
        b'{"model":tru}',
        b'{"model" "a/b"}',
        b'{"a":01}',
        b'{"a":"\\x"}',
        b'{"a":"\\ud8"}',
    ],
    ids=repr,
)
def test_a_body_that_is_not_a_json_object_is_invalid_json(refused, body):
    refused(body, code="invalid_json")


def test_a_byte_order_mark_and_bytes_after_the_end_are_refused(refused, slug):
    refused(b"\xef\xbb\xbf" + raw(slug), code="invalid_json")
    for tail in (b"{}", b"x", b"\x00", b",", b"}", b'\n{"model":"other/one"}'):
        refused(raw(slug) + tail, code="invalid_json")


def test_white_space_around_the_body_is_json(customer, slug):
    assert customer.post(CHAT, b" \r\n\t" + raw(slug) + b" \n").status == 200


@pytest.mark.parametrize(
    "field, twice",
    [
        ("model", '"model":"other/one"'),
        ("model", '"\\u006dodel":"other/one"'),
        ("model", '"m\\u006Fdel":null'),
        ("stream", '"stream":false,"stream":true'),
        ("stream", '"stream":true,"str\\u0065am":false'),
        ("stream_options", '"stream_options":{},"stream_options":{"include_usage":false}'),
        ("n", '"n":1,"n":50'),
        ("max_tokens", '"max_tokens":1,"max_tokens":4000'),
        ("max_completion_tokens", '"max_completion_tokens":1,"max_completion_tokens":4000'),
        ("metadata", '"metadata":{},"metadata":{"a":"b"}'),
        ("prompt_cache_key", '"prompt_cache_key":"a","prompt_cache_key":"a"'),
    ],
)
def test_a_key_that_we_read_given_twice_is_refused(refused, slug, field, twice):
    refused(raw(slug, twice), param=field)


@pytest.mark.parametrize(
    "field, written", [("model", "Model"), ("model", "MO\\u0044EL"), ("max_tokens", "Max_Tokens"), ("stream", "\u017ftream")]
)
def test_a_key_that_differs_only_in_case_from_one_that_we_read_is_refused(refused, slug, field, written):
    """Go's JSON reader ignores case and takes the last key, so a customer could choose another model on the server."""
    refused(raw(slug, f'"{written}":"other/one"'), param=field, code="invalid_key")


def test_a_key_that_we_do_not_read_given_twice_passes(upstream, customer, slug):
    body = raw(slug, '"seed":1,"seed":2', '"x":{"model":"a","model":"b"}')
    assert customer.post(CHAT, body).status == 200
    assert (
        b'"seed":1,"seed":2' in upstream.requests[0].body and b'{"model":"a","model":"b"}' in upstream.requests[0].body
    )


@pytest.mark.parametrize("written", ["\\u006dodel", "mode\\u006c", "\\u006D\\u006f\\u0064\\u0065\\u006c"])
def test_an_escaped_key_is_recognized(gateway, upstream, customer, slug, written):
    body = '{{"{}":"{}","messages":[{{"role":"user","content":"one two"}}]}}'.format(
        written, slug.replace("/", "\\/")
    ).encode()
    assert customer.post(CHAT, body).status == 200
    assert upstream.requests[0].json["model"] == "upstream-model" and len(upstream.requests[0].json) == 2
    [event] = gateway.events(customer.key)
    assert event["modelSlug"] == slug


def test_only_the_model_name_is_changed_in_a_forwarded_body(upstream, customer, slug):
    body = raw(
        slug,
        '"temperature": 0.70',
        '"prompt_cache_key" :"\\u0073-1"',
        '"logit_bias" : { "50256":-1.0e2 }',
        '"big":123456789012345678901234567890',
        '"u":"\\u00e9\\ud83d\\ude00\\/"',
        messages='[ {"role":"user","content":"the model is \\"' + slug + '\\""} ]',
    )
    assert customer.post(CHAT, body).status == 200
    expected = body.replace(f'"model":"{slug}"'.encode(), b'"model":"upstream-model"', 1)
    assert upstream.requests[0].body == expected


@pytest.mark.parametrize(
    "fields, param",
    [
        ('"stream":"true"', "stream"),
        ('"stream":1', "stream"),
        ('"stream":[]', "stream"),
        ('"n":"3"', "n"),
        ('"n":1.5', "n"),
        ('"n":-1', "n"),
        ('"n":true', "n"),
        ('"stream":true,"stream_options":"x"', "stream_options"),
        ('"stream":true,"stream_options":[]', "stream_options"),
        ('"stream":true,"stream_options":7', "stream_options"),
        ('"max_tokens":"many"', "max_tokens"),
        ('"max_tokens":-5', "max_tokens"),
        ('"max_completion_tokens":{}', "max_completion_tokens"),
        ('"metadata":"text"', "metadata"),
        ('"metadata":[1]', "metadata"),
    ],
)
def test_a_wrong_type_of_a_field_that_we_read_is_refused_by_its_name(refused, slug, fields, param):
    refused(raw(slug, fields), param=param)


@pytest.mark.parametrize("model", ["5", "null", "[]", "{}", "true", '["a/b"]'])
def test_a_model_that_is_not_text_is_refused(refused, model):
    refused(f'{{"model":{model},"messages":[]}}'.encode(), param="model")


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_a_missing_model_is_refused(refused, path):
    refused({"messages": [], "prompt": "x", "input": "x"}, code="missing_model", param="model", path=path)


@pytest.mark.parametrize(
    "model",
    [
        " ",
        "acme",
        "acme/",
        "../../etc/passwd",
        "x" * 300,
        "a\u0000b",
        "\U0001f600/x",
        "'; DROP TABLE",
        "acme/\u202emodel",
    ],
)
def test_an_unknown_model_is_not_found(refused, model):
    refused({"model": model, "messages": []}, 404, "model_not_found")


@pytest.mark.parametrize("model", ["", "\\ud800", "a/b\\udc00\\ud800"])
def test_an_invalid_model_name_is_refused(gateway, upstream, customer, model):
    answer = customer.post(CHAT, f'{{"model":"{model}","messages":[]}}'.encode())
    assert answer.status in (400, 404)
    check_error(answer, CHAT)
    assert upstream.count == 0


# Attempts to bypass the meter


def test_stream_options_null_does_not_bypass_the_meter(gateway, upstream, customer, slug, key):
    connection = customer.begin(CHAT, raw(slug, '"stream":true', '"stream_options":null'))
    assert connection.read_head()[0] == 200
    assert all(chunk["choices"] for chunk in Stream(connection).chunks())
    connection.close()
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True}
    [event] = gateway.events(key)
    assert event["usageSource"] == "upstream" and event["tokens"]["outputTokens"] == 8


@pytest.mark.parametrize(
    "options",
    [
        '{"include_usage":false}',
        '{"include_usage":null}',
        '{"include_usage":true,"include_usage":false}',
        '{"include_\\u0075sage":false}',
        "{}",
        '{"include_usage":"no"}',
    ],
)
def test_usage_is_requested_whatever_the_stream_options_say(gateway, upstream, customer, slug, key, options):
    connection = customer.begin(CHAT, raw(slug, '"stream":true', f'"stream_options":{options}'))
    status, _ = connection.read_head()
    if status == 400:  # a clear refusal is acceptable too
        assert upstream.count == 0
        return
    assert Stream(connection).chunks()
    connection.close()
    pairs = json.loads(upstream.requests[0].body, object_pairs_hook=list)  # keeps duplicate keys
    options = dict(pairs)["stream_options"]
    assert [value for name, value in options if name == "include_usage"] == [True]
    assert gateway.events(key)[0]["usageSource"] == "upstream"


def test_a_hundred_choices_are_held_and_billed_a_hundredfold(gateway, upstream, slug, limited):
    group, customer = limited([rate("TOKEN", "MINUTE", 1_000_000)])
    gate = upstream.hang_next()
    connection = customer.begin_chat(slug, n=100, max_tokens=10)
    gate.reached()
    assert 1000 <= gateway.limit(group, slug, "TOKEN")["held"] <= 1100
    gate.release()
    answer = connection.read_answer()
    connection.close()
    assert len(answer.json()["choices"]) == 100
    assert gateway.events(customer.key)[0]["tokens"]["outputTokens"] == 800
    limit = gateway.limit(group, slug, "TOKEN")
    assert (limit["held"], limit["used"]) == (0, 802)


@pytest.mark.parametrize(
    "fields",
    [
        '"n":18446744073709551615,"max_tokens":18446744073709551615',
        '"n":9007199254740993',
        '"max_tokens":1e30',
        '"n":1e400',
        '"max_tokens":' + "9" * 5000,
    ],
)
def test_absurdly_large_numbers_do_no_harm(gateway, limited, slug, fields):
    group, customer = limited([rate("TOKEN", "MINUTE", 1000)])
    connection = customer.begin(CHAT, raw(slug, fields))
    status, _ = connection.read_head()
    assert status in (200, 400, 502)
    connection.close()
    gateway.eventually(lambda: gateway.limit(group, slug, "TOKEN"), lambda limit: limit["held"] == 0)
    assert gateway.limit(group, slug, "TOKEN")["used"] >= 0


def test_deeply_nested_json_does_no_harm(gateway, customer, slug):
    deep = "[" * 500_000 + "]" * 500_000
    connection = customer.begin(CHAT, raw(slug, f'"deep":{deep}'))
    assert connection.read_head()[0] in (200, 400)
    connection.close()
    assert customer.chat(slug).status == 200


# HTTP


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_cut_off_in_the_middle_is_neither_forwarded_nor_billed(gateway, upstream, customer, slug, key, chunked):
    with Connection(gateway.address) as connection:
        body = raw(slug)
        if chunked:
            connection.send_head("POST", CHAT, customer.headers([("transfer-encoding", "chunked")]))
            connection.send(b"%x\r\n" % (len(body) + 50) + body)
        else:
            connection.send_head("POST", CHAT, customer.headers([("content-length", len(body) + 50)]))
            connection.send(body)
        connection.end_sending()
        try:
            assert 400 <= connection.read_answer().status < 500
        except Broken:
            pass
    assert customer.chat(slug).status == 200
    assert upstream.count == 1 and len(gateway.events(key)) == 1


def test_a_head_of_100_kilobytes_is_refused(gateway, upstream, customer, slug):
    for headers in ([("x-long", "x" * 100_000)], [(f"x-{n}", "y" * 900) for n in range(110)]):
        with Connection(gateway.address) as connection:
            try:
                connection.send_head("POST", CHAT, customer.headers([*headers, ("content-length", 0)]))
                status = connection.read_head()[0]
            except (Broken, ConnectionError):
                continue  # the gateway may close the connection while we still write
            assert status in (400, 431)
    assert upstream.count == 0
    assert customer.chat(slug).status == 200


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer a\x01b",
        b"Bearer \x00",
        b"Bearer \x7f",
        b"Bearer \xff\xfe",
        b"Bearer a\tb",
        b"Bearer  ",
        b"Bearer",
        b"",
        b"Basic eDp5",
        b"Bearer " + b"k" * 10_000,
        b"Bearer sk_.",
        b"Bearer .",
        b"Bearer sk_AAAAAAAAAAAA.",
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_malformed_key_is_refused(gateway, upstream, slug, value):
    with Connection(gateway.address) as connection:
        connection.request("POST", CHAT, [("authorization", value)], {"model": slug, "messages": message("hi")})
        answer = connection.read_answer()
    assert answer.status in (400, 401)
    if answer.status == 401:
        check_error(answer, CHAT, "invalid_api_key")
    assert upstream.count == 0


def test_a_key_in_the_query_is_not_read(gateway, slug, key):
    for name in ("key", "api_key", "token", "access_token"):
        assert call(gateway.address, "GET", f"/v1/models?{name}={key}").status == 401


def test_query_strings_never_change_routing(upstream, customer, slug):
    answer = customer.post(CHAT + "?model=other/one&/v1/embeddings", {"model": slug, "messages": message("hi")})
    assert answer.status == 200 and upstream.requests[0].path.split("?")[0] == CHAT


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "gzip;q=1", "x-unknown"])
def test_a_body_in_an_unknown_encoding_is_a_415(refused, slug, encoding):
    refused(gzip.compress(raw(slug)), 415, "unsupported_encoding", headers=[("content-encoding", encoding)])


def test_the_identity_encoding_is_accepted(customer, slug):
    assert customer.post(CHAT, raw(slug), [("content-encoding", "identity")]).status == 200


def test_the_content_type_of_a_body_is_ignored(customer, slug):
    for value in ("text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded"):
        assert customer.post(CHAT, raw(slug), [("content-type", value)]).status == 200


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/chat/completion", 404),
        ("POST", "/chat/completions", 404),
        ("POST", "/v1/chat/completions/extra", 404),
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("POST", "/V1/CHAT/COMPLETIONS", 404),
        ("GET", "/v1/gateway/groups", 404),
        ("GET", "/metrics", 404),
        ("GET", "/v1/spec", 404),
        ("GET", CHAT, 405),
        ("DELETE", CHAT, 405),
        ("PUT", "/v1/embeddings", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/usage", 405),
        ("BREW", CHAT, 405),
    ],
)
def test_an_unknown_url_or_method_is_refused(gateway, upstream, customer, method, path, status):
    answer = call(gateway.address, method, path, customer.headers())
    assert answer.status == status, answer
    check_error(answer, path, "unknown_url")
    assert upstream.count == 0


def test_paths_are_not_normalized_into_other_routes(gateway, upstream, customer, slug):
    body = {"model": slug, "messages": message("hi")}
    for path in (
        "/v1//chat/completions",
        "/v1/../v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat%2Fcompletions",
        "//v1/chat/completions",
        "/v1/chat/./completions",
    ):
        answer = customer.post(path, body)
        assert answer.status in (400, 404), (path, answer)
    assert upstream.count == 0


def test_an_upgrade_of_responses_is_a_426(gateway, customer):
    answer = call(
        gateway.address, "GET", "/v1/responses", customer.headers([("connection", "upgrade"), ("upgrade", "websocket")])
    )
    assert answer.status == 426


@pytest.mark.parametrize(
    "line",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v1/chat/completions HTTP/9.9\r\n\r\n",
        b"GET /v1/models HTTP/1.1\nhost: x\n\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=repr,
)
def test_bytes_that_are_not_http_do_no_harm(gateway, customer, slug, line):
    with Connection(gateway.address) as connection:
        connection.send(line)
        connection.end_sending()
        try:
            assert connection.read_head()[0] in (400, 401, 404, 505)
        except Broken:
            pass
    assert customer.chat(slug).status == 200


def test_expect_100_continue_is_answered(gateway, customer, slug):
    body = raw(slug)
    with Connection(gateway.address) as connection:
        connection.send_head(
            "POST", CHAT, customer.headers([("content-length", len(body)), ("expect", "100-continue")])
        )
        assert connection.read_head()[0] == 100
        connection.send(body)
        assert connection.read_answer().status == 200


def test_an_unfinished_head_times_out(gateway):
    """Within ten seconds the gateway answers 408 or closes the connection."""
    with Connection(gateway.address, timeout=15) as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        try:
            assert connection.read_head()[0] == 408
        except Broken:
            pass


@pytest.mark.skipif("TOLLGATE_SLOW_TESTS" not in os.environ, reason="takes half a minute: set TOLLGATE_SLOW_TESTS")
def test_a_stalled_body_times_out(gateway, upstream, customer, slug):
    with Connection(gateway.address, timeout=40) as connection:
        connection.send_head("POST", CHAT, customer.headers([("content-length", 1000)]))
        connection.send(raw(slug)[:-5])
        try:
            assert connection.read_head()[0] == 408
        except Broken:
            pass
    assert upstream.count == 0


def test_a_wrong_key_is_refused_before_the_body_is_read(gateway):
    with Connection(gateway.address) as connection:
        connection.send_head(
            "POST", CHAT, [("authorization", "Bearer sk_AAAAAAAAAAAA.wrong"), ("content-length", 50_000_000)]
        )
        assert connection.read_head()[0] == 401


def test_pipelined_requests_are_answered_in_order(gateway, customer, slug):
    with Connection(gateway.address) as connection:
        for limit in (1, 2, 3):
            connection.request(
                "POST", CHAT, customer.headers(), {"model": slug, "messages": message("hi"), "max_tokens": limit}
            )
        tokens = [connection.read_answer().json()["usage"]["completion_tokens"] for _ in range(3)]
    assert tokens == [1, 2, 3]


class TestSmallBodies:
    """A gateway that accepts bodies of up to 2 KiB."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls):
        with Gateway(max_body="2KiB") as running:
            yield running

    def test_a_body_up_to_the_maximum_passes(self, customer, slug):
        body = raw(slug)
        padded = body[:-1] + b',"user":"' + b"x" * (2048 - len(body) - 10) + b'"}'
        assert len(padded) == 2048
        assert customer.post(CHAT, padded).status == 200

    def test_a_longer_body_is_a_413_before_it_is_read(self, gateway, upstream, customer):
        with Connection(gateway.address) as connection:
            connection.send_head("POST", CHAT, customer.headers([("content-length", 2049)]))
            answer = connection.read_answer()
        assert answer.status == 413
        check_error(answer, CHAT, "request_too_large")
        assert upstream.count == 0

    def test_a_chunked_body_that_grows_too_long_is_a_413(self, gateway, upstream, customer):
        with Connection(gateway.address) as connection:
            connection.send_head("POST", CHAT, customer.headers([("transfer-encoding", "chunked")]))
            connection.send(b"801\r\n" + b" " * 0x801 + b"\r\n")
            answer = connection.read_answer()
        assert answer.status == 413
        check_error(answer, CHAT, "request_too_large")
        assert upstream.count == 0

    def test_a_body_that_is_too_long_takes_nothing_from_a_limit(self, gateway, slug, limited):
        group, customer = limited([rate("REQUEST", "MINUTE", 5)])
        assert customer.chat(slug, "x" * 3000).status == 413
        limit = gateway.limit(group, slug)
        assert (limit["used"], limit["held"]) == (0, 0)


def test_an_upstream_on_our_own_listeners_or_a_link_local_address_is_refused(gateway):
    for base_url in (
        gateway.base_url,
        f"http://{gateway.admin_address}/v1",
        "http://169.254.169.254/v1",
        "http://[fe80::1]/v1",
        "http://[::ffff:169.254.169.254]/v1",
        f"http://localhost:{gateway.address.split(':')[1]}/v1",
    ):
        target = {"provider": "OPENAI_COMPATIBLE", "base_url": base_url}
        made = gateway.admin_answer(
            "POST", "/v1/gateway/endpoints", {"slug": f"self/{abs(hash(base_url))}", "targets": [target]}
        )
        assert made.status in (200, 400), base_url
        if made.status == 200:
            slug = made.json()["slug"]
            customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
            answer = customer.chat(slug)
            assert answer.status in (502, 503), (base_url, answer)
            assert gateway.events(customer.key) == []


def test_the_gateway_is_still_healthy_afterwards(gateway):
    assert "panicked" not in gateway.log
    assert call(gateway.address, "GET", "/readyz").status == 200
