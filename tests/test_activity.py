"""`/v1/gateway/activity`: figures for each minute of the last day, across restarts and with gaps."""

import json
import stat

import pytest

from support.gateway import Customer, parse_time, rate
from support.wall_clock import WallClock
from support.wire import Connection, Stream

DAY = "2027-03-14"
COLUMNS = ("requests", "tokens", "refused", "errors")


@pytest.fixture(scope="module")
def clock():
    with WallClock(f"{DAY}T12:00:20Z") as running:
        yield running


@pytest.fixture
def gateway(clock):
    """A gateway that has just started, at twenty seconds past noon."""
    clock.set(f"{DAY}T12:00:20Z")
    with clock.gateway() as running:
        yield running


@pytest.fixture
def customer(gateway, group):
    return Customer(gateway, gateway.mint_key(group))


def activity(gateway):
    answer = gateway.admin("GET", "/v1/gateway/activity")
    assert set(answer) == {"step_s", "first_at", *COLUMNS} and answer["step_s"] == 60
    assert len({len(answer[name]) for name in COLUMNS}) == 1 and len(answer["requests"]) <= 1440
    assert parse_time(answer["first_at"]).second == 0
    return answer


def at(time):
    return f"{DAY}T{time}:00.000Z"


def set_clock(clock, gateway, time):
    """Sets the clock. Reads the activity first, so that earlier counts stay in their minute."""
    activity(gateway)
    clock.set(f"{DAY}T{time}Z")


def kept(gateway):
    return gateway.data_dir / "activity"


def test_each_minute_has_its_figures_once_it_is_complete(clock, gateway, upstream, slug, customer):
    assert activity(gateway) == {"step_s": 60, "first_at": at("12:00"), **{name: [] for name in COLUMNS}}
    for _ in range(3):
        assert customer.chat(slug, "one two three").status == 200
    upstream.fail_next(1, 500)
    assert customer.chat(slug).status == 502
    set_clock(clock, gateway, "12:01:05")
    bound = Customer(
        gateway,
        gateway.mint_key(gateway.create_group({"slug": slug, "rate_limits": [rate("REQUEST", "MINUTE", 0)]})),
    )
    assert [bound.chat(slug).status for _ in range(2)] == [429, 429]
    first = {"step_s": 60, "first_at": at("12:00"), "requests": [3], "tokens": [33], "refused": [0], "errors": [1]}
    assert activity(gateway) == first
    set_clock(clock, gateway, "12:02:05")
    both = {"requests": [3, 0], "tokens": [33, 0], "refused": [0, 2], "errors": [1, 0]}
    assert activity(gateway) == first | both


def test_the_live_view_shows_the_latest_complete_minute(clock, gateway, slug, customer):
    with Connection(gateway.admin_address) as connection:
        connection.request("GET", "/v1/gateway/live", [("authorization", f"Bearer {gateway.admin_key}")])
        connection.read_head()
        stream = Stream(connection)
        assert json.loads(stream.next())["minute"] is None
        assert customer.chat(slug, "one two three").status == 200
        set_clock(clock, gateway, "12:01:05")
        shown = next(minute for data in stream if (minute := json.loads(data)["minute"]))
        assert shown == {"at": at("12:00"), "requests": 1, "tokens": 11, "refused": 0, "errors": 0}


def test_the_history_continues_after_a_restart_and_shows_the_gap(clock, gateway, slug, customer):
    assert customer.chat(slug).status == 200
    set_clock(clock, gateway, "12:01:05")
    assert customer.chat(slug).status == 200
    gateway.stop()
    assert stat.S_IMODE(kept(gateway).stat().st_mode) == 0o600
    gateway.start()
    assert Customer(gateway, customer.key).chat(slug).status == 200
    set_clock(clock, gateway, "12:02:05")
    assert activity(gateway)["requests"] == [1, 2], "a minute with a restart must count both halves"
    gateway.stop()
    clock.set(f"{DAY}T12:05:10Z")
    gateway.start()
    set_clock(clock, gateway, "12:06:10")
    shown = activity(gateway)
    assert (shown["first_at"], shown["requests"]) == (at("12:00"), [1, 2, 0, None, None, 0])


def test_a_kill_loses_no_complete_minute(clock, gateway, slug, customer):
    assert customer.chat(slug).status == 200
    set_clock(clock, gateway, "12:01:05")
    gateway.eventually(kept(gateway).exists, bool)
    assert customer.chat(slug).status == 200
    gateway.kill9()
    clock.set(f"{DAY}T12:03:10Z")
    gateway.start()
    shown = activity(gateway)
    assert shown["requests"][0] == 1 and shown["requests"][2] is None and shown["requests"][1] in (0, 1)


def test_the_history_is_forgotten_after_a_day(clock, gateway, slug, customer):
    assert customer.chat(slug).status == 200
    set_clock(clock, gateway, "12:01:05")
    gateway.stop()
    clock.jump(hours=25)
    gateway.start()
    assert activity(gateway)["requests"] == []


@pytest.mark.parametrize("damage", ["a bit", "cut off", "empty", "longer", "missing"])
def test_a_damaged_history_starts_empty_and_is_logged(clock, gateway, slug, customer, damage):
    assert customer.chat(slug).status == 200
    set_clock(clock, gateway, "12:01:05")
    gateway.stop()
    whole = kept(gateway).read_bytes()
    match damage:
        case "a bit":
            kept(gateway).write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
        case "cut off":
            kept(gateway).write_bytes(whole[:-1])
        case "empty":
            kept(gateway).write_bytes(b"")
        case "longer":
            kept(gateway).write_bytes(whole + bytes(2 << 20))
        case "missing":
            kept(gateway).unlink()
    gateway.start()
    assert activity(gateway)["requests"] == []
    gateway.process.wait_line(lambda line: "history of activity" in line)
    assert gateway.admin("GET", "/v1/gateway/status")["attention"] == []
    assert Customer(gateway, customer.key).chat(slug).status == 200
    set_clock(clock, gateway, "12:02:05")
    assert activity(gateway)["requests"] == [1]


def test_a_first_start_logs_nothing_about_the_history(gateway):
    assert "history of activity" not in gateway.log


def test_setting_the_clock_back_and_forth_counts_nothing_twice(clock, gateway, slug, customer):
    sent = 0
    for time in ("12:01:10", "14:00:10", "12:01:40", "12:03:00", "11:58:00", "12:02:00", "12:02:30"):
        set_clock(clock, gateway, time)
        assert customer.chat(slug).status == 200
        sent += 1
        figures = [figure for figure in activity(gateway)["requests"] if figure is not None]
        assert all(figure >= 0 for figure in figures) and sum(figures) <= sent
    set_clock(clock, gateway, "12:03:05")
    shown = activity(gateway)
    assert shown["requests"][-1] == 2 and len(gateway.events(customer.key)) == sent


def test_a_history_that_cannot_be_written_disturbs_nothing(clock, gateway, slug, customer):
    (gateway.data_dir / "activity.new").mkdir()
    set_clock(clock, gateway, "12:01:05")
    gateway.process.wait_line(lambda line: "history of activity could not be written" in line)
    assert customer.chat(slug).status == 200
    assert gateway.admin("GET", "/v1/gateway/status")["attention"] == []
    set_clock(clock, gateway, "12:02:05")
    (gateway.data_dir / "activity.new").rmdir()
    set_clock(clock, gateway, "12:03:05")
    gateway.eventually(kept(gateway).exists, bool)
    assert gateway.log.count("history of activity could not be written") == 1
