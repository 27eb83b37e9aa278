"""Disks that run full, fail or stall, for a real gateway.

    disk = SmallDisk("8m")                       # a real file system, at disk.path
    disk.fill(), disk.free()

    with FaultyDisk() as disk, disk.gateway() as gateway:
        disk.fail("sync"), disk.stall("sync", "write"), disk.heal()
"""

import ctypes
import errno
import mmap
import os
import pathlib
import subprocess
import tempfile

from .gateway import Gateway

SOURCE = pathlib.Path(__file__).with_name("disk.c")


class NoDisk(Exception):
    """This machine does not let us mount a file system."""


class SmallDisk:
    """A tmpfs of `size`. Without the right to mount, it lies in a namespace that a process of ours keeps alive."""

    def __init__(self, size):
        self.scratch = tempfile.TemporaryDirectory(prefix="tollgate-disk-")
        self.holder = None
        self.path = pathlib.Path(self.scratch.name)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.scratch.name]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            self.hold(mount)
        self.filler = self.path / "filler"

    def hold(self, mount):
        hold = ["sh", "-c", '"$@" && echo mounted && exec cat', "-", *mount]
        pipe = subprocess.PIPE
        self.holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", *hold], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        if self.holder.stdout.readline() != "mounted\n":
            why = self.holder.communicate()[1].strip()
            self.scratch.cleanup()
            raise NoDisk(why)
        self.path = pathlib.Path(f"/proc/{self.holder.pid}/root{self.scratch.name}")

    def fill(self, leave=0):
        """Uses up the free space, as another program would, except for `leave` bytes."""
        with self.filler.open("ab", buffering=0) as file:
            try:
                while self.room > leave:
                    file.write(bytes(min(self.room - leave, 1 << 16)))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def free(self):
        self.filler.unlink()

    @property
    def room(self):
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def close(self):
        if self.holder:
            self.holder.communicate()
        else:
            subprocess.run(["umount", self.scratch.name], check=True)
        self.scratch.cleanup()


class FaultyDisk:
    """A disk whose "sync" or "write" calls fail or stall on command. With "tear", only half of the next write is done,
    and from then on writes and syncs fail. Every gateway on the disk sees a change at once; stalled calls continue when
    the disk heals."""

    BITS = {"sync": 1, "write": 2, "tear": 4}

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="tollgate-disk-")
        self.library = pathlib.Path(self.scratch.name) / "disk.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.library, SOURCE], check=True)
        self.path = pathlib.Path(self.scratch.name) / "control"
        self.path.write_bytes(bytes(16))
        with self.path.open("r+b") as file:
            self.control = (ctypes.c_int32 * 4).from_buffer(mmap.mmap(file.fileno(), 16))

    def fail(self, *what):
        self.control[0] = self.bits(what)

    def stall(self, *what):
        self.control[1] = self.bits(what)

    def heal(self):
        self.control[0] = self.control[1] = 0

    @property
    def failed(self):
        """How many calls have failed."""
        return self.control[2]

    @property
    def waiters(self):
        """How many calls are waiting."""
        return self.control[3]

    def bits(self, what):
        return sum(self.BITS[one] for one in what)

    def gateway(self, **settings):
        return FaultyGateway(self, **settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scratch.cleanup()


class FaultyGateway(Gateway):
    """A gateway that stays on a `FaultyDisk` when it restarts."""

    def __init__(self, disk, **settings):
        self.disk = disk
        super().__init__(**settings)

    def begin(self):
        self.environment |= {"LD_PRELOAD": str(self.disk.library), "TESTS_DISK": str(self.disk.path)}
        super().begin()
