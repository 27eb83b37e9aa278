// The OpenAI Node SDK, unchanged, through the gateway to aimock.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import OpenAI from "openai";
import { GREETING, GREETING_USAGE, startAimock } from "./support/aimock.mjs";
import { Gateway } from "../support/gateway.mjs";

const hello = [{ role: "user", content: "hello" }];
const weather = [{ role: "user", content: "weather" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

test("aimock answers the SDK directly, so failures below are the gateway's", async () => {
  const mock = await startAimock();
  try {
    const sdk = new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: "any", maxRetries: 0 });
    const chat = await sdk.chat.completions.create({ model: "mock-model", messages: hello });
    assert.equal(chat.choices[0].message.content, GREETING);
    const chunks = await collect(await sdk.chat.completions.create({ model: "mock-model", messages: hello, stream: true }));
    assert.equal(textOf(chunks), GREETING);
  } finally {
    await mock.stop();
  }
});

describe("through the gateway", () => {
  let gateway, mock, slug, key, group, sdk;

  before(async () => {
    mock = await startAimock();
    gateway = await Gateway.start();
  });

  after(async () => {
    await gateway?.stop();
    await mock?.stop();
  });

  beforeEach(async () => {
    mock.clearRequests();
    ({ slug, key, group } = await gateway.customer(`${mock.url}/v1`));
    sdk = new OpenAI({ baseURL: gateway.baseURL, apiKey: key, maxRetries: 0, timeout: 20_000 });
  });

  const billed = async () => {
    const events = await gateway.events(key);
    assert.equal(events.length, 1);
    return events[0];
  };

  test("a chat is answered under the customer's model name and billed as the upstream says", async () => {
    const { data, response } = await sdk.chat.completions.create({ model: slug, messages: hello, user: "u-1" }).withResponse();
    assert.equal(data.choices[0].message.content, GREETING);
    assert.equal(data.model, slug);
    assert.deepEqual(data.usage, GREETING_USAGE);
    const event = await billed();
    assert.deepEqual(event.tokens, { inputTokens: 11, outputTokens: 7, cachedInputTokens: 0, cacheWriteInputTokens: 0 });
    assert.equal(event.requestId, response.headers.get("x-request-id"));
    assert.equal(mock.getLastRequest().body.model, "mock-model");
    assert.equal(mock.getLastRequest().body.user, "u-1");
  });

  test("a stream arrives in pieces, without usage unless the customer asks for it", async () => {
    const chunks = await collect(await sdk.chat.completions.create({ model: slug, messages: hello, stream: true }));
    assert.equal(textOf(chunks), GREETING);
    assert.ok(chunks.length > 5);
    assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && chunk.model === slug));
    assert.deepEqual(mock.getLastRequest().body.stream_options, { include_usage: true });
    const event = await billed();
    assert.equal(event.usageSource, "upstream");
    assert.equal(event.tokens.outputTokens, 7);
  });

  test("a stream reports its usage to a customer who asks for it", async () => {
    const stream = await sdk.chat.completions.create({ model: slug, messages: hello, stream: true, stream_options: { include_usage: true } });
    const chunks = await collect(stream);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.deepEqual(chunks.at(-1).usage, GREETING_USAGE);
    assert.equal((await billed()).tokens.inputTokens, 11);
  });

  test("tool calls arrive complete, streamed or not", async () => {
    const chat = await sdk.chat.completions.create({ model: slug, messages: weather, tools });
    assert.deepEqual(JSON.parse(chat.choices[0].message.tool_calls[0].function.arguments), { city: "Oslo" });
    assert.equal(chat.choices[0].finish_reason, "tool_calls");
    const chunks = await collect(await sdk.chat.completions.create({ model: slug, messages: weather, tools, stream: true }));
    const parts = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    assert.deepEqual(JSON.parse(parts.map((part) => part.function?.arguments ?? "").join("")), { city: "Oslo" });
    assert.deepEqual(mock.getLastRequest().body.tools, tools);
    assert.equal((await gateway.events(key)).length, 2);
  });

  test("the SDK's stream helper works", async () => {
    const runner = sdk.chat.completions.stream({ model: slug, messages: hello });
    assert.equal(await runner.finalContent(), GREETING);
    assert.equal((await runner.finalChatCompletion()).model, slug);
  });

  test("embeddings are answered and billed", async () => {
    const answer = await sdk.embeddings.create({ model: slug, input: "fish", encoding_format: "float" });
    assert.deepEqual(answer.data[0].embedding, [0.1, 0.2, 0.3]);
    assert.equal(answer.model, slug);
    assert.equal((await billed()).route, "/v1/embeddings");
  });

  test("models are listed and retrieved by a slug with a slash in it", async () => {
    const listed = await collect(await sdk.models.list());
    assert.deepEqual(listed.map((model) => model.id), [slug]);
    assert.equal((await sdk.models.retrieve(slug)).owned_by, "mock");
  });

  test("errors are instances of the SDK's own classes", async () => {
    const wrong = new OpenAI({ baseURL: gateway.baseURL, apiKey: "sk_000000000000.wrong", maxRetries: 0 });
    await assert.rejects(wrong.models.list(), (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key");
    await assert.rejects(
      sdk.chat.completions.create({ model: "mock/none", messages: hello }),
      (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
    );
    await assert.rejects(
      sdk.chat.completions.create({ model: slug, messages: hello, n: "many" }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "n",
    );
    assert.deepEqual(await gateway.events(key), []);
  });

  test("a refusal by a limit is a RateLimitError with a Retry-After", async () => {
    const limits = { rate_limits: [{ type: "REQUEST", unit: "MINUTE", threshold: 1 }] };
    const limited = await gateway.customer(`${mock.url}/v1`, { limits });
    const other = new OpenAI({ baseURL: gateway.baseURL, apiKey: limited.key, maxRetries: 0 });
    await other.chat.completions.create({ model: limited.slug, messages: hello });
    await assert.rejects(
      other.chat.completions.create({ model: limited.slug, messages: hello }),
      (error) => error instanceof OpenAI.RateLimitError && error.code === "rate_limit_exceeded" && Number(error.headers.get("retry-after")) >= 1,
    );
  });

  // An SDK that retries, for a new customer with these limits. `answers` holds every answer, also the retried ones.
  async function recordingSdk(limits, maxRetries) {
    const { slug, key } = await gateway.customer(`${mock.url}/v1`, { limits });
    const answers = [];
    const record = async (url, init) => {
      const response = await fetch(url, init);
      answers.push({ at: performance.now(), status: response.status, headers: response.headers });
      return response;
    };
    const sdk = new OpenAI({ baseURL: gateway.baseURL, apiKey: key, maxRetries, fetch: record, timeout: 20_000 });
    return { answers, chat: (options) => sdk.chat.completions.create({ model: slug, messages: hello, ...options }) };
  }

  for (const [type, threshold, stream] of [["REQUEST", 1, false], ["TOKEN", 15, true]]) {
    test(`the SDK waits as long as a refusal by a ${type} limit says and then succeeds`, async () => {
      const { answers, chat } = await recordingSdk({ rate_limits: [{ type, unit: "SECOND", threshold }] }, 1);
      while (!answers.some(({ status }) => status === 429)) {
        assert.ok(answers.length < 100, "no request is ever refused");
        const answer = await chat({ stream });
        assert.ok(stream ? (await collect(answer)).length : answer.choices.length);
      }
      const [refused, answered] = answers.slice(-2);
      assert.equal(answered.status, 200, "one retry was enough");
      const wait = Number(refused.headers.get("retry-after"));
      assert.ok(wait === 1 || wait === 2);
      assert.equal(refused.headers.get("x-should-retry"), null);
      // By default the SDK retries after half a second. Its timer may fire early by its rounding.
      assert.ok(answered.at - refused.at >= wait * 1000 - 2);
    });
  }

  for (const [name, limits, answered] of [
    ["the hours until a limit resets", { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 2 }] }, 2],
    ["a limit that admits nothing", { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 0 }] }, 0],
    ["a prompt that exceeds its limit", { rate_limits: [{ type: "TOKEN", unit: "SECOND", threshold: 1 }] }, 0],
  ]) {
    test(`the SDK does not sleep for ${name}`, async (t) => {
      const toMidnight = 86_400_000 - (Date.now() % 86_400_000);
      if (toMidnight < 90_000) return t.skip("the day is about to end, so the SDK would be right to wait");
      const { answers, chat } = await recordingSdk(limits, 5);
      for (let i = 0; i < answered; i++) await chat();
      const begun = performance.now();
      await assert.rejects(chat(), (error) => error instanceof OpenAI.RateLimitError && error.headers.get("x-should-retry") === "false");
      // It tried once, and the SDK sleeps only before a retry. Five retries would take fifteen seconds.
      assert.deepEqual(answers.map(({ status }) => status), [...Array(answered).fill(200), 429]);
      assert.ok(performance.now() - begun < 5000);
    });
  }

  test("the upstream's 429 is passed on", async () => {
    mock.nextRequestError(429, { message: "slow down", code: "rate_limit" });
    await assert.rejects(
      sdk.chat.completions.create({ model: slug, messages: hello }),
      (error) => error instanceof OpenAI.RateLimitError && error.code === "upstream_rate_limited",
    );
    assert.deepEqual(await gateway.events(key), []);
  });

  test("the upstream's 500 shows neither its address nor its model", async () => {
    mock.nextRequestError(500, { message: `mock-model at ${mock.url} fell over` });
    await assert.rejects(
      sdk.chat.completions.create({ model: slug, messages: hello }),
      (error) => error.status === 502 && !error.message.includes("127.0.0.1") && !error.message.includes("mock-model"),
    );
  });

  test("a stream that its customer aborts is billed once", async () => {
    const stream = await sdk.chat.completions.create({ model: slug, messages: [{ role: "user", content: "slowly" }], stream: true });
    let seen = 0;
    for await (const _ of stream) {
      if (++seen === 5) break;
    }
    stream.controller.abort();
    const [event, ...others] = await gateway.waitEvents(1, key);
    assert.equal(others.length, 0);
    assert.ok(event.tokens.outputTokens >= 1 && event.tokens.outputTokens < 300);
    assert.equal(event.groupId, group.id);
  });
});
