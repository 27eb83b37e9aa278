// Compares the UI's types with `/v1/spec`: every call must be in it, with an answer of the declared type.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { Comparison, Declared } from "./support/ui_types.mjs";

const ASSETS = resolve(import.meta.dirname, "../../assets/js");
const TYPES = resolve(ASSETS, "api_types.js");
// The type of a server-sent event's data, and the types that only the UI has.
const [LIVE, OWN] = ["LiveEvent", ["Api"]];

let calls, source, specification;
before(async () => {
  const gateway = await Gateway.start();
  specification = await gateway.admin("GET", "/v1/spec");
  await gateway.stop();
  source = await readFile(TYPES, "utf8");
  calls = await callsOf((await import(pathToFileURL(resolve(ASSETS, "api.js")))).api);
});

// The functions of the UI's client by path, with the request that each sends.
async function callsOf(client) {
  const real = globalThis.fetch;
  after(() => (globalThis.fetch = real));
  const sent = new Map();
  const walk = async (part, path) => {
    for (const [name, of] of Object.entries(part)) {
      const at = [...path, name];
      if (typeof of !== "function") {
        await walk(of, at);
        continue;
      }
      globalThis.fetch = async (url, { method }) => {
        sent.set(at.join("."), { method, path: new URL(url, "http://gateway").pathname });
        return new Response("{}");
      };
      await of(...Array(of.length).fill("x"));
    }
  };
  await walk(client, []);
  return sent;
}

// The schema of a request's answer; undefined if the request does not exist, null if the answer is not JSON.
function answerOf({ method, path }) {
  const fits = (template) => new RegExp(`^${template.replaceAll(/\{[^}]+\}/g, "[^/]+")}$`).test(path);
  // A path with a fixed part takes precedence over one with a parameter.
  const [template] = Object.keys(specification.paths).filter(fits).sort((a, b) => a.split("{").length - b.split("{").length);
  const operation = specification.paths[template]?.[method.toLowerCase()];
  return operation && (operation.responses["200"].content["application/json"]?.schema ?? null);
}

function problemsOf(source) {
  const declared = new Declared(TYPES, source);
  const comparison = new Comparison(declared, specification);
  const promises = declared.promisesOf(declared.type("Api"));
  for (const [path, type] of promises) {
    const schema = answerOf(calls.get(path.join(".")));
    if (schema === undefined) comparison.problems.push(`api.${path.join(".")} calls a path that does not exist`);
    else if (schema) comparison.compare(type, schema, path.join("."));
  }
  const live = specification.paths["/v1/gateway/live"].get.responses["200"].content["text/event-stream"].schema;
  comparison.compare(declared.type(LIVE), live.contentSchema, "live");
  const parts = declared.partsOf([...OWN, LIVE]);
  const unused = [...declared.symbols.keys()].filter((name) => !parts.has(name));
  return [
    ...declared.errors, ...comparison.problems, ...comparison.unknownWords().map((word) => `${word} is not a value in the API`),
    ...unused.map((name) => `${name} is not the type of any answer`),
  ];
}

test("every type and member of the UI is in the specification, with a matching type", () => {
  assert.deepEqual(problemsOf(source), []);
});

test("a renamed, missing or differently typed member is found", () => {
  for (const [from, to, problem] of [
    ["retry_after_s: number", "retry_after: number", "groups.limits.retry_after does not exist"],
    ["{detail: string}} Gap", "{detail: string, first_at: string}} Gap", "status.journal.damage[].first_at does not exist"],
    ["{step_s: number", "{step_s: string", "activity.step_s is of type integer"],
    ["enabled: boolean, types", "enabled: string, types", "webhooks.list.items[].enabled is of type boolean"],
    ["models: string[]", "models: string", "groups.tree.items[].models is of type array"],
    ["usage: Record<string, LimitUsage[]>", "usage: LimitUsage[]", "groups.usage.usage is of type object"],
    ["cost: Record<string, string>", "cost: Record<string, number>", "usageReport.items[].cost{} is of type string"],
    ["used: string,", "used: number,", "groups.limits.limits[].used is of type string"],
    ["kind: \"budget\"", "kind: \"money\"", "groups.limits.limits[] is one of 2 forms"],
    ["kind: \"rate\" | \"usage\"", "kind: \"rate\"", "groups.limits.limits[].kind may be usage"],
    ["\"TOKEN\" | \"REQUEST\"", "\"TOKEN\" | \"REQUEST\" | \"WORD\"", "WORD is not a value in the API"],
    ["ttftMs: number | null", "ttftMs: number", "events.items[].ttftMs may be null"],
    ["uptime_s: number", "uptime_s: number | null", "status.uptime_s is never null"],
    ["secret: string}} WebhookWithSecret", "secret?: string}} WebhookWithSecret", "webhooks.create.secret is never left out"],
    ["day?: string", "day: string", "usageReport.items[].day may be left out"],
    ["LiveEvent */", "LiveEvent */ /** @typedef {{a: 1}} Old */", "Old is not the type of any answer"],
    ["now: Sums", "now: Sum", "Cannot find name 'Sum'. Did you mean 'Sums'?"],
  ]) {
    assert.ok(source.includes(from), from);
    const problems = problemsOf(source.replace(from, to));
    assert.ok(problems.includes(problem), `${to}: ${problems.join("; ")}`);
  }
});

test("a call that the API does not have is found", () => {
  const known = calls.get("audit");
  calls.set("audit", { ...known, path: "/v1/audit_log" });
  assert.deepEqual(problemsOf(source).slice(0, 1), ["api.audit calls a path that does not exist"]);
  calls.set("audit", known);
});
