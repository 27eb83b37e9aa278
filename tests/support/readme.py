"""Reads README.md and the pages of packaging/docs, and runs their commands unchanged except for the addresses."""

import json
import os
import re
import subprocess

from .gateway import REPO, binary

README = REPO / "README.md"
PAGES = REPO / "packaging/docs"
PROGRAM = "./target/release/tollgate"


def blocks(file):
    """The code blocks of a file in order, as `(language, text)`."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", file.read_text(), flags=re.M | re.S)
    assert found or file.read_text().count("```") == 0, f"{file} has an unclosed code block"
    return found


def samples(file, language):
    """The code blocks of a file in one language, in order."""
    return [text for found, text in blocks(file) if found == language]


def commands(file):
    """The shell commands of a file, one text for each block."""
    return samples(file, "bash")


def admin_function():
    """The README's definition of the shell function `admin`, which the commands of the pages use."""
    return next(line for text in commands(README) for line in text.splitlines() if line.startswith("admin() "))


def run_script(lines, cwd, replaced, **variables):
    """Runs lines of bash, in which each key of `replaced` has become its value. Returns standard output."""
    script = "\n".join(["set -euo pipefail", *lines])
    for text, replacement in {PROGRAM: binary(), **replaced}.items():
        script = script.replace(text, str(replacement))
    environment = {**os.environ, **variables}
    ran = subprocess.run(["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran
    return ran.stdout


def run_commands(gateway, page, cwd, replaced=(), **variables):
    """Runs all shell commands of a page; returns the JSON documents that they print."""
    addresses = {"127.0.0.1:8080": gateway.address, "127.0.0.1:8081": gateway.admin_address}
    lines = [admin_function(), *commands(PAGES / page)]
    variables["TOLLGATE_ADMIN_KEY"] = gateway.admin_key
    return documents(run_script(lines, cwd, addresses | dict(replaced), **variables))


def documents(text):
    """The JSON documents in a text that has nothing else."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found
