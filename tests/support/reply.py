"""The answer of a scripted model server, and the parts that answers of all its routes are made of.

Every count is exact: a word of the prompt is one token, and so is every piece of text, reasoning or arguments that is
written. A JSON answer reports the same figures as a stream of the same request.
"""

import json

from . import scripted

MODEL = "upstream-7b-instruct-q4"  # its own name for its model, which a customer must never see
CREATED = 1_700_000_000
PIECE = 8  # characters of a tool call's arguments in one event


class Reply(scripted.Reply):
    """One answer of a model server.

    Without steps it is generated from the request: `words` (a count or a list) of text per choice, `usage` (None omits
    it, a dict replaces it, `...` is the true usage), `cached` and `cache_write` prompt tokens, `continuous` usage in
    every chunk of a chat. `insert` puts a `Gate` or a `BreakOff` among its frames.

    On responses and messages, `reasoning` is a count or a list of words, and `calls` holds tool calls as
    `(name, arguments)`: a dict for a function, a text for a custom tool. A function of the request may return the
    calls. An answer with calls has text only if `words` is set.
    """

    def __init__(
        self,
        status=200,
        headers=(),
        steps=None,
        json_body=None,
        words=None,
        usage=...,
        cached=None,
        extra=None,
        continuous=False,
        crlf=False,
        before_head=None,
        insert=None,
        finish_reason="stop",
        cache_write=None,
        reasoning=0,
        calls=(),
    ):
        super().__init__(status, headers, steps, json_body, before_head)
        self.words, self.usage, self.cached, self.extra = words, usage, cached, extra or {}
        self.continuous, self.crlf, self.finish_reason = continuous, crlf, finish_reason
        self.insert = insert or {}  # position among the frames (negative: from the end) -> step
        self.cache_write, self.reasoning, self.calls = cache_write, reasoning, calls


def frame(data, crlf=False, event=None):
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    name = f"event: {event}\r\n" if event and crlf else f"event: {event}\n" if event else ""
    end = "\r\n\r\n" if crlf else "\n\n"
    return f"{name}data: {text}{end}".encode()


def typed_frame(data, crlf=False):
    """One server-sent event that is named by the `type` of its data."""
    return frame(data, crlf, event=data["type"])


def words(count, letter="w"):
    """A list of words, or this many words made from a letter."""
    return count if isinstance(count, list) else [f"{letter}{index} " for index in range(count)]


class Written:
    """What a reply writes on responses and messages: `text` and `reasoning` as lists of words, and `calls` as
    `(name, arguments)` pairs. `tokens` counts all of it. `is_cut` says whether `limit` was too few tokens for the text.
    """

    def __init__(self, request, reply, limit):
        self.calls = reply.calls(request) if callable(reply.calls) else list(reply.calls)
        self.reasoning = words(reply.reasoning, "r")
        default = 0 if self.calls else 8
        every = words(default if reply.words is None else reply.words)
        self.text = every if limit is None else every[: max(int(limit) - len(self.reasoning), 0)]
        self.is_cut = len(self.text) < len(every)
        pieces = sum(len(pieces_of(arguments)) for _, arguments in self.calls)
        self.reasoning_tokens = len(self.reasoning)
        self.tokens = len(self.text) + self.reasoning_tokens + pieces

    @property
    def whole_text(self):
        return "".join(self.text)


def argument_text(arguments):
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def pieces_of(arguments):
    """The text of a tool call's arguments in the pieces in which it is streamed."""
    text = argument_text(arguments)
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def texts_of(content):
    """All texts in the content of a message: a text, or parts that have a text or are results with content."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    return [text for part in content for text in [part.get("text") or "", *texts_of(part.get("content"))]]


def count_words(texts):
    return sum(len(text.split()) for text in texts)
