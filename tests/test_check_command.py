"""`tollgate check` and `tollgate health`: the commands of service managers and containers."""

import shutil

from support.certificates import Certificate
from support.commands import attempt
from support.gateway import ADMIN_KEY, Gateway


def contents(directory):
    """Every file with its bytes, size and time."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def check(data_dir, *arguments, expect=0, **env):
    ended = attempt("check", "--data-dir", data_dir, *arguments, env=env)
    assert ended.returncode == expect, ended
    return ended


def test_a_check_passes_for_new_running_and_stopped_data_and_changes_nothing(own, tmp_path):
    new = tmp_path / "deep/new"
    assert "the first start creates it" in check(new).stdout and not new.parent.exists()
    own.create_group(own.create_endpoint({"provider": "DEMO"})["slug"])
    assert "is in use by a running gateway" in check(own.data_dir).stdout
    own.stop()
    before = contents(own.data_dir)
    passed = check(own.data_dir, TOLLGATE_ADMIN_KEY=ADMIN_KEY).stdout
    assert "ok: store: up to record" in passed and passed.endswith("No problems found.\n")
    assert contents(own.data_dir) == before


def test_a_check_says_what_would_stop_a_start(own, tmp_path):
    own.create_group(own.create_endpoint({"provider": "DEMO"})["slug"])
    own.stop()
    config = tmp_path / "tollgate.toml"
    config.write_text('listen = "nowhere"\n')
    ended = check(own.data_dir, "--config", config, expect=1)
    assert ended.stderr.startswith("tollgate: listen (in ")
    assert "TOLLGATE_ADMIN_KEY: must be 16" in check(own.data_dir, expect=1, TOLLGATE_ADMIN_KEY="short").stdout
    file = tmp_path / "file"
    file.write_text("")
    assert "it is not a directory" in check(file, expect=1).stdout
    assert "Not a directory" in check(file / "data", expect=1).stdout

    broken = tmp_path / "broken"

    def copied():
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(own.data_dir, broken)
        return broken

    (copied() / "seal.key").write_bytes(b"short")
    assert "seal.key is damaged" in check(broken, expect=1).stdout
    (copied() / "hash.key").unlink()
    assert "hash.key is missing" in check(broken, expect=1).stdout
    shutil.rmtree(copied() / "journal")
    assert "the journal is missing" in check(broken, expect=1).stdout
    for segment in (copied() / "journal").iterdir():
        segment.write_bytes(b"not a journal" * 100)
    assert "journal" in check(broken, expect=1).stdout


def test_health_follows_the_settings_of_serve(own, tmp_path):
    port = own.address.rsplit(":", 1)[1]
    config = tmp_path / "tollgate.toml"
    config.write_text(f'listen = "0.0.0.0:{port}"\n')
    for arguments, env in [
        (["--listen", own.address], {}),
        ([], {"TOLLGATE_LISTEN": own.address}),
        (["--config", config], {}),
        ([], {"TOLLGATE_CONFIG": str(config)}),
    ]:
        ended = attempt("health", *arguments, env=env)
        assert (ended.returncode, ended.stdout) == (0, "ready\n"), ended
    assert attempt("health", "--listen", own.admin_address.rsplit(":", 1)[0] + ":0").returncode == 1
    own.stop()
    ended = attempt("health", "--config", config)
    assert ended.returncode == 1 and "the connection was refused" in ended.stderr, ended


def test_check_health_and_dump_follow_the_certificates_of_the_listeners(tmp_path):
    certificate = Certificate(tmp_path)
    files = {"TOLLGATE_TLS_CERT": str(certificate.cert), "TOLLGATE_TLS_KEY": str(certificate.key)}
    with Gateway(tls=certificate, admin_tls=certificate) as gateway:
        settings = {"TOLLGATE_LISTEN": gateway.address, "TOLLGATE_ADMIN_LISTEN": gateway.admin_address, **files}
        settings |= {name.replace("TLS", "ADMIN_TLS"): value for name, value in files.items()}
        assert attempt("health", env=settings).stdout == "ready\n"
        passed = check(gateway.data_dir, **settings).stdout
        assert f"ok: inference listener: the certificate in {certificate.cert} can be used" in passed
        settings |= {"TOLLGATE_ADMIN_KEY": ADMIN_KEY}
        refused = attempt("dump", env=settings)
        assert refused.returncode == 1 and "UnknownIssuer" in refused.stderr, refused
        settings |= {"SSL_CERT_FILE": str(certificate.ca)}
        named = {"TOLLGATE_ADMIN_URL": f"https://localhost:{gateway.admin_address.rsplit(':', 1)[1]}"}
        for address in ({}, named):
            dumped = attempt("dump", env=settings | address)
            assert dumped.returncode == 0, dumped
    certificate.cert.write_text("no certificate")
    found = check(tmp_path / "new", expect=1, **files).stdout
    assert f"FOUND: tls.cert: {certificate.cert} " in found
