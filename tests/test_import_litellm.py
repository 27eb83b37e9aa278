"""`tollgate import litellm`: the file that it prints can be applied, and its models answer."""

from support.commands import attempt, run
from support.gateway import Customer
from support.reply import Reply

CONFIG = """
model_list:
  - model_name: chat
    litellm_params:
      model: hosted_vllm/upstream-model
      api_base: {first}
      api_key: os.environ/FIRST_KEY
      rpm: 60
      tpm: 100000
    model_info: {{mode: chat, input_cost_per_token: 0.0000015, output_cost_per_token: 2e-6}}
  - model_name: chat
    litellm_params: {{model: openai/upstream-model, api_base: "{second}", api_key: a-literal-key, rpm: 30, tpm: 1000}}
    model_info: {{input_cost_per_token: 0.0000015, output_cost_per_token: 2e-6}}
  - model_name: azure-chat
    litellm_params: {{model: azure/deployment, api_base: "https://x.example", api_key: another-literal-key}}
  - model_name: team/small
    litellm_params: {{model: ollama/small, api_base: "{first}", order: 2, timeout: 30}}
  - model_name: team/small
    litellm_params: {{model: hosted_vllm/small, api_base: "{second}", order: 1}}
litellm_settings: {{drop_params: true}}
general_settings: {{master_key: sk-master}}
"""


def test_an_imported_configuration_can_be_applied_and_its_models_answer(own, upstream, second, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(first=upstream.origin, second=second.origin))
    text = run("import", "litellm", config)
    assert not any(secret in text for secret in ("a-literal-key", "another-literal-key", "sk-master"))
    for comment in [
        '# model_name "chat"',
        "# Left out: the deployment on line 14: the provider \"azure\" is not supported.",
        "# Not taken over from line 16: timeout: there is no such setting for a target.",
        "# Not taken over from line 20: litellm_settings: ",
        "# This key was written in the configuration. Put it in the environment variable.",
    ]:
        assert comment in text, text

    file = tmp_path / "tollgate.yaml"
    file.write_text(text)
    env = {"TOLLGATE_ADMIN_KEY": own.admin_key, "FIRST_KEY": "first-key", "LITELLM_KEY_1": "second-key"}
    url = ["--admin-url", f"http://{own.admin_address}"]
    assert attempt("apply", file, "--dry-run", *url, env=env).returncode == 2
    run("apply", file, *url, env=env)
    assert run("apply", file, *url, env=env) == "Nothing to do.\n"

    endpoints = {endpoint["slug"]: endpoint for endpoint in own.admin("GET", "/v1/gateway/endpoints")["items"]}
    chat, small = endpoints["default/chat"], endpoints["team/small"]
    assert (chat["routing"], [target["weight"] for target in chat["targets"]]) == ("SPREAD", [60, 30])
    assert (chat["pricing"]["currency"], chat["pricing"]["input"], chat["pricing"]["output"]) == ("USD", "1.5", "2")
    assert (small["routing"], small["targets"][0]["base_url"]) == ("PRIORITY", second.origin)
    [group] = own.admin("GET", "/v1/gateway/groups")["items"]
    limits = {limit["type"]: limit["threshold"] for limit in group["models"][0]["rate_limits"]}
    assert limits == {"REQUEST": 90, "TOKEN": 101_000}

    customer = Customer(own, own.mint_key(own.create_group("default/chat", "team/small", parent=group)))
    assert customer.chat("default/chat").status == customer.chat("team/small").status == 200
    # Each target of the first model is asked, since none answers.
    for server in (upstream, second):
        server.reply_next(Reply(500))
    assert customer.chat("default/chat").status == 502

    def sent(server, name):
        return {one.headers.get("authorization") for one in server.requests if one.json["model"] == name}

    assert sent(upstream, "upstream-model") == {"Bearer first-key"}
    assert sent(second, "upstream-model") == {"Bearer second-key"}
    assert (sent(upstream, "small"), sent(second, "small")) == (set(), {None})


def test_a_file_that_is_not_a_litellm_configuration_is_an_error_with_its_line(tmp_path):
    config = tmp_path / "config.yaml"
    for text, message in [
        ("models: []\n", "line 1: missing field `model_list`"),
        ("model_list:\n  - litellm_params: {model: a}\n", "line 2: model_list[0]: model_name must be a text"),
        ("model_list: [\n", "not YAML"),
    ]:
        config.write_text(text)
        ended = attempt("import", "litellm", config)
        assert ended.returncode == 1 and message in ended.stderr and ended.stdout == "", ended
    assert attempt("import", "litellm", tmp_path / "none.yaml").returncode == 1
    assert attempt("import", "litellm", config, "--org", "a b").stderr.startswith("tollgate: --org: must be")
