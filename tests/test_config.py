"""Settings: a bad one is named before any port opens; flag beats environment beats file beats default."""

import json
import pathlib
import re
import stat
import subprocess

import pytest

from support.gateway import Customer, DidNotStart, Gateway, binary, prefix_of
from support.upstream import Reply
from support.wire import call


def refused(**settings):
    """Starts with these settings, which must fail; returns the output of the process."""
    with pytest.raises(DidNotStart) as caught:
        Gateway(**settings).close()
    assert caught.value.status > 0
    output = caught.value.output
    assert '"listening"' not in output, "a port was opened"
    assert "panicked" not in output and ".rs:" not in output, output
    return output


@pytest.mark.parametrize(
    "name, value",
    [
        ("durability", "sometimes"),
        ("token_admission", "loose"),
        ("strict_output", "-1"),
        ("strict_output", "many"),
        ("max_body", "100 parsecs"),
        ("max_body", "-1"),
        ("max_bodies", "lots"),
        ("shutdown_grace", "30"),
        ("shutdown_grace", "soon"),
        ("events_retention", "400x"),
        ("key_brand", "two words"),
        ("key_brand", "a.b"),
        ("workers", "-2"),
        ("workers", "1.5"),
        ("upstream_connect_timeout", "fast"),
        ("upstream_first_byte_timeout", "x"),
        ("upstream_idle_timeout", "-1s"),
        ("admin_url", "not a url"),
        ("public_url", "not a url"),
        ("time_zone", "Europe/Atlantis"),
        ("show_cost", "yes"),
        ("time_zone", ""),
        ("alert_at", "75, 90%"),
        ("alert_at", "101"),
        ("metrics_groups", "1001"),
        ("metrics_groups", "-1"),
        ("cors_origins", "https://app.example.com/path"),
        ("cors_origins", "*, https://app.example.com"),
        ("smtp_url", "mail.example.com"),
        ("smtp_url", "http://mail.example.com"),
        ("smtp_url", "smtps://"),
        ("smtp_url", "smtps://user:%zz@mail.example.com"),
        ("smtp_url", "smtp://user:password@mail.example.com"),
        ("smtp_from", "nobody"),
        ("smtp_to", "ops@example.com, nobody"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_its_name(name, value):
    in_environment = refused(**{name: value})
    assert f"TOLLGATE_{name.upper()}" in in_environment or name in in_environment
    section, _, field = name.partition("_") if name.startswith(("upstream_", "smtp_")) else ("", "", name)
    in_file = refused(config=f'{f"[{section}]" if section else ""}\n{field} = "{value}"\n')
    assert field in in_file


@pytest.mark.parametrize("name", ["listen", "admin_listen"])
@pytest.mark.parametrize("value", ["nonsense", "127.0.0.1:99999", "127.0.0.1", ""])
def test_a_bad_address_is_refused_by_its_name(name, value):
    output = refused(**{name: value})
    assert name in output or name.replace("_", "-") in output


def test_mails_need_a_sender_and_recipients_and_no_error_shows_the_password():
    url = "smtps://alerts:hunter2@mail.example.com"
    assert "smtp.to" in refused(smtp_url=url, smtp_from="a@example.com")
    assert "smtp.from" in refused(smtp_url=url, smtp_to="a@example.com")
    for wrong in (f"{url}/path", url.replace("smtps", "imap"), f"{url}:99999", url.replace("alerts", "")):
        output = refused(smtp_url=wrong)
        assert "TOLLGATE_SMTP_URL" in output and "hunter2" not in output
        assert "hunter2" not in refused(config=f'[smtp]\nurl = "{wrong}"\n')
        assert "hunter2" not in refused(config=f'[smtp]\nurl = "{wrong}\n')


def test_an_unknown_field_in_the_file_is_refused_by_its_name():
    assert "colour" in refused(config="colour = 1\n")
    assert "conect_timeout" in refused(config='[upstream]\nconect_timeout = "5s"\n')
    assert "nothing" in refused(config="[nothing]\n")


def test_a_missing_or_invalid_file_is_refused_by_its_path(tmp_path):
    assert "tollgate.toml" in refused(config="listen = = 1\n")
    missing = tmp_path / "missing.toml"
    with pytest.raises(DidNotStart) as caught:
        Gateway(["--config", str(missing)]).close()
    assert str(missing) in caught.value.output


@pytest.mark.parametrize(
    "key", ["short", "x" * 257, "has a space in the middle", "umlaut-\u00e4-umlaut-\u00e4"], ids=len
)
def test_an_operator_key_that_breaks_the_rules_is_refused_by_its_name_and_not_shown(key):
    output = refused(admin_key=key)
    assert "TOLLGATE_ADMIN_KEY" in output and key not in output


def test_a_directory_that_cannot_be_used_is_refused_by_its_path(tmp_path):
    (tmp_path / "file").write_text("a file, not a directory")
    for path in (tmp_path / "file" / "data", tmp_path / "file", pathlib.Path("/proc/tollgate")):
        output = refused(data_dir=path)
        assert str(path) in output


def test_an_address_in_use_is_refused_by_its_name():
    with Gateway() as running:
        with pytest.raises(DidNotStart) as caught:
            Gateway(listen=running.address).close()
        assert running.address in caught.value.output


def test_flag_beats_environment_beats_file_beats_default(tmp_path):
    flag, environment, file = (tmp_path / name for name in ("flag", "environment", "file"))

    with Gateway(data_dir=flag, config=f'data_dir = "{file}"\nkey_brand = "file"\n', key_brand="env") as gateway:
        gateway.environment["TOLLGATE_DATA_DIR"] = str(environment)
        gateway.restart()
        assert flag.exists() and not environment.exists() and not file.exists(), "the flag"
        assert brand(gateway) == "env", "the environment"
        del gateway.environment["TOLLGATE_KEY_BRAND"]
        gateway.restart()
        assert brand(gateway) == "file", "the file"
        position = gateway.arguments.index("--data-dir")
        del gateway.arguments[position : position + 2]
        gateway.restart()
        assert environment.exists() and not file.exists(), "the environment"
        del gateway.environment["TOLLGATE_DATA_DIR"]
        gateway.restart()
        assert file.exists(), "the file"
    with Gateway() as gateway:
        assert brand(gateway) == "sk", "the default"


def brand(gateway):
    slug = gateway.create_endpoint("http://127.0.0.1:9")["slug"]
    return gateway.mint_key(gateway.create_group(slug)).split("_")[0]


def test_the_config_file_can_be_named_in_the_environment(tmp_path):
    path = tmp_path / "named.toml"
    path.write_text('key_brand = "acme"\n')
    with Gateway() as gateway:
        gateway.environment["TOLLGATE_CONFIG"] = str(path)
        gateway.restart()
        assert brand(gateway) == "acme"


def test_sizes_and_times_are_read_from_the_file(upstream):
    with Gateway(config='max_body = "1KiB"\n[upstream]\nfirst_byte_timeout = "1s"\nidle_timeout = "1s"\n') as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        assert customer.chat(slug, "x" * 1024).status == 413
        upstream.hang_next()
        late = customer.chat(slug)
        assert (late.status, late.error["code"]) == (504, "upstream_timeout")
        upstream.stall_next(after=3)
        connection, _, stream = customer.stream_chat(slug)
        while not (data := stream.next()).startswith('{"error"'):
            assert data != "[DONE]"
        assert stream.next() is None
        assert connection.is_closed_by_peer(timeout=3)


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_body", "4KiB"),
        ("max_body", "1GiB"),
        ("shutdown_grace", "10m"),
        ("shutdown_grace", "1h"),
        ("events_retention", "1d"),
    ],
)
def test_every_unit_of_size_and_time_is_accepted(name, value):
    Gateway(**{name: value}).close()


# Files


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o022])
def test_the_data_directory_is_private_whatever_the_umask(upstream, umask):
    with Gateway(umask=umask, admin_key=None) as gateway:
        key = (gateway.data_dir / "admin.key").read_text().strip()
        gateway.admin_key = key
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = Customer(gateway, gateway.mint_key(gateway.create_group(slug)))
        assert customer.chat(slug).status == 200
        modes(gateway.data_dir)
        gateway.restart()
        modes(gateway.data_dir)


def modes(directory):
    paths = [directory, *directory.rglob("*")]
    assert len(paths) > 2
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"


def test_a_directory_that_others_could_read_is_made_private(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    with Gateway(data_dir=directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_prompts_and_answers_are_never_written(upstream):
    upstream.always(Reply(words=["answer-marker-4711 "]))
    with Gateway(log="trace") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        key = gateway.mint_key(gateway.create_group(slug))
        customer = Customer(gateway, key)
        assert customer.chat(slug, "prompt-marker-4711").status == 200
        connection, _, stream = customer.stream_chat(slug, "prompt-marker-4711")
        assert stream.chunks()
        connection.close()
        gateway.stop()
        files = [path.read_bytes() for path in gateway.data_dir.rglob("*") if path.is_file()]
        for text in [gateway.log.encode(), *files]:
            for marker in (
                b"prompt-marker-4711",
                b"answer-marker-4711",
                key.split(".")[1].encode(),
                gateway.admin_key.encode(),
            ):
                assert marker not in text


def test_every_request_is_one_line_in_the_log(gateway, customer, slug):
    answers = [customer.chat(slug), customer.chat("acme/unknown"), customer.get("/v1/models")]
    for answer in answers:
        request_id = answer.headers["x-request-id"]
        json.loads(gateway.process.wait_line(lambda line: request_id in line))
        assert gateway.log.count(request_id) == 1


# First start


def test_a_first_start_makes_a_key_and_logs_only_its_path():
    with Gateway(admin_key=None) as gateway:
        path = gateway.data_dir / "admin.key"
        key = path.read_text().strip()
        assert len(key) >= 16 and key not in gateway.log and str(path) in gateway.log
        gateway.admin_key = key
        assert gateway.admin("GET", "/v1/gateway/groups")["items"] == []
        [listed] = gateway.admin("GET", "/v1/api_keys")["keys"]
        assert (listed["type"], listed["prefix"]) == ("WORKSPACE_MANAGE_ALL", prefix_of(key))
        gateway.restart()
        assert path.read_text().strip() == key and len(gateway.admin("GET", "/v1/api_keys")["keys"]) == 1
        # Recovery of a lost key: set the variable and restart.
        gateway.environment["TOLLGATE_ADMIN_KEY"] = "recovery-key-0123456789"
        gateway.restart()
        gateway.admin_key = "recovery-key-0123456789"
        assert {item["prefix"] for item in gateway.admin("GET", "/v1/api_keys")["keys"]} == {"env", prefix_of(key)}
        del gateway.environment["TOLLGATE_ADMIN_KEY"]
        gateway.restart()
        assert gateway.admin_answer("GET", "/v1/gateway/groups").status == 401, "it must never be stored"


def test_the_demo_prints_a_curl_line_that_works():
    with Gateway(["--demo"]) as gateway:
        command = gateway.eventually(lambda: curl_line(gateway), bool)
        ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
        assert ran.returncode == 0, ran.stderr
        assert gateway.address in command and "demo/echo" in command
        assert '"demo/echo"' in ran.stdout and ('"content"' in ran.stdout)
        [event] = gateway.wait_events(1)
        assert (
            event["modelSlug"] == "demo/echo"
            and event["usageSource"] == "upstream"
            and event["tokens"]["outputTokens"] > 0
        )
        assert gateway.admin_address in gateway.log, "the URL of the web UI"
        [group] = gateway.admin("GET", "/v1/gateway/groups")["items"]
        gateway.restart()
        assert [item["id"] for item in gateway.admin("GET", "/v1/gateway/groups")["items"]] == [group["id"]], (
            "only an empty store is seeded"
        )


def curl_line(gateway):
    found = re.search(r"curl (?:\\\n|.)*", gateway.log)
    return found.group(0) if found and "/v1/" in found.group(0) else None


def test_health_needs_no_key_on_either_listener(gateway):
    for address in (gateway.address, gateway.admin_address):
        for path in ("/healthz", "/readyz"):
            answer = call(address, "GET", path)
            assert answer.status == 200 and len(answer.body) < 100, answer
            assert b"0.1" not in answer.body, "the answer must not show the version"


def test_the_help_names_every_setting():
    shown = "".join(
        subprocess.run([binary(), *words], capture_output=True, text=True, timeout=30).stdout
        for words in (["--help"], ["serve", "--help"])
    )
    for word in (
        "--listen",
        "--admin-listen",
        "--data-dir",
        "--config",
        "--demo",
        "TOLLGATE_LISTEN",
        "TOLLGATE_ADMIN_LISTEN",
        "TOLLGATE_DATA_DIR",
        "TOLLGATE_CONFIG",
    ):
        assert word in shown, word
