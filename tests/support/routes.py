"""Calls of every inference route but the first three: their bodies, the scripted server's answers and the exact bills.

    for name, call in CALLS.items():
        headers, body = call.body(slug)
"""

import json
import re

from .upstream import Reply

TARGET = "upstream-model"  # the name that endpoints of `Gateway.create_endpoint` send
FILE = b"\x00\r\n--b\xff" * 2500  # 17.5 kB, which is 1.09375 s to the scripted server
REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    502: "api_error",
    503: "api_error",
}


class Call:
    """One call. `tokens` is its bill in the order of `site.KINDS`; `source` is where the figures come from."""

    def __init__(self, path, fields, tokens, source="upstream", units=None, content_type="application/json", **reply):
        self.path, self.fields, self.tokens, self.source, self.units = path, fields, tokens, source, units
        self.content_type, self.reply = content_type, reply
        self.is_form = "/audio/trans" in path
        self.streamed = content_type == "text/event-stream"

    def body(self, model, **more):
        """The headers and the body of a request for this model. No library would write its bytes like this."""
        fields = {**self.fields, **more}
        if self.is_form:
            return form({"model": model, **fields})
        text = json.dumps({"x": [1.50, "\u00e9"], **fields})[1:]
        return [("content-type", "application/json")], f'{{ "model" :"{model}", "y":1.0e2,{text} '.encode()

    def send(self, customer, model, **more):
        headers, body = self.body(model, **more)
        return customer.post(self.path, body, headers)

    def begin(self, customer, model, **more):
        headers, body = self.body(model, **more)
        return customer.begin(self.path, body, headers)

    def scripted(self, **more):
        return Reply(**{**self.reply, **more})


def form(fields, boundary="b-1"):
    """The headers and the body of a form. Values are texts, lists of texts for names that repeat, or files as bytes."""
    parts = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            of_file = '; filename="a;b.wav"\r\ncontent-type: audio/wav' if isinstance(one, bytes) else ""
            data = one if isinstance(one, bytes) else one.encode()
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n'
            parts.append(head.encode() + data + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return [("content-type", f"multipart/form-data; boundary={boundary}")], body


ASKED = [{"role": "user", "content": "one two three"}]
MESSAGE = {"max_tokens": 99, "messages": ASKED, "metadata": {"user_id": "u"}}
DOCUMENTS = ["one two", "three"]
IMAGE = {"prompt": "a red fox"}
SPEECH = {"input": "one tw\u00f6 three", "voice": "alloy"}
EVENTS = "text/event-stream"

CALLS = {
    "responses": Call("/v1/responses", {"input": "one two three"}, [3, 8, 2, 1], cached=2, cache_write=1),
    "responses streamed": Call(
        "/v1/responses", {"input": "one two three", "stream": True}, [3, 8, 2, 1], content_type=EVENTS, cached=2, cache_write=1
    ),
    "messages": Call("/v1/messages", MESSAGE, [10, 8, 5, 2], cached=5, cache_write=2),
    "messages streamed": Call(
        "/v1/messages", {**MESSAGE, "stream": True}, [10, 8, 5, 2], content_type=EVENTS, cached=5, cache_write=2
    ),
    "count_tokens": Call("/v1/messages/count_tokens", {"messages": ASKED}, None),
    "rerank": Call("/v1/rerank", {"query": "one", "documents": DOCUMENTS}, [5, 0, 0, 0]),
    "moderations": Call("/v1/moderations", {"input": ["one two", "hate"]}, [4, 0, 0, 0], "counted"),
    "images": Call("/v1/images/generations", {**IMAGE, "n": 2}, [3, 32, 0, 0], units={"images": 2}),
    "images streamed": Call(
        "/v1/images/generations",
        {**IMAGE, "stream": True, "partial_images": 2},
        [3, 16, 0, 0],
        units={"images": 1},
        content_type=EVENTS,
    ),
    "speech": Call(
        "/v1/audio/speech", SPEECH, [4, 0, 0, 0], "counted", {"characters": 13}, content_type="audio/mpeg"
    ),
    "speech streamed": Call(
        "/v1/audio/speech", {**SPEECH, "stream_format": "sse"}, [3, 3, 0, 0], units={"characters": 13}, content_type=EVENTS
    ),
    "transcriptions": Call("/v1/audio/transcriptions", {"file": FILE, "language": "en"}, [11, 8, 0, 0]),
    "transcriptions verbose": Call(
        "/v1/audio/transcriptions",
        {"file": FILE, "response_format": "verbose_json"},
        [1, 6, 0, 0],
        "counted",
        {"seconds": "2"},
    ),
    "transcriptions as text": Call(
        "/v1/audio/transcriptions",
        {"file": FILE, "response_format": "text"},
        [1, 6, 0, 0],
        "counted",
        content_type="text/plain; charset=utf-8",
    ),
    "transcriptions streamed": Call(
        "/v1/audio/transcriptions", {"file": FILE, "stream": "true"}, [11, 8, 0, 0], content_type=EVENTS
    ),
    "translations": Call("/v1/audio/translations", {"file": FILE}, [1, 6, 0, 0], "counted"),
    "translations verbose": Call(
        "/v1/audio/translations",
        {"file": FILE, "response_format": "verbose_json"},
        [1, 6, 0, 0],
        "counted",
        {"seconds": "1.09375"},
    ),
    "translations streamed": Call(
        "/v1/audio/translations", {"file": FILE, "stream": "true"}, [11, 8, 0, 0], content_type=EVENTS
    ),
}


def check_error(answer, path, code=None, param=None):
    """Checks an error in the shape of the API of its path; returns its message."""
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert answer.headers["content-type"].startswith("application/json")
    body, error = answer.json(), answer.error
    of_limits = {"retry_after_s"} if "retry_after_s" in error else set()
    assert of_limits == set() or answer.status == 429
    if path.startswith("/v1/messages"):
        assert set(body) == {"type", "error", "request_id"} and body["type"] == "error"
        assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
        assert set(error) == {"type", "message"} | of_limits
        assert error["type"] == ANTHROPIC_TYPES[answer.status], answer
    else:
        assert set(body) == {"error"} and "request-id" not in answer.headers
        assert set(error) == {"message", "type", "param", "code"} | of_limits
        kinds = {429: "rate_limit_error", 502: "server_error", 503: "server_error"}
        assert error["type"] == kinds.get(answer.status, "invalid_request_error"), answer
        assert code is None or error["code"] == code, answer
        assert param is None or error["param"] == param, answer
    assert re.match(r"[A-Z`]", error["message"]), answer
    assert answer.status >= 500 or error["message"].endswith((".", "?")), answer
    return error["message"]
