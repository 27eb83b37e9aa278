"""The place that a client library sends its requests to: the gateway, or the scripted upstream itself.

The same tests run against both. Those that go straight to the upstream show that its answers are what real clients
expect, so that a failure of the others is the gateway's. SDKs validate every answer strictly: a field that is missing
or has another type is an error.
"""

from .upstream import MODEL
from .wire import DEADLINE

KINDS = ("inputTokens", "outputTokens", "cachedInputTokens", "cacheWriteInputTokens")


class Site:
    """`model` is the name to ask for, `sent` the one that the upstream is asked for, `shown` the one in answers."""

    def __init__(self, origin, key, model, sent, shown):
        self.origin, self.key, self.model, self.sent, self.shown = origin, key, model, sent, shown

    def openai(self, **options):
        from openai import OpenAI

        options = {"max_retries": 0, "timeout": DEADLINE, "_strict_response_validation": True, **options}
        return OpenAI(base_url=f"{self.origin}/v1", api_key=self.key, **options)

    def anthropic(self, **options):
        from anthropic import Anthropic

        options = {"max_retries": 0, "timeout": DEADLINE, "_strict_response_validation": True, **options}
        return Anthropic(base_url=self.origin, api_key=self.key, **options)


class DirectSite(Site):
    def __init__(self, upstream):
        super().__init__(upstream.origin, "any", "any-model", "any-model", MODEL)

    def check_event(self, route, *tokens, units=None):
        """Nothing is billed here."""


class GatewaySite(Site):
    def __init__(self, gateway, slug, key):
        super().__init__(f"http://{gateway.address}", key, slug, "upstream-model", slug)
        self.gateway = gateway

    def check_event(self, route, *tokens, units=None):
        """Asserts that exactly one request was billed: its route, its units, and the tokens that the upstream reported,
        in the order of `KINDS`. Without tokens, the upstream reported none."""
        [event] = self.gateway.events(self.key)
        billed = (event["route"], event["usageSource"], event["units"])
        assert billed == (route, "upstream" if tokens else "counted", units), f"billed {billed}"
        if tokens:
            expected = dict(zip(KINDS, [*tokens, 0, 0, 0]))
            assert event["tokens"] == expected, f"{event['tokens']} instead of {expected}"
