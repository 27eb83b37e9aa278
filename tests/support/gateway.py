"""A real gateway process on free ports, driven by methods named as verbs.

`Gateway()` starts the binary on its own data directory and returns once both listeners have logged their addresses. The
admin methods assert success; `admin_answer` is for tests that expect something else.
"""

import datetime
import itertools
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

from . import wire

REPO = pathlib.Path(__file__).resolve().parents[2]
ADMIN_KEY = "tests-operator-key-0123456789"
EPOCH = "2000-01-01T00:00:00Z"

unique = itertools.count(1)


def binary():
    path = pathlib.Path(os.environ.get("TOLLGATE_BIN") or REPO / "target/debug/tollgate")
    assert path.exists(), f"{path} does not exist: build it first, or set TOLLGATE_BIN"
    return str(path)


def fresh(kind):
    """A name that no other test of this run uses."""
    return f"{kind}-{next(unique)}"


def rate(kind, unit, threshold):
    return {"type": kind, "unit": unit, "threshold": threshold}


def budget(unit, amount, currency="EUR"):
    return {"unit": unit, "currency": currency, "amount": amount}


def model(slug, rate_limits=(), usage_limits=()):
    return {"slug": slug, "rate_limits": list(rate_limits), "usage_limits": list(usage_limits)}


def prefix_of(key):
    return key.split(".")[0]


def target_of(upstream, **fields):
    """An OPENAI_COMPATIBLE target for `upstream`: a scripted one or a base URL."""
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    return {"provider": "OPENAI_COMPATIBLE", "base_url": base_url, "target_model": "upstream-model", **fields}


def message(text):
    return [{"role": "user", "content": text}]


class DidNotStart(Exception):
    """The process ended before both listeners were open. `output` is everything it wrote, `status` its exit code."""

    def __init__(self, status, output):
        super().__init__(f"exit {status}:\n{output}")
        self.status, self.output = status, output


class Process:
    """One run of the binary. Collects its output line by line and finds the two listeners' addresses in it."""

    def __init__(self, arguments, environment, umask=-1, rlimits=None):
        def limit():
            for kind, most in (rlimits or {}).items():
                resource.setrlimit(kind, (most, most))

        self.child = subprocess.Popen(
            [binary(), *arguments],
            env=environment,
            umask=umask,
            preexec_fn=limit if rlimits else None,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines, self.printed, self.addresses = [], [], {}
        self.changed = threading.Condition()
        self.running = 2
        threading.Thread(target=self.read, args=(self.child.stderr, self.lines), daemon=True).start()
        threading.Thread(target=self.read, args=(self.child.stdout, self.printed), daemon=True).start()

    def read(self, pipe, lines):
        for line in pipe:
            with self.changed:
                lines.append(line)
                self.learn(line)
                self.changed.notify_all()
        with self.changed:
            self.running -= 1
            self.changed.notify_all()

    def learn(self, line):
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if isinstance(entry, dict):
            fields = entry.get("fields", entry)
            if fields.get("message") == "listening":
                self.addresses[fields["listener"]] = fields["address"]

    def wait_listening(self):
        with self.changed:
            self.changed.wait_for(lambda: len(self.addresses) == 2 or not self.running, wire.DEADLINE)
            if len(self.addresses) == 2:
                return
        self.child.kill()
        self.child.wait()
        with self.changed:
            self.changed.wait_for(lambda: not self.running, 5)
        raise DidNotStart(self.child.returncode, self.output)

    def wait_line(self, condition):
        """Waits for a log line that satisfies the condition; returns it."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: next((line for line in self.lines if condition(line)), None), wire.DEADLINE
            )
        assert found, f"no matching log line; the last ones: {self.lines[-5:]}"
        return found

    @property
    def output(self):
        with self.changed:
            return "".join(self.printed) + "".join(self.lines)

    def wait(self):
        status = self.child.wait(wire.DEADLINE * 2)
        with self.changed:
            self.changed.wait_for(lambda: not self.running, 5)
        return status


class Gateway:
    """A gateway process. `env` holds further `TOLLGATE_` settings, named as config fields: `Gateway(max_body="1KiB")`.
    `rlimits` are the process's resource limits: `{resource.RLIMIT_NOFILE: 64}`. `tls` and `admin_tls` are the
    certificates of the two listeners."""

    def __init__(
        self,
        arguments=(),
        data_dir=None,
        admin_key=ADMIN_KEY,
        umask=-1,
        rlimits=None,
        config=None,
        listen="127.0.0.1:0",
        admin_listen="127.0.0.1:0",
        tls=None,
        admin_tls=None,
        **env,
    ):
        self.scratch = tempfile.mkdtemp(prefix="tollgate-test-")
        self.data_dir = pathlib.Path(data_dir or pathlib.Path(self.scratch) / "data")
        self.admin_key = admin_key
        self.umask, self.rlimits = umask, rlimits
        self.tls, self.admin_tls = tls, admin_tls
        for section, certificate in (("tls", tls), ("admin_tls", admin_tls)):
            if certificate:
                env |= {f"{section}_cert": certificate.cert, f"{section}_key": certificate.key}
        self.arguments = [
            "serve",
            "--listen",
            listen,
            "--admin-listen",
            admin_listen,
            "--data-dir",
            str(self.data_dir),
            *arguments,
        ]
        if config is not None:
            path = pathlib.Path(self.scratch) / "tollgate.toml"
            path.write_text(config)
            self.arguments += ["--config", str(path)]
        self.environment = clean_environment() | {f"TOLLGATE_{name.upper()}": str(value) for name, value in env.items()}
        if admin_key is not None:
            self.environment["TOLLGATE_ADMIN_KEY"] = admin_key
        try:
            self.start()
        except DidNotStart:
            shutil.rmtree(self.scratch)
            raise

    # The process

    def begin(self):
        """Starts the process without waiting for it to listen."""
        self.process = Process(self.arguments, self.environment, self.umask, self.rlimits)

    def start(self):
        self.begin()
        self.process.wait_listening()
        self.address = self.address_of("inference", self.tls)
        self.admin_address = self.address_of("admin", self.admin_tls)
        self.base_url = f"{'https' if self.tls else 'http'}://{self.address}/v1"

    def address_of(self, listener, certificate):
        address = self.process.addresses[listener]
        return wire.TlsAddress(address, certificate.context()) if certificate else address

    def terminate(self):
        self.process.child.send_signal(signal.SIGTERM)

    def stop(self):
        """Asks the process to stop and expects exit code 0."""
        self.terminate()
        status = self.process.wait()
        assert status == 0, f"exit {status} after SIGTERM:\n{self.process.output[-4000:]}"

    def kill9(self):
        self.process.child.kill()
        self.process.wait()

    def restart(self):
        """Starts again on the same data directory, with new ports."""
        if self.process.child.poll() is None:
            self.stop()
        self.start()

    def close(self):
        if self.process.child.poll() is None:
            self.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and self.process.child.poll() is None:
            self.kill9()  # a slow stop could hide the test's own failure
        self.close()

    @property
    def log(self):
        return self.process.output

    # The operator

    def admin_answer(self, method, path, body=None, key=..., headers=(), query=None, source=None):
        """Sends one admin request; returns its answer. `key=None` sends no key; a `bytes` body is sent unchanged."""
        key = self.admin_key if key is ... else key
        headers = list(headers)
        if key is not None:
            headers.append(("authorization", f"Bearer {key}"))
        if query:
            path += "?" + urllib.parse.urlencode(query, doseq=True)
        return wire.call(self.admin_address, method, path, headers, body, source)

    def admin(self, method, path, body=None, **more):
        answer = self.admin_answer(method, path, body, **more)
        assert answer.status == 200, f"{method} {path}: {answer}"
        return answer.json()

    def create_endpoint(self, upstream, slug=None, **fields):
        """Creates an endpoint with an OPENAI_COMPATIBLE target for `upstream` (a scripted one, a base URL or a whole
        target), or for each upstream of a list."""
        upstreams = upstream if isinstance(upstream, list) else [upstream]
        target_model = fields.pop("target_model", "upstream-model")
        targets = [one if isinstance(one, dict) else target_of(one, target_model=target_model) for one in upstreams]
        return self.admin(
            "POST", "/v1/gateway/endpoints", {"slug": slug or fresh("acme/model"), "targets": targets, **fields}
        )

    def create_group(self, *models, parent=None, mode=None, entity=None, name=None, budgets=None):
        """Creates a group that carries `models` (slugs or results of `model(...)`), below `parent` if one is given."""
        hierarchy = {}
        if parent is not None:
            hierarchy["parent_group_id"] = parent["id"]
        if mode is not None:
            hierarchy["limit_enforcement"] = mode
        body = {
            "metadata": {"external_entity_id": entity or fresh("cust")},
            "hierarchy": hierarchy,
            "models": [model(m) if isinstance(m, str) else m for m in models],
        }
        if name is not None:
            body["metadata"]["name"] = name
        if budgets is not None:
            body["budgets"] = budgets
        return self.admin("POST", "/v1/gateway/groups", body)

    def patch_group(self, group, **fields):
        return self.admin("PATCH", f"/v1/gateway/groups/{group['id']}", fields)

    def mint_key(self, group, **fields):
        """Mints a key; returns all of it, as its customer gets it."""
        return self.admin("POST", f"/v1/gateway/groups/{group['id']}/api_keys", fields)["api_key"]

    def mint_operator(self, kind):
        return self.admin("POST", "/v1/api_keys", {"type": kind})["api_key"]

    def events(self, *keys, **query):
        """All events, or those of the given keys, walking every page."""
        query = {"start_time": EPOCH, "limit": 1000, **query}
        if keys:
            query["api_keys"] = [prefix_of(key) for key in keys]
        return self.walk("/v1/gateway/events", query)

    def audit_logs(self, **query):
        """All changes, newest first, walking every page."""
        return self.walk("/v1/audit_logs", {"limit": 1000, **query})

    def walk(self, path, query):
        items = []
        while True:
            page = self.admin("GET", path, query=query)
            items += page["items"]
            if not page["pagination"]["has_more"]:
                return items
            query = {"cursor": page["pagination"]["cursor"], "limit": query["limit"]}

    def wait_events(self, count, *keys):
        """Waits until there are at least `count` events; for requests whose end a test cannot see."""
        return self.eventually(lambda: self.events(*keys), lambda events: len(events) >= count)

    def targets(self, slug):
        """The targets of the slug's endpoint, as the status shows them."""
        upstreams = self.admin("GET", "/v1/gateway/status")["upstreams"]
        return [upstream for upstream in upstreams if upstream["slug"] == slug]

    def queue(self, slug):
        """The queue of the slug's endpoint, as the status shows it."""
        [queue] = [queue for queue in self.admin("GET", "/v1/gateway/status")["queues"] if queue["slug"] == slug]
        return queue

    def limits(self, group, slug, **query):
        return self.admin("GET", f"/v1/gateway/groups/{group['id']}/limits", query={"slug": slug, **query})

    def limit(self, group, slug, kind="REQUEST", unit=None, source=None):
        """The one limit of this type (and unit, and source group) as `/limits` shows it."""
        found = [
            limit
            for limit in self.limits(group, slug)["limits"]
            if limit["type"] == kind and unit in (None, limit["unit"]) and source in (None, limit["source_group"])
        ]
        assert len(found) == 1, found
        return found[0]

    @staticmethod
    def eventually(read, condition):
        """Reads until the condition holds; a failure shows the last value."""
        limit = time.monotonic() + wire.DEADLINE
        while not condition(value := read()):
            assert time.monotonic() < limit, f"the condition never held; the last value: {value!r}"
            time.sleep(0.02)
        return value

    # The customer

    def sdk(self, key, **options):
        from openai import OpenAI

        return OpenAI(base_url=self.base_url, api_key=key, **{"max_retries": 0, "timeout": wire.DEADLINE, **options})

    def customer(self, key):
        return Customer(self, key)


class Customer:
    """A customer who sends plain HTTP. Bodies that are not bytes are sent as JSON."""

    def __init__(self, gateway, key):
        self.gateway, self.key = gateway, key

    def headers(self, more=()):
        return [("authorization", f"Bearer {self.key}"), *more]

    def post(self, path, body, headers=()):
        return wire.call(self.gateway.address, "POST", path, self.headers(headers), body)

    def get(self, path, headers=()):
        return wire.call(self.gateway.address, "GET", path, self.headers(headers))

    def chat(self, slug, text="hello there", **fields):
        return self.post("/v1/chat/completions", {"model": slug, "messages": message(text), **fields})

    def begin(self, path, body, headers=()):
        """Sends a request and returns the connection before anything is read from it."""
        connection = wire.Connection(self.gateway.address)
        connection.request("POST", path, self.headers(headers), body)
        return connection

    def begin_chat(self, slug, text="hello there", **fields):
        return self.begin("/v1/chat/completions", {"model": slug, "messages": message(text), **fields})

    def stream_chat(self, slug, text="hello there", **fields):
        """Starts a streamed chat and reads its head; returns `(connection, headers, Stream)`."""
        connection = self.begin_chat(slug, text, stream=True, **fields)
        status, header_list = connection.read_head()
        assert status == 200, (status, connection.read_body())
        return connection, dict(header_list), wire.Stream(connection)


def clean_environment():
    """The machine's environment without any gateway setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")} | {
        "RUST_BACKTRACE": "1"
    }


def seconds_to_midnight():
    now = datetime.datetime.now(datetime.timezone.utc)
    midnight = (now + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


def parse_time(text):
    """An RFC 3339 UTC timestamp as the gateway writes it."""
    assert text.endswith("Z"), text
    return datetime.datetime.fromisoformat(text.removesuffix("Z") + "+00:00")
