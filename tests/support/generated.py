"""Code that third-party generators make from `/v1/spec`: a client by openapi-python-client, called by operation ids,
and models by datamodel-codegen, against which the client's answers are validated."""

import dataclasses
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import types

from .wire import DEADLINE

# Skips the generator's formatter, which does not change how the client behaves.
CONFIG = "post_hooks: []\n"


def generate(generator, *arguments):
    """Runs a generator; returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", generator, *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def make_client(specification, folder):
    """Generates a package with openapi-python-client; returns it and the generator's output."""
    (folder / "config.yml").write_text(CONFIG)
    warnings = generate(
        "openapi_python_client",
        *("generate", "--path", specification, "--output-path", folder / "tollgate_client", "--meta", "none"),
        *("--config", folder / "config.yml"),
    )
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("tollgate_client"), warnings
    finally:
        sys.path.remove(str(folder))


def make_models(specification, folder):
    """Generates a module with datamodel-codegen; its models refuse unknown members."""
    path = folder / "tollgate_models.py"
    generate(
        "datamodel_code_generator",
        *("--input", specification, "--input-file-type", "openapi", "--output", path, "--formatters", "builtin"),
        *("--output-model-type", "pydantic_v2.BaseModel", "--extra-fields", "forbid"),
    )
    spec = importlib.util.spec_from_file_location("tollgate_models", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tollgate_models"] = module
    spec.loader.exec_module(module)
    return module


def operations_of(specification):
    """Every operation by its id."""
    return {
        operation["operationId"]: operation for item in specification["paths"].values() for operation in item.values()
    }


def reference_name(schema):
    """The name of the schema that this one refers to; None for an inline schema."""
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


@dataclasses.dataclass
class Answer:
    """One answer to an operation, and the value that the client parsed from it."""

    operation: str
    status: int
    media_type: str
    content: bytes
    parsed: object = None


class Client:
    """The generated client with an operator key. `answers` holds every answer that it received."""

    def __init__(self, package, specification, gateway, key):
        self.package, self.specification = package, specification
        self.operations = operations_of(specification)
        self.models = importlib.import_module(f"{package.__name__}.models")
        self.http = package.AuthenticatedClient(f"http://{gateway.admin_address}", key, timeout=DEADLINE)
        self.answers = []

    def function(self, operation_id):
        """The generated module of an operation."""
        tag = self.operations[operation_id]["tags"][0].lower().replace(" ", "_")
        name = re.sub("(?=[A-Z])", "_", operation_id).lower()
        return importlib.import_module(f"{self.package.__name__}.api.{tag}.{name}")

    def body(self, operation_id, body):
        """A request body as the generated model of its schema."""
        schema = self.operations[operation_id]["requestBody"]["content"]["application/json"]["schema"]
        return getattr(self.models, reference_name(schema)).from_dict(body)

    def call(self, operation_id, *path, body=None, expect=200, **parameters):
        """Calls an operation; returns the client's parsed answer."""
        if body is not None:
            parameters["body"] = self.body(operation_id, body)
        response = self.function(operation_id).sync_detailed(*path, client=self.http, **parameters)
        return self.keep(operation_id, response, expect, response.parsed)

    def call_raw(self, operation_id, *path, body=None, accept=None, **parameters):
        """Calls an operation for an answer in its other media type: the generated client reads one per status."""
        if body is not None:
            parameters["body"] = self.body(operation_id, body)
        request = self.function(operation_id)._get_kwargs(*path, **parameters)
        if accept is not None:
            request["headers"] = {**request.get("headers", {}), "accept": accept}
        response = self.http.get_httpx_client().request(**request)
        return self.keep(operation_id, response, 200, response.text)

    def keep(self, operation_id, response, expect, parsed):
        media_type = response.headers["content-type"].split(";")[0]
        self.answers.append(Answer(operation_id, int(response.status_code), media_type, response.content, parsed))
        assert response.status_code == expect, (operation_id, response.status_code, response.content[:400])
        return parsed

    def declared(self, answer):
        """The media types that the specification declares for an answer, with their schemas."""
        responses = self.operations[answer.operation]["responses"]
        response = responses.get(str(answer.status)) or responses[f"{answer.status // 100}XX"]
        if name := reference_name(response):
            response = self.specification["components"]["responses"][name]
        return {media_type: content["schema"] for media_type, content in response["content"].items()}


def validate(models: types.ModuleType, name, text):
    """Validates a JSON text against a model: no extra or missing member, none of another type."""
    return getattr(models, name).model_validate_json(text, strict=True)


def events_of(stream):
    """The JSON data of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: {")]
