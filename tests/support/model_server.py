"""A model server in a process of its own, which a test restarts on the same port under load.

    server = ModelServer()
    server.restart()                 # drains: finishes what runs, closes idle connections, ends; then starts again
    server.kill9(), server.start()

It answers like a `ScriptedUpstream`, with a pause before each frame, and writes the id of each request to a file when
it begins to work on it.
"""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from .faults import ClosedPort
from .reply import Reply
from .upstream import json_answer, stream_frames
from .wire import DEADLINE

TESTS = pathlib.Path(__file__).resolve().parents[1]
PAUSE = 0.01  # seconds


class ModelServer:
    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="tollgate-server-")
        self.begun = pathlib.Path(self.scratch.name) / "begun"
        self.port = ClosedPort()  # keeps the port reserved between two runs
        self.base_url = self.port.base_url
        self.start()

    def start(self):
        command = [sys.executable, "-m", "support.model_server", str(self.port.address[1]), str(self.begun)]
        self.child = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout.readline() == "listening\n"

    def drain(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(DEADLINE) == 0

    def restart(self):
        self.drain()
        self.start()

    def kill9(self):
        self.child.kill()
        self.child.wait()

    @property
    def requests(self):
        """The id of each request that it began to work on, in order."""
        return self.begun.read_text().split()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill9()
        self.port.stop()
        self.scratch.cleanup()


# The process


class Server:
    def __init__(self, begun):
        self.begun = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.running, self.idle = set(), set()
        self.is_draining = False

    async def run(self, port):
        drain = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain.set)
        server = await asyncio.start_server(self.converse, "127.0.0.1", port, backlog=512)
        print("listening", flush=True)
        await drain.wait()
        self.is_draining = True
        server.close()
        for writer in self.idle:
            writer.close()
        await asyncio.gather(*self.running)

    async def converse(self, reader, writer):
        self.running.add(asyncio.current_task())
        try:
            while not self.is_draining:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                if writer.is_closing():
                    break  # closed as idle while this request arrived
                fields = dict(line.split(": ", 1) for line in head.decode().lower().strip().split("\r\n")[1:])
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                os.write(self.begun, fields["x-request-id"].encode() + b"\n")
                await self.answer(writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.idle.discard(writer)
            writer.close()
            self.running.discard(asyncio.current_task())

    async def answer(self, writer, body):
        path, reply, stream = "/v1/chat/completions", Reply(), body.get("stream")
        frames = list(stream_frames(path, body, reply)) if stream else [json_answer(path, body, reply)]
        kind = "text/event-stream" if stream else "application/json"
        await asyncio.sleep(PAUSE)
        connection = "close" if self.is_draining else "keep-alive"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\nconnection: {connection}\r\n\r\n"
        writer.write(head.encode())
        for frame in frames:
            writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
            await writer.drain()
            await asyncio.sleep(PAUSE)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


if __name__ == "__main__":
    asyncio.run(Server(sys.argv[2]).run(int(sys.argv[1])))
