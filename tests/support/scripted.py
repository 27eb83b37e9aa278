"""A server that a test scripts in every detail, on plain sockets so that it can also misbehave. It is the base of the
upstream (`upstream.py`) and the webhook receiver (`receiver.py`).

A test scripts the next answers. Each is used once, in order; after them comes the one that `always` was given.
"""

import collections
import email
import json
import select
import socket
import struct
import threading
import time

from .wire import DEADLINE


class Gate:
    """A point in an answer where the server waits. `reached` waits until it gets there; `release` lets it continue."""

    def __init__(self):
        self.arrived = threading.Event()
        self.released = threading.Event()

    def reached(self):
        assert self.arrived.wait(DEADLINE), "the server never reached this gate"

    def release(self):
        self.released.set()


class Pause:
    """A point in an answer where the server waits for `seconds`. `most` is the largest number of answers that have
    waited there at the same time."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.waiting = self.most = 0


class BreakOff:
    """A point in an answer where the server closes the connection; with `reset`, by a TCP reset."""

    def __init__(self, reset=False):
        self.reset = reset


class Received:
    """One request as received, with header names in lower case. `hung_up` is set when the client disconnects early;
    `answered` becomes the status just before the head is sent."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.header_list, self.body = method, path, headers, body
        self.headers = dict(headers)
        self.hung_up = threading.Event()
        self.answered = None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def form(self):
        """The fields of a multipart body by name: the text of each, and of a file its bytes."""
        boundary = email.message_from_string(f"content-type: {self.headers['content-type']}\n\n").get_boundary()
        fields = {}
        for part in self.body.split(b"--" + boundary.encode())[1:-1]:
            head, data = part.removeprefix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n\r\n", 1)
            head = email.message_from_bytes(head)
            name = head.get_param("name", header="content-disposition")
            fields[name] = data if head.get_filename() else data.decode()
        return fields

    def wait_hung_up(self):
        assert self.hung_up.wait(DEADLINE), "the server's client never hung up"


class Reply:
    """One answer: a status, headers, and steps: bytes to send, a `Gate` or `Pause` to wait at, or a `BreakOff`.

    `before_head` is a step that runs before the head is sent. Steps that are not a list are sent as chunks and may be
    endless. Without a status, only the steps are sent, unchanged and without a head.
    """

    def __init__(self, status=200, headers=(), steps=None, json_body=None, before_head=None):
        self.status, self.headers, self.steps, self.before_head = status, list(headers), steps, before_head
        if json_body is not None:
            self.steps = [json.dumps(json_body).encode()]


class ScriptedServer:
    default_reply, received = Reply, Received

    def __init__(self, tls=None, host="127.0.0.1"):
        """With `tls`, an `ssl.SSLContext`, the server speaks HTTPS; `host` is then the name in its certificate."""
        self.tls = tls
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.origin = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self.requests = []
        self.default = self.default_reply()
        self.script = collections.deque()
        self.changed = threading.Condition()
        self.open = set()
        self.gates = []
        self.connections = 0
        self.accept_from(self.listener)

    # For tests

    def reply_next(self, reply, times=1):
        with self.changed:
            self.script.extend([reply] * times)

    def always(self, reply):
        self.default = reply

    def hang_next(self):
        """The next request gets no head until the gate is released."""
        gate = self.gate()
        self.reply_next(self.default_reply(before_head=gate))
        return gate

    def gate(self):
        gate = Gate()
        self.gates.append(gate)
        return gate

    def wait_requests(self, count):
        """Waits until `count` requests have arrived since the start; returns the last of them."""
        self.wait(lambda: len(self.requests) >= count, lambda: f"only {len(self.requests)} requests")
        return self.requests[count - 1]

    @property
    def count(self):
        return len(self.requests)

    def drop_connections(self):
        """Closes every open connection, as a server does with connections that have been idle for long."""
        with self.changed:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # already gone

    def refuse_connections(self):
        """Refuses new connections but keeps the port reserved, until `accept_connections`."""
        self.close_listener()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.drop_connections()

    def accept_connections(self):
        self.listener.listen(512)
        self.accept_from(self.listener)

    def stop(self):
        for gate in self.gates:
            gate.release()
        self.close_listener()
        self.drop_connections()

    # Implementation

    def wait(self, condition, seen, within=DEADLINE):
        """Waits until the condition holds; `seen` returns the failure message."""
        with self.changed:
            assert self.changed.wait_for(condition, within), seen()

    def close_listener(self):
        # Without the shutdown, the accepting thread would keep waiting on the descriptor. The next socket may get that
        # descriptor, and the thread would take its clients.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # already closed, or never listening
        self.listener.close()

    def accept_from(self, listener):
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Fixed and small; otherwise the kernel buffers a megabyte before the gateway has read any of it.
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
                return connection.close()  # the handshake failed: the client did not trust us
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

    def read_request(self, reader):
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
            length = int(fields.get("content-length", 0))
            body = reader.read(length)
            if len(body) < length:
                return None  # the client disconnected before its request was complete
        return self.received(method, path, headers, body)

    def content(self, received, reply):
        """The default headers of an answer, which the reply's own headers override, and its steps."""
        return {"content-type": "application/json"}, reply.steps or []

    def answer(self, connection, received, reply):
        """Sends an answer; returns whether the connection can be used again."""
        try:
            if reply.before_head is not None and not self.step(connection, received, reply.before_head):
                return False
            headers, steps = self.content(received, reply)
            headers.update(reply.headers)
            whole = isinstance(steps, list) and all(isinstance(step, bytes) for step in steps)
            if "content-length" not in headers and "transfer-encoding" not in headers:
                if whole:
                    headers["content-length"] = str(sum(map(len, steps)))
                else:
                    headers["transfer-encoding"] = "chunked"
            chunked = "transfer-encoding" in headers and reply.status is not None
            with self.changed:
                received.answered = reply.status
                self.changed.notify_all()
            if reply.status is not None:
                head = f"HTTP/1.1 {reply.status} Scripted\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
                connection.sendall(head.encode("latin-1") + b"\r\n")
            for step in steps:
                if not isinstance(step, bytes):
                    if not self.step(connection, received, step):
                        return False
                elif chunked:
                    connection.sendall(b"%x\r\n%b\r\n" % (len(step), step))
                else:
                    connection.sendall(step)
            if chunked:
                connection.sendall(b"0\r\n\r\n")
            return reply.status is not None and headers.get("connection") != "close"
        except OSError:
            received.hung_up.set()
            return False

    def step(self, connection, received, step):
        """Runs a step that is not bytes; returns whether the answer continues after it."""
        if isinstance(step, BreakOff):
            return self.break_off(connection, step)
        if isinstance(step, Pause):
            return self.pause(connection, received, step)
        return self.wait_at(step, connection, received)

    @staticmethod
    def break_off(connection, how):
        if how.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.shutdown(socket.SHUT_RDWR)
        return False

    def pause(self, connection, received, pause):
        """Waits; returns False if the client hung up meanwhile."""
        with self.changed:
            pause.waiting += 1
            pause.most = max(pause.most, pause.waiting)
        readable = select.select([connection], [], [], pause.seconds)[0]
        with self.changed:
            pause.waiting -= 1
        return not readable or not self.has_hung_up(connection, received)

    def wait_at(self, gate, connection, received):
        """Waits until the gate opens; returns False if the client hung up first."""
        gate.arrived.set()
        limit = time.monotonic() + 3 * DEADLINE
        while not gate.released.wait(0.005):
            assert time.monotonic() < limit, "a test did not release its gate"
            if select.select([connection], [], [], 0)[0] and self.has_hung_up(connection, received):
                return False
        return True

    @staticmethod
    def has_hung_up(connection, received):
        """Whether the client has closed the connection."""
        try:
            gone = connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            gone = True
        if gone:
            received.hung_up.set()
        return gone
