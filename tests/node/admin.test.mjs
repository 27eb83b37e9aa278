// openapi-typescript makes types from /v1/spec; the client openapi-fetch is checked against them.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import openapiTS, { astToString } from "openapi-typescript";
import { operate } from "./support/admin_client.mjs";
import { startAimock } from "./support/aimock.mjs";
import { Gateway } from "../support/gateway.mjs";

const GENERATED = join(import.meta.dirname, "../.cache/generated");

let gateway, mock;

before(async () => {
  mock = await startAimock();
  gateway = await Gateway.start();
});

after(async () => {
  await gateway?.stop();
  await mock?.stop();
});

test("a program compiles against the types of the admin API", async () => {
  const types = astToString(await openapiTS(await gateway.admin("GET", "/v1/spec")));
  await mkdir(GENERATED, { recursive: true });
  await writeFile(join(GENERATED, "admin.ts"), types);
  // openapi-typescript depends on TypeScript 5; TypeScript 7 compiles the same program in an eighth of the time.
  const compiler = join(import.meta.dirname, "node_modules/typescript-7/bin/tsc");
  const output = await new Promise((resolve) => {
    execFile(process.execPath, [compiler, "--project", import.meta.dirname], (_, stdout, stderr) => resolve(stdout + stderr));
  });
  assert.equal(output, "");
});

test("the compiled program gets the answers that its types describe", async () => {
  const found = await operate(gateway.adminURL, gateway.adminKey, `${mock.url}/v1`);
  assert.deepEqual(found.checks, ["reachable", "model", "stream", "usage"]);
  assert.deepEqual([found.cacheWrite, found.above], ["3", 100_000]);
  assert.equal(found.name, null);
  assert.equal(found.replacement, "laptop");
  assert.ok(found.replaced);
  assert.equal(found.tried.model, "typed/good");
  assert.ok(found.streamed.endsWith("data: [DONE]\n\n"));
  assert.equal(found.failed, 502);
  assert.equal(found.state, "failing");
  const [, data] = found.live.split("data: ");
  assert.equal(JSON.parse(data).status.upstreams.find((one) => one.slug === "typed/bad").state, "failing");
  assert.deepEqual(found.slugs, ["typed/good", "typed/good"]);
  assert.deepEqual(found.requests, [2]);
  assert.equal(found.csv, "group_id,external_entity_id,requests,input_tokens,output_tokens,cached_input_tokens,cost");
  assert.deepEqual(found.used, [2]);
  assert.equal(found.today, 2);
  assert.deepEqual(found.thresholds, [5, 50, "500 EUR"]);
  assert.ok(Number(found.spent[0]) > 0 && Math.abs(Number(found.spent[0]) + Number(found.budget) - 500) < 1e-9);
  assert.equal(found.actor, "API_KEY");
  assert.equal(found.backup, "manifest.json");
  assert.equal(found.code, "not_found");
});
