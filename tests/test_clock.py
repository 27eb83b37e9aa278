"""The day changes at midnight UTC, also under load. No jump of the wall clock lifts a limit or blocks a customer."""

import datetime
import threading
import time

import pytest

from support.gateway import Customer, message, model, parse_time, rate
from support.wall_clock import WallClock
from support.wire import Connection

TODAY, TOMORROW, DAY_AFTER = "2027-03-14", "2027-03-15", "2027-03-16"
JUMPS = [{"hours": 3}, {"hours": -3}, {"hours": -3}, {"hours": 3}]


@pytest.fixture(scope="module")
def clock():
    with WallClock(f"{TODAY}T12:00:00Z") as running:
        yield running


@pytest.fixture
def gateway(clock):
    """A gateway at noon of the first day. Each test has its own, since a journal's time never steps back."""
    clock.set(f"{TODAY}T12:00:00Z")
    with clock.gateway() as running:
        yield running


def standing(gateway, group, slug, kind="REQUEST", unit="DAY"):
    """`(used, held, left)` of the group's one limit of this kind."""
    limit = gateway.limit(group, slug, kind, unit)
    return limit["used"], limit["held"], limit["left"]


def days(gateway, customer):
    return [event["timestamp"][:10] for event in gateway.events(customer.key)]


def midnight_before(day):
    return f"{day}T00:00:00.000Z"


# Midnight


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_counts_on_the_day_on_which_it_ends(clock, gateway, upstream, slug, limited, streamed):
    group, customer = limited((), [rate("REQUEST", "DAY", 3), rate("TOKEN", "DAY", 1000)])
    for _ in range(2):
        assert customer.chat(slug, "one two three").status == 200
    gate = upstream.stall_next(after=3) if streamed else upstream.hang_next()
    running = customer.begin_chat(slug, "one two three", stream=streamed)
    gate.reached()
    assert standing(gateway, group, slug) == (2, 1, 0) and standing(gateway, group, slug, "TOKEN")[0] == 22
    assert gateway.limit(group, slug)["reset_at"] == midnight_before(TOMORROW)
    assert customer.chat(slug).status == 429

    clock.set(f"{TOMORROW}T00:00:01Z")
    assert standing(gateway, group, slug) == (0, 1, 2), "running requests count today, yesterday's do not"
    assert standing(gateway, group, slug, "TOKEN")[0] == 0
    assert gateway.limit(group, slug)["reset_at"] == midnight_before(DAY_AFTER)
    assert [customer.chat(slug, "one two three").status for _ in range(3)] == [200, 200, 429]
    gate.release()
    assert running.read_head()[0] == 200 and running.read_body()
    running.close()

    assert standing(gateway, group, slug) == (3, 0, 0) and standing(gateway, group, slug, "TOKEN")[0] == 33
    assert days(gateway, customer) == [TODAY] * 2 + [TOMORROW] * 3
    for entry in gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["usage"][slug]:
        assert entry["reset_at"] == midnight_before(DAY_AFTER)
        assert entry["current_usage"] == {"REQUEST": 3, "TOKEN": 33}[entry["type"]]


def test_usage_is_null_again_on_a_new_day(clock, gateway, slug, limited):
    group, customer = limited((), [rate("REQUEST", "DAY", 3)])
    assert customer.chat(slug).status == 200

    def usage():
        [entry] = gateway.admin("GET", f"/v1/gateway/groups/{group['id']}/usage")["usage"][slug]
        return entry["current_usage"], entry["reset_at"]

    assert usage() == (1, midnight_before(TOMORROW))
    clock.set(f"{TOMORROW}T00:00:01Z")
    assert usage() == (None, None)


def test_the_day_changes_while_sixteen_customers_call(clock, gateway, upstream, slug):
    threshold = 60
    root = gateway.create_group(model(slug, (), [rate("REQUEST", "DAY", threshold)]), mode="CASCADING")
    children = [gateway.create_group(slug, parent=root) for _ in range(4)]
    customers = [Customer(gateway, gateway.mint_key(child)) for child in children] * 4
    turned, answered, lock = threading.Event(), [], threading.Lock()

    def call(customer, number):
        body = {"model": slug, "messages": message("one two three"), "stream": number % 2 == 0}
        with Connection(gateway.address) as connection:
            while True:
                last = turned.is_set()
                connection.request("POST", "/v1/chat/completions", customer.headers(), body)
                status, _ = connection.read_head()
                connection.read_body()
                with lock:
                    answered.append(status)
                if status == 429 and last:
                    return

    threads = [threading.Thread(target=call, args=(c, n), daemon=True) for n, c in enumerate(customers)]
    for thread in threads:
        thread.start()
    upstream.wait_requests(threshold // 2)
    clock.set(f"{TOMORROW}T00:00:00Z")
    turned.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()

    events = gateway.events()
    of_day = {day: [event for event in events if event["timestamp"].startswith(day)] for day in (TODAY, TOMORROW)}
    assert len(of_day[TODAY]) + len(of_day[TOMORROW]) == len(events) == answered.count(200)
    assert set(answered) == {200, 429}
    assert 1 <= len(of_day[TODAY]) <= threshold and len(of_day[TOMORROW]) == threshold
    assert standing(gateway, root, slug) == (threshold, 0, 0)

    gateway.kill9()
    gateway.start()
    assert standing(gateway, root, slug) == (threshold, 0, 0)
    assert customers[0].chat(slug).status == 429


@pytest.mark.parametrize("left", [30, 600])
def test_a_refusal_before_midnight_names_the_right_wait(clock, gateway, slug, limited, left):
    _, customer = limited((), [rate("REQUEST", "DAY", 1)])
    clock.set(parse_time(midnight_before(TOMORROW)) - datetime.timedelta(seconds=left))
    assert customer.chat(slug).status == 200
    refused = customer.chat(slug)
    received_at = clock.now
    wait = refused.error["retry_after_s"]
    assert refused.status == 429 and 1 <= wait <= left
    assert wait >= (parse_time(midnight_before(TOMORROW)) - received_at).total_seconds()
    assert refused.headers.get("x-should-retry") == ("false" if wait > 60 else None)
    clock.set(received_at + datetime.timedelta(seconds=wait))
    assert customer.chat(slug).status == 200, "the wait in a refusal must be enough"


# Jumps


def test_a_clock_jump_changes_neither_a_full_window_nor_an_empty_one(clock, gateway, slug, limited):
    begun = time.monotonic()
    limits = [rate("REQUEST", "MINUTE", 2)], [rate("REQUEST", "DAY", 100), rate("TOKEN", "DAY", 1000)]
    full, spender = limited(*limits)
    empty, other = limited(*limits)
    tokens, token_spender = limited([rate("TOKEN", "MINUTE", 10)])
    for _ in range(2):
        assert spender.chat(slug, "one two three").status == 200
    assert token_spender.chat(slug, "one two three").status == 200
    for jump in JUMPS:
        clock.jump(**jump)
        for customer in (spender, token_spender):
            refused = customer.chat(slug)
            if time.monotonic() - begun > 60:
                pytest.skip("the machine was too slow: the minute is over")
            assert refused.status == 429 and 1 <= refused.error["retry_after_s"] <= 60
        assert standing(gateway, full, slug, unit="MINUTE") == (2, 0, 0)
        assert standing(gateway, tokens, slug, "TOKEN", "MINUTE") == (11, 0, 0)
        assert standing(gateway, empty, slug, unit="MINUTE") == (0, 0, 2)
        assert gateway.limit(empty, slug, unit="MINUTE")["reset_at"] is None
        # Three hours before and after noon are the same day.
        assert standing(gateway, full, slug)[0] == 2 and standing(gateway, full, slug, "TOKEN")[0] == 22
        assert gateway.limit(full, slug, unit="DAY")["reset_at"] == midnight_before(TOMORROW)
    assert [other.chat(slug).status for _ in range(3)] == [200, 200, 429]


def test_no_second_admits_more_than_its_threshold_while_the_clock_jumps(clock, gateway, slug, limited):
    _, customer = limited([rate("REQUEST", "SECOND", 5)])
    admitted, refused, over = [], 0, threading.Event()

    def jump_about():
        while not over.wait(0.02):
            for jump in JUMPS:
                clock.jump(**jump)

    jumping = threading.Thread(target=jump_about, daemon=True)
    jumping.start()
    body = {"model": slug, "messages": message("hi"), "max_tokens": 1}
    with Connection(gateway.address) as connection:
        while len(admitted) < 15:
            sent = time.monotonic()
            connection.request("POST", "/v1/chat/completions", customer.headers(), body)
            if connection.read_answer().status == 200:
                admitted.append((sent, time.monotonic()))
            else:
                refused += 1
                if len(admitted) >= 5:
                    assert sent < admitted[-5][1] + 1 + 1 / 60, "room that became free was not available"
    over.set()
    jumping.join()
    for (first_sent, _), (_, sixth_answered) in zip(admitted, admitted[5:]):
        assert sixth_answered - first_sent >= 1.0


# Corrections across midnight


def test_a_clock_that_was_briefly_a_day_ahead_keeps_the_days_figures(clock, gateway, slug, limited):
    group, customer = limited((), [rate("REQUEST", "DAY", 2)])
    for _ in range(2):
        assert customer.chat(slug).status == 200
    clock.jump(days=1)
    assert standing(gateway, group, slug) == (0, 0, 2)
    clock.jump(days=-1)
    assert standing(gateway, group, slug) == (2, 0, 0)
    assert customer.chat(slug).status == 429


@pytest.mark.parametrize("ends", ["stop", "kill9"])
def test_a_clock_that_is_set_back_across_midnight_lifts_no_limit(clock, gateway, slug, limited, ends):
    """A day with billed requests stays current until the clock reaches it again, so neither day exceeds its limit."""
    group, customer = limited((), [rate("REQUEST", "DAY", 2)])
    clock.set(f"{TODAY}T23:55:00Z")
    assert customer.chat(slug).status == 200
    clock.set(f"{TOMORROW}T00:05:00Z")
    assert customer.chat(slug).status == 200
    clock.set(f"{TODAY}T23:56:00Z")
    assert standing(gateway, group, slug) == (1, 0, 1)
    assert [customer.chat(slug).status for _ in range(2)] == [200, 429]
    getattr(gateway, ends)()
    gateway.start()
    assert standing(gateway, group, slug) == (2, 0, 0)
    assert customer.chat(slug).status == 429
    assert days(gateway, customer) == [TODAY, TOMORROW, TOMORROW]
    clock.set(f"{TOMORROW}T00:10:00Z")
    assert customer.chat(slug).status == 429
    clock.set(f"{DAY_AFTER}T00:00:01Z")
    assert [customer.chat(slug).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("ends", ["stop", "kill9"])
def test_a_day_without_billed_requests_is_forgotten_by_a_restart(clock, gateway, slug, limited, ends):
    """Reading tomorrow's events keeps the running gateway on that day; the next start reads only the records."""
    group, customer = limited((), [rate("REQUEST", "DAY", 2)])
    for _ in range(2):
        assert customer.chat(slug).status == 200
    clock.jump(days=1)
    assert len(gateway.events()) == 2
    clock.jump(days=-1)
    getattr(gateway, ends)()
    gateway.start()
    assert standing(gateway, group, slug) == (2, 0, 0)
    assert customer.chat(slug).status == 429


@pytest.mark.parametrize("ends", ["stop", "kill9"])
def test_a_start_with_a_reset_clock_keeps_the_day(clock, gateway, slug, limited, ends):
    group, customer = limited((), [rate("REQUEST", "DAY", 2), rate("TOKEN", "DAY", 1000)])
    for _ in range(2):
        assert customer.chat(slug, "one two three").status == 200
    getattr(gateway, ends)()
    clock.set("1971-01-01T00:00:00Z")
    gateway.start()
    assert standing(gateway, group, slug) == (2, 0, 0) and standing(gateway, group, slug, "TOKEN")[0] == 22
    assert customer.chat(slug).status == 429
    clock.set(f"{TODAY}T13:00:00Z")
    assert customer.chat(slug).status == 429
    clock.set(f"{TOMORROW}T00:00:01Z")
    assert customer.chat(slug).status == 200


def test_a_refusal_after_the_clock_was_set_back_names_the_right_wait(clock, gateway, slug, limited):
    _, customer = limited((), [rate("REQUEST", "DAY", 1)])
    clock.jump(hours=3)
    assert customer.chat(slug).status == 200
    clock.jump(hours=-3)
    refused = customer.chat(slug)
    assert refused.status == 429
    clock.jump(seconds=refused.error["retry_after_s"])
    assert customer.chat(slug).status == 200, "the wait in a refusal must be enough"
