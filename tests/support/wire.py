"""HTTP/1.1 on plain sockets: a test can send requests that client libraries refuse to send, and stop reading anywhere.

A `Connection` is one socket. Every wait has a deadline; a missed deadline fails the test, so no test hangs.
"""

import json
import select
import socket
import struct

DEADLINE = 20.0  # seconds; generous, because it passes only if something is wrong


class Broken(Exception):
    """The peer closed or reset the connection before the message was complete."""


class Answer:
    """A complete answer. Header names are lower case; `headers` has the last of each, `header_list` all of them."""

    def __init__(self, status, header_list, body):
        self.status = status
        self.header_list = header_list
        self.headers = dict(header_list)
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The `error` object of an OpenAI-shaped error."""
        return self.json()["error"]

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


class TlsAddress(str):
    """An address that is called over TLS, with the client's settings: an `ssl.SSLContext`."""

    def __new__(cls, address, context):
        made = super().__new__(cls, address)
        made.context = context
        return made


class Connection:
    """One socket to the gateway. `source` is another local address to connect from, for example 127.0.0.2."""

    def __init__(self, address, timeout=DEADLINE, source=None):
        host, port = address.rsplit(":", 1)
        self.address = address
        self.socket = socket.create_connection((host, int(port)), timeout, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.context = getattr(address, "context", None)
        if self.context:
            self.socket = self.context.wrap_socket(self.socket, server_hostname=host)
        self.buffer = b""
        self.ended = False
        self.chunked = False
        self.is_head = False
        self.left = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Sending

    def send(self, data):
        self.socket.sendall(data)

    def send_head(self, method, path, headers=()):
        """Sends a head. `headers` are (name, value) pairs of text or bytes, sent unchanged and in this order."""
        self.is_head = method == "HEAD"
        lines = [f"{method} {path} HTTP/1.1".encode(), b"host: " + self.address.encode()]
        for name, value in headers:
            name = name if isinstance(name, bytes) else name.encode()
            value = value if isinstance(value, bytes) else str(value).encode()
            lines.append(name + b": " + value)
        self.send(b"\r\n".join(lines) + b"\r\n\r\n")

    def request(self, method, path, headers=(), body=None):
        """Sends a whole request; a body that is not bytes is sent as JSON."""
        headers = list(headers)
        if body is not None:
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
                if "content-type" not in {str(name).lower() for name, _ in headers}:
                    headers.append(("content-type", "application/json"))
            headers.append(("content-length", len(body)))
        self.send_head(method, path, headers)
        try:
            self.send(body or b"")
        except ConnectionError:
            pass  # refused before it was complete; the answer can still be read and says why

    def end_sending(self):
        try:
            # Not the method of TLS sockets, which would end the reading of TLS too.
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
        except OSError:
            pass  # the peer has closed already

    # Receiving

    def fill(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionError as error:
            raise Broken(f"reset after {self.buffer[:200]!r}") from error
        if not data:
            self.ended = True
            raise Broken(f"closed after {self.buffer[:200]!r}")
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            self.fill()
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def exactly(self, count):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            self.buffer = b""
            self.fill()
            parts.append(self.buffer)
            have += len(self.buffer)
        data = b"".join(parts)
        self.buffer = data[count:]
        return data[:count]

    def read_head(self):
        """Reads the head of the next answer; returns `(status, header list)`. The body is read with `read_some`,
        `read_body` or a `Stream`."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        header_list = [(name.strip().lower(), value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        headers = dict(header_list)
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked" and not self.is_head
        self.left = 0 if self.is_head or status in (204, 304) or status < 200 else int(headers.get("content-length", -1))
        return status, header_list

    def read_some(self):
        """The next piece of the body, or `b""` at its end. Raises `Broken` if the connection ends before that."""
        if self.chunked:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            data = self.exactly(size)
            self.exactly(2)
            if size == 0:
                self.chunked, self.left = False, 0
            return data
        if self.left == 0:
            return b""
        if self.left < 0:  # neither a length nor chunks: the body ends with the connection
            try:
                if not self.buffer:
                    self.fill()
            except Broken:
                if self.ended:
                    return b""
                raise
            data, self.buffer = self.buffer, b""
            return data
        if not self.buffer:
            self.fill()
        data, self.buffer = self.buffer[: self.left], self.buffer[self.left :]
        self.left -= len(data)
        return data

    def read_body(self):
        parts = []
        while part := self.read_some():
            parts.append(part)
        return b"".join(parts)

    def read_answer(self):
        status, header_list = self.read_head()
        return Answer(status, header_list, self.read_body())

    def is_closed_by_peer(self, timeout=DEADLINE):
        """Whether the peer closes or resets within `timeout` seconds and sends nothing more."""
        if self.buffer:
            return False
        if self.context:
            return self.is_tls_closed_by_peer(timeout)
        if not select.select([self.socket], [], [], timeout)[0]:
            return False
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except ConnectionError:
            return True

    def is_tls_closed_by_peer(self, timeout):
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    # Ending

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Stream:
    """The server-sent events of one answer, frame by frame. The data lines of one event are joined."""

    def __init__(self, connection):
        self.connection = connection
        self.pending = b""
        self.raw = b""

    def next(self):
        """The next event's data as text, or None at the body's end. Raises `Broken` if the connection ends early."""
        while True:
            frame, mark, rest = self.pending.partition(b"\n\n")
            crlf_frame, crlf_mark, crlf_rest = self.pending.partition(b"\r\n\r\n")
            if crlf_mark and (not mark or len(crlf_frame) < len(frame)):
                frame, mark, rest = crlf_frame, crlf_mark, crlf_rest
            if mark:
                self.pending = rest
                lines = [line.removesuffix(b"\r") for line in frame.split(b"\n")]
                data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
                if data:
                    return b"\n".join(data).decode()
                continue
            part = self.connection.read_some()
            if not part:
                assert not self.pending.strip(), f"half an event at the end: {self.pending!r}"
                return None
            self.raw += part
            self.pending += part

    def __iter__(self):
        while (data := self.next()) is not None:
            yield data

    def chunks(self):
        """The JSON of every event up to `[DONE]`, which must be the last event."""
        found = []
        for data in self:
            if data == "[DONE]":
                assert self.next() is None, "something followed [DONE]"
                return found
            found.append(json.loads(data))
        raise AssertionError(f"the stream ended without [DONE]: {self.raw[-400:]!r}")


def call(address, method, path, headers=(), body=None, source=None):
    """Sends one request on its own connection; returns the answer."""
    with Connection(address, source=source) as connection:
        connection.request(method, path, headers, body)
        return connection.read_answer()
