"""Errors of model servers: what customers and operators see of them, and when the next target is tried."""

import json

import pytest

from support.gateway import Customer, Gateway, model, rate
from support.upstream import Reply, chunk, frame, stream_of

SERVED = "upstream-model"


@pytest.fixture
def slug(gateway, upstream, second):
    return gateway.create_endpoint([upstream, second])["slug"]


def error(message="no", **more):
    return {"error": {"message": message, **more}}


def complaint(*place, **more):
    return {"type": "missing", "loc": ["body", *place], "msg": "Field required", **more}


def refuse(upstream, status, body, times=1):
    said = {"steps": [body]} if isinstance(body, bytes) else {"json_body": body}
    upstream.reply_next(Reply(status, **said), times)


def health(gateway, slug, index=0):
    upstreams = gateway.admin("GET", "/v1/gateway/status")["upstreams"]
    return [one for one in upstreams if one["slug"] == slug][index]


@pytest.mark.parametrize(
    "status, body, message, code",
    [
        (400, error("bad", code="bad_thing", param="x"), "bad", "bad_thing"),
        (400, error("bad", code=400), "bad", None),
        (400, {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}, "bad", None),
        (404, error(f"no model {SERVED} here"), "no model {slug} here", None),
        (400, error("参数错误：Échec de la requête"), "参数错误：Échec de la requête", None),
        (422, {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Field required"}]}, "messages.0.role: Field required", None),
        (501, error("no embeddings", code=501, type="not_supported_error"), "no embeddings", "not_supported"),
        (400, error("too much", code=400, type="exceed_context_size_error", n_ctx=8), "too much", "context_length_exceeded"),
        (400, error("This model's maximum context length is 8 tokens."), "This model's maximum context length is 8 tokens.", "context_length_exceeded"),
        (400, error("You passed 9 input tokens. However, the model's context length is only 8 tokens"), "You passed 9 input tokens. However, the model's context length is only 8 tokens", "context_length_exceeded"),
        (422, {"object": "error", "message": {"detail": [complaint("messages", 0, "role")]}}, "messages.0.role: Field required", None),
        (422, {"detail": [complaint("messages", input="x" * 100_000)]}, "messages: Field required", None),
        (400, error("bad " + "x" * 100_000, code="bad_thing"), "bad", None),
        (400, [error("bad", code="bad_thing")], "bad", "bad_thing"),
        (400, {"detail": error("bad", code="bad_thing")}, "bad", "bad_thing"),
        (400, {"errors": [{"code": 7000, "message": "bad"}]}, "bad", None),
        (400, {"Message": "bad"}, "bad", None),
        (400, b'\xef\xbb\xbf{"error": {"message": "bad", "x": NaN}}', "bad", None),
        (400, b'{"error": {"message": "bad \\ud83d"}}', "bad \ufffd", None),
        (400, b'data: {"error": {"message": "bad"}}\n\n', "bad", None),
        (400, error("prod_vllm_1.lan, gpu.inter\u2062nal, 𝗀𝗉𝗎.ⓛⓐⓝ, gpu[.]lan, ip-10-1-2-3"), "[…], […], […], […], […]", None),
        (400, error("addr:fd00::7: at file:/srv/m/x.bin, /v1/../srv/m/x, \\\\nas\\m\\x"), "addr:[…]: at file:[…], […], […]", None),
        (400, error("no UPSTREAM-model, models--upstream-model", code="models--upstream-model"), "no {slug}, {slug}", None),
        (400, error("see gpu-box-7.internal/docs at /srv/models/m.gguf", code="gpu-box.internal"), "see […]/docs at […]", None),
    ],
)
def test_the_customers_own_error_is_passed_on(upstream, second, customer, slug, status, body, message, code):
    refuse(upstream, status, body)
    answer = customer.chat(slug)
    assert answer.status == (400 if status == 501 else status)
    assert answer.error["message"] == message.format(slug=slug)
    assert answer.error["code"] == code
    assert answer.error["type"] == "invalid_request_error" and second.count == 0


def test_a_failure_is_reported_to_customer_and_operator_in_the_servers_words(gateway, upstream, second, customer, slug):
    words = f"CUDA out of memory on gpu-7.internal while running {SERVED}"
    for one in (upstream, second):
        refuse(one, 500, error(words, code=500))
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert answer.error["message"] == f"The model server failed (500): CUDA out of memory on […] while running {slug}"
    why = f"it failed (500): {words}"
    assert health(gateway, slug)["last_error"] == why
    request = answer.headers["x-request-id"]
    line = json.loads(gateway.process.wait_line(lambda line: request in line and "passed over" in line))
    fields = line.get("fields", line)
    assert (fields["model"], fields["target_index"], fields["why"]) == (slug, 0, why)


@pytest.mark.parametrize("said", ["cannot parse 'my secret diary'", "cannot parse my secret diary of the year, page one"])
def test_the_operator_does_not_see_the_customers_text(gateway, upstream, second, customer, slug, said):
    for one in (upstream, second):
        refuse(one, 500, error(said))
    answer = customer.chat(slug, "my secret diary of the year, page one")
    assert said in answer.error["message"]
    assert health(gateway, slug)["last_error"].startswith("it failed (500): cannot parse ")
    assert "secret diary" not in str(health(gateway, slug)) + gateway.log


def test_the_upstreams_error_code_is_not_logged(gateway, upstream, second, customer, slug):
    refuse(upstream, 400, error(code="my_secret_diary"))
    assert customer.chat(slug).error["code"] == "my_secret_diary"
    customer.chat("acme/none")
    gateway.process.wait_line(lambda line: "model_not_found" in line)
    assert "my_secret_diary" not in gateway.log


QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    "status, body",
    [
        (401, error(QUOTA)),
        (402, error(QUOTA)),
        (403, error(QUOTA)),
        (429, error(QUOTA, code="insufficient_quota")),
        (400, error(QUOTA, code="billing_hard_limit_reached")),
        (404, error(QUOTA, code="account_deactivated")),
        (400, error(QUOTA, code="INSUFFICIENT_QUOTA")),
        (400, [error(QUOTA, code="insufficient_quota")]),
        (400, {"detail": error(QUOTA, type="insufficient_quota")}),
        (400, {"error": "insufficient_quota", "message": QUOTA}),
        (429, error(QUOTA, type="exceeded_current_quota_error")),
        (400, error(QUOTA, code="Arrearage")),
        (400, error(f"Your credit balance is too low to access the Anthropic API. {QUOTA}")),
    ],
)
def test_account_problems_are_hidden_from_customers(gateway, upstream, second, customer, slug, status, body):
    refuse(upstream, status, body, times=2)
    assert customer.chat(slug).status == 200 and second.count == 1
    refuse(second, status, body)
    answer = customer.chat(slug)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert "quota" not in answer.error["message"]
    reported = health(gateway, slug)["last_error"]
    assert f"account ({status}): You" in reported and QUOTA in reported


OUT_OF_QUOTA = error("You exceeded your current quota, please check your plan.", code="insufficient_quota")
NO_QUOTA = {
    "a document": (Reply(json_body=OUT_OF_QUOTA), "The model server failed."),
    "the first event": (stream_of(OUT_OF_QUOTA), "The model server failed."),
    "a 500": (Reply(500, json_body=OUT_OF_QUOTA), "The model server failed (500)."),
    "a 503": (Reply(503, json_body=error("quota", type="insufficient_quota")), "The model server failed (503)."),
    "a later event": (stream_of(chunk({"content": "a"}), OUT_OF_QUOTA), "The model server failed."),
}


@pytest.mark.parametrize("case", NO_QUOTA)
def test_account_problems_inside_an_answer_are_hidden_from_customers(gateway, upstream, second, customer, slug, case):
    reply, message = NO_QUOTA[case]
    for one in (upstream, second):
        one.reply_next(reply)
    body = customer.chat(slug, stream=True).body
    shown = json.loads(body.split(b"data: ")[-1])["error"]
    assert (shown["message"], shown["code"]) == (message, "upstream_error") and b"quota" not in body
    if second.count:
        assert "quota" in health(gateway, slug)["last_error"]


def test_the_refusal_of_an_image_for_a_text_model_is_explained(upstream, second, customer, slug):
    for one in (upstream, second):
        refuse(one, 500, error("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"))
    answer = customer.chat(slug)
    assert answer.status == 502
    assert answer.error["message"].startswith("The model server failed (500): image input is not supported - hint")


@pytest.mark.parametrize(
    "status, body",
    [
        (400, {"detail": [complaint("stream_options")]}),
        (422, {"object": "error", "message": {"detail": [complaint("stream_options")]}}),
        (422, {"detail": [*[complaint(f"a{i}") for i in range(8)], complaint("stream_options", input="x" * 100_000)]}),
        (400, [error('Unknown name "stream_options": Cannot find field.')]),
        (400, b"<p>unknown key stream_options in {stream_options: ..}</p>"),
    ],
)
def test_an_upstream_that_refuses_stream_options_still_streams(gateway, upstream, slug, group, second, status, body):
    own_slug = gateway.create_endpoint(upstream)["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(own_slug)))
    refuse(upstream, status, body)
    upstream.always(stream_of(chunk({"content": "abcdefgh"}), chunk(finish="stop"), "[DONE]"))
    for options in (None, {"include_usage": True, "x": 1}):
        connection, _, stream = customer.stream_chat(own_slug, **({"stream_options": options} if options else {}))
        assert len(stream.chunks()) == 2
        connection.close()
    first, again, later = (request.json for request in upstream.requests)
    assert first.pop("stream_options") == {"include_usage": True}
    assert again == first and later == first, "nothing else is changed, and usage is not requested again"
    assert [event["usageSource"] for event in gateway.wait_events(2, customer.key)] == ["counted"] * 2


@pytest.mark.parametrize(
    "body",
    [
        error("my_stream_options is unknown"),
        {"detail": [complaint("messages", 0, "stream_options")]},
        {"detail": [complaint("messages", input={"stream_options": {"include_usage": True}})]},
        b'no JSON: {"stream": true, "stream_options": {"include_usage": true}}',
    ],
)
def test_a_refusal_that_names_something_else_is_passed_on(upstream, second, customer, slug, body):
    refuse(upstream, 400, body)
    assert customer.chat(slug, stream=True).status == 400 and upstream.count == 1


def test_an_upstream_that_accepts_only_one_output_maximum_gets_one(upstream):
    with Gateway(TOKEN_ADMISSION="strict") as strict:
        slug = strict.create_endpoint(upstream)["slug"]
        group = strict.create_group(model(slug, [rate("TOKEN", "MINUTE", 1_000_000)]))
        customer = Customer(strict, strict.mint_key(group))
        refuse(upstream, 400, error("max_tokens and max_completion_tokens cannot both be set", param="max_tokens"))
        for _ in range(2):
            assert customer.chat(slug, max_completion_tokens=7).status == 200
        first, again, later = (request.json for request in upstream.requests)
        assert first.pop("max_tokens") == 7
        assert again == first and later == first


def test_an_error_in_mid_stream_names_no_host_and_no_path(gateway, upstream, second, customer, slug):
    said = error(f"{SERVED} at host=gpu-7.lan;port=1 (/srv/m/x.bin) failed")
    upstream.reply_next(stream_of(chunk({"content": "a"}), said))
    connection, _, stream = customer.stream_chat(slug)
    [_, last] = list(stream)
    connection.close()
    assert json.loads(last)["error"]["message"] == f"{slug} at host=[…];port=1 ([…]) failed"


WORDS = f"{SERVED} at gpu-7.internal failed"
ERRORS = {
    "a list": [error(WORDS)["error"]],
    "a text": WORDS,
    "true": True,
}
MID_STREAM = {
    **{f"an error that is {name}": frame({"error": value, "message": WORDS}) for name, value in ERRORS.items()},
    "a type": frame({"type": "error", "message": WORDS}),
    "a detail": frame({"detail": WORDS}),
    "errors": frame({"errors": [{"message": WORDS}]}),
    "inside a list": frame([error(WORDS)]),
    "a detail inside a list": frame([{"detail": WORDS}]),
    "inside a list, with NaN": frame(json.dumps([error(WORDS, p=float("nan"))])),
    "a choice": frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", **error(WORDS)}]}),
    "NaN": frame(json.dumps(error(WORDS, p=float("nan")))),
    "cut": frame(json.dumps(error(WORDS))[:-5]),
    "more after it": frame(json.dumps(error(WORDS)) + "}"),
    "no data": json.dumps(error(WORDS)).encode() + b"\n\n",
    "no data, in lines": json.dumps(error(WORDS), indent=1).encode() + b"\n\n",
    "after data": frame(chunk({"content": "b"}))[:-1] + json.dumps(error(WORDS)).encode() + b"\n\n",
    "its own field": b"error: " + json.dumps(error(WORDS)["error"]).encode() + b"\n\n",
}


@pytest.mark.parametrize("case", MID_STREAM)
def test_an_error_in_mid_stream_is_recognized_in_any_shape(upstream, second, customer, slug, case):
    upstream.reply_next(stream_of(chunk({"content": "a"}), MID_STREAM[case], chunk({"content": "c"}), chunk(finish="stop"), "[DONE]"))
    connection, _, stream = customer.stream_chat(slug)
    [_, last] = list(stream)
    connection.close()
    shown = json.loads(last)["error"]
    assert shown["code"] == "upstream_error" and shown["message"]
    assert b"gpu-7" not in stream.raw and SERVED.encode() not in stream.raw


SAID = {"role": "assistant", "content": "abcd"}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_error_beside_the_content_of_an_answer_does_not_name_the_upstream(gateway, upstream, customer, slug, key, mark):
    choices = [
        {"index": 0, "message": SAID, "finish_reason": "error", "error": WORDS},
        {"index": 1, "message": SAID, "finish_reason": "stop", "error": None},
    ]
    document = {"id": "x", "model": SERVED, **error(WORDS), "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    upstream.reply_next(Reply(headers=[("Content-Type", "application/json")], steps=[mark + json.dumps(document).encode()]))
    answer = customer.chat(slug, n=2)
    shown = {"message": f"{slug} at […] failed", "type": "server_error", "param": None, "code": "upstream_error"}
    assert answer.status == 200 and answer.body.startswith(mark)
    assert json.loads(answer.body.removeprefix(mark)) == {
        **document,
        "model": slug,
        "error": shown,
        "choices": [{**choices[0], "error": shown}, choices[1]],
    }
    [event] = gateway.events(key)
    assert (event["tokens"]["inputTokens"], event["usageSource"]) == (3, "upstream")


def test_an_error_event_without_json_names_no_host(upstream, second, customer, slug):
    upstream.reply_next(stream_of(frame(chunk({"content": "a"})), b"event: error\ndata: gpu-7.internal is out of memory\n\n"))
    connection, _, stream = customer.stream_chat(slug)
    list(stream)
    connection.close()
    assert b"gpu-7" not in stream.raw and b"out of memory" in stream.raw
