"""The files of the web UI, as a browser receives them."""

import gzip
import pathlib
import re
import subprocess

import pytest

from support.gateway import REPO
from support.wire import call

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {
    "/" if path.name == "index.html" else f"/assets/{path.relative_to(REPO / 'assets')}": path
    for path in sorted((REPO / "assets").rglob("*"))
    if path.is_file()
}


def get(gateway, url, *headers, method="GET"):
    return call(gateway.admin_address, method, url, headers)


@pytest.mark.parametrize("url", FILES)
def test_each_file_is_served_plain_and_compressed(gateway, url):
    path = pathlib.Path(FILES[url])
    plain = get(gateway, url)
    assert plain.status == 200 and "content-encoding" not in plain.headers
    source = path.read_text()
    if path.suffix in (".js", ".css"):
        # Comment lines are sent empty; other lines without indentation and types, or unchanged within a text.
        sent, written = plain.body.decode().splitlines(), source.splitlines()
        assert len(sent) == len(written)
        for line, was in zip(sent, written):
            assert line in ("", was, was.strip(), re.sub(r"/\*\*.*?\*/ ?", "", was).strip())
    else:
        assert plain.body.decode() == source
    assert plain.headers["content-type"] == f"{TYPES[path.suffix]}; charset=utf-8"
    assert plain.headers["content-security-policy"].startswith("default-src 'self'")
    packed = get(gateway, url, ("accept-encoding", "gzip, deflate, br, zstd"))
    assert packed.status == 200
    if "content-encoding" in packed.headers:
        assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == plain.body
        assert packed.headers["etag"] != plain.headers["etag"] and len(packed.body) < len(plain.body)
    else:
        assert packed.body == plain.body
    for answer in plain, packed:
        assert answer.headers["vary"].lower() == "accept-encoding" and answer.headers["cache-control"] == "no-cache"
    assert get(gateway, url, ("accept-encoding", "br, gzip;q=0")).body == plain.body


def test_each_script_is_valid_as_it_is_served(gateway, tmp_path):
    for url, path in FILES.items():
        if path.suffix != ".js":
            continue
        script = tmp_path / f"{path.stem}.mjs"
        script.write_bytes(get(gateway, url).body)
        checked = subprocess.run(["node", "--check", script], capture_output=True, text=True)
        assert checked.returncode == 0, f"{url}: {checked.stderr}"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_cached_file_is_not_sent_again(gateway, encoding):
    first = get(gateway, "/", ("accept-encoding", encoding))
    again = get(gateway, "/", ("accept-encoding", encoding), ("if-none-match", first.headers["etag"]))
    assert (again.status, again.body) == (304, b"") and again.headers["etag"] == first.headers["etag"]
    assert again.headers["vary"].lower() == "accept-encoding"
    other = get(gateway, "/", ("if-none-match", '"another"'), ("accept-encoding", encoding))
    assert other.status == 200 and other.body == first.body
    head = get(gateway, "/", ("accept-encoding", encoding), method="HEAD")
    same = ("content-type", "content-length", "etag", "content-encoding")
    assert head.status == 200 and [head.headers.get(n) for n in same] == [first.headers.get(n) for n in same]


def test_nothing_else_is_served(gateway):
    for url in ("/assets/", "/assets/index.html", "/assets/../Cargo.toml", "/assets/nothing.js", "/index.html"):
        assert get(gateway, url).status == 404, url
    refused = get(gateway, "/", method="POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET")


def test_the_page_loads_nothing_from_other_hosts():
    for path in FILES.values():
        text = path.read_text()
        assert not re.search(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](?:https?:)?//""", text), path
