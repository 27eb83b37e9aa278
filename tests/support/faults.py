"""Targets whose connections fail, each in one way. For faults in answers, `ScriptedUpstream` and `Reply` suffice."""

import select
import socket
import time

from .scripted import BreakOff, Received
from .upstream import ScriptedUpstream


class ClosedPort:
    """A port that is reserved and refuses connections."""

    scheme, requests = "http", ()

    def __init__(self, host="127.0.0.1", port=0):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.address = self.socket.getsockname()

    @property
    def base_url(self):
        host, port = self.address
        return f"{self.scheme}://{host}:{port}/v1"

    def stop(self):
        self.socket.close()


class BlackHole(ClosedPort):
    """A port that never answers a connection attempt: its queue of accepted connections is full."""

    def __init__(self, host="127.0.0.1", port=0):
        super().__init__(host, port)
        self.socket.listen(0)
        self.queue = []
        is_accepted = True
        while is_accepted:
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(self.address)
            self.queue.append(waiting)
            is_accepted = select.select([], [waiting], [], 0.1)[1]

    def stop(self):
        for waiting in self.queue:
            waiting.close()
        super().stop()


class SilentTls(ClosedPort):
    """A port that accepts connections and never answers a TLS handshake."""

    scheme = "https"

    def __init__(self):
        super().__init__()
        self.socket.listen(64)


class ResetAfterHead(ScriptedUpstream):
    """Resets a connection once it has read the head of a request."""

    def converse(self, connection):
        with connection, connection.makefile("rb") as reader:
            method, path, _ = reader.readline().decode().split(" ")
            headers = []
            while (line := reader.readline().decode().rstrip()) != "":
                headers.append(tuple(line.split(": ", 1)))
            self.requests.append(Received(method, path, headers, b""))
            self.break_off(connection, BreakOff(reset=True))


class HastyUpstream(ScriptedUpstream):
    """Closes a connection on which no further request arrives for `IDLE` seconds. Like a busy server, it takes a moment
    for that. `crossed` counts the requests that arrive within this moment, which it never reads."""

    IDLE, MOMENT = 0.02, 0.01

    def __init__(self):
        self.used, self.crossed = set(), 0
        super().__init__()

    def read_request(self, reader):
        if reader in self.used and not select.select([reader], [], [], self.IDLE)[0]:
            time.sleep(self.MOMENT)
            with self.changed:
                self.crossed += bool(select.select([reader], [], [], 0)[0])
            return None
        self.used.add(reader)
        return super().read_request(reader)
