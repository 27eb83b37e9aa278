"""Runs the README's commands unchanged except for the addresses."""

import json
import os
import re
import subprocess

from .gateway import REPO


def sections():
    """The code of each `## heading`, as `[(language, text)]`."""
    found, heading = {}, None
    for part in re.split(r"^(## .*|```\w*\n[\s\S]*?^```)$", (REPO / "README.md").read_text(), flags=re.M):
        if part.startswith("## "):
            heading = part.removeprefix("## ")
        elif part.startswith("```") and heading:
            language, text = part[3:-3].split("\n", 1)
            found.setdefault(heading, []).append((language, text))
    return found


def run_commands(gateway, heading, cwd, **variables):
    """Runs a section's shell commands; returns the JSON documents that they print."""
    found = sections()
    admin = next(line for blocks in found.values() for _, text in blocks for line in text.splitlines() if line.startswith("admin() "))
    commands = [text for language, text in found[heading] if language == "bash"]
    script = "\n".join(["set -euo pipefail", admin, *commands])
    script = script.replace("127.0.0.1:8080", gateway.address).replace("127.0.0.1:8081", gateway.admin_address)
    environment = {**os.environ, "TOLLGATE_ADMIN_KEY": gateway.admin_key, **variables}
    ran = subprocess.run(["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran
    decoder, documents, rest = json.JSONDecoder(), [], ran.stdout.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].strip()
    return documents
