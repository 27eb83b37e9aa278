// The bodies that the playground sends and the parts of answers that it reads, without a browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { load } from "./support/load.mjs";

const { bodyOf, curl, errorOf, limitsOf, piecesOf, usageOf, vectorsOf } = await load("js/playground/try_body.js");

const ASKED = {
  route: "/v1/chat/completions", model: "a/b", system: "", messages: [], text: "Hi", temperature: null, max_tokens: null, stream: false,
};

test("a body has the chosen fields and nothing else", () => {
  assert.deepEqual(bodyOf(ASKED), { model: "a/b", messages: [{ role: "user", content: "Hi" }] });
  assert.deepEqual(bodyOf({ ...ASKED, system: "Be brief.", temperature: 0, max_tokens: 5, stream: true }), {
    model: "a/b", messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "Hi" }],
    temperature: 0, max_tokens: 5, stream: true, stream_options: { include_usage: true },
  });
  assert.deepEqual(bodyOf({ ...ASKED, route: "/v1/completions" }), { model: "a/b", prompt: "Hi" });
  assert.deepEqual(bodyOf({ ...ASKED, route: "/v1/embeddings", stream: true }), { model: "a/b", input: "Hi" });
});

test("a shell passes any body to curl unchanged", () => {
  const body = { text: `it's "$HOME" \`id\` \\ \n $(id) !` };
  const command = curl({ url: "http://127.0.0.1:1", route: "/v1/embeddings", body }).replace(/^curl/, "printf '%s\\0'");
  const given = execFileSync("sh", ["-c", command], { env: { KEY: "k" }, encoding: "utf8" }).split("\0");
  assert.ok(given.includes("Authorization: Bearer k"));
  assert.deepEqual(JSON.parse(given[given.indexOf("-d") + 1]), body);
});

test("text, reasoning and tool calls are separate pieces", () => {
  const chunk = { choices: [{ index: 1, delta: {
    content: "c", reasoning_content: "r", tool_calls: [{ function: { name: "f", arguments: "{" } }, { function: { arguments: "}" } }],
  } }] };
  assert.deepEqual(piecesOf(chunk), [
    { kind: "reasoning", text: "r", choice: 1 }, { kind: "text", text: "c", choice: 1 }, { kind: "tools", text: "\nf {}", choice: 1 },
  ]);
  assert.deepEqual(piecesOf({ choices: [{ text: "t" }] }), [{ kind: "text", text: "t", choice: 0 }]);
  assert.deepEqual(piecesOf({ choices: [{ message: { content: "m" } }] }), [{ kind: "text", text: "m", choice: 0 }]);
});

test("malformed answers cause no error", () => {
  for (const odd of [null, undefined, 1, "x", [], {}, { choices: 1 }, { choices: [null] }, { choices: [{ delta: { content: 1 } }] }, { usage: 1 },
    { data: [{ embedding: "AAAA" }] }, { choices: [{ delta: { tool_calls: [null] } }] }]) {
    assert.deepEqual(piecesOf(odd), []);
    assert.equal(usageOf(odd), null);
    assert.equal(errorOf(odd), null);
    vectorsOf(odd);
  }
});

test("errors are read in the inference API's format and in the admin API's", () => {
  assert.deepEqual(errorOf({ error: { message: "No.", code: "model_not_found" } }), { message: "No.", code: "model_not_found", isOurs: false });
  assert.deepEqual(errorOf({ error: "No such group.", code: "not_found" }), { message: "No such group.", code: "not_found", isOurs: true });
});

test("limits are read from the headers, and a shared one has no threshold", () => {
  const headers = new Headers({
    "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-remaining-tokens": "7",
  });
  assert.deepEqual(limitsOf(headers), [
    { type: "requests", limit: 60, remaining: 59, reset: "1s" }, { type: "tokens", limit: null, remaining: 7, reset: null },
  ]);
  assert.deepEqual(limitsOf(new Headers()), []);
});
