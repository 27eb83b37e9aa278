// The bodies that the playground sends, and the text, figures and errors that it reads in answers, without a browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { load } from "./support/load.mjs";

const { bodyOf, curl, errorOf, limitsOf, usageOf, vectorsOf } = await load("js/playground/try_body.js");
const { piecesOf } = await load("js/playground/pieces.js");

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

test("responses and messages have their own names for the system prompt and the maximum", () => {
  const turns = [{ role: "assistant", content: "Yes?" }, { role: "user", content: "Hi" }];
  const asked = { ...ASKED, messages: turns.slice(0, 1), stream: true };
  assert.deepEqual(bodyOf({ ...asked, route: "/v1/responses" }), { model: "a/b", input: turns, stream: true });
  assert.deepEqual(bodyOf({ ...asked, route: "/v1/responses", system: "Be brief.", temperature: 0, max_tokens: 5 }), {
    model: "a/b", instructions: "Be brief.", input: turns, max_output_tokens: 5, temperature: 0, stream: true,
  });
  assert.deepEqual(bodyOf({ ...asked, route: "/v1/messages" }), { model: "a/b", messages: turns, max_tokens: 1024, stream: true });
  assert.deepEqual(bodyOf({ ...asked, route: "/v1/messages", system: "Be brief.", temperature: 1, max_tokens: 5 }), {
    model: "a/b", system: "Be brief.", messages: turns, max_tokens: 5, temperature: 1, stream: true,
  });
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

const of = (kind, text) => ({ kind, text, choice: 0 });

test("each event of a response adds its delta once", () => {
  const item = { type: "message", content: [{ type: "output_text", text: "Hello" }] };
  const call = { type: "function_call", name: "f", arguments: "{}" };
  const events = [
    { type: "response.created", response: { output: [] } },
    { type: "response.reasoning_summary_text.delta", delta: "r" },
    { type: "response.reasoning_text.delta", delta: "s" },
    { type: "response.output_item.added", item: { ...item, content: [] } },
    { type: "response.output_text.delta", delta: "Hello" },
    { type: "response.output_text.done", text: "Hello" },
    { type: "response.content_part.done", part: item.content[0] },
    { type: "response.output_item.done", item },
    { type: "response.refusal.delta", delta: "No" },
    { type: "response.output_item.added", item: { ...call, arguments: "" } },
    { type: "response.function_call_arguments.delta", delta: "{}" },
    { type: "response.custom_tool_call_input.delta", delta: "x" },
    { type: "response.audio.delta", delta: "AAAA" },
    { type: "response.output_item.done", item: call },
    { type: "response.completed", response: { output: [item, call] } },
  ];
  assert.deepEqual(events.flatMap(piecesOf), [
    of("reasoning", "r"), of("reasoning", "s"), of("text", "Hello"), of("text", "No"), of("tools", "\nf "), of("tools", "{}"), of("tools", "x"),
  ]);
  const reasoning = { type: "reasoning", summary: [{ type: "summary_text", text: "r" }] };
  assert.deepEqual(piecesOf({ output: [reasoning, item, call] }), [of("reasoning", "r"), of("text", "Hello"), of("tools", "\nf {}")]);
});

test("each event of a message adds its delta once", () => {
  const events = [
    { type: "message_start", message: { content: [] } },
    { type: "content_block_start", content_block: { type: "thinking", thinking: "" } },
    { type: "content_block_delta", delta: { type: "thinking_delta", thinking: "r" } },
    { type: "content_block_delta", delta: { type: "signature_delta", signature: "c" } },
    { type: "content_block_start", content_block: { type: "text", text: "" } },
    { type: "content_block_delta", delta: { type: "text_delta", text: "Hello" } },
    { type: "content_block_start", content_block: { type: "tool_use", name: "f", input: {} } },
    { type: "content_block_delta", delta: { type: "input_json_delta", partial_json: "{}" } },
    { type: "message_delta", delta: { stop_reason: "tool_use" } },
  ];
  assert.deepEqual(events.flatMap(piecesOf), [of("reasoning", "r"), of("text", "Hello"), of("tools", "\nf "), of("tools", "{}")]);
  const content = [{ type: "thinking", thinking: "r" }, { type: "text", text: "Hello" }, { type: "tool_use", name: "f", input: { a: 1 } }];
  assert.deepEqual(piecesOf({ type: "message", content }), [of("reasoning", "r"), of("text", "Hello"), of("tools", "\nf {\"a\":1}")]);
});

test("usage is read in the form of each API", () => {
  const usage = { prompt: 9, completion: 2, cached: 4 };
  assert.deepEqual(usageOf({ usage: { prompt_tokens: 9, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } } }), usage);
  assert.deepEqual(usageOf({ response: { usage: { input_tokens: 9, output_tokens: 2, input_tokens_details: { cached_tokens: 4 } } } }), usage);
  const start = usageOf({ message: { usage: { input_tokens: 3, cache_read_input_tokens: 4, cache_creation_input_tokens: 2, output_tokens: 1 } } });
  assert.deepEqual(start, { ...usage, completion: 1 });
  assert.deepEqual(usageOf({ type: "message_delta", usage: { output_tokens: 2 } }, start), usage);
  assert.deepEqual(usageOf({ type: "message_stop" }, usage), usage);
});

test("malformed answers cause no error", () => {
  for (const odd of [null, undefined, 1, "x", [], {}, { choices: 1 }, { choices: [null] }, { choices: [{ delta: { content: 1 } }] }, { usage: 1 },
    { data: [{ embedding: "AAAA" }] }, { choices: [{ delta: { tool_calls: [null] } }] }, { delta: "x" }, { output: [null, { content: [1] }] },
    { content: [{ input: null, name: 1 }] }]) {
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
