// An OpenAI-compatible model server with scripted answers and failures. Tests that need neither use the demo provider.
//
//   upstream.text = "…"              the answer, one word per chunk
//   upstream.status = 500            an error instead
//   upstream.retryAfter = 2          the error's Retry-After
//   upstream.breakAfter = 2          breaks off after this many chunks
//   upstream.usage = false           reports no usage
//   upstream.hold = gate.opened      waits for this promise before the last chunk

import { once } from "node:events";
import { createServer } from "node:http";

const MODEL = "upstream-model";

export class Upstream {
  text = "All is well.";
  status = 200;
  retryAfter = undefined;
  breakAfter = Infinity;
  usage = true;
  hold = undefined;
  asked = [];

  static async start() {
    const upstream = new Upstream();
    upstream.server = createServer((request, answer) => upstream.answer(request, answer).catch(() => answer.destroy()));
    upstream.server.listen(0, "127.0.0.1");
    await once(upstream.server, "listening");
    upstream.baseURL = `http://127.0.0.1:${upstream.server.address().port}/v1`;
    return upstream;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }

  // A target for this server, as the API takes it.
  get target() {
    return { provider: "OPENAI_COMPATIBLE", base_url: this.baseURL, target_model: MODEL };
  }

  async answer(request, answer) {
    let text = "";
    for await (const piece of request) text += piece;
    if (request.url === "/v1/models") return json(answer, 200, { object: "list", data: [{ id: MODEL, object: "model" }] });
    const body = JSON.parse(text);
    this.asked.push(body);
    if (this.retryAfter) answer.setHeader("retry-after", this.retryAfter);
    if (this.status !== 200) return json(answer, this.status, { error: { message: "Scripted failure.", type: "server_error" } });
    if (body.model !== MODEL) return json(answer, 404, { error: { message: "No such model.", code: "model_not_found" } });
    const words = this.text.match(/\S+\s*/g) ?? [];
    const usage = { prompt_tokens: 7, completion_tokens: words.length, total_tokens: 7 + words.length };
    if (!body.stream) {
      const message = { role: "assistant", content: this.text };
      const whole = { object: "chat.completion", model: MODEL, choices: [{ index: 0, message, finish_reason: "stop" }] };
      return json(answer, 200, this.usage ? { ...whole, usage } : whole);
    }
    answer.writeHead(200, { "content-type": "text/event-stream" });
    const chunk = (fields) => answer.write(`data: ${JSON.stringify({ object: "chat.completion.chunk", model: MODEL, ...fields })}\n\n`);
    for (const [index, content] of words.entries()) {
      if (index === this.breakAfter) return answer.destroy();
      if (index === words.length - 1) await this.hold;
      chunk({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
    }
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
    if (this.usage) chunk({ choices: [], usage });
    answer.end("data: [DONE]\n\n");
  }
}

function json(answer, status, body) {
  answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
