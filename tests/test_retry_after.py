"""When a refusal says to come back: late enough to be let in, at most 1/60 of the window too late, and never later than a
whole window.

An admission lies between a request's sending and its answer, and so does a refusal; every bound below is drawn from the
end of that span that favours nobody, on the monotonic clock, so that a slow machine proves less and never fails.
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
ROUNDING = 0.001  # resets are told in milliseconds, rounded up
NAMES = {f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")}
# Type, threshold, tokens a call, and how many calls fill it; also with answers longer than what was left.
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
    """One request and when it was: the gateway decided between `sent` and `heard`."""

    sent: float
    heard: float
    answer: object


class Caller:
    """Asks again and again for answers of so many tokens, on a connection that is kept alive."""

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
            assert len(self.admitted) < 1000, "it is never refused"
        return call


def seconds(reset):
    """`6m0s` in seconds."""
    assert RESET.fullmatch(reset), reset
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|h|m|s)", reset))


def bounds(first, refused, window):
    """How long after `refused` what `first` took is free again: at least, and at most by what is promised."""
    return first.sent + window - refused.heard, first.heard + window * (1 + 1 / 60) - refused.sent


def is_true(caller, fit, kind, window):
    """`fit` calls fill the limit: the first of the last so many must roll out before another one is let in."""
    refused = caller.until_refused()
    first, last = caller.admitted[-fit], caller.admitted[-1]
    wait = int(refused.answer.headers["retry-after"])
    least, most = bounds(first, refused, window)
    assert max(1, math.ceil(least)) <= wait <= max(1, math.ceil(min(most, window))), (least, wait, most)
    assert refused.answer.error["retry_after_s"] == wait
    assert f"Try again in {'1 min' if wait == 60 else f'{wait} s'}." in refused.answer.error["message"]
    # The reset, which is told to the millisecond while it is below a second, is exactly that of the last call.
    reset = seconds(refused.answer.headers[f"x-ratelimit-reset-{kind.lower()}s"])
    least, most = last.sent + window - refused.heard, last.heard + window - refused.sent
    assert least <= reset <= (most + ROUNDING if reset < 1 else math.ceil(most)), (least, reset, most)
    time.sleep(max(0.0, refused.heard + wait - time.monotonic()))
    assert caller.call().answer.status == 200, "the wait that a refusal names is enough"


def comes_back_in_time(caller, fit, window):
    """Knocks without pause: nobody is let in before the window is over, or kept out a bucket after it."""
    caller.until_refused()
    first = caller.admitted[-fit]
    while (call := caller.call()).answer.status == 429:
        assert call.sent < first.heard + window * (1 + 1 / 60), "room that has rolled out is kept back"
    assert call.heard >= first.sent + window, "it was let in though the window was full"


def each_at_once(gateway, upstream, slug, unit, prove):
    """Every case of `FILLED` in both modes, each with a customer and a thread of its own."""
    upstream.always(Reply(words=1000))  # as many as are asked for

    def one(mode, kind, threshold, tokens, fit):
        group = gateway.create_group(model(slug, [rate(kind, unit, threshold)]), mode=mode)
        caller = Caller(Customer(gateway, gateway.mint_key(group)), slug, tokens)
        with caller.connection:
            prove(caller, fit, kind)

    cases = [(mode, *filled) for mode in ("INDEPENDENT", "CASCADING") for filled in FILLED]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        for case, future in [(case, pool.submit(one, *case)) for case in cases]:
            try:
                future.result()
            except Exception as failed:
                failed.add_note(str(case))
                raise


# Rolling windows


def test_in_a_second(gateway, upstream, slug):
    def prove(caller, fit, kind):
        is_true(caller, fit, kind, 1.0)
        comes_back_in_time(caller, fit, 1.0)

    each_at_once(gateway, upstream, slug, "SECOND", prove)


@pytest.mark.skipif("TOLLGATE_SLOW_TESTS" not in os.environ, reason="takes two minutes: set TOLLGATE_SLOW_TESTS")
def test_in_a_minute(gateway, upstream, slug):
    def prove(caller, fit, kind):
        is_true(caller, fit, kind, 60.0)
        comes_back_in_time(caller, fit, 60.0)

    each_at_once(gateway, upstream, slug, "MINUTE", prove)


def test_of_two_limits_that_stop_a_request_the_longer_wait_is_told(limited, slug):
    _, customer = limited([rate("REQUEST", "SECOND", 1), rate("TOKEN", "MINUTE", 10)])
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 1
    assert "token" in refused.error["message"]


def test_what_runs_is_expected_to_end_now(gateway, upstream, limited, slug):
    """A refusal while another request holds what is left names a whole window: as if that ended at this moment."""
    _, customer = limited([rate("TOKEN", "SECOND", 50)])
    gate = upstream.hang_next()
    running = customer.begin_chat(slug, "hi")
    gate.reached()
    refused = customer.chat(slug, "hi")
    assert refused.status == 429 and refused.headers["retry-after"] == "1"
    gate.release()
    assert running.read_answer().status == 200
    running.close()


def test_a_refusal_of_one_request_a_minute_is_one_that_sdks_wait_for(limited, slug):
    _, customer = limited([rate("REQUEST", "MINUTE", 1)])
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and 55 < int(refused.headers["retry-after"]) <= 60, "SDKs take no more than 60"
    assert refused.error["retry_after_s"] == int(refused.headers["retry-after"])
    assert "x-should-retry" not in refused.headers


def test_a_wait_for_the_day_to_end_is_told_in_words_and_not_as_retry_after(limited, slug):
    _, customer = limited([], [rate("REQUEST", "DAY", 1)])
    if (left := seconds_to_midnight()) < 7300:
        pytest.skip("the day is about to be over")
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    assert refused.status == 429 and "retry-after" not in refused.headers and refused.headers["x-should-retry"] == "false"
    wait = refused.error["retry_after_s"]
    assert left - 60 < wait <= left + 1
    hours, minutes = divmod(math.ceil(wait / 60), 60)
    words = f"{hours} h {minutes} min" if minutes else f"{hours} h"
    assert refused.error["message"].endswith(f"Try again in {words}.")


# What can never pass


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
def test_what_never_fits_is_told_so_and_not_to_come_back(gateway, upstream, slug, mode, where, limit, shared):
    group = gateway.create_group(model(slug, **{where: [limit]}), mode=mode)
    if shared:
        group = gateway.create_group(slug, parent=group)
    answer = Customer(gateway, gateway.mint_key(group)).chat(slug, "far too long a prompt for three tokens " * 10)
    assert answer.status == 429 and answer.error["type"] == "rate_limit_error"
    assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"
    assert "never" in answer.error["message"] and "Try again" not in answer.error["message"]
    assert answer.error["retry_after_s"] is None
    assert upstream.count == 0
    told = gateway.limits(group, slug, tokens=100)
    assert told["admitted"] is False and told["retry_after_s"] is None and told["stopped_by"] == 0


def test_a_shorter_prompt_passes_where_a_long_one_never_does(limited, slug):
    _, customer = limited([rate("TOKEN", "MINUTE", 3)])
    assert customer.chat(slug, "y" * 400).headers["x-should-retry"] == "false"
    assert customer.chat(slug, "y").status == 200
    later = customer.chat(slug, "y")
    assert later.status == 429 and 1 <= int(later.headers["retry-after"]) <= 60, "this one fits when the minute is over"


# Headers


def has_rate_limit_headers(headers, requests_left):
    """Those of the tightest limits of `LIMITS`, in OpenAI's formats."""
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
        has_rate_limit_headers(answer.headers, 40)


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
        has_rate_limit_headers(answer.headers, 39 - number)
    connection, headers, stream = customer.stream_chat(slug)
    has_rate_limit_headers(headers, 36)
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
    assert wait == reset, "of one request the window is empty when there is room again"


def test_an_answer_that_came_too_late_carries_the_limits(upstream):
    with Gateway(upstream_first_byte_timeout="200ms") as impatient:
        slug = impatient.create_endpoint(upstream)["slug"]
        customer = Customer(impatient, impatient.mint_key(impatient.create_group(model(slug, *LIMITS))))
        gate = upstream.hang_next()
        answer = customer.chat(slug)
        gate.release()
        assert answer.status == 504
        has_rate_limit_headers(answer.headers, 40)


def test_an_upstream_that_is_not_there_does_not_hide_the_limits(gateway):
    slug = gateway.create_endpoint("http://127.0.0.1:9", fresh("acme/nowhere"))["slug"]
    customer = Customer(gateway, gateway.mint_key(gateway.create_group(model(slug, *LIMITS))))
    answer = customer.chat(slug)
    assert answer.status in (502, 503)
    has_rate_limit_headers(answer.headers, 40)


def test_a_model_without_limits_has_no_limit_headers(customer, slug):
    answer = customer.chat(slug)
    assert answer.status == 200 and not [name for name in answer.headers if name.startswith("x-ratelimit")]
