"""Retry-After: the wait is long enough to be admitted, at most 1/60 of the window too long, and never longer than the
window.

An admission or refusal happens between the sending of a request and its answer. Every bound below uses the safe end of
that span, on the monotonic clock, so that a slow machine makes the tests weaker but never makes them fail.
"""

import concurrent.futures
import dataclasses
import math
import os
import re
import time

import pytest

from support.gateway import Customer, Gateway, fresh, message, model, rate, seconds_to_midnight
from support.upstream import Reply
from support.wire import Connection

MODES = pytest.mark.parametrize("mode", ["INDEPENDENT", "CASCADING"])
RESET = re.compile(r"\d{1,3}ms|(\d+h)?(\d{1,2}m)?\d{1,2}s")
ROUNDING = 0.001  # resets are given in milliseconds, rounded up
NAMES = {f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")}
# Type, threshold, tokens per call, and the number of calls that fill the limit. Some answers exceed what is left.
FILLED = [
    ("REQUEST", 1, 2, 1),
    ("REQUEST", 2, 2, 2),
    ("REQUEST", 7, 2, 7),
    ("TOKEN", 2, 2, 1),
    ("TOKEN", 10, 35, 1),
    ("TOKEN", 100, 25, 4),
    ("TOKEN", 1000, 334, 3),
]
LIMITS = (
    [rate("REQUEST", "MINUTE", 50), rate("TOKEN", "MINUTE", 5000)],
    [rate("REQUEST", "DAY", 40), rate("TOKEN", "DAY", 4000)],
)


@dataclasses.dataclass
class Call:
    """One request with its times: the gateway decided between `sent` and `received`."""

    sent: float
    received: float
    answer: object


class Caller:
    """Sends requests for answers of `tokens` tokens, one after another, on one connection."""

    def __init__(self, customer, slug, tokens=2):
        self.customer, self.slug, self.tokens = customer, slug, tokens
        self.connection = Connection(customer.gateway.address)
        self.admitted = []

    def call(self):
        body = {"model": self.slug, "messages": message("x"), "max_tokens": self.tokens - 1}
        sent = time.monotonic()
        self.connection.request("POST", "/v1/chat/completions", self.customer.headers(), body)
        answer = self.connection.read_answer()
        call = Call(sent, time.monotonic(), answer)
        if answer.status == 200:
            assert answer.json()["usage"]["total_tokens"] == self.tokens
            self.admitted.append(call)
        else:
            assert answer.status == 429, answer
        return call

    def until_refused(self):
        while (call := self.call()).answer.status == 200:
            assert len(self.admitted) < 1000, "no request is ever refused"
        return call


def seconds(reset):
    """`6m0s` in seconds."""
    assert RESET.fullmatch(reset), reset
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|h|m|s)", reset))


def bounds(first, refused, window):
    """The least and the most time, after `refused`, until the room that `first` took is free again."""
    return first.sent + window - refused.received, first.received + window * (1 + 1 / 60) - refused.sent


def check_wait(caller, fit, kind, window):
    """Checks a refusal's wait. `fit` calls fill the limit: the oldest of the last `fit` must leave the window first."""
    refused = caller.until_refused()
    first, last = caller.admitted[-fit], caller.admitted[-1]
    wait = int(refused.answer.headers["retry-after"])
    least, most = bounds(first, refused, window)
    assert max(1, math.ceil(least)) <= wait <= max(1, math.ceil(min(most, window))), (least, wait, most)
    assert refused.answer.error["retry_after_s"] == wait
    assert f"Try again in {'1 min' if wait == 60 else f'{wait} s'}." in refused.answer.error["message"]
    # The reset, given to the millisecond below a second, is exactly that of the last call.
    reset = seconds(refused.answer.headers[f"x-ratelimit-reset-{kind.lower()}s"])
    least, most = last.sent + window - refused.received, last.received + window - refused.sent
    assert least <= reset <= (most + ROUNDING if reset < 1 else math.ceil(most)), (least, reset, most)
    time.sleep(max(0.0, refused.received + wait - time.monotonic()))
    assert caller.call().answer.status == 200, "the wait in a refusal must be enough"


def check_admission_time(caller, fit, window):
    """Calls without pause: the next admission comes neither before the window ends nor more than a bucket later."""
    caller.until_refused()
    first = caller.admitted[-fit]
    while (call := caller.call()).answer.status == 429:
        assert call.sent < first.received + window * (1 + 1 / 60), "room that became free was not available"
    assert call.received >= first.sent + window, "a request was admitted although the window was full"


def run_all(gateway, upstream, slug, unit, check):
    """Runs every case of `FILLED` in both modes, each with its own customer and thread."""
    upstream.always(Reply(words=1000))  # as many as `max_tokens` allows

    def one(mode, kind, threshold, tokens, fit):
        group = gateway.create_group(model(slug, [rate(kind, unit, threshold)]), mode=mode)
        caller = Caller(Customer(gateway, gateway.mint_key(group)), slug, tokens)
        with caller.connection:
            check(caller, fit, kind)

    cases = [(mode, *filled) for mode in ("INDEPENDENT", "CASCADING") for filled in FILLED]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        for case, future in [(case, pool.submit(one, *case)) for case in cases]:
            try:
                future.result()
            except Exception as failed:
                failed.add_note(str(case))
                raise


# Rolling windows


def test_the_wait_for_a_second_limit_is_exact(gateway, upstream, slug):
    def check(caller, fit, kind):
        check_wait(caller, fit, kind, 1.0)
        check_admission_time(caller, fit, 1.0)

    run_all(gateway, upstream, slug, "SECOND", check)


@pytest.mark.skipif("TOLLGATE_SLOW_TESTS" not in os.environ, reason="takes two minutes: set TOLLGATE_SLOW_TESTS")
def test_the_wait_for_a_minute_limit_is_exact(gateway, upstream, slug):
    def check(caller, fit, kind):
        check_wait(caller, fit, kind, 60.0)
        check_admission_time(caller, fit, 60.0)

    run_all(gateway, upstream, slug, "MINUTE", check)


def test_a_request_that_two_limits_refuse_gets_the_longer_wait(limited, slug):
    _, customer = limited([rate("REQUEST", "SECOND", 1), rate("TOKEN", "MINUTE", 10)])
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 1
    assert "token" in refused.error["message"]


def test_running_requests_are_assumed_to_end_now(gateway, upstream, limited, slug):
    """While another request holds the rest of the limit, the wait is a whole window, as if that request ended now."""
    _, customer = limited([rate("TOKEN", "SECOND", 50)])
    gate = upstream.hang_next()
    running = customer.begin_chat(slug, "hi")
    gate.reached()
    refused = customer.chat(slug, "hi")
    assert refused.status == 429 and refused.headers["retry-after"] == "1"
    gate.release()
    assert running.read_answer().status == 200
    running.close()


def test_the_wait_for_a_minute_limit_is_short_enough_for_sdks(limited, slug):
    _, customer = limited([rate("REQUEST", "MINUTE", 1)])
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and 55 < int(refused.headers["retry-after"]) <= 60, "SDKs accept at most 60"
    assert refused.error["retry_after_s"] == int(refused.headers["retry-after"])
    assert "x-should-retry" not in refused.headers


def test_a_wait_for_the_end_of_the_day_is_in_the_message_and_not_in_retry_after(limited, slug):
    _, customer = limited([], [rate("REQUEST", "DAY", 1)])
    if (left := seconds_to_midnight()) < 7300:
        pytest.skip("the day is about to end")
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and "retry-after" not in refused.headers and refused.headers["x-should-retry"] == "false"
    wait = refused.error["retry_after_s"]
    assert left - 60 < wait <= left + 1
    hours, minutes = divmod(math.ceil(wait / 60), 60)
    words = f"{hours} h {minutes} min" if minutes else f"{hours} h"
    assert refused.error["message"].endswith(f"Try again in {words}.")


# Requests that can never pass


@MODES
@pytest.mark.parametrize(
    "where, limit",
    [
        ("rate_limits", rate("TOKEN", "SECOND", 3)),
        ("rate_limits", rate("TOKEN", "MINUTE", 3)),
        ("usage_limits", rate("TOKEN", "DAY", 3)),
        ("rate_limits", rate("REQUEST", "SECOND", 0)),
        ("usage_limits", rate("REQUEST", "DAY", 0)),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_request_that_never_fits_is_told_not_to_retry(gateway, upstream, slug, mode, where, limit, shared):
    group = gateway.create_group(model(slug, **{where: [limit]}), mode=mode)
    if shared:
        group = gateway.create_group(slug, parent=group)
    answer = Customer(gateway, gateway.mint_key(group)).chat(slug, "far too long a prompt for three tokens " * 10)
    assert answer.status == 429 and answer.error["type"] == "rate_limit_error"
    assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"
    assert "never" in answer.error["message"] and "Try again" not in answer.error["message"]
    assert answer.error["retry_after_s"] is None
    assert upstream.count == 0
    limits = gateway.limits(group, slug, tokens=100)
    assert limits["admitted"] is False and limits["retry_after_s"] is None and limits["stopped_by"] == 0


def test_a_shorter_prompt_passes_where_a_long_one_never_does(limited, slug):
    _, customer = limited([rate("TOKEN", "MINUTE", 3)])
    assert customer.chat(slug, "y" * 400).headers["x-should-retry"] == "false"
    assert customer.chat(slug, "y").status == 200
    later = customer.chat(slug, "y")
    assert later.status == 429 and 1 <= int(later.headers["retry-after"]) <= 60, "this one fits after the minute"


# Headers


def check_rate_limit_headers(headers, requests_left):
    """Checks that the headers show the tightest limits of `LIMITS` in OpenAI's formats."""
    assert {name for name in headers if name.startswith("x-ratelimit")} == NAMES
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-limit-tokens"]) == ("40", "4000")
    assert headers["x-ratelimit-remaining-requests"] == str(requests_left)
    assert 0 <= int(headers["x-ratelimit-remaining-tokens"]) <= 4000
    for kind in ("requests", "tokens"):
        assert 0 < seconds(headers[f"x-ratelimit-reset-{kind}"]) <= 86400


@pytest.mark.parametrize("status, seen", [(400, 400), (404, 404), (422, 422), (429, 429), (401, 502), (500, 502)])
def test_answers_to_an_upstreams_error_carry_the_limits(upstream, limited, slug, status, seen):
    _, customer = limited(*LIMITS)
    for streamed in (False, True):
        upstream.fail_next(1, status)
        answer = customer.chat(slug, stream=streamed)
        assert answer.status == seen
        check_rate_limit_headers(answer.headers, 40)


def test_answers_of_every_route_carry_the_limits(limited, slug):
    _, customer = limited(*LIMITS)
    for number, (path, body) in enumerate(
        [
            ("/v1/chat/completions", {"messages": message("hi")}),
            ("/v1/completions", {"prompt": "hi"}),
            ("/v1/embeddings", {"input": "hi"}),
        ]
    ):
        answer = customer.post(path, {"model": slug, **body})
        assert answer.status == 200
        check_rate_limit_headers(answer.headers, 39 - number)
    connection, headers, stream = customer.stream_chat(slug)
    check_rate_limit_headers(headers, 36)
    stream.chunks()
    connection.close()


def test_refusals_carry_the_limits(limited, slug):
    _, customer = limited([rate("REQUEST", "MINUTE", 1), rate("TOKEN", "MINUTE", 5000)])
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and NAMES <= set(refused.headers)
    assert refused.headers["x-ratelimit-limit-requests"] == "1"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    reset, wait = seconds(refused.headers["x-ratelimit-reset-requests"]), int(refused.headers["retry-after"])
    assert wait == reset, "with one request in it, the window has room when it is empty"


def test_an_upstream_timeout_carries_the_limits(upstream):
    with Gateway(upstream_first_byte_timeout="200ms") as impatient:
        slug = impatient.create_endpoint(upstream)["slug"]
        customer = Customer(impatient, impatient.mint_key(impatient.create_group(model(slug, *LIMITS))))
        gate = upstream.hang_next()
        answer = customer.chat(slug)
        gate.release()
        assert answer.status == 504
        check_rate_limit_headers(answer.headers, 40)


def test_an_unreachable_upstream_does_not_hide_the_limits(gateway):
    slug = gateway.create_endpoint("http://127.0.0.1:9", fresh("acme/nowhere"))["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(model(slug, *LIMITS))))
    answer = customer.chat(slug)
    assert answer.status in (502, 503)
    check_rate_limit_headers(answer.headers, 40)


def test_a_model_without_limits_has_no_limit_headers(customer, slug):
    answer = customer.chat(slug)
    assert answer.status == 200 and not [name for name in answer.headers if name.startswith("x-ratelimit")]
