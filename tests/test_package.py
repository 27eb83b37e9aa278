"""The Debian package: built, checked, installed, upgraded, removed and purged on a machine with systemd."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from support import machine
from support.gateway import ADMIN_KEY, REPO, binary
from support.readme import PAGES, samples

UNIT = REPO / "packaging/debian/tollgate.service"
BUILDER = {
    **os.environ,
    "DEBFULLNAME": "Example Operator",
    "DEBEMAIL": "operator@example.com",
    # Debian's default compression takes most of a minute for a debug binary.
    "DPKG_DEB_COMPRESSOR_TYPE": "gzip",
    "DPKG_DEB_COMPRESSOR_LEVEL": "1",
}

SCRIPT = """
admin() { curl -sS --fail-with-body "http://127.0.0.1:8081$1" -H "Authorization: Bearer $(cat /var/lib/tollgate/admin.key)" "${@:2}"; }
ready() { timeout 60 sh -c 'until curl -sSf http://127.0.0.1:8081/readyz; do sleep 0.1; done'; }
other_pid() { timeout 60 sh -c 'until pid=$(systemctl show --property MainPID --value tollgate); [ "$pid" != 0 ] && [ "$pid" != "$0" ]; do sleep 0.1; done' "$1"; }
pid() { systemctl show --property MainPID --value tollgate; }

step install dpkg -i /script/tollgate_1.0.0_*.deb
step ready ready
step state systemctl is-active tollgate
step enabled systemctl is-enabled tollgate
step modes stat -c '%A %U:%G %n' /var/lib/tollgate /var/lib/tollgate/admin.key /etc/tollgate/tollgate.toml
step user ps -o user= -p "$(pid)"
step files sh -c "grep 'Max open files' /proc/$(pid)/limits"
step secret admin /v1/secrets -d '{"name": "kept", "value": "a-credential"}'
step man man --where tollgate-serve
pid >/script/first.pid

step reload systemctl reload tollgate
step reloaded admin /v1/secrets
step reloaded_pid pid

systemctl kill --signal=KILL tollgate
step restarted other_pid "$(cat /script/first.pid)"
step restarted_ready ready

echo '# edited' >>/etc/tollgate/tollgate.toml
step upgrade dpkg -i /script/tollgate_1.0.1_*.deb
step upgraded_ready ready
step upgraded_version dpkg-query --show --showformat '${Version}' tollgate
step upgraded_config tail -n 1 /etc/tollgate/tollgate.toml
step upgraded_modes stat -c '%A %U:%G' /etc/tollgate/tollgate.toml
step upgraded_secrets admin /v1/secrets
step upgraded_log journalctl --unit tollgate --output cat

mkdir -p /etc/systemd/system/tollgate.service.d
cp /script/port.conf /etc/systemd/system/tollgate.service.d
echo 'listen = "127.0.0.1:80"' >>/etc/tollgate/tollgate.toml
systemctl daemon-reload
step low_port_restart systemctl restart tollgate
step low_port timeout 60 sh -c 'until curl -sSf http://127.0.0.1/readyz; do sleep 0.1; done'

step remove dpkg --remove tollgate
step removed_files ls /var/lib/tollgate/admin.key /etc/tollgate/tollgate.toml
step removed_binary test ! -e /usr/bin/tollgate
step removed_process pgrep -x tollgate
step purge dpkg --purge tollgate
step purged_data test ! -e /var/lib/tollgate
step purged_config test ! -e /etc/tollgate

# Data of an earlier version, and an upgrade under load.
mkdir -p /etc/tollgate
echo "TOLLGATE_ADMIN_KEY=$OPERATOR" >/etc/tollgate/environment
mkdir /script/old && tar -xf /script/format-6.tar.xz -C /script/old
step again dpkg -i /script/tollgate_1.0.0_*.deb
systemctl stop tollgate
rm -rf /var/lib/tollgate && cp -r /script/old/data /var/lib/tollgate
chown -R tollgate:tollgate /var/lib/tollgate
step old_start systemctl start tollgate
step old_ready ready
operator() { curl -sS --fail-with-body "http://127.0.0.1:8081$1" -H "Authorization: Bearer $OPERATOR" "${@:2}"; }
field() { "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
operator /v1/gateway/endpoints -d '{"slug": "load/echo", "targets": [{"provider": "DEMO"}]}' >/dev/null
group=$(operator /v1/gateway/groups -d '{"metadata": {"external_entity_id": "load"}, "models": [{"slug": "load/echo"}]}' | field id)
key=$(operator "/v1/gateway/groups/$group/api_keys" -d '{}' | field api_key)
"$PYTHON" /script/outage.py 127.0.0.1:8080 "$key" load/echo >/script/outage.json &
until operator "/v1/gateway/usage_report?start_time=2000-01-01T00:00:00Z&group_by=group" | grep -q '"load"'; do sleep 0.1; done
step loaded_upgrade dpkg -i /script/tollgate_1.0.1_*.deb
wait $!
step loaded_report operator "/v1/gateway/usage_report?start_time=2000-01-01T00:00:00Z&group_by=group"
step loaded_log journalctl --unit tollgate --output cat
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Two versions of the package."""
    folder = tmp_path_factory.mktemp("packages")
    build = [REPO / "packaging/build-deb", "--binary", binary(), "--version", "1.0.0", "--output", folder]
    built = subprocess.run(build, env=BUILDER, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert built.returncode == 0, built.stderr
    first = built.stdout.strip()
    second = first.replace("1.0.0", "1.0.1")
    subprocess.run(["dpkg-deb", "--raw-extract", first, folder / "tree"], check=True)
    control = folder / "tree/DEBIAN/control"
    control.write_text(control.read_text().replace("Version: 1.0.0", "Version: 1.0.1"))
    subprocess.run(["dpkg-deb", "--build", folder / "tree", second], env=BUILDER, check=True, capture_output=True)
    return first, second


@pytest.fixture(scope="module")
def steps(packages, tmp_path_factory):
    if reason := machine.unavailable():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("machine")
    [port] = samples(PAGES / "install.md", "ini")
    (folder / "port.conf").write_text(port)
    variables = f"OPERATOR={ADMIN_KEY}\nPYTHON={shlex.quote(os.path.realpath(sys.executable))}\n"
    files = [folder / "port.conf", REPO / "tests/support/outage.py", REPO / "tests/fixtures/format-6.tar.xz"]
    return machine.run(folder, variables + SCRIPT, [*packages, *files])


def test_lintian_finds_no_error(packages):
    checked = subprocess.run(["lintian", "--allow-root", packages[0]], capture_output=True, text=True)
    assert checked.returncode == 0 and "E: " not in checked.stdout, checked.stdout + checked.stderr


def test_the_package_holds_the_binary_man_pages_and_completions(packages):
    listed = subprocess.run(["dpkg-deb", "--contents", packages[0]], capture_output=True, text=True, check=True).stdout
    for path in [
        "usr/bin/tollgate",
        "lib/systemd/system/tollgate.service",
        "etc/tollgate/tollgate.toml",
        "usr/share/man/man1/tollgate.1.gz",
        "usr/share/man/man1/tollgate-serve.1.gz",
        "usr/share/bash-completion/completions/tollgate",
        "usr/share/zsh/vendor-completions/_tollgate",
        "usr/share/fish/vendor_completions.d/tollgate.fish",
        "usr/share/doc/tollgate/packaging/docs/configuration.md",
    ]:
        assert f" ./{path}\n" in listed, path


def test_the_units_exposure_is_below_2(packages):
    assessed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", UNIT], capture_output=True, text=True, check=True
    ).stdout
    [level] = re.findall(r"Overall exposure level for tollgate.service: ([0-9.]+)", assessed)
    assert float(level) < 2.0


def test_an_installed_service_runs_as_its_own_user_with_private_files(steps):
    steps.output("install")
    steps.output("ready")
    assert steps.output("state").strip() == "active" and steps.output("enabled").strip() == "enabled"
    assert steps.output("modes").splitlines() == [
        "drwx------ tollgate:tollgate /var/lib/tollgate",
        "-rw------- tollgate:tollgate /var/lib/tollgate/admin.key",
        "-rw-r----- root:tollgate /etc/tollgate/tollgate.toml",
    ]
    assert steps.output("user").strip() == "tollgate"
    # The sandbox of the unit allows the gateway to raise its limit of open files.
    soft, hard = steps.output("files").split()[3:5]
    assert soft == hard
    assert steps.output("man").strip().endswith("tollgate-serve.1.gz")


def test_a_reload_does_not_end_the_process(steps):
    steps.output("reload")
    assert json.loads(steps.output("reloaded"))["secrets"][0]["name"] == "kept"
    assert steps.output("reloaded_pid") == (steps.folder / "first.pid").read_text()


def test_a_killed_process_is_started_again(steps):
    steps.output("restarted")
    steps.output("restarted_ready")


def test_an_upgrade_restarts_the_service_and_keeps_data_and_settings(steps):
    steps.output("upgrade")
    steps.output("upgraded_ready")
    assert steps.output("upgraded_version") == "1.0.1"
    assert steps.output("upgraded_config").strip() == "# edited"
    assert steps.output("upgraded_modes").strip() == "-rw-r----- root:tollgate"
    assert [secret["name"] for secret in json.loads(steps.output("upgraded_secrets"))["secrets"]] == ["kept"]
    assert '"stopped"' in steps.output("upgraded_log"), "the old process did not end in order"


def test_the_documented_drop_in_lets_it_listen_on_a_port_below_1024(steps):
    steps.output("low_port_restart")
    steps.output("low_port")


def test_removal_keeps_data_and_purge_deletes_them(steps):
    steps.output("remove")
    steps.output("removed_files")
    steps.output("removed_binary")
    assert steps.code("removed_process") == 1, "the service still runs"
    steps.output("purge")
    steps.output("purged_data")
    steps.output("purged_config")


def test_an_upgrade_under_load_bills_every_answer_once_and_cuts_none(steps):
    """The old data are of an earlier format. Calls that come while nothing listens are refused, and not billed."""
    steps.output("old_start")
    steps.output("old_ready")
    steps.output("loaded_upgrade")
    outcome = json.loads((steps.folder / "outage.json").read_text())
    assert outcome["is_over"] and outcome["cut"] == 0, outcome
    items = json.loads(steps.output("loaded_report"))["items"]
    [load] = [item for item in items if item["external_entity_id"] == "load"]
    assert load["requests"] == outcome["answered"]
    assert len(items) > 1, "the old data are missing"
    print(f"no call was answered for {outcome['longest_gap']:.2f} s, {outcome['unavailable']} were refused")
