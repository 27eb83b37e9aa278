"""Calls a gateway from several threads through an outage, and prints the outcomes as JSON.

    python outage.py ADDRESS KEY MODEL

Ends when many calls in a row have succeeded after the first that failed. It runs inside a machine of machine.py, so it
uses the standard library only.
"""

import http.client
import json
import sys
import threading
import time

THREADS = 8
# Successes in a row that mean that the outage is over.
ENOUGH = 200
LIMIT_S = 60


class Load:
    def __init__(self, address, key, model):
        self.address = address
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]})
        self.lock = threading.Lock()
        self.answered = self.unavailable = self.cut = self.in_a_row = 0
        self.longest_gap = 0.0
        self.last_success = None
        self.is_over = False

    def call(self):
        """One call: `answered`, `unavailable` if nothing was answered, `cut` if the answer broke off."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request("POST", "/v1/chat/completions", self.body, self.headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            return "unavailable"
        try:
            json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return "cut"
        finally:
            connection.close()
        return "answered" if answer.status == 200 else "unavailable"

    def run(self):
        deadline = time.monotonic() + LIMIT_S
        while not self.is_over and time.monotonic() < deadline:
            outcome = self.call()
            with self.lock:
                setattr(self, outcome, getattr(self, outcome) + 1)
                now = time.monotonic()
                if outcome != "answered":
                    self.in_a_row = 0
                    continue
                if self.last_success is not None:
                    self.longest_gap = max(self.longest_gap, now - self.last_success)
                self.last_success = now
                self.in_a_row += 1
                self.is_over = self.unavailable > 0 and self.in_a_row >= ENOUGH


def main():
    load = Load(*sys.argv[1:])
    threads = [threading.Thread(target=load.run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome = {name: getattr(load, name) for name in ("answered", "unavailable", "cut", "longest_gap", "is_over")}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
