// aimock is a third-party mock of the OpenAI API. Its authors test it against the real one.

import { LLMock } from "@copilotkit/aimock";

export const GREETING = "Hi there, friend of the mock!";
export const GREETING_USAGE = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 };

export async function startAimock() {
  const mock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 4 });
  mock.onMessage("hello", { content: GREETING, usage: GREETING_USAGE });
  mock.onMessage("weather", { toolCalls: [{ name: "weather", arguments: '{"city":"Oslo"}' }] });
  mock.onMessage("slowly", { content: "word ".repeat(200) }, { streamingProfile: { ttft: 1, tps: 50 } });
  mock.onJsonOutput("as json", { answer: 42 });
  mock.onEmbedding("fish", { embedding: [0.1, 0.2, 0.3] });
  await mock.start();
  return mock;
}
