"""`tollgate apply` and `tollgate dump`: resources as a file."""

import http.server
import json
import random
import resource
import stat
import threading

import pytest

from support.commands import attempt
from support.gateway import Gateway
from support.wire import call

FILE = """
secrets:
  - {name: provider, value_env: PROVIDER_KEY}
endpoints:
  - slug: acme/chat
    targets:
      - {provider: OPENAI, secret: provider, target_model: large}
      - {provider: DEMO, weight: 3, max_concurrent: 7}
    routing: SPREAD
    pricing: {currency: EUR, input: "1.50", output: "2.00", long: {above: 1000, input: "3.0", output: "4"}}
groups:
  - metadata: {external_entity_id: team, name: "no"}
    parent: company
    models:
      - slug: acme/chat
        rate_limits: [{type: TOKEN, unit: MINUTE, threshold: 50}, {type: REQUEST, unit: CONCURRENT, threshold: 2}]
  - metadata: {external_entity_id: company, name: "Größe: <b>"}
    hierarchy: {limit_enforcement: CASCADING}
    models:
      - slug: acme/chat
        rate_limits: [{type: TOKEN, unit: MINUTE, threshold: 100}]
        usage_limits: [{type: REQUEST, unit: DAY, threshold: 0}]
    budgets: [{unit: MONTH, currency: EUR, amount: "500.00"}]
  - metadata: {external_entity_id: "42"}
    disabled: true
    models: []
webhooks:
  - {url: "https://billing.example/hook", description: "to: billing", types: [ALERT], enabled: false}
"""
DONE_FIRST = "+ secret provider\n+ endpoint acme/chat\n+ group company\n"
VALUE = "the-value-of-the-provider-key"


class Repository:
    """A file in a directory, and the commands for one gateway."""

    def __init__(self, gateway, directory):
        self.gateway, self.file = gateway, directory / "tollgate.yaml"
        self.url = f"http://{gateway.admin_address}"

    def run(self, *arguments, key=None, **env):
        env = {"TOLLGATE_ADMIN_KEY": key or self.gateway.admin_key, **env}
        return attempt(*arguments, "--admin-url", self.url, env=env)

    def apply(self, text, *flags, expect=0, **env):
        self.file.write_text(text)
        ended = self.run("apply", self.file, *flags, **env)
        assert ended.returncode == expect, ended
        return ended

    def dump(self):
        ended = self.run("dump")
        assert ended.returncode == 0, ended
        return ended.stdout


@pytest.fixture
def repository(own, tmp_path):
    return Repository(own, tmp_path)


def test_a_file_is_applied_and_a_second_run_changes_nothing(repository):
    gateway = repository.gateway
    planned = repository.apply(FILE, "--dry-run", expect=2, PROVIDER_KEY=VALUE)
    assert "+ group team" in planned.stdout and gateway.audit_logs() == []
    secrets = repository.file.with_name("webhook-secrets")
    done = repository.apply(FILE, "--webhook-secrets", secrets, PROVIDER_KEY=VALUE)
    heads = [line for line in done.stdout.splitlines() if line.startswith("+")]
    assert heads == [
        "+ secret provider",
        "+ endpoint acme/chat",
        "+ group company",
        "+ group 42",
        "+ group team",
        "+ webhook https://billing.example/hook",
    ]
    assert done.stdout.endswith("Done: 6 created, 0 changed, 0 deleted.\n")
    assert VALUE not in planned.stdout + planned.stderr + done.stdout + done.stderr
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    [saved] = [json.loads(line) for line in secrets.read_text().splitlines()]
    assert saved["url"] == "https://billing.example/hook" and saved["secret"] not in done.stdout

    groups = gateway.admin("GET", "/v1/gateway/groups")["items"]
    groups = {group["metadata"]["external_entity_id"]: group for group in groups}
    assert groups["team"]["hierarchy"] == {
        "limit_enforcement": "CASCADING",
        "parent_group_id": groups["company"]["id"],
    }
    assert (groups["42"]["models"], groups["42"]["disabled"]) == ([], True)
    changes = len(gateway.audit_logs())
    assert repository.apply(FILE).stdout == "Nothing to do.\n"
    assert repository.apply("{}").stdout == "Nothing to do.\n"
    assert repository.apply(FILE, "--dry-run").stdout == "Nothing to do.\n"
    assert len(gateway.audit_logs()) == changes


def test_a_plan_shows_old_and_new_values_and_prune_deletes_the_rest(repository):
    gateway = repository.gateway
    repository.apply(FILE, PROVIDER_KEY=VALUE)
    changed = (
        FILE.replace("threshold: 50}", "threshold: 60}")
        .replace('description: "to: billing", ', "")
        .replace(", weight: 3, max_concurrent: 7", ", max_concurrent: 8")
        .replace(', name: "no"', "")
    )
    done = repository.apply(changed)
    assert done.stdout.split("\n\n")[0].splitlines() == [
        "~ endpoint acme/chat",
        "    targets[1].max_concurrent: 7 -> 8",
        "    targets[1].weight: 3 -> 1",
        "~ group team",
        '    metadata.name: "no" -> none',
        "    models[acme/chat].rate_limits[TOKEN MINUTE]: 50 -> 60",
        "~ webhook https://billing.example/hook",
        '    description: "to: billing" -> none',
    ]
    assert repository.apply(changed).stdout == "Nothing to do.\n"
    updated = repository.apply(changed, "--update-secrets", PROVIDER_KEY="another-value")
    assert updated.stdout.startswith("~ secret provider\n    value: from PROVIDER_KEY\n")
    kept = "endpoints: [{slug: acme/chat, targets: [{provider: DEMO}]}]"
    pruned = repository.apply(kept, "--prune")
    assert [line for line in pruned.stdout.splitlines() if line.startswith("-")] == [
        "- webhook https://billing.example/hook",
        "- group team",
        "- group 42",
        "- group company",
        "- secret provider",
    ]
    assert repository.dump() == "endpoints:\n  - slug: acme/chat\n    targets:\n      - {provider: DEMO}\n"
    assert gateway.admin("GET", "/v1/secrets")["secrets"] == []
    assert repository.apply("{}", "--prune").returncode == 0 and repository.dump() == "{}\n"


def test_a_dump_of_an_applied_dump_is_the_same_text(repository, tmp_path):
    repository.apply(FILE, PROVIDER_KEY=VALUE)
    repository.gateway.create_group("acme/chat", parent=None, name='"quoted" # \u2028 \U0001f600', entity="- x: [y]")
    first = repository.dump()
    assert "weight: 1" not in first and "queue_timeout_s" not in first and VALUE not in first
    (tmp_path / "other").mkdir()
    with Gateway() as other:
        copy = Repository(other, tmp_path / "other")
        copy.apply(first, SECRET_PROVIDER=VALUE)
        assert copy.dump() == first
        assert copy.apply(first).stdout == "Nothing to do.\n"


def test_limits_of_a_cascading_tree_change_in_every_direction(repository):
    """Each group gets random thresholds below its parent's, some of them lower and some higher than before."""
    dice = random.Random(7)

    def group(name, parent, above):
        limits, budget = {}, None
        for unit in ("DAY", "WEEK", "MONTH"):
            if dice.random() < 0.8:
                limits[unit] = dice.randint(0, above["limits"].get(unit, 1000))
        if dice.random() < 0.8:
            budget = dice.randint(0, above["budget"] or 1000)
        usage = [{"type": "TOKEN", "unit": unit, "threshold": limit} for unit, limit in limits.items()]
        groups.append(
            {
                "metadata": {"external_entity_id": name},
                "models": [{"slug": "acme/chat", "usage_limits": usage}],
                "budgets": [{"unit": "DAY", "currency": "EUR", "amount": str(budget)}] if budget is not None else [],
                **({"parent": parent} if parent else {"hierarchy": {"limit_enforcement": "CASCADING"}}),
            }
        )
        # What a group does not limit, its ancestors may.
        return {"limits": {**above["limits"], **limits}, "budget": budget if budget is not None else above["budget"]}

    for turn in range(8):
        groups = []
        for root in ("a", "b"):
            top = group(root, None, {"limits": {}, "budget": None})
            for child in range(2 + turn % 2):
                middle = group(f"{root}{child}", root, top)
                group(f"{root}{child}-x", f"{root}{child}", middle)
        endpoint = {"slug": "acme/chat", "targets": [{"provider": "DEMO"}]}
        text = json.dumps({"endpoints": [endpoint], "groups": groups})
        repository.apply(text, "--prune")
        assert repository.apply(text, "--prune").stdout == "Nothing to do.\n"


def declaration(**groups):
    """A file with CASCADING groups, each with its parent and its thresholds of tokens by unit."""
    declared = []
    for name, (parent, limits) in groups.items():
        usage = [{"type": "TOKEN", "unit": unit, "threshold": limit} for unit, limit in limits.items()]
        declared.append(
            {
                "metadata": {"external_entity_id": name},
                "models": [{"slug": "acme/chat", "usage_limits": usage}],
                **({"parent": parent} if parent else {"hierarchy": {"limit_enforcement": "CASCADING"}}),
            }
        )
    endpoint = {"slug": "acme/chat", "targets": [{"provider": "DEMO"}]}
    return json.dumps({"endpoints": [endpoint], "groups": declared})


def test_a_parent_is_lowered_after_its_children_are_pruned(repository):
    repository.apply(declaration(parent=(None, {"DAY": 100}), child=("parent", {"DAY": 80})))
    lowered = declaration(parent=(None, {"DAY": 50}))
    assert "Done: 0 created, 1 changed, 1 deleted." in repository.apply(lowered, "--prune").stdout
    assert repository.apply(lowered, "--prune").stdout == "Nothing to do.\n"


def test_groups_change_in_order_of_their_levels_if_one_between_is_only_in_the_gateway(repository):
    def tree(root, middle, leaf, **others):
        groups = {"s": ("r", {"DAY": leaf}), "q": ("p", {"DAY": middle}), "p": (None, {"DAY": root})}
        return declaration(**groups, **others)

    repository.apply(tree(100, 80, 50, r=("q", {})))
    for thresholds in [(200, 150, 140), (40, 30, 20)]:
        assert "Done: 0 created, 3 changed" in repository.apply(tree(*thresholds)).stdout
        assert repository.apply(tree(*thresholds)).stdout == "Nothing to do.\n"


def edited(old, new):
    assert old in FILE, old
    return FILE.replace(old, new, 1)


DEEP = "".join(
    f"  - {{metadata: {{external_entity_id: deep-{level}}}, parent: {parent}, models: []}}\n"
    for level, parent in [(3, "team"), (4, "deep-3"), (5, "deep-4"), (6, "deep-5")]
)
BROKEN = [
    ("", "line 1: the file is empty"),
    (FILE + "extra: 1\n", "line 29: unknown field `extra`"),
    (FILE + "groups: []\n", "line 29: the field `groups` is repeated; it is first on line 11"),
    (edited("{type: TOKEN", "{type: token"), "line 16: groups[0].models[0].rate_limits[0].type: must be TOKEN"),
    (edited("- slug: acme/chat\n    targets", "- slug: acme/chat\n   targets"), "line 6: not YAML"),
    (edited("weight: 3", "weight: 300"), "line 8: endpoints[0].targets[1].weight: must be a whole number from 1"),
    (edited("weight: 3", "wait: 3"), "line 8: endpoints[0].targets[1]: unknown field `wait`"),
    (edited("secret: provider", "secret: other"), 'line 7: endpoints[0].targets[0].secret: "other" is neither in'),
    (edited("parent: company", "parent: nobody"), 'line 13: groups[0].parent: the group "nobody" is neither in'),
    (edited("parent: company", "parent: team"), "line 13: groups[0].parent: a group cannot be its own ancestor"),
    (edited('"42"', "company"), 'line 24: groups[2].metadata.external_entity_id: "company" is declared twice'),
    (edited('"42"', "42"), "line 24: groups[2].metadata.external_entity_id: must be a string; put it in quotes"),
    (edited("threshold: 50", "threshold: 101"), 'line 12: groups[0]: a limit or budget of "team" exceeds that'),
    (edited("- slug: acme/chat\n        rate", "- slug: acme/x\n        rate"), "line 15: groups[0].models[0].slug: "),
    (edited("models: []\n", "models: []\n" + DEEP), "line 30: groups[6].parent: a tree has at most 5 levels"),
    (edited("value_env: PROVIDER_KEY", "value: x"), "line 3: secrets[0]: unknown field `value`, expected `name`"),
    (edited("PROVIDER_KEY", "UNSET_KEY"), "line 3: secrets[0].value_env: the environment variable UNSET_KEY is"),
    (edited("PROVIDER_KEY", "SPACED_KEY"), "line 3: secrets[0].value_env: the value of SPACED_KEY must be 1 to 4096"),
    (edited("https://billing.example/hook", "ftp://x"), "line 28: webhooks[0].url: must be"),
]


def test_a_broken_file_is_one_error_with_line_and_field_and_changes_nothing(repository):
    before = len(repository.gateway.audit_logs())
    env = {"PROVIDER_KEY": VALUE, "SPACED_KEY": "not one word"}
    for text, message in BROKEN:
        ended = repository.apply(text, expect=1, **env)
        assert ended.stderr.startswith(f"tollgate: {repository.file}, {message}"), (message, ended)
        assert ended.stdout == "" and ended.stderr.count("\n") == 1 and "one word" not in ended.stderr
    (repository.file.with_name("exists")).write_text("")
    ended = repository.apply(FILE, "--webhook-secrets", repository.file.with_name("exists"), expect=1, **env)
    assert "exists" in ended.stderr
    assert len(repository.gateway.audit_logs()) == before


def test_what_no_request_can_change_is_an_error(repository):
    repository.apply(FILE, PROVIDER_KEY=VALUE)
    before = repository.dump()
    for text, message in [
        (edited("    parent: company\n", ""), 'groups[0].parent: is "company" in the gateway and none in the file'),
        (edited("CASCADING", "INDEPENDENT"), "groups[1].hierarchy.limit_enforcement: is CASCADING in the gateway"),
        (edited("routing: SPREAD", "region: EU"), "endpoints[0].region: is UNRESTRICTED in the gateway"),
        (edited("threshold: 100}", "threshold: 49}").replace("threshold: 50", "threshold: 49"), None),
        ("groups: [{metadata: {external_entity_id: company}, models: [{slug: acme/chat, rate_limits: [{type: TOKEN, "
         "unit: MINUTE, threshold: 1}]}], hierarchy: {limit_enforcement: CASCADING}}]", 'of "team", which is not'),
    ]:  # fmt: skip
        ended = repository.apply(text, "--dry-run", expect=1 if message else 2)
        assert (message or "") in ended.stderr, ended
    child = "groups: [{metadata: {external_entity_id: team}, parent: company, models: []}]"
    assert "so --prune would delete it" in repository.apply(child, "--prune", expect=1).stderr
    assert repository.dump() == before


class Failing(http.server.BaseHTTPRequestHandler):
    """Passes requests on to `gateway`, and answers one change, `fails_at`, with an error."""

    def answer(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0)) or None
        self.server.changes += self.command != "GET"
        if self.server.changes == self.server.fails_at:
            status, text = 503, b'{"error": "The journal is slow.", "code": "unavailable"}'
        else:
            headers = [("authorization", self.headers["authorization"])]
            passed = call(self.server.gateway.admin_address, self.command, self.path, headers, body)
            status, text = passed.status, passed.body
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


def failing_apply(repository, fails_at, text, *flags):
    """Applies a file; the change of this number, from 1, fails."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        server.gateway, server.changes, server.fails_at = repository.gateway, 0, fails_at
        threading.Thread(target=server.serve_forever, daemon=True).start()
        direct, repository.url = repository.url, f"http://127.0.0.1:{server.server_port}"
        ended = repository.apply(text, *flags, expect=1, PROVIDER_KEY=VALUE)
        server.shutdown()
    repository.url = direct
    return ended


def test_the_first_error_stops_and_what_was_done_is_printed(repository):
    secrets = repository.file.with_name("webhook-secrets")
    ended = failing_apply(repository, 4, FILE, "--webhook-secrets", secrets)
    done = ended.stdout.split("Done before the error: 3 of 6.\n")[1].splitlines()
    assert done == ["+ secret provider", "+ endpoint acme/chat", "+ group company"]
    assert ended.stderr.endswith("yaml, line 24): The journal is slow. (503)\n") and "+ group 42" in ended.stderr
    assert not secrets.exists()
    again = repository.apply(FILE, "--webhook-secrets", secrets, PROVIDER_KEY=VALUE)
    assert "Done: 3 created" in again.stdout and "billing.example" in secrets.read_text()


def test_a_change_that_was_done_in_part_is_printed(repository):
    # The group 42 is created and then disabled.
    ended = failing_apply(repository, 5, FILE)
    assert ended.stdout.endswith("Done before the error: 3 of 6.\n" + DONE_FIRST + "Done in part:\n+ group 42\n")
    # One threshold of the parent is raised first, the other is lowered last.
    repository.apply(declaration(parent=(None, {"DAY": 10, "WEEK": 10}), child=("parent", {"DAY": 10, "WEEK": 10})))
    text = declaration(parent=(None, {"DAY": 20, "WEEK": 5}), child=("parent", {"DAY": 20, "WEEK": 5}))
    ended = failing_apply(repository, 3, text)
    done, in_part = ended.stdout.split("Done before the error: ")[1].split("Done in part:\n")
    assert done == "1 of 2.\n~ group child\n" and in_part == "~ group parent\n"
    assert "Done: " in repository.apply(text).stdout
    assert repository.apply(text).stdout == "Nothing to do.\n"


def test_a_signing_secret_that_cannot_be_written_must_be_rotated(repository):
    secrets = repository.file.with_name("webhook-secrets")
    repository.file.write_text('webhooks: [{url: "https://billing.example/hook"}]')
    arguments = ["apply", repository.file, "--webhook-secrets", secrets, "--admin-url", repository.url]
    ended = attempt(
        *arguments,
        env={"TOLLGATE_ADMIN_KEY": repository.gateway.admin_key},
        # Python ignores SIGXFSZ. The command inherits that, so its writes fail.
        restore_signals=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert ended.returncode == 1 and "Rotate it to get one." in ended.stderr, ended
    assert "Done in part:\n+ webhook https://billing.example/hook\n" in ended.stdout
    assert not secrets.exists()


def test_a_gateway_that_cannot_be_used_is_an_error_in_words(repository):
    gateway = repository.gateway
    scoped = gateway.mint_operator("WORKSPACE_MANAGE_API_KEYS")
    for key, words in [
        ("wrong-operator-key-012345", "does not know the key in TOLLGATE_ADMIN_KEY (401)"),
        (scoped, "(403): This request requires an operator key of type WORKSPACE_MANAGE_ALL."),
    ]:
        ended = repository.run("dump", key=key)
        assert ended.returncode == 1 and words in ended.stderr and key not in ended.stderr, ended
    ended = attempt("dump", "--admin-url", repository.url)
    assert ended.returncode == 1 and ended.stderr.startswith("tollgate: TOLLGATE_ADMIN_KEY: is not set")
    repository.url = f"http://{gateway.address}"
    assert "is not the admin API" in repository.run("dump").stderr
    gateway.stop()
    repository.url = f"http://{gateway.admin_address}"
    assert "the connection was refused" in repository.run("dump").stderr
    repository.url = "nowhere"
    assert "--admin-url: must be a URL" in repository.run("dump").stderr
    assert attempt("apply", "--no-such-flag").returncode == 1
