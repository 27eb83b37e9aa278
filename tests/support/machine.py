"""A machine of its own with systemd, for a script: a container whose root is an overlay of this machine's root.

The changes of the script go into the overlay, not into the files of this machine. The container has only a loopback network.
"""

import pathlib
import shutil
import subprocess

UNITS = {
    "script.service": """
[Unit]
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash /script/run
""",
    "script.target": """
[Unit]
Requires=basic.target
Wants=script.service
""",
}

# A function for the script: `step NAME COMMAND...` runs a command and keeps its output and its exit code.
STEPS = """
step() {
  local name=$1
  shift
  "$@" >"/script/$name.out" 2>&1
  echo $? >"/script/$name.code"
}
"""

MOUNT = 'mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"'
BOOT = (
    MOUNT + ' && SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --keep-unit --register=no '
    '--private-network --link-journal=no --directory "$1/root" --boot systemd.unit=script.target'
)


def unavailable():
    """The reason why this machine cannot start another one; `None` if it can."""
    for tool in ("unshare", "systemd-nspawn"):
        if not shutil.which(tool):
            return f"{tool} is missing"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return f"no file system can be mounted here: {tried.stderr.strip()}" if tried.returncode else None


class Steps:
    """The outputs and exit codes of the steps of a script."""

    def __init__(self, folder, console):
        self.folder, self.console = folder, console

    def code(self, name):
        file = self.folder / f"{name}.code"
        assert file.exists(), f"the step {name} did not end:\n{self.console}"
        return int(file.read_text())

    def output(self, name):
        """The output of a step that must have succeeded."""
        text = (self.folder / f"{name}.out").read_text(errors="replace")
        assert self.code(name) == 0, f"{name}: {text}"
        return text


def run(folder: pathlib.Path, script, files):
    """Boots a machine that runs the script as root and ends; `files` are copied to its folder /script."""
    for name in ("upper/script", "upper/etc/systemd/system", "work", "root"):
        (folder / name).mkdir(parents=True)
    for name, text in UNITS.items():
        (folder / "upper/etc/systemd/system" / name).write_text(text)
    (folder / "upper/script/run").write_text(STEPS + script)
    # The policy of this machine may forbid packages to start services.
    policy = folder / "upper/usr/sbin/policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o755)
    for file in files:
        shutil.copy(file, folder / "upper/script")
    booted = subprocess.run(
        ["unshare", "--mount", "--kill-child", "sh", "-c", BOOT, "sh", str(folder)],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=180,
    )
    return Steps(folder / "upper/script", booted.stdout + booted.stderr)
