// The OpenAI Node SDK on /v1/responses, images, audio and moderations.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import OpenAI, { toFile } from "openai";
import { GREETING, PIXEL, SOUND } from "./support/aimock.mjs";
import { collect, describeSites } from "./support/site.mjs";

const ROUTE = "/v1/responses";
const weather = { type: "function", name: "weather", strict: false, parameters: { type: "object", properties: { city: { type: "string" } } } };

describeSites((site) => {
  let sdk;
  beforeEach(() => (sdk = new OpenAI({ baseURL: site.baseURL, apiKey: site.key, maxRetries: 0, timeout: 20_000 })));

  test("a response is answered whole", async () => {
    const response = await sdk.responses.create({ model: site.model, input: "hello" });
    assert.equal(response.output_text, GREETING);
    assert.equal(response.model, site.model);
    assert.deepEqual([response.usage.input_tokens, response.usage.output_tokens], [11, 7]);
    await site.billed([ROUTE, 11, 7]);
  });

  test("a streamed response arrives in pieces and ends with its usage", async () => {
    const events = await collect(await sdk.responses.create({ model: site.model, input: "hello", stream: true }));
    const deltas = events.filter(({ type }) => type === "response.output_text.delta");
    assert.ok(deltas.length > 3);
    assert.equal(deltas.map(({ delta }) => delta).join(""), GREETING);
    const responses = events.flatMap(({ response }) => response ?? []);
    assert.deepEqual([...new Set(responses.map(({ model }) => model))], [site.model]);
    assert.equal(events.at(-1).type, "response.completed");
    assert.equal(responses.at(-1).usage.output_tokens, 7);
    await site.billed([ROUTE, 11, 7]);
  });

  test("the stream helper collects a response", async () => {
    const response = await sdk.responses.stream({ model: site.model, input: "hello" }).finalResponse();
    assert.equal(response.output_text, GREETING);
    assert.equal(response.model, site.model);
    await site.billed([ROUTE, 11, 7]);
  });

  test("structured output is parsed", async () => {
    const schema = { type: "object", properties: { answer: { type: "integer" } }, required: ["answer"], additionalProperties: false };
    const format = { type: "json_schema", name: "answer", strict: true, schema };
    const response = await sdk.responses.parse({ model: site.model, input: "as json", text: { format } });
    assert.deepEqual(response.output_parsed, { answer: 42 });
  });

  test("a tool is called and its output sent back", async () => {
    const input = [{ role: "user", content: "loop" }];
    const first = await sdk.responses.stream({ model: site.model, input, tools: [weather] }).finalResponse();
    const [call] = first.output.filter(({ type }) => type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), { city: "Oslo" });
    const output = { type: "function_call_output", call_id: call.call_id, output: "6" };
    const items = [...input, { type: "function_call", call_id: call.call_id, name: call.name, arguments: call.arguments }, output];
    const second = await sdk.responses.create({ model: site.model, input: items, tools: [weather] });
    assert.equal(second.output_text, "It is 6 degrees.");
    await site.billed([ROUTE, 20, 5], [ROUTE, 20, 5]);
  });

  test("images arrive whole", async () => {
    const images = await sdk.images.generate({ model: site.model, prompt: "fox", n: 2 });
    assert.deepEqual(images.data.map(({ b64_json }) => b64_json), [PIXEL, PIXEL]);
  });

  test("speech arrives byte for byte", async () => {
    const speech = await sdk.audio.speech.create({ model: site.model, voice: "alloy", input: "hello" });
    assert.equal(Buffer.from(await speech.arrayBuffer()).toString("base64"), SOUND);
    assert.match(speech.headers.get("content-type"), /^audio\//);
  });

  test("a recording is transcribed", async () => {
    const file = await toFile(Buffer.from(SOUND, "base64"), "hello.wav");
    const answer = await sdk.audio.transcriptions.create({ model: site.model, file });
    assert.equal(answer.text, "hello there");
    assert.equal(answer.usage.seconds, 3);
  });

  test("moderations are passed on", async () => {
    const answer = await sdk.moderations.create({ model: site.model, input: "bad" });
    assert.equal(answer.results[0].flagged, true);
  });
});
