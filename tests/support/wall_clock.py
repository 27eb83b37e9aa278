"""A wall clock that a test sets for a real gateway, through `wall_clock.c`. The monotonic clock stays the machine's.

    with WallClock("2027-03-14T23:59:30Z") as clock, clock.gateway() as gateway:
        clock.jump(hours=3)
"""

import ctypes
import datetime
import mmap
import pathlib
import subprocess
import tempfile
import time

from .gateway import Gateway, parse_time

SOURCE = pathlib.Path(__file__).with_name("wall_clock.c")


class WallClock:
    """A clock that runs at the machine's pace from the time it is set to. Every gateway on it sees a change at once."""

    def __init__(self, at):
        self.scratch = tempfile.TemporaryDirectory(prefix="tollgate-clock-")
        self.library = pathlib.Path(self.scratch.name) / "wall_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.library, SOURCE], check=True)
        self.path = pathlib.Path(self.scratch.name) / "offset"
        self.path.write_bytes(bytes(8))
        with self.path.open("r+b") as file:
            self.offset = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 8))  # written atomically
        self.set(at)

    def set(self, at):
        """Sets the clock to `at`, a `datetime` or a text like `2027-03-14T23:59:30Z`."""
        at = parse_time(at) if isinstance(at, str) else at
        self.offset.value = int(at.timestamp() * 10**9) - time.time_ns()

    def jump(self, **by):
        self.offset.value += int(datetime.timedelta(**by).total_seconds() * 10**9)

    @property
    def now(self):
        return datetime.datetime.fromtimestamp((time.time_ns() + self.offset.value) / 10**9, datetime.timezone.utc)

    def gateway(self, **settings):
        return TimedGateway(self, **settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scratch.cleanup()


class TimedGateway(Gateway):
    """A gateway that stays on a `WallClock` when it restarts."""

    def __init__(self, clock, **settings):
        self.clock = clock
        super().__init__(**settings)

    def start(self):
        self.environment |= {"LD_PRELOAD": str(self.clock.library), "TESTS_WALL_CLOCK": str(self.clock.path)}
        super().start()
