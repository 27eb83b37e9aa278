// aimock is a third-party mock of the OpenAI API. Its authors test it against the real one.

import { LLMock } from "@copilotkit/aimock";

export const GREETING = "Hi there, friend of the mock!";
export const GREETING_USAGE = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 };

const LOOP_USAGE = { prompt_tokens: 20, completion_tokens: 5, total_tokens: 25 };
export const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
export const SOUND = Buffer.from(Array.from({ length: 1024 }, (_, index) => index % 256)).toString("base64");

export async function startAimock() {
  const mock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 4 });
  mock.onMessage("hello", { content: GREETING, usage: GREETING_USAGE });
  mock.onMessage("weather", { toolCalls: [{ name: "weather", arguments: '{"city":"Oslo"}' }] });
  mock.onMessage("slowly", { content: "word ".repeat(200) }, { streamingProfile: { ttft: 1, tps: 50 } });
  mock.onJsonOutput("as json", { answer: 42 });
  // The line above is for chats; it does not look at the format of a response.
  mock.onMessage("as json", { content: '{"answer":42}' });
  mock.onMessage("think", { content: "42", reasoning: "six times seven" });
  // Requests that bring a tool's result are answered with text.
  mock.on({ userMessage: "loop", hasToolResult: true }, { content: "It is 6 degrees.", usage: LOOP_USAGE });
  mock.on({ userMessage: "loop" }, { toolCalls: [{ name: "weather", arguments: '{"city":"Oslo"}' }], usage: LOOP_USAGE });
  mock.onImage("fox", { images: [{ b64Json: PIXEL }, { b64Json: PIXEL }] });
  mock.onSpeech("hello", { audio: SOUND });
  mock.onTranscription({ transcription: { text: "hello there", usage: { type: "duration", seconds: 3 } } });
  mock.onModerate("bad", { flagged: true, categories: { violence: true }, category_scores: { violence: 0.9 } });
  mock.onEmbedding("fish", { embedding: [0.1, 0.2, 0.3] });
  await mock.start();
  return mock;
}
