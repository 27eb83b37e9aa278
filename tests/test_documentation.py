"""README.md and packaging/docs: their commands and samples work, and their links lead somewhere.

Other tests run the README's demo (test_config), the commands on existing keys (test_registration) and on the audit log
(test_audit), the samples that verify webhooks (test_webhook_samples), and those for the AI SDK (node/ai_sdk.test.mjs),
Claude Code and Codex (clients/test_agents.py).
"""

import json
import re
import subprocess
import sys
import tarfile
import tomllib

import pytest

from support.commands import run
from support.gateway import Customer, Gateway, model, rate
from support.readme import PAGES, README, admin_function, commands, documents, run_commands, run_script, samples
from support.wire import call

CLIENTS = PAGES / "clients.md"
FILES = [README, *sorted(PAGES.glob("*.md"))]
MARK = "--- next block ---"
ANY_PORT = "127.0.0.1:0"

# Reads the addresses that the gateway has chosen from its log, which is its standard error.
READ_ADDRESSES = r"""
address() { sed -n 's/.*"listener":"'"$1"'","address":"\([^"]*\)".*/\1/p' log; }
until INFERENCE=$(address inference) ADMIN=$(address admin) && [ "$INFERENCE" ] && [ "$ADMIN" ]; do
  kill -0 $!
  sleep 0.1
done
"""


def test_the_commands_of_the_readme_work(upstream, second, tmp_path):
    shell = commands(README)
    [sample] = samples(README, "python")
    start, *others = shell
    lines = [
        "exec 3>&2 2>log",
        start,
        "exec 2>&3",
        "trap 'kill $!; wait' EXIT",
        READ_ADDRESSES,
        *(f"echo '{MARK}'\n{text}" for text in others),
        f"echo '{MARK}'\n{sys.executable} - <<SAMPLE\n{sample}SAMPLE",
    ]
    addresses = {"127.0.0.1:8080": "$INFERENCE", "127.0.0.1:8081": "$ADMIN"}
    servers = {"http://127.0.0.1:8000/v1": upstream.base_url, "http://127.0.0.1:8001/v1": second.base_url}
    replaced = {**servers, **addresses}
    printed = run_script(lines, tmp_path, replaced, TOLLGATE_LISTEN=ANY_PORT, TOLLGATE_ADMIN_LISTEN=ANY_PORT)
    _, endpoint, group, stream, figures, two_servers, full, budgets, alerts, rotated, code, words = printed.split(MARK)
    assert documents(endpoint)[0]["slug"] == "acme/chat" and group.strip() == rotated.strip() == ""
    assert stream.strip().endswith("data: [DONE]") and words.strip()
    assert code.strip() == "Nothing to do."
    usage, events, report, own = documents(figures)
    assert usage["usage"]["acme/chat"][0]["current_usage"] == 1
    assert [event["externalEntityId"] for event in events["items"]] == ["cust_42"] and events["items"][0]["cost"]
    assert [row["requests"] for row in report["items"]] == [1] and own
    spread, answer = documents(two_servers)
    assert (spread["routing"], len(spread["targets"])) == ("SPREAD", 2) and answer["choices"]
    bounded, [queue] = documents(full)
    assert (bounded["queue_timeout_s"], bounded["targets"][0]["max_concurrent"]) == (30, 64)
    assert (queue["slug"], queue["waiting"], queue["timed_out"]) == ("acme/chat", 0, 0)
    patched, shown = documents(budgets)
    assert [(one["unit"], one["amount"]) for one in patched["budgets"]] == [("TOTAL", "200"), ("MONTH", "50")]
    assert {one["unit"]: 0 < float(one["spent"]) < 1 for one in shown} == {"TOTAL": True, "MONTH": True}
    assert documents(alerts)[0]["items"] == []
    assert [request.json["model"] for request in upstream.requests + second.requests] == ["Qwen/Qwen3-8B"] * 3


def test_the_commands_on_limits_work(own, upstream, tmp_path):
    slug = own.create_endpoint(upstream, slug="acme/chat")["slug"]
    [sample] = samples(PAGES / "limits.md", "json")
    concurrent = json.loads(sample)["rate_limits"]
    group = own.create_group(model(slug, [*concurrent, rate("TOKEN", "MINUTE", 500)]))
    patched, usage, asked, simulated = run_commands(own, "limits.md", tmp_path, GROUP=group["id"])
    assert [one["unit"] for one in patched["budgets"]] == ["TOTAL", "MONTH"]
    assert [one["left"] for one in usage["budgets"]] == ["1000", "500"]
    assert asked["admitted"] is False and asked["stopped_by"] == 1 and asked["limits"][1]["left"] == 500
    assert (simulated["requests"], simulated["by_day"]) == (0, [])


def test_the_commands_on_webhooks_work(own, upstream, receiver, tmp_path):
    slug = own.create_endpoint(upstream)["slug"]
    customer = Customer(own, own.mint_key(own.create_group(slug)))
    replaced = {"https://billing.example/tollgate": receiver.url, "https://billing.example/new": receiver.url + "/new"}
    tested, webhook, dead_letters, _, changed = run_commands(own, "webhooks.md", tmp_path, replaced)
    assert tested["status"] == 200 and webhook["url"] == receiver.url
    assert dead_letters["items"] == [] and changed["url"] == receiver.url + "/new"
    assert customer.chat(slug).status == 200
    receiver.wait_events(1)


def test_the_file_and_the_commands_on_resources_as_code_work(own, tmp_path):
    [sample] = samples(PAGES / "as-code.md", "yaml")
    (tmp_path / "tollgate.yaml").write_text(sample)
    (tmp_path / "config.yaml").write_text("model_list: []\n")
    variables = {"TOLLGATE_ADMIN_LISTEN": own.admin_address, "TOLLGATE_ADMIN_KEY": own.admin_key}
    printed = run_script(commands(PAGES / "as-code.md"), tmp_path, {}, OPENAI_API_KEY="a-key", **variables)
    assert printed.endswith("Done: 5 created, 0 changed, 0 deleted.\n")
    [webhook] = (tmp_path / "webhook-secrets.jsonl").read_text().splitlines()
    assert json.loads(webhook)["url"] == "https://billing.example/tollgate"
    assert "parent: acme" in (tmp_path / "now.yaml").read_text()


def test_the_commands_on_backup_work(own, tmp_path):
    (tmp_path / "data").mkdir()
    replaced = {"data/acme": own.data_dir, "127.0.0.1:8081": own.admin_address}
    run_script([admin_function(), *commands(PAGES / "backup.md")], tmp_path, replaced, TOLLGATE_ADMIN_KEY=own.admin_key)
    run("verify", "--data-dir", tmp_path / "data/elsewhere")
    for name in ("backup.tar", "backup-by-http.tar"):
        with tarfile.open(tmp_path / name) as archive:
            assert any(member.endswith("SHA256SUMS") for member in archive.getnames())


def test_the_python_samples_for_clients_work(gateway, upstream, monkeypatch, capsys):
    slug = gateway.create_endpoint(upstream, slug="acme/chat")["slug"]
    key = gateway.mint_key(gateway.create_group(slug))
    monkeypatch.setenv("ACME_KEY", key)
    for text in samples(CLIENTS, "python"):
        script = compile(text.replace("127.0.0.1:8080", gateway.address), CLIENTS, "exec")
        if "llama_index" not in text:  # which is too large to install
            exec(script, {})
    assert capsys.readouterr().out == "w0 w1 w2 w3 w4 w5 w6 w7 \n" * 5
    chat, responses, messages = "/v1/chat/completions", "/v1/responses", "/v1/messages"
    assert [event["route"] for event in gateway.events(key)] == [responses, messages, chat, responses, messages]


def test_the_settings_for_clients_are_valid():
    for text in commands(CLIENTS):
        subprocess.run(["bash", "-n", "-c", text], check=True)
    codex, browsers = samples(CLIENTS, "toml")
    assert tomllib.loads(codex)["model_providers"]["tollgate"]["wire_api"] == "responses"
    [origin] = tomllib.loads(browsers)["cors_origins"]
    with Gateway(config=browsers) as gateway:
        answer = call(gateway.address, "GET", "/healthz", [("origin", origin)])
        assert answer.headers["access-control-allow-origin"] == origin


def test_the_settings_and_their_defaults_are_valid():
    rows = re.findall(r"^\| `([a-z_.]+)`[^|]*\| (?:`([^`]*)`)? *\|", (PAGES / "configuration.md").read_text(), re.M)
    assert len(rows) >= 20, rows
    fields = {name: default if re.fullmatch(r"\d+|\[[\d, ]*\]", default) else f'"{default}"' for name, default in rows if default}
    top = [f"{name} = {value}" for name, value in fields.items() if "." not in name]
    sections = dict.fromkeys(name.partition(".")[0] for name in fields if "." in name)
    lines = []
    for section in sections:
        inside = {name.removeprefix(f"{section}."): value for name, value in fields.items() if name.startswith(f"{section}.")}
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in inside.items())]
    with Gateway(config="\n".join(top + lines)) as gateway:
        assert gateway.admin("GET", "/v1/gateway/status")["notices"] == []


def anchors(file):
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_link_leads_to_a_file_and_a_heading(file):
    for target in re.findall(r"\]\(([^)]+)\)", file.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (file.parent / path).resolve() if path else file
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_the_readme_links_every_page():
    for page in PAGES.glob("*.md"):
        assert f"(packaging/docs/{page.name})" in README.read_text(), page.name
