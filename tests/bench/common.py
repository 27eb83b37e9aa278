"""The code that the benchmarks share: starting processes, calling the admin API, describing the machine."""

import contextlib
import datetime
import http.client
import json
import os
import platform
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORES = os.cpu_count() or 1
TICK = os.sysconf("SC_CLK_TCK")
ADMIN_KEY = "bench-operator-key-0123456789"
SLUG = "bench/chat"
# As long as the slug, so that rewritten answers have the same number of bytes as nginx's.
UPSTREAM_MODEL = "model/chat"
NO_LIMIT = 2**53 - 1
# Four limits that are too large to refuse anything.
LIMITS = {
    family: [{"type": kind, "unit": unit, "threshold": NO_LIMIT} for kind in ("TOKEN", "REQUEST")]
    for family, unit in (("rate_limits", "MINUTE"), ("usage_limits", "DAY"))
}


def target_dir():
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def cargo_build(*arguments):
    subprocess.run(["cargo", "build", "--release", *arguments], cwd=ROOT, check=True)
    return target_dir() / "release"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- processes -------------------------------------------------------------------------------------------------------


class Part:
    """A process that the benchmark starts, with its children. It is stopped at the end of the run."""

    # The certificate of its port, if that speaks TLS.
    certificate = None

    def __init__(self, command, port, cleanup, **more):
        self.name, self.port = command[0], port
        self.spawned = time.monotonic()
        self.process = subprocess.Popen([str(word) for word in command], **more)
        cleanup.callback(self.end)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def pids(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def cpu_seconds(self):
        """Returns the user and system time of all its processes so far."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def rss_bytes(self, field="VmRSS"):
        """Returns the resident memory of all its processes. Shared pages are counted in each of them."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1]) * 1024
        return total

    def forget_peak(self):
        """Resets the kernel's high-water mark, VmHWM."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def wait_for(self, path, port=None, headers=None):
        """Sends requests until one is answered with 200. Returns the seconds since the process was spawned."""
        tls, port, last = self.certificate and not port, port or self.port, "nothing"
        while self.process.poll() is None and time.monotonic() - self.spawned < 60:
            if tls:
                context = ssl.create_default_context(cafile=self.certificate)
                connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
            else:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", path, headers=headers or {})
                last = connection.getresponse().status
                if last == 200:
                    return time.monotonic() - self.spawned
            except (OSError, http.client.HTTPException) as failure:
                last = failure
            finally:
                connection.close()
            time.sleep(0.0005)
        sys.exit(f"{self.name}: GET {path} on port {port} was never answered with 200, last result: {last}")


class Upstream(Part):
    """A process that answers as one model server or as several, each on its own port."""

    keys, model = ["none"], UPSTREAM_MODEL

    def __init__(self, load, cleanup, servers=1):
        self.ports = [free_port() for _ in range(servers)]
        listen = [word for port in self.ports for word in ("--listen", f"127.0.0.1:{port}")]
        super().__init__([load, "upstream", *listen, "--threads", CORES], self.ports[0], cleanup)
        self.wait_for("/")


class Tollgate(Part):
    """A gateway with the data directory `data` and further settings of its configuration."""

    model = SLUG

    def __init__(self, binary, durability, data, cleanup, **settings):
        port, self.admin_port = free_port(), free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
        environment |= {"TOLLGATE_ADMIN_KEY": ADMIN_KEY, "TOLLGATE_DURABILITY": durability, "TOLLGATE_LOG": "off"}
        environment |= {f"TOLLGATE_{name.upper()}": value for name, value in settings.items()}
        command = [binary.resolve(), "serve", "--data-dir", data]
        command += ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        super().__init__(command, port, cleanup, cwd=data, env=environment)
        self.keys, self.tokens_expected, self.requests_expected = [], 0, 0

    def wait_until_started(self):
        """Returns the seconds from spawning the process until both listeners have answered."""
        self.wait_for("/readyz")
        return self.wait_for("/v1/gateway/groups?limit=1", self.admin_port, {"Authorization": f"Bearer {ADMIN_KEY}"})

    def admin(self, method, path, body=None):
        with contextlib.closing(Client(self.admin_port, ADMIN_KEY)) as client:
            return client.ask(method, "/v1/gateway" + path, body)

    def add_endpoint(self, *upstream_ports):
        """Adds the endpoint of the benchmark. Several targets share its sessions; their capacity is never reached."""
        several = len(upstream_ports) > 1
        target = {"provider": "OPENAI_COMPATIBLE", "target_model": UPSTREAM_MODEL}
        target |= {"max_concurrent": 1000} if several else {}
        targets = [target | {"base_url": f"http://127.0.0.1:{port}/v1"} for port in upstream_ports]
        routing = {"routing": "SPREAD"} if several else {}
        self.admin("POST", "/endpoints", {"slug": SLUG, "targets": targets, **routing})


class Client:
    """A client with one kept-alive connection. An answer other than 200 ends the run."""

    def __init__(self, port, key):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.close = self.connection.close

    def ask(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body), self.headers)
        response = self.connection.getresponse()
        answer = response.read().decode()
        if response.status != 200:
            sys.exit(f"{method} {path}: {response.status} {answer}")
        return json.loads(answer)


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(load, case, side, upstream, seconds):
    """Runs the load generator with the arguments `case` against `side`. Adds CPU and memory to its figures."""
    command = [load, *case, "--to", f"127.0.0.1:{side.port}", "--model", side.model]
    command += [word for key in side.keys for word in ("--key", key)]
    command += ["--ca", side.certificate] if side.certificate else []
    command += ["--seconds", str(seconds), "--warm-up", str(min(1.0, seconds / 4)), "--threads", CORES]
    proxied = side is not upstream
    with Peak(side) as peak:
        before = machine_cpu(), upstream.cpu_seconds(), side.cpu_seconds(), children_cpu()
        began = time.monotonic()
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True)
        wall = time.monotonic() - began
        after = machine_cpu(), upstream.cpu_seconds(), side.cpu_seconds(), children_cpu()
    busy, upstream_cpu, proxy_cpu, load_cpu = (b - a for a, b in zip(before, after))
    proxy_cpu = proxy_cpu if proxied else 0.0
    run = json.loads(done.stdout)
    if isinstance(side, Tollgate):
        side.requests_expected += run["answered"]
        side.tokens_expected += run["answered"] * run["tokens_each"]
    work = run["answered"] * max(run["events_each"], 1) or 1
    return run | {
        "requests_per_s": run["requests"] / run["seconds"],
        "events_per_s": run["events"] / run["seconds"],
        # Per request or per chunk of the whole run, including the warm-up.
        "cpu_us": {
            part: cpu * 1e6 / work
            for part, cpu in (("proxy", proxy_cpu), ("upstream", upstream_cpu), ("load", load_cpu))
        },
        "other_cpu_share": max(0.0, (busy - upstream_cpu - proxy_cpu - load_cpu) / (wall * CORES)),
        "rss_bytes": peak.bytes if proxied else 0,
    }


class Peak:
    """Samples the resident memory of a process ten times a second."""

    def __init__(self, part):
        self.part, self.bytes, self.stopped = part, 0, threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def sample(self):
        while not self.stopped.wait(0.1):
            self.bytes = max(self.bytes, self.part.rss_bytes())


def children_cpu():
    times = os.times()
    return times.children_user + times.children_system


def machine_cpu():
    """Returns the seconds that the machine's cores have been busy."""
    user, nice, system, _idle, _iowait, *irq_and_steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(irq_and_steal)) / TICK


# ---- showing ---------------------------------------------------------------------------------------------------------


def note(text):
    print(text, file=sys.stderr, flush=True)


def now_utc():
    return datetime.datetime.now(datetime.timezone.utc)


def machine(work):
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    mount = max((m for m in mounts if work.is_relative_to(m[1])), key=lambda m: len(m[1]))
    return {
        "cores": CORES,
        "cpu": cpu[0].partition(":")[2].strip() if cpu else "unknown",
        "kernel": platform.release(),
        "tcp": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "data_on": mount[2],
        "load_average": os.getloadavg()[0],
    }


def print_machine(work):
    about = machine(work)
    print(f"{about['cores']} cores of {about['cpu']}, Linux {about['kernel']}, TCP {about['tcp']}, ", end="")
    print(f"data on {about['data_on']}, load average {about['load_average']:.1f} before the run", flush=True)
