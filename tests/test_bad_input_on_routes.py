"""Invalid requests on every inference route get a 400 in the shape of the route's API, take nothing from a limit, reach
no upstream and make no event. Anthropic's error types for other statuses; `test_disk_trouble.py` has the 503."""

import json

import pytest

from support.gateway import Customer, Gateway, message, rate
from support.routes import CALLS, FILE, Call, check_error, form
from support.wire import call

OTHERS = {
    "chat": Call("/v1/chat/completions", {"messages": message("hi")}, None),
    "completions": Call("/v1/completions", {"prompt": "hi"}, None),
    "embeddings": Call("/v1/embeddings", {"input": "hi"}, None),
}
ROUTES = {one.path: one for one in reversed([*OTHERS.values(), *CALLS.values()])}  # the first call of each path
JSON = [path for path, one in ROUTES.items() if not one.is_form]
FORMS = [path for path, one in ROUTES.items() if one.is_form]
STREAMING = [path for path in JSON if path.split("/")[-1] not in ("embeddings", "count_tokens", "rerank", "moderations")]
TEXT = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
LIMITS = [[rate("REQUEST", unit, 9), rate("TOKEN", unit, 10**6)] for unit in ("MINUTE", "DAY")]


@pytest.fixture
def refused(gateway, upstream, slug, limited):
    """Sends a body that must be refused with a 400; returns the message. Nothing may be taken, sent on or billed."""
    group, customer = limited(*LIMITS)

    def send(path, headers, body, code, param=None, status=400):
        answer = customer.post(path, body, headers)
        assert answer.status == status, answer
        said = check_error(answer, path, code, param)
        assert upstream.count == 0 and gateway.events(customer.key) == []
        limits = gateway.limits(group, slug)["limits"]
        assert len(limits) == 4 and all(limit["used"] == limit["held"] == 0 for limit in limits)
        return said

    return send


def written(path, model, *members, **more):
    """A JSON body with members that are given as text."""
    fields = {**ROUTES[path].fields, **more}
    return "{{{}}}".format(",".join([f'"model":"{model}"', json.dumps(fields)[1:-1], *members])).encode()


# JSON bodies

NOT_JSON = {
    "nothing": lambda body: b"",
    "a body that is cut": lambda body: body[: len(body) // 2],
    "a body without its last bracket": lambda body: body[:-1],
    "two bodies": lambda body: body + body,
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "a list": lambda body: b"[%b]" % body,
    "a form": lambda body: form({"model": "a/b"})[1],
}


@pytest.mark.parametrize("path", JSON)
@pytest.mark.parametrize("fault", NOT_JSON)
def test_a_body_that_is_not_a_json_object_is_refused(refused, slug, path, fault):
    refused(path, [], NOT_JSON[fault](written(path, slug)), "invalid_json")


WRONG = {
    "metadata": (['"text"', "[1]", "7"], JSON),
    "prompt_cache_key": (["7", "true", '["a"]', "{}"], TEXT),
    "stream": (['"true"', "1", "{}"], STREAMING),
    "n": (['"2"', "[]"], ["/v1/images/generations"]),
    "max_tokens": (['"many"', "{}", "true"], ["/v1/messages"]),
    "max_output_tokens": (['"many"', "[1]"], ["/v1/responses"]),
    "background": (['"true"', "1"], ["/v1/responses"]),
}
OUT_OF_RANGE = {
    "n": (["0", "-1", "1.5", "1e9"], ["/v1/images/generations"]),
    "max_tokens": (["-1", "0.5"], ["/v1/messages"]),
    "max_output_tokens": (["-1", "0.5"], ["/v1/responses"]),
}
MEMBERS = [
    *((path, name, "invalid_type", values) for name, (values, paths) in WRONG.items() for path in paths),
    *((path, name, "invalid_value", values) for name, (values, paths) in OUT_OF_RANGE.items() for path in paths),
]


@pytest.mark.parametrize("path, name, code, values", MEMBERS)
def test_a_member_that_we_read_with_a_wrong_value_is_refused_by_its_name(refused, slug, path, name, code, values):
    for value in values:
        given = {field: of for field, of in ROUTES[path].fields.items() if field != name}
        body = json.dumps({"model": slug, **given})[:-1] + f',"{name}":{value}}}'
        assert refused(path, [], body.encode(), code, name).startswith(f"`{name}` must be ")


MODELS = {
    '"model":null': "missing_model",
    '"x":1': "missing_model",
    '"model":5': "invalid_type",
    '"model":["a/b"]': "invalid_type",
    '"model":"a/b","model":"a/b"': "duplicate_key",
    '"model":"a/b","\\u006dodel":"a/c"': "duplicate_key",
    '"model":"a/b","Model":"a/c"': "invalid_key",
}


@pytest.mark.parametrize("path", JSON)
def test_a_body_must_have_one_model(refused, path):
    rest = json.dumps(ROUTES[path].fields)[1:-1]
    for member, code in MODELS.items():
        assert "`model`" in refused(path, [], f"{{{rest},{member}}}".encode(), code, "model")


@pytest.mark.parametrize("path", ROUTES)
def test_an_unknown_model_is_not_found_on_any_route(refused, path):
    headers, body = ROUTES[path].body("acme/nothing")
    assert '"acme/nothing"' in refused(path, headers, body, "model_not_found", "model", status=404)


def test_a_response_in_the_background_is_refused(refused, upstream, customer, slug):
    path = "/v1/responses"
    said = refused(path, [], written(path, slug, '"background":true'), "unsupported_parameter", "background")
    assert "`background` is not supported" in said
    for value in ("false", "null"):
        body = written(path, slug, f'"background":{value}')
        assert customer.post(path, body).status == 200
        assert upstream.requests[-1].body.endswith(f'"background":{value}}}'.encode())


# Forms


def lines(*parts, boundary="b-1", end="--\r\n"):
    """A form of parts that are given as bytes."""
    return b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts) + f"--{boundary}{end}".encode()


def part(name, value, more=""):
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


AUDIO = part("file", FILE, '; filename="a.wav"')
TYPE = "multipart/form-data; boundary=b-1"
BROKEN = {
    "no body": (TYPE, lambda model: b""),
    "JSON": ("application/json", lambda model: b'{"model":"a/b"}'),
    "no boundary": ("multipart/form-data", lambda model: lines(model, AUDIO)),
    "an empty boundary": ("multipart/form-data; boundary=", lambda model: lines(model, AUDIO, boundary="")),
    "another boundary": (TYPE, lambda model: lines(model, AUDIO, boundary="b-2")),
    "two boundaries": (TYPE + "; boundary=b-2", lambda model: lines(model, AUDIO)),
    "a long boundary": (f"multipart/form-data; boundary={'b' * 71}", lambda model: lines(model, boundary="b" * 71)),
    "another kind of form": ("application/x-www-form-urlencoded", lambda model: b"model=a/b"),
    "10,000 parts": (TYPE, lambda model: lines(model, *[part("x", b"1")] * 10_000)),
    "a header of 1 MiB": (TYPE, lambda model: lines(model, part("file", FILE, f'; filename="{"x" * (1 << 20)}"'))),
    "1 MiB of headers": (TYPE, lambda model: lines(model, b"x-a: b\r\n" * (1 << 17) + AUDIO)),
    "a header without an end": (TYPE, lambda model: lines(model, b"Content-Disposition: " + b"x" * (1 << 20))),
    "NUL in a file name": (TYPE, lambda model: lines(model, part("file", FILE, '; filename="a\0.wav"'))),
    "a line feed in a file name": (TYPE, lambda model: lines(model, part("file", FILE, '; filename="a\n.wav"'))),
    "two file names": (TYPE, lambda model: lines(model, part("file", FILE, '; filename="a"; filename="b"'))),
    "no name": (TYPE, lambda model: lines(model, b"Content-Disposition: form-data\r\n\r\n1")),
    "no disposition": (TYPE, lambda model: lines(model, b"content-type: text/plain\r\n\r\n1")),
    "a form that is cut": (TYPE, lambda model: lines(model, AUDIO)[:-9000]),
    "no last boundary": (TYPE, lambda model: lines(model, AUDIO, end="\r\n")),
    "bytes after the end": (TYPE, lambda model: lines(model, AUDIO) + b"x"),
    "bytes before the beginning": (TYPE, lambda model: b"\r\n" + lines(model, AUDIO)),
    "bare line feeds": (TYPE, lambda model: lines(model, AUDIO).replace(b"\r\n", b"\n")),
    "a wrong length": (TYPE, lambda model: lines(b"content-length: 3\r\n" + model, AUDIO)),
}


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_form_is_refused(refused, slug, path, fault):
    content_type, body = BROKEN[fault]
    refused(path, [("content-type", content_type)], body(part("model", slug.encode())), "invalid_multipart")


FIELDS = {
    "no parts": (lambda model: [], "missing_model", "model"),
    "no model": (lambda model: [AUDIO], "missing_model", "model"),
    "two models": (lambda model: [part("model", model), AUDIO, part("model", model)], "duplicate_key", "model"),
    "a model as a file": (lambda model: [part("model", model, '; filename="a"'), AUDIO], "invalid_type", "model"),
    "a model as base64": (
        lambda model: [b"content-transfer-encoding: base64\r\n" + part("model", model), AUDIO],
        "invalid_type",
        "model",
    ),
    "a model of JSON": (lambda model: [b"content-type: application/json\r\n" + part("model", model)], "invalid_type", "model"),
    "a long model": (lambda model: [part("model", b"x" * 2000), AUDIO], "invalid_value", "model"),
    "a model that is not UTF-8": (lambda model: [part("model", b"\xff"), AUDIO], "invalid_value", "model"),
    "another case": (lambda model: [part("Model", model), AUDIO], "invalid_key", "model"),
    "a list of models": (lambda model: [part("model[]", model), AUDIO], "invalid_key", "model"),
    "a charset": (lambda model: [part("_charset_", b"utf-16"), part("model", model)], "invalid_key", "_charset_"),
    "a stream that is no boolean": (lambda model: [part("model", model), part("stream", b"maybe")], "invalid_value", "stream"),
    "two streams": (lambda model: [part("model", model), *[part("stream", b"true")] * 2], "duplicate_key", "stream"),
    "two formats": (lambda model: [part("model", model), *[part("response_format", b"text")] * 2], "duplicate_key", "response_format"),
    "a long prompt": (lambda model: [part("model", model), part("prompt", b"x" * 70_000)], "invalid_value", "prompt"),
}


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("fault", FIELDS)
def test_a_part_that_we_read_with_a_wrong_value_is_refused_by_its_name(refused, slug, path, fault):
    parts, code, param = FIELDS[fault]
    headers = [("content-type", TYPE)]
    assert f"`{param}`" in refused(path, headers, lines(*parts(slug.encode())), code, param)


# The errors of Anthropic's API

ANTHROPIC = [path for path in JSON if path.startswith("/v1/messages")]
anthropic = pytest.mark.parametrize("path", ANTHROPIC)


@anthropic
@pytest.mark.parametrize(
    "status, method, tail, headers",
    [
        (401, "POST", "", [("x-api-key", "sk_AAAAAAAAAAAA.wrong")]),
        (401, "POST", "", []),
        (404, "POST", "/nothing", ...),
        (405, "GET", "", ...),
        (405, "DELETE", "", ...),
        (415, "POST", "", [("content-encoding", "compress")]),
    ],
)
def test_errors_of_the_request_have_anthropics_types(gateway, upstream, customer, slug, path, status, method, tail, headers):
    sent = customer.headers() if headers is ... else headers if status == 401 else customer.headers(headers)
    answer = call(gateway.address, method, path + tail, sent, None if method == "GET" else written(path, slug))
    assert answer.status == status and check_error(answer, path)
    assert upstream.count == 0


@anthropic
def test_a_suspended_group_and_a_limit_have_anthropics_types(gateway, upstream, slug, limited, path):
    group, customer = limited([rate("REQUEST", "MINUTE", 1)])
    answers = [customer.post(path, written(path, slug)) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert "1 request" in check_error(answers[1], path) and 1 <= answers[1].error["retry_after_s"] <= 60
    gateway.patch_group(group, disabled=True)
    answer = customer.post(path, written(path, slug))
    assert answer.status == 403 and check_error(answer, path)
    assert upstream.count == 1


@pytest.fixture(scope="module")
def small():
    with Gateway(max_body="2KiB") as running:
        yield running


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_is_too_large_is_refused_in_the_shape_of_the_api(small, upstream, path):
    slug = small.create_endpoint(upstream)["slug"]
    customer = Customer(small, small.mint_key(small.create_group(slug)))
    answer = customer.post(path, b"x" * 2049)
    assert answer.status == 413 and "2048 bytes" in check_error(answer, path, "request_too_large")
    assert upstream.count == 0
