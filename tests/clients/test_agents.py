"""Claude Code and Codex, unmodified and without a terminal: each runs a tool that the scripted model calls, sends the
tool's output back and prints the model's answer. Their settings are those of packaging/docs/clients.md."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from support.gateway import REPO
from support.readme import PAGES, commands, samples
from support.upstream import Reply

CLIENTS = PAGES / "clients.md"
PROGRAMS = REPO / "tests/clients/node_modules/.bin"
WORDS = "w0 w1 w2 w3 w4 w5 w6 w7"
FACT = "the fact is 42"
PATIENCE = 60  # seconds; a run takes two, and ten on a busy machine


class Home:
    """A user's home directory with a project in it. `run` starts a program there with these variables and no others."""

    def __init__(self, path):
        self.path, self.project = path, path / "project"
        self.project.mkdir()
        (self.project / "fact.txt").write_text(FACT + "\n")

    def run(self, program, *arguments, **variables):
        return subprocess.run(
            [PROGRAMS / program, *arguments],
            cwd=self.project,
            env={"PATH": os.environ["PATH"], "HOME": str(self.path), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def calls(name, arguments):
    """A reply that calls this tool until its output is in the request; then it is text."""

    def next_calls(request):
        is_known = name in [tool.get("name") for tool in request.get("tools") or []]
        return [(name, arguments)] if is_known and FACT not in json.dumps(request) else []

    return Reply(calls=next_calls)


def check(gateway, upstream, key, route, slug):
    """Asserts that both turns went through the gateway, that the second brought the tool's output, and the events."""
    first, second = [received for received in upstream.requests if received.method == "POST"]
    assert FACT not in json.dumps(first.json) and FACT in json.dumps(second.json)
    assert first.json["model"] == second.json["model"] == "upstream-model"
    assert first.json["stream"] is True
    events = gateway.events(key)
    assert [(event["route"], event["modelSlug"], event["streamed"]) for event in events] == [(route, slug, True)] * 2
    assert all(event["usageSource"] == "upstream" and event["tokens"]["inputTokens"] > 100 for event in events)
    assert events[1]["tokens"]["outputTokens"] == 8


def filled(sample, gateway, slug):
    """A sample with the address of this gateway and this slug."""
    return sample.replace("127.0.0.1:8080", gateway.address).replace("acme/chat", slug)


def claude(home, gateway, slug, **key):
    """Asks Claude Code. It contacts nothing but the gateway."""
    variables = dict(re.findall(r'^export (\w+)="(.*)"$', filled(commands(CLIENTS)[0], gateway, slug), re.M))
    assert variables.pop("ANTHROPIC_AUTH_TOKEN") == "$ACME_KEY"
    return home.run(
        "claude",
        "-p",
        "What is the fact?",
        "--allowedTools",
        "Bash(cat:*)",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        **variables,
        **key,
    )


@pytest.mark.parametrize("variable", ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"])
def test_claude_code_plays_a_tool_loop(gateway, upstream, slug, key, home, variable):
    upstream.always(calls("Bash", {"command": "cat fact.txt", "description": "Read the fact"}))
    done = claude(home, gateway, slug, **{variable: key})
    assert (done.returncode, done.stdout.strip()) == (0, WORDS), done.stderr
    check(gateway, upstream, key, "/v1/messages", slug)


def test_claude_code_says_that_a_key_is_wrong(gateway, upstream, slug, home):
    done = claude(home, gateway, slug, ANTHROPIC_AUTH_TOKEN="sk_AAAAAAAAAAAA.not-the-secret")
    assert done.returncode == 1 and "401" in done.stdout and "Incorrect API key provided" in done.stdout, done
    assert upstream.count == 0


def codex(home, gateway, slug, key):
    """Asks Codex."""
    folder = pathlib.Path(home.path, ".codex")
    folder.mkdir()
    (folder / "config.toml").write_text(filled(samples(CLIENTS, "toml")[0], gateway, slug))
    return home.run("codex", "exec", "--skip-git-repo-check", "What is the fact?", ACME_KEY=key)


def test_codex_plays_a_tool_loop(gateway, upstream, slug, key, home):
    upstream.always(calls("exec_command", {"cmd": "cat fact.txt"}))
    done = codex(home, gateway, slug, key)
    assert (done.returncode, done.stdout.strip()) == (0, WORDS), done.stderr
    check(gateway, upstream, key, "/v1/responses", slug)


def test_codex_says_that_a_key_is_wrong(gateway, upstream, slug, home):
    done = codex(home, gateway, slug, "sk_AAAAAAAAAAAA.not-the-secret")
    assert done.returncode == 1 and "401" in done.stderr and "Incorrect API key provided" in done.stderr, done
    assert upstream.count == 0
