"""Reads `/metrics`, and runs a real Prometheus that scrapes a gateway.

`tests/run` takes Prometheus from Debian's package. Where it is missing, the tests that need it are skipped.
"""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

import pytest

from . import wire
from .gateway import REPO, Gateway

SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
PACKAGED = REPO / "packaging/prometheus"


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text):
        self.text = text
        lines = text.splitlines()
        self.help = dict(line.split(" ", 3)[2:] for line in lines if line.startswith("# HELP "))
        self.samples = []
        for line in lines:
            if not line.startswith("#"):
                found = SAMPLE.fullmatch(line)
                labels = dict(LABEL.findall(found["labels"] or ""))
                self.samples.append((found["name"], labels, float(found["value"])))

    def values(self, name, **labels):
        """The values of the samples with these labels."""
        return [value for _, value in self.find(name, **labels)]

    def find(self, name, **labels):
        """The labels and values of the samples with these labels."""
        return [
            (labelled, value)
            for one, labelled, value in self.samples
            if one == name and labels.items() <= labelled.items()
        ]

    def total(self, name, **labels):
        return sum(self.values(name, **labels))


def scrape(gateway, **options):
    answer = gateway.admin_answer("GET", "/metrics", **options)
    assert answer.status == 200, answer
    return Scrape(answer.body.decode())


def program(name):
    """The path of `prometheus` or `promtool`; skips the test where there is none."""
    cached = REPO / "tests/.cache/prometheus/usr/bin" / name
    path = str(cached) if cached.exists() else shutil.which(name)
    return path or pytest.skip(f"{name} is not installed")


def promtool(*arguments, **options):
    return subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60, **options)


class Prometheus:
    """A Prometheus with the packaged configuration, but with this gateway's address and a short interval."""

    def __init__(self, gateway: Gateway, key):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-prometheus-"))
        shutil.copy(PACKAGED / "alerts.yml", self.directory)
        (self.directory / "tollgate.key").write_text(key)
        config = (PACKAGED / "prometheus.yml").read_text()
        for packaged, here in [("127.0.0.1:8081", gateway.admin_address), ("_interval: 15s", "_interval: 250ms")]:
            assert packaged in config
            config = config.replace(packaged, here)
        (self.directory / "prometheus.yml").write_text(config)
        self.child = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={self.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.lines = []
        for line in self.child.stderr:
            self.lines.append(line)
            if found := re.search(r'msg="Listening on" address=(\S+)', line):
                self.address = found[1]
                break
        else:
            raise AssertionError("".join(self.lines))
        # Otherwise the pipe would fill up.
        threading.Thread(target=self.lines.extend, args=(self.child.stderr,), daemon=True).start()

    def api(self, path, **query):
        answer = wire.call(self.address, "GET", f"/api/v1/{path}?" + urllib.parse.urlencode(query))
        return answer.status, json.loads(answer.body) if answer.status != 503 else {}

    def query(self, expression):
        """The labels and values that an expression has now."""
        status, body = self.api("query", query=expression)
        if status == 503:
            return []  # it is still starting
        assert status == 200, (expression, body)
        return [(one["metric"], float(one["value"][1])) for one in body["data"]["result"]]

    def wait_for(self, expression, condition=bool):
        """Waits until the result of an expression satisfies the condition; returns it."""
        return Gateway.eventually(lambda: self.query(expression), condition)

    def wait_value(self, expression, expected):
        """Waits until an expression has one value, which is expected."""
        self.wait_for(expression, lambda found: [value for _, value in found] == [pytest.approx(expected, rel=1e-9)])

    def close(self):
        self.child.terminate()
        self.child.wait(wire.DEADLINE)
        shutil.rmtree(self.directory, ignore_errors=True)
