"""Every inference route but chat completions, completions and embeddings: forwarding, white label, billing, limits,
streams that are cut, answers without content, and strict admission."""

import json
import math
import select
import time

import pytest

from support.disk import FaultyDisk
from support.gateway import Customer, Gateway, model, rate
from support.routes import CALLS, EVENTS, TARGET, check_error
from support.site import KINDS
from support.upstream import MODEL, BreakOff, Reply, frame
from support.wire import Broken, Stream, call

HEADERS = {"content-type", "content-length", "transfer-encoding", "date", "x-request-id", "cache-control", "x-accel-buffering"}
HEADERS |= {f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")}
ROOMY = [[rate("REQUEST", unit, 1000), rate("TOKEN", unit, 10**6)] for unit in ("MINUTE", "DAY")]

TERMINALS = (
    b"message_stop",
    b"response.completed",
    b"image_generation.completed",
    b"speech.audio.done",
    b"transcript.text.done",
    b"[DONE]",
)

calls = pytest.mark.parametrize("name", CALLS)


def used(gateway, group, slug):
    """What each limit of the group counts, once nothing is held."""
    limits = gateway.eventually(
        lambda: gateway.limits(group, slug)["limits"], lambda limits: all(limit["held"] == 0 for limit in limits)
    )
    return {(limit["type"], limit["unit"]): limit["used"] for limit in limits}


@calls
def test_a_call_reaches_the_same_route_and_only_the_models_name_is_changed(upstream, customer, slug, name):
    """The answer must be that of the upstream to the same bytes, with the slug in place of the model's name."""
    one = CALLS[name]
    upstream.always(one.scripted())
    headers, body = one.body(slug)
    answer = customer.post(one.path + "?a=b", body, headers)
    assert answer.status == 200
    [received] = upstream.requests
    assert (received.method, received.path) == ("POST", one.path)
    assert received.body == body.replace(slug.encode(), TARGET.encode(), 1)
    direct = call(upstream.origin.removeprefix("http://"), "POST", one.path, headers, received.body)
    assert answer.body == direct.body.replace(MODEL.encode(), slug.encode())
    for hidden in (MODEL, TARGET, str(upstream.port), "scripted/1.0", "leak", "req_scripted", "org_scripted"):
        assert hidden not in str(answer.header_list) and hidden.encode() not in answer.body
    assert answer.headers["content-type"] == one.content_type
    is_anthropic = one.path.startswith("/v1/messages")
    assert set(answer.headers) - HEADERS == ({"request-id"} if is_anthropic else set())
    assert answer.headers.get("request-id", answer.headers["x-request-id"]) == answer.headers["x-request-id"]
    assert ("cache-control" in answer.headers) is ("x-accel-buffering" in answer.headers) is one.streamed


@calls
def test_a_call_makes_one_event_and_counts_against_every_limit(gateway, upstream, slug, limited, name):
    one = CALLS[name]
    group, customer = limited([rate("REQUEST", "MINUTE", 1), rate("TOKEN", "MINUTE", 10**6)], ROOMY[1])
    upstream.always(one.scripted())
    answer = one.send(customer, slug)
    assert answer.status == 200
    headers = answer.headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert headers["x-ratelimit-limit-tokens"] == "1000000" and headers["x-ratelimit-reset-tokens"]
    events = gateway.events(customer.key)
    if one.tokens is None:
        assert events == []
        billed = {("REQUEST", "MINUTE"): 1, ("REQUEST", "DAY"): 0, ("TOKEN", "MINUTE"): 0, ("TOKEN", "DAY"): 0}
    else:
        [event] = events
        tokens = sum(one.tokens[:2])
        billed = {("REQUEST", "MINUTE"): 1, ("REQUEST", "DAY"): 1, ("TOKEN", "MINUTE"): tokens, ("TOKEN", "DAY"): tokens}
        assert event["tokens"] == dict(zip(KINDS, one.tokens))
        assert (event["usageSource"], event["units"]) == (one.source, one.units)
        assert (event["route"], event["streamed"], event["status"]) == (one.path, one.streamed, 200)
        assert (event["requestId"], event["target"]) == (headers["x-request-id"], 0)
        assert event["requestMetadata"] == one.fields.get("metadata")
    assert used(gateway, group, slug) == billed
    refused = one.send(customer, slug)
    assert refused.status == 429 and refused.headers["retry-after"]
    assert "request" in check_error(refused, one.path, "rate_limit_exceeded")
    assert upstream.count == 1 and used(gateway, group, slug) == billed


# Counting tokens

COUNT = CALLS["count_tokens"]


def test_a_count_of_tokens_neither_holds_nor_needs_tokens(gateway, upstream, slug, limited):
    tokens = rate("TOKEN", "MINUTE", 0), rate("TOKEN", "DAY", 0)
    group, customer = limited([tokens[0], rate("REQUEST", "MINUTE", 5)], [tokens[1], rate("REQUEST", "DAY", 5)])
    gate = upstream.hang_next()
    connection = COUNT.begin(customer, slug)
    gate.reached()
    held = {(limit["type"], limit["unit"]): limit["held"] for limit in gateway.limits(group, slug)["limits"]}
    assert held["TOKEN", "MINUTE"] == held["TOKEN", "DAY"] == 0
    gate.release()
    answer = connection.read_answer()
    connection.close()
    assert answer.json() == {"input_tokens": 3}
    assert used(gateway, group, slug)["REQUEST", "MINUTE"] == 1
    assert CALLS["messages"].send(customer, slug).status == 429, "the limits on tokens hold for other routes"


@pytest.mark.parametrize("unit, where", [("MINUTE", 0), ("DAY", 1)])
def test_a_count_of_tokens_takes_only_from_request_rates(upstream, slug, limited, unit, where):
    limits = [[], []]
    limits[where].append(rate("REQUEST", unit, 1))
    _, customer = limited(*limits)
    statuses = [COUNT.send(customer, slug).status for _ in range(3)]
    assert statuses == ([200, 429, 429] if unit == "MINUTE" else [200, 200, 200])


def test_a_failed_count_of_tokens_gives_its_rate_back_only_if_no_target_answered(gateway, upstream, slug, limited):
    group, customer = limited(*ROOMY)
    for status, count in ((500, 0), (400, 1)):
        upstream.fail_next(1, status)
        assert COUNT.send(customer, slug).status == (502 if status == 500 else status)
        assert used(gateway, group, slug)["REQUEST", "MINUTE"] == count


# Streams that are cut. For each: the number of frames that come, and the bill for them.

THREE = math.ceil(len("w0 w1 w2 ") / 4)
CUTS = {
    "responses streamed": (7, [4, THREE, 0, 0]),
    "messages streamed": (6, [10, 1 + THREE, 5, 2]),  # `message_start` reports the prompt and an output of 1
    "images streamed": (2, [3, 0, 0, 0]),
    "speech": (2, [4, 0, 0, 0]),
    "speech streamed": (2, [5, 0, 0, 0]),
    "transcriptions streamed": (3, [1, THREE, 0, 0]),
    "translations streamed": (3, [1, THREE, 0, 0]),
}
cuts = pytest.mark.parametrize("name", CUTS)


def check_cut(gateway, customer, slug, group, name):
    """Checks that there is one event, for the part that was sent, and that nothing is held."""
    one, tokens = CALLS[name], CUTS[name][1]
    [event] = gateway.wait_events(1, customer.key)
    assert event["tokens"] == dict(zip(KINDS, tokens)) and event["usageSource"] == "counted"
    assert event["units"] == ({"images": 0} if "images" in name else one.units)
    assert (event["route"], event["streamed"], event["status"]) == (one.path, one.streamed, 200)
    count = used(gateway, group, slug)
    assert (count["REQUEST", "DAY"], count["TOKEN", "DAY"]) == (1, sum(tokens[:2]))


@cuts
def test_a_hang_up_in_mid_stream_cancels_the_upstream_and_is_billed(gateway, upstream, slug, limited, name):
    one, (frames, _) = CALLS[name], CUTS[name]
    group, customer = limited(*ROOMY)
    gate = upstream.gate()
    upstream.reply_next(one.scripted(insert={frames: gate}))
    connection = one.begin(customer, slug)
    assert connection.read_head()[0] == 200
    gate.reached()
    if one.streamed:
        stream = Stream(connection)
        for _ in range(frames):
            stream.next()
    else:
        connection.read_some()
    connection.reset()
    upstream.requests[0].wait_hung_up()
    check_cut(gateway, customer, slug, group, name)


@cuts
@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_that_breaks_off_ends_in_an_error_event_of_its_api(gateway, upstream, slug, limited, name, reset):
    one, (frames, _) = CALLS[name], CUTS[name]
    group, customer = limited(*ROOMY)
    gate = upstream.gate()  # a reset could overtake the frames before it
    upstream.reply_next(one.scripted(insert={frames: gate, frames + 1: BreakOff(reset)}))
    connection = one.begin(customer, slug)
    assert connection.read_head()[0] == 200
    if one.streamed:
        stream = Stream(connection)
        for _ in range(frames):
            assert MODEL not in stream.next()
        gate.release()
        check_error_event(one.path, stream)
        assert connection.is_closed_by_peer(3)
    else:
        connection.read_some()
        gate.release()
        with pytest.raises(Broken):  # sound has no place for an error
            connection.read_body()
    connection.close()
    check_cut(gateway, customer, slug, group, name)


def check_error_event(path, stream, words="broke off"):
    """Checks that the next event is an error in the shape of the API, and that the body then ends properly."""
    before = len(stream.raw)
    data = json.loads(stream.next())
    assert stream.next() is None
    last = stream.raw[before:].lstrip(b"\n")
    error = data.pop("error")
    assert words in error["message"] and TARGET not in error["message"]
    if path == "/v1/messages":
        assert set(error) == {"type", "message"} and error["type"] == "api_error"
    else:
        assert (error["type"], error["code"], error["param"]) == ("server_error", "upstream_error", None)
    typed = path in ("/v1/messages", "/v1/responses")
    assert data == ({"type": "error"} if typed else {})
    assert last.startswith(b"event: error\ndata: {" if typed else b"data: {")
    assert not any(terminal in stream.raw for terminal in TERMINALS)


ERRORS = {
    "messages streamed": {"type": "error", "error": {"type": "overloaded_error", "message": f"{TARGET} at gpu-7.lan failed"}},
    "responses streamed": {"type": "error", "code": "server_error", "message": f"{TARGET} at gpu-7.lan failed", "param": None},
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_event_in_mid_stream_is_cleaned_and_keeps_the_shape_of_its_api(gateway, upstream, slug, limited, name):
    one, (frames, _) = CALLS[name], CUTS[name]
    group, customer = limited(*ROOMY)
    upstream.reply_next(one.scripted(insert={frames: frame(ERRORS[name], event="error")}))
    connection = one.begin(customer, slug)
    assert connection.read_head()[0] == 200
    stream = Stream(connection)
    for _ in range(frames):
        stream.next()
    check_error_event(one.path, stream, "[\u2026] failed")
    connection.close()
    check_cut(gateway, customer, slug, group, name)


# The end of a stream

STREAMS = [name for name, one in CALLS.items() if one.streamed]


def test_the_terminal_event_of_every_api_waits_for_the_log(upstream):
    with FaultyDisk() as disk, disk.gateway() as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        running = []
        for name in [*STREAMS, "speech"]:
            one, gate = CALLS[name], upstream.gate()
            upstream.reply_next(one.scripted(insert={-1: gate}))
            connection = one.begin(customer, slug)
            assert connection.read_head()[0] == 200
            gate.reached()
            running.append((one, gate, connection, Stream(connection)))
        journal = lambda: gateway.admin("GET", "/v1/gateway/status")["journal"]  # noqa: E731
        before = journal()["last_sequence"]
        disk.stall("sync", "write")
        for _, gate, _, _ in running:
            gate.release()
        gateway.eventually(lambda: journal()["last_sequence"] - before, lambda count: count == len(running))
        for one, _, connection, stream in running:
            while connection.buffer or select.select([connection.socket], [], [], 0.05)[0]:
                part = connection.read_some()
                assert part, "the body's end must wait too"
                stream.raw += part
            assert not any(terminal in stream.raw for terminal in TERMINALS)
        disk.heal()
        for one, _, connection, stream in running:
            rest = connection.read_body()
            assert rest if not one.streamed else any(terminal in rest for terminal in TERMINALS)
            connection.close()
        assert len(gateway.events()) == len(running)


def test_a_message_that_has_stopped_ends_after_five_seconds_without_message_stop(gateway, upstream, slug, limited):
    one = CALLS["messages streamed"]
    group, customer = limited(*ROOMY)
    upstream.reply_next(one.scripted(insert={-1: upstream.gate()}))
    begun = time.monotonic()
    answer = one.send(customer, slug)
    assert 4.5 < time.monotonic() - begun < 9
    assert answer.body.endswith(b"}\n\n") and b"message_delta" in answer.body
    assert b"message_stop" not in answer.body and b"error" not in answer.body
    upstream.requests[0].wait_hung_up()
    [event] = gateway.events(customer.key)
    assert event["tokens"] == dict(zip(KINDS, one.tokens)) and event["usageSource"] == "upstream"


# Answers without content


def reply(body, content_type="application/json", status=200):
    return Reply(status, [("content-type", content_type)], steps=[body] if body else [])


FAILED = {"message": f"{TARGET} at gpu-7.internal failed", "type": "server_error", "code": None}
WITHOUT_CONTENT = {
    "an empty answer": lambda one: reply(b"", one.content_type),
    "an error object": lambda one: reply(json.dumps({"error": FAILED}).encode()),
    "an error of FastAPI": lambda one: reply(json.dumps({"detail": FAILED["message"]}).encode()),
    "an error event": lambda one: reply(frame({"type": "error", "error": FAILED}, event="error"), EVENTS),
    "an error first": lambda one: reply(frame({"error": FAILED}), EVENTS),
    "204": lambda one: Reply(204, [("content-length", "0")], steps=[]),
    "a page": lambda one: reply(b"<html>gpu-7.internal</html>", "text/html"),
    "an empty object": lambda one: reply(b"{}"),
}
# A recording in which nobody speaks has an empty transcript.
ANSWERS_WITHOUT_CONTENT = [
    (name, case) for name in CALLS for case in WITHOUT_CONTENT if (name, case) != ("transcriptions as text", "an empty answer")
]


@pytest.mark.parametrize("name, case", ANSWERS_WITHOUT_CONTENT)
def test_an_answer_without_content_is_a_failed_attempt(gateway, upstream, second, name, case):
    one = CALLS[name]
    slug = gateway.create_endpoint([upstream, second])["slug"]
    group = gateway.create_group(model(slug, *ROOMY))
    customer = Customer(gateway, gateway.mint_key(group))
    for target in (upstream, second, upstream):
        target.reply_next(WITHOUT_CONTENT[case](one))
    second.always(one.scripted())
    failed = one.send(customer, slug)
    assert failed.status == 502 and second.count == 1, failed
    check_error(failed, one.path, "upstream_error")
    assert b"gpu-7" not in failed.body and TARGET.encode() not in failed.body
    assert gateway.events(customer.key) == [] and set(used(gateway, group, slug).values()) == {0}
    assert one.send(customer, slug).status == 200
    assert (upstream.count, second.count) == (2, 2)
    events = 0 if one.tokens is None else 1
    assert [event["target"] for event in gateway.wait_events(events, customer.key)] == [1] * events


# Strict admission


@pytest.fixture(scope="module")
def strict():
    with Gateway(token_admission="strict", strict_output=64) as running:
        yield running


@pytest.mark.parametrize("name", ["responses", "responses streamed", "messages", "messages streamed"])
@pytest.mark.parametrize("declared, sent", [({}, 64), (None, 64), (5, 5), (1000, 100)])
def test_strict_admission_bounds_the_output_of_text(strict, upstream, name, declared, sent):
    """100 tokens are left beside the prompt."""
    one = CALLS[name]
    maximum, prompt = ("max_output_tokens", 4) if one.path == "/v1/responses" else ("max_tokens", 5)
    slug = strict.create_endpoint(upstream)["slug"]
    customer = Customer(strict, strict.mint_key(strict.create_group(model(slug, [rate("TOKEN", "MINUTE", 100 + prompt)]))))
    given = {field: value for field, value in one.fields.items() if field != maximum}
    body = {"model": slug, **given} | ({} if declared == {} else {maximum: declared})
    upstream.reply_next(Reply(words=1))
    assert customer.post(one.path, body).status == 200
    assert upstream.requests[0].json == {"model": TARGET, **given, maximum: sent}


def test_strict_admission_changes_nothing_in_other_requests(strict, upstream):
    slug = strict.create_endpoint(upstream)["slug"]
    customer = Customer(strict, strict.mint_key(strict.create_group(model(slug, *ROOMY))))
    others = [one for one in CALLS.values() if one.path not in ("/v1/responses", "/v1/messages")]
    for count, one in enumerate(others, 1):
        fields = {} if one.is_form else {"max_tokens": 10**9, "max_output_tokens": None}
        headers, body = one.body(slug, **fields)
        assert customer.post(one.path, body, headers).status == 200
        assert upstream.wait_requests(count).body == body.replace(slug.encode(), TARGET.encode(), 1)
