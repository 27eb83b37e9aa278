"""A webhook receiver that records every delivery unchecked and answers 2xx until a test scripts other answers:

    receiver.fail_next(2, 503)
    gate = receiver.hang_next()                  # reads the delivery, then sends nothing until gate.release()
    receiver.always(endless(500))
    receiver.refuse_connections()

`events()`, `keys()` and `wait_events()` cover the deliveries that it answered 2xx.
"""

import functools
import itertools
import json
import time

from .scripted import BreakOff, Pause, Received, Reply, ScriptedServer
from .wire import DEADLINE


class Delivery(Received):
    """One attempt of a delivery; `at` is its time of arrival in monotonic seconds."""

    def __init__(self, *request):
        super().__init__(*request)
        self.at = time.monotonic()

    @functools.cached_property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        return self.json["data"]["events"]

    @property
    def request_id(self):
        return self.headers["x-tollgate-request-id"]

    @property
    def signature(self):
        return self.headers["x-tollgate-signature"]

    @property
    def is_accepted(self):
        """Whether it was answered 2xx and holds billing events."""
        return self.answered in range(200, 300) and self.json["type"] == "API_BILLING_USAGE"

    def __repr__(self):
        return f"<{self.method} {self.path} {self.body[:400]!r}>"


class Receiver(ScriptedServer):
    received = Delivery

    @property
    def url(self):
        return f"{self.origin}/billing"

    # Scripting

    def fail_next(self, times, status, body=b"scripted"):
        self.reply_next(text(status, body), times)

    # Accepted deliveries

    @property
    def accepted(self):
        return [delivery for delivery in list(self.requests) if delivery.is_accepted]

    def events(self):
        """Every event of every accepted delivery, in order of arrival."""
        return [event for delivery in self.accepted for event in delivery.events]

    def keys(self):
        return {event["idempotencyKey"] for event in self.events()}

    def wait_events(self, count, within=DEADLINE):
        """Waits until it has `count` distinct events; returns all events."""
        self.wait(lambda: len(self.keys()) >= count, lambda: f"has {len(self.keys())} of {count} events", within)
        return self.events()


# Answers


def text(status, body=b"", headers=()):
    return Reply(status, [("content-type", "text/plain"), *headers], [body])


def redirect(to, status=302):
    return text(status, b"elsewhere", [("location", to)])


def closed():
    """Reads the request and closes the connection without an answer."""
    return Reply(before_head=BreakOff())


def reset():
    return Reply(before_head=BreakOff(reset=True))


def endless(status):
    """An endless body, sent as fast as it is read."""
    return Reply(status, steps=itertools.repeat(b"and so on, " * 1000))


def slow_head():
    """A head at one byte per second."""
    return Reply(None, steps=Drops(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))


def slow_body(status, body=b"one byte a second is still an answer"):
    """A body at one byte per second."""
    return Reply(status, [("content-length", str(len(body)))], Drops(body))


class Drops:
    """The steps of a slow answer: each byte, then a pause of one second. Can be iterated more than once."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        for byte in self.data:
            yield bytes([byte])
            yield Pause(1)
