// The AI SDK with its providers for OpenAI, by default on /v1/responses, and Anthropic, on /v1/messages.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { GREETING } from "./support/aimock.mjs";
import { describeSites } from "./support/site.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const providers = [
  ["openai", "/v1/responses", (site) => createOpenAI({ baseURL: site.baseURL, apiKey: site.key })(site.model)],
  ["openai.chat", "/v1/chat/completions", (site) => createOpenAI({ baseURL: site.baseURL, apiKey: site.key }).chat(site.model)],
  ["anthropic", "/v1/messages", (site) => createAnthropic({ baseURL: site.baseURL, apiKey: site.key })(site.model)],
];
const weather = tool({
  description: "The weather in a city.",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
  execute: ({ city }) => `6 degrees in ${city}`,
});

describeSites((site) => {
  for (const [name, route, open] of providers) {
    test(`${name} generates text`, async () => {
      const answer = await generateText({ model: open(site), prompt: "hello", maxRetries: 0 });
      assert.equal(answer.text, GREETING);
      assert.equal(answer.usage.inputTokens, 11);
      assert.equal(answer.response.modelId, site.model);
      await site.billed([route, 11, 7]);
    });

    test(`${name} streams text`, async () => {
      const answer = streamText({ model: open(site), prompt: "hello", maxRetries: 0, onError: ({ error }) => assert.ifError(error) });
      let text = "";
      for await (const delta of answer.textStream) text += delta;
      assert.equal(text, GREETING);
      assert.equal((await answer.usage).outputTokens, 7);
      await site.billed([route, 11, 7]);
    });

    test(`${name} plays a tool loop`, async () => {
      const answer = await generateText({ model: open(site), prompt: "loop", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 });
      assert.equal(answer.text, "It is 6 degrees.");
      assert.deepEqual(answer.steps.flatMap(({ toolResults }) => toolResults).map(({ output }) => output), ["6 degrees in Oslo"]);
      await site.billed([route, 20, 5], [route, 20, 5]);
    });
  }

  test("the sample in packaging/docs/clients.md works", async () => {
    const page = await readFile(new URL("../../packaging/docs/clients.md", import.meta.url), "utf8");
    const [, sample] = /^```js\n(.*?)^```$/ms.exec(page);
    const changed = { "http://127.0.0.1:8080": site.origin, "acme/chat": site.model, "Say hello.": "hello" };
    const script = Object.entries(changed).reduce((text, [old, now]) => text.replaceAll(old, now), sample);
    const options = { cwd: import.meta.dirname, env: { ...process.env, ACME_KEY: site.key } };
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], options);
    assert.equal(stdout, `${GREETING}\n`.repeat(3));
    await site.billed(["/v1/responses", 11, 7], ["/v1/chat/completions", 11, 7], ["/v1/messages", 11, 7]);
  });
});
