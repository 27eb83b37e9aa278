// The Anthropic Node SDK on /v1/messages.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { GREETING } from "./support/aimock.mjs";
import { collect, describeSites } from "./support/site.mjs";

const ROUTE = "/v1/messages";
const weather = { name: "weather", input_schema: { type: "object", properties: { city: { type: "string" } } } };
const user = (content) => [{ role: "user", content }];

describeSites((site) => {
  let sdk;
  beforeEach(() => (sdk = new Anthropic({ baseURL: site.origin, apiKey: site.key, maxRetries: 0, timeout: 20_000 })));
  const ask = (text, more) => ({ model: site.model, max_tokens: 100, messages: user(text), ...more });

  test("a message is answered whole", async () => {
    const message = await sdk.messages.create(ask("hello"));
    assert.deepEqual(message.content.map(({ text }) => text), [GREETING]);
    assert.equal(message.model, site.model);
    assert.equal(message.stop_reason, "end_turn");
    assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [11, 7]);
    await site.billed([ROUTE, 11, 7]);
  });

  test("a streamed message has its events in order", async () => {
    const events = await collect(await sdk.messages.create(ask("hello", { stream: true })));
    assert.equal(events[0].type, "message_start");
    assert.equal(events[0].message.model, site.model);
    assert.deepEqual(events.slice(-3).map(({ type }) => type), ["content_block_stop", "message_delta", "message_stop"]);
    assert.equal(events.map(({ delta }) => delta?.text ?? "").join(""), GREETING);
    await site.billed([ROUTE, 11, 7]);
  });

  test("the stream helper collects a message", async () => {
    const message = await sdk.messages.stream(ask("hello")).finalMessage();
    assert.equal(message.content[0].text, GREETING);
    assert.equal(message.model, site.model);
    assert.equal(message.usage.output_tokens, 7);
    await site.billed([ROUTE, 11, 7]);
  });

  test("thinking arrives before the text", async () => {
    const message = await sdk.messages.stream(ask("think", { thinking: { type: "adaptive" } })).finalMessage();
    assert.deepEqual(message.content.map(({ type }) => type), ["thinking", "text"]);
    assert.equal(message.content[0].thinking, "six times seven");
    assert.ok(message.content[0].signature);
  });

  test("a tool is called and its result sent back", async () => {
    const first = await sdk.messages.stream(ask("loop", { tools: [weather] })).finalMessage();
    const [call] = first.content.filter(({ type }) => type === "tool_use");
    assert.deepEqual(call.input, { city: "Oslo" });
    assert.equal(first.stop_reason, "tool_use");
    const result = { type: "tool_result", tool_use_id: call.id, content: "6" };
    const messages = [...user("loop"), { role: "assistant", content: first.content }, { role: "user", content: [result] }];
    const second = await sdk.messages.create({ ...ask("loop", { tools: [weather] }), messages });
    assert.equal(second.content[0].text, "It is 6 degrees.");
    await site.billed([ROUTE, 20, 5], [ROUTE, 20, 5]);
  });
});
