"""Customers who call without pause, each on their own connection, and record how each call ended."""

import collections
import concurrent.futures
import dataclasses
import itertools
import json
import random
import threading
import time

from .gateway import Customer
from .wire import DEADLINE, Broken, Connection, Stream

loads = itertools.count(1)


@dataclasses.dataclass
class Request:
    """A request to send; `words` is the number of words in its prompt. With `hang_up`, the customer hangs up after the
    first piece of a stream, or before an answer that is not streamed."""

    customer: Customer
    path: str
    body: dict
    words: int
    hang_up: bool = False


@dataclasses.dataclass
class Completed:
    """An answer whose last byte has reached its customer, with the fields that its event must have."""

    call: str
    request_id: str
    key: str
    slug: str
    tokens: tuple


class Load:
    """Runs `clients` customers at once. `ask(random numbers)` returns the next request to send. Every request has a
    unique name in its `metadata.call`, which the upstream sees and the event repeats. `alongside` holds functions that
    run at the same time; each is called with this load."""

    def __init__(self, gateway, ask, clients=8, seed=0, alongside=()):
        self.gateway, self.ask = gateway, ask
        self.name, self.numbers = f"load-{next(loads)}", itertools.count()
        self.completed, self.begun, self.hung_up = [], set(), set()  # `begun` and `hung_up` hold names of calls
        self.refused = {}  # name of a call: its answer's status and body
        self.changed = threading.Condition()
        self.over = self.gateway_ends = False
        self.pool = concurrent.futures.ThreadPoolExecutor(clients + len(alongside))
        self.parts = [self.pool.submit(self.run, random.Random(f"{seed}-{number}")) for number in range(clients)]
        self.parts += [self.pool.submit(other, self) for other in alongside]

    # For tests

    def wait_completed(self, more):
        """Waits for `more` further complete answers."""
        wanted = len(self.completed) + more
        self.wait(lambda: len(self.completed) >= wanted or self.failed)

    def wait_refused(self, status):
        self.wait(lambda: any(found == status for found, _ in self.refused.values()) or self.failed)

    def end(self):
        """Lets every customer finish the current request."""
        self.over = True
        self.join()

    def join(self):
        """Waits until all customers have ended, after `end` or once the gateway is gone."""
        for part in self.parts:
            part.result(3 * DEADLINE)
        self.pool.shutdown()

    def gateway_is_to_end(self):
        """From now on, a broken connection ends its customer's run."""
        self.gateway_ends = True

    def statuses(self):
        found = collections.Counter(status for status, _ in list(self.refused.values()))
        found[200] = len(self.completed)
        return dict(found)

    # Implementation

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 3 * DEADLINE), f"the condition never held: {self.statuses()}"
        if self.failed:
            self.join()

    @property
    def failed(self):
        return any(part.done() and part.exception() for part in self.parts)

    def run(self, rng):
        connection = None
        while not self.over:
            try:
                connection = connection or Connection(self.gateway.address)
                if not self.one(connection, self.ask(rng)):
                    connection = connection.close()
            except (Broken, ConnectionError):
                if self.gateway_ends:
                    return
                assert connection, "the gateway accepts no connection"
                connection = connection.close()
            except BaseException:
                with self.changed:
                    self.changed.notify_all()
                raise

    def one(self, connection, request):
        """Makes one call; returns whether the connection can be used again."""
        call = f"{self.name}-{next(self.numbers)}"
        body = {**request.body, "metadata": {"call": call, **request.body.get("metadata", {})}}
        if request.hang_up:
            self.hung_up.add(call)
        connection.request("POST", request.path, request.customer.headers(), body)
        if request.hang_up and not body.get("stream"):
            return connection.reset()
        status, header_list = connection.read_head()
        headers = dict(header_list)
        if status != 200:
            self.refuse(call, status, json.loads(connection.read_body()))
            if status == 503:
                time.sleep(0.02)  # back off briefly, as a 503 asks
            return headers.get("connection") != "close"
        self.begun.add(call)
        if not body.get("stream"):
            usage = json.loads(connection.read_body())["usage"]
            assert usage["prompt_tokens"] == request.words
            written = usage.get("completion_tokens", 0)
        else:
            written = 0
            for data in (stream := Stream(connection)):
                if request.hang_up:
                    return connection.reset()
                if data == "[DONE]":
                    break
                choices = json.loads(data).get("choices", [])  # an error that replaces the rest has no choices
                written += sum(bool(c.get("text") or c.get("delta", {}).get("content")) for c in choices)
            else:
                raise Broken("a stream without an end")
        tokens = request.words, written
        self.add_completed(Completed(call, headers["x-request-id"], request.customer.key, body["model"], tokens))
        if body.get("stream"):
            assert stream.next() is None, "something followed [DONE]"
        return headers.get("connection") != "close"

    def refuse(self, call, status, body):
        with self.changed:
            self.refused[call] = status, body
            self.changed.notify_all()

    def add_completed(self, answer):
        with self.changed:
            self.completed.append(answer)
            self.changed.notify_all()
