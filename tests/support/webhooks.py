"""Webhooks as an operator manages them, and the signature that receivers check."""

import hashlib
import hmac
import time

from .wire import DEADLINE

ROOT = "/v1/gateway/webhooks"


def signature(body, *secrets):
    """The expected `X-Tollgate-Signature` under these secrets, the new one first."""
    return ",".join("v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets)


class Webhook:
    """A webhook to a receiver or a URL. The constructor creates it in the gateway."""

    def __init__(self, gateway, to, **fields):
        self.gateway = gateway
        url = to if isinstance(to, str) else to.url
        self.created = gateway.admin("POST", ROOT, {"url": url, **fields})
        self.id, self.secret = self.created["id"], self.created["secret"]
        self.path = f"{ROOT}/{self.id}"

    def read(self):
        return self.gateway.admin("GET", self.path)

    @property
    def delivery(self):
        return self.read()["delivery"]

    def patch(self, **fields):
        return self.gateway.admin("PATCH", self.path, fields)

    def point_to(self, to):
        return self.patch(url=to if isinstance(to, str) else to.url)

    def delete(self):
        return self.gateway.admin("DELETE", self.path)

    def rotate_secret(self):
        """Rotates the secret and stores the new one in `secret`; returns the answer."""
        answer = self.gateway.admin("POST", f"{self.path}/rotate_secret")
        self.secret = answer["secret"]
        return answer

    def test(self):
        return self.gateway.admin("POST", f"{self.path}/test")

    def dead_letters(self, **query):
        """All dead letters, walking every page."""
        items = []
        while True:
            page = self.gateway.admin("GET", f"{self.path}/dead_letters", query=query)
            items += page["items"]
            if not page["pagination"]["has_more"]:
                assert page["pagination"]["cursor"] is None
                return items
            query = {**query, "cursor": page["pagination"]["cursor"]}

    def redeliver(self, *dead_letters):
        """Redelivers these dead letters, or all; returns how many are queued."""
        body = {"ids": [one["id"] for one in dead_letters]} if dead_letters else {}
        return self.gateway.admin("POST", f"{self.path}/dead_letters/redeliver", body)["queued"]

    def wait(self, condition, within=DEADLINE):
        """Waits until its `delivery` satisfies the condition; returns it."""
        limit = time.monotonic() + within
        while not condition(delivery := self.delivery):
            assert time.monotonic() < limit, f"the condition never held; the last value: {delivery}"
            time.sleep(0.02)
        return delivery

    def wait_state(self, state, within=DEADLINE):
        return self.wait(lambda delivery: delivery["state"] == state, within)

    def wait_caught_up(self):
        """Waits until only dead letters are undelivered."""
        return self.wait(lambda delivery: delivery["records_behind"] == 0)

    def wait_dead_letters(self, count, within=DEADLINE):
        self.wait(lambda delivery: delivery["dead_letters"] == count, within)
        return self.dead_letters()
