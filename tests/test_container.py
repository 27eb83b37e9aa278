"""The container file: its files are laid out, and its command and health check run as its user.

An image registry is not needed: the files are laid over this machine's root, which stands in for the base image.
"""

import json
import re
import shlex
import subprocess

import pytest

from support import machine
from support.gateway import REPO, binary

# The libraries of glibc and gcc, which every Debian image has.
LIBRARIES = {"linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64", "libc", "libgcc_s", "libm"}

SCRIPT = """
set -eu
mount -t overlay overlay -o "lowerdir=/,upperdir=$ROOT/files,workdir=$ROOT/work" "$ROOT/merged"
mount -t proc proc "$ROOT/merged/proc"
ip link set lo up
inside="chroot --userspec=$OWNER --groups= $ROOT/merged env --ignore-environment PATH=/usr/bin $VARIABLES"

$inside $COMMAND 2>"$ROOT/log" &
server=$!
until $inside $HEALTH; do
  kill -0 "$server"
  sleep 0.1
done
echo healthy
stat -c '%A %u:%g' "$ROOT/merged/var/lib/tollgate/journal"
kill "$server"
wait "$server"
$inside $HEALTH || echo "unhealthy $?"
"""


def instructions():
    """The instructions of the last stage, by name; each only once."""
    lines = [line.split(maxsplit=1) for line in (REPO / "packaging/Containerfile").read_text().splitlines() if line]
    last = max(at for at, line in enumerate(lines) if line[0] == "FROM")
    return dict(lines[last:])


@pytest.fixture
def files(tmp_path):
    """The files that the image adds to its base."""
    subprocess.run([REPO / "packaging/container-root", binary(), tmp_path / "files"], check=True)
    return tmp_path / "files"


def test_the_image_runs_serves_and_reports_its_health(files, tmp_path):
    if reason := machine.unavailable():
        pytest.skip(reason)
    for name in ("work", "merged"):
        (tmp_path / name).mkdir()
    # The directory of a test is private; the image's user must reach the mount in it.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    stage = instructions()
    assert stage["COPY"] == "--from=build /rootfs /"
    settings = {
        "ROOT": str(tmp_path),
        "OWNER": stage["USER"],
        "VARIABLES": stage["ENV"],
        "COMMAND": shlex.join(json.loads(stage["ENTRYPOINT"]) + json.loads(stage["CMD"])),
        "HEALTH": shlex.join(json.loads(re.search(r"CMD (.*)", stage["HEALTHCHECK"])[1])),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    ended = subprocess.run(
        ["timeout", "60", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT],
        env=settings,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended
    log = (tmp_path / "log").read_text()
    assert ended.stdout.splitlines() == ["ready", "healthy", "drwx------ 64000:64000", "unhealthy 1"]
    assert '"address":"0.0.0.0:8080"' in log and '"stopped"' in log


def test_the_binary_needs_only_libraries_of_the_base_image():
    linked = subprocess.run(["ldd", binary()], capture_output=True, text=True, check=True).stdout
    names = {re.split(r"\.so", line.split()[0].rsplit("/", 1)[-1])[0] for line in linked.splitlines()}
    assert names <= LIBRARIES
