"""A model server that does exactly what a test tells it to, on plain sockets so that it can also misbehave.

Left alone it answers OpenAI's chat completions, completions and embeddings with deterministic words and an exact usage,
as JSON or as server-sent events (with a usage chunk only when it is asked for one, as real servers do). A test scripts
the next answers with verbs; each of them is used once, in order:

    upstream.fail_next(3, 503)
    gate = upstream.stall_next(after=2)          # two chunks, then silence until gate.release()
    upstream.break_off_next(after=2)
    upstream.reply_next(Reply(...))

Every request is recorded as it came (`requests`), and each knows when its client has hung up (`hung_up`).
"""

import collections
import json
import select
import socket
import struct
import threading
import time

from .wire import DEADLINE

MODEL = "upstream-7b-instruct-q4"  # what it calls itself: never what a customer may see
CREATED = 1_700_000_000


class Gate:
    """A point in an answer where the upstream waits. `reached` tells that it is there; `release` lets it go on."""

    def __init__(self):
        self.arrived = threading.Event()
        self.released = threading.Event()

    def reached(self):
        assert self.arrived.wait(DEADLINE), "the upstream never came to this point"

    def release(self):
        self.released.set()


class BreakOff:
    """A point in an answer where the upstream drops the connection; with `reset`, the hard way."""

    def __init__(self, reset=False):
        self.reset = reset


class Received:
    """One request as it came, header names in lower case; `hung_up` is set when its client left early, `answered` to
    the status as soon as its client may know it."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.header_list, self.body = method, path, headers, body
        self.headers = dict(headers)
        self.hung_up = threading.Event()
        self.answered = None

    @property
    def json(self):
        return json.loads(self.body)

    def wait_hung_up(self):
        assert self.hung_up.wait(DEADLINE), "the upstream's client never hung up"


class Reply:
    """One answer: a status, headers, and steps in order: bytes to send, a `Gate` to wait at, a `BreakOff`.

    Without steps the answer is made from the request: `words` (a count or a list) of text per choice, `usage` (None
    leaves it out, a dict replaces it, `...` is the true one), `cached` prompt tokens, `continuous` usage in every
    chunk; `insert` puts a `Gate` or a `BreakOff` among its frames, `before_head` before all.
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
    ):
        self.status, self.headers, self.steps = status, list(headers), steps
        self.words, self.usage, self.cached, self.extra = words, usage, cached, extra or {}
        self.continuous, self.crlf, self.finish_reason = continuous, crlf, finish_reason
        self.before_head = before_head
        self.insert = insert or {}  # position among the frames (negative: from the end) -> step
        if json_body is not None:
            self.steps = [json.dumps(json_body).encode()]


def frame(data, crlf=False):
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    end = "\r\n\r\n" if crlf else "\n\n"
    return f"data: {text}{end}".encode()


def choices_of(request):
    """How many choices are wanted; a real server has a limit, too."""
    return int(min(request.get("n") or 1, 128))


def words_of(request, reply):
    limit = request.get("max_tokens") or request.get("max_completion_tokens")
    if isinstance(reply.words, list):
        words = reply.words
    else:
        words = [f"w{index} " for index in range(8 if reply.words is None else reply.words)]
    return words[: int(min(limit, len(words)))] if limit else words


def text_of(request):
    """All the text of a request's prompt, in order."""
    if "messages" in request:
        parts = []
        for message in request["messages"]:
            content = message.get("content") or ""
            parts += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        return " ".join(parts)
    prompt = request.get("prompt", request.get("input", ""))
    return prompt if isinstance(prompt, str) else " ".join(str(part) for part in prompt)


def usage_of(request, reply, written):
    """The true usage: words in, words out. `written` counts the words of all choices together."""
    if isinstance(reply.usage, dict):
        return reply.usage
    prompt = len(text_of(request).split())
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    if reply.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached}
    return usage


def stream_frames(path, request, reply):
    """The frames of a streamed answer: a role, the words of every choice, the finish reasons, the usage, `[DONE]`."""
    chat = path.endswith("/chat/completions")
    choices = choices_of(request)
    words = words_of(request, reply)
    include = (request.get("stream_options") or {}).get("include_usage") is True and reply.usage is not None
    base = {
        "id": "cmpl-scripted",
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": CREATED,
        "model": MODEL,
        "system_fingerprint": "fp_scripted",
        **reply.extra,
    }
    written = 0

    def chunk(choice):
        body = {**base, "choices": [choice] if choice else []}
        if reply.continuous:
            body["usage"] = usage_of(request, reply, written)
        elif include:
            body["usage"] = None
        return frame(body, reply.crlf)

    if chat:
        for index in range(choices):
            yield chunk({"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
    for word in words:
        for index in range(choices):
            written += 1
            part = {"delta": {"content": word}} if chat else {"text": word}
            yield chunk({"index": index, **part, "logprobs": None, "finish_reason": None})
    for index in range(choices):
        part = {"delta": {}} if chat else {"text": ""}
        yield chunk({"index": index, **part, "finish_reason": reply.finish_reason})
    if include:
        yield frame({**base, "choices": [], "usage": usage_of(request, reply, written)}, reply.crlf)
    yield frame("[DONE]", reply.crlf)


def json_answer(path, request, reply):
    words, choices = words_of(request, reply), choices_of(request)
    text = "".join(words)
    if path.endswith("/embeddings"):
        inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
        prompt = len(text_of(request).split())
        body = {
            "object": "list",
            "model": MODEL,
            "data": [{"object": "embedding", "index": i, "embedding": [0.25, -0.5, i]} for i in range(len(inputs))],
        }
        usage = {"prompt_tokens": prompt, "total_tokens": prompt} if reply.usage is ... else reply.usage
    else:
        usage = usage_of(request, reply, len(words) * choices)
        base = {"id": "cmpl-scripted", "created": CREATED, "model": MODEL, "system_fingerprint": "fp_scripted"}
        if path.endswith("/chat/completions"):
            body = {
                **base,
                "object": "chat.completion",
                "choices": [
                    {
                        "index": i,
                        "message": {"role": "assistant", "content": text},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                    for i in range(choices)
                ],
            }
        else:
            body = {
                **base,
                "object": "text_completion",
                "choices": [
                    {"index": i, "text": text, "logprobs": None, "finish_reason": "stop"} for i in range(choices)
                ],
            }
    if reply.usage is not None:
        body["usage"] = usage
    body.update(reply.extra)
    return json.dumps(body).encode()


class ScriptedUpstream:
    def __init__(self, tls=None, host="127.0.0.1"):
        """With `tls`, an `ssl.SSLContext`, it speaks HTTPS, under whatever name of this machine its certificate has."""
        self.tls = tls
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.base_url = f"{'https' if tls else 'http'}://{host}:{self.port}/v1"
        self.requests = []
        self.default = Reply()
        self.script = collections.deque()
        self.changed = threading.Condition()
        self.open = set()
        self.gates = []
        self.connections = 0
        threading.Thread(target=self.accept, daemon=True).start()

    # What a test says

    def reply_next(self, reply, times=1):
        with self.changed:
            self.script.extend([reply] * times)

    def always(self, reply):
        self.default = reply

    def fail_next(self, times, status, headers=(), error=None):
        error = error or {
            "message": f"scripted {status} from {MODEL} at 10.1.2.3:8000",
            "type": "scripted",
            "param": None,
            "code": None,
        }
        self.reply_next(Reply(status, headers, json_body={"error": error}), times)

    def hang_next(self):
        """The next request gets no head until the gate is released."""
        gate = self.gate()
        self.reply_next(Reply(before_head=gate))
        return gate

    def stall_next(self, after, **reply):
        """The next stream stops after so many frames (negative: so many before its end) until the gate is released."""
        gate = self.gate()
        self.reply_next(Reply(insert={after: gate}, **reply))
        return gate

    def break_off_next(self, after, reset=False, **reply):
        self.reply_next(Reply(insert={after: BreakOff(reset)}, **reply))

    def gate(self):
        gate = Gate()
        self.gates.append(gate)
        return gate

    def wait_requests(self, count):
        """Waits until so many requests have come since the start; returns the last of them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, DEADLINE), (
                f"only {len(self.requests)} requests"
            )
            return self.requests[count - 1]

    @property
    def count(self):
        return len(self.requests)

    def drop_connections(self):
        """Closes every connection that is open, as a server does with those that were idle for long."""
        with self.changed:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # already gone

    def stop(self):
        for gate in self.gates:
            gate.release()
        # Closed only, it would leave its thread waiting on a number that the next socket gets, with that one's clients.
        if self.listener.fileno() >= 0:  # else a test has stopped it already
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        self.drop_connections()

    # How it is done

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Fixed and small, or the system takes a megabyte in before the gateway has read a byte of it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            with self.changed:
                self.open.add(connection)
                self.connections += 1
            threading.Thread(target=self.converse, args=(connection,), daemon=True).start()

    def converse(self, connection):
        if self.tls is not None:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True)
            except OSError:
                return connection.close()  # no handshake: the client did not trust us
        reader = connection.makefile("rb")
        try:
            while (received := self.read_request(reader)) is not None:
                with self.changed:
                    reply = self.script.popleft() if self.script else self.default
                    self.requests.append(received)
                    self.changed.notify_all()
                if not self.answer(connection, received, reply):
                    return
        except (OSError, ValueError):
            pass
        finally:
            with self.changed:
                self.open.discard(connection)
            reader.close()
            connection.close()

    @staticmethod
    def read_request(reader):
        line = reader.readline()
        if not line:
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = []
        while (line := reader.readline().rstrip(b"\r\n")) != b"":
            name, value = line.decode("latin-1").split(":", 1)
            headers.append((name.lower(), value.strip()))
        fields = dict(headers)
        if fields.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(reader.readline().split(b";")[0], 16):
                parts.append(reader.read(size))
                reader.readline()
            reader.readline()
            body = b"".join(parts)
        else:
            body = reader.read(int(fields.get("content-length", 0)))
        return Received(method, path, headers, body)

    def answer(self, connection, received, reply):
        """Whether the connection can be used again."""
        try:
            if isinstance(reply.before_head, BreakOff):
                return self.break_off(connection, reply.before_head)
            if reply.before_head is not None and not self.wait_at(reply.before_head, connection, received):
                return False
            streamed = False
            if reply.steps is not None:
                steps = list(reply.steps)
            else:
                request = received.json
                streamed = bool(request.get("stream"))
                steps = (
                    list(stream_frames(received.path, request, reply))
                    if streamed
                    else [json_answer(received.path, request, reply)]
                )
            for position, step in reply.insert.items():
                steps.insert(position if position >= 0 else len(steps) + position, step)
            headers = {
                "content-type": "text/event-stream" if streamed else "application/json",
                "server": "scripted/1.0",
                "x-upstream-secret-header": "leak",
                "date": "Mon, 23 Nov 2026 10:00:00 GMT",
            }
            headers.update(reply.headers)
            whole = all(isinstance(step, bytes) for step in steps)
            if "content-length" not in headers and "transfer-encoding" not in headers:
                if whole and not streamed:
                    headers["content-length"] = str(sum(map(len, steps)))
                else:
                    headers["transfer-encoding"] = "chunked"
            chunked = "transfer-encoding" in headers
            head = f"HTTP/1.1 {reply.status} Scripted\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
            received.answered = reply.status
            connection.sendall(head.encode("latin-1") + b"\r\n")
            for step in steps:
                if isinstance(step, Gate):
                    if not self.wait_at(step, connection, received):
                        return False
                elif isinstance(step, BreakOff):
                    return self.break_off(connection, step)
                elif chunked:
                    connection.sendall(b"%x\r\n%b\r\n" % (len(step), step))
                else:
                    connection.sendall(step)
            if chunked:
                connection.sendall(b"0\r\n\r\n")
            return headers.get("connection") != "close"
        except OSError:
            received.hung_up.set()
            return False

    @staticmethod
    def break_off(connection, how):
        if how.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.shutdown(socket.SHUT_RDWR)
        return False

    @staticmethod
    def wait_at(gate, connection, received):
        """Waits until the gate opens; false if the client hung up first."""
        gate.arrived.set()
        limit = time.monotonic() + 3 * DEADLINE
        while not gate.released.wait(0.005):
            assert time.monotonic() < limit, "a test forgot its gate"
            if select.select([connection], [], [], 0)[0]:
                try:
                    gone = connection.recv(1, socket.MSG_PEEK) == b""
                except OSError:
                    gone = True
                if gone:
                    received.hung_up.set()
                    return False
        return True
