// The bodies that the playground sends, in the form that customers send, and the parts of answers that it reads.

/** @typedef {"/v1/chat/completions" | "/v1/completions" | "/v1/embeddings"} Route */
/** @typedef {{role: string, content: string}} Message */
/** @typedef {{prompt: number, completion: number, cached: number}} Usage */
/** @typedef {{kind: "text" | "reasoning" | "tools", text: string, choice: number}} Piece */

/** @type {[Route, string][]} */
export const ROUTES = [
  ["/v1/chat/completions", "Chat completions"],
  ["/v1/completions", "Completions"],
  ["/v1/embeddings", "Embeddings"],
];

/**
 * @param {{route: Route, model: string, system: string, messages: Message[], text: string, temperature: number | null,
 *   max_tokens: number | null, stream: boolean}} asked `messages` are those before `text`
 * @returns {Record<string, unknown>}
 */
export function bodyOf({ route, model, system, messages, text, temperature, max_tokens, stream }) {
  if (route === "/v1/embeddings") return { model, input: text };
  const first = system.trim() ? [{ role: "system", content: system }] : [];
  const all = [...first, ...messages, { role: "user", content: text }];
  return {
    model,
    ...(route === "/v1/completions" ? { prompt: text } : { messages: all }),
    ...(temperature !== null && { temperature }),
    ...(max_tokens !== null && { max_tokens }),
    // Ask for usage as a customer would, so that the stream ends with it.
    ...(stream && { stream, stream_options: { include_usage: true } }),
  };
}

/** Quoted for a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * The same call as a customer would make it.
 *
 * @param {{url: string, route: string, body: unknown}} call `url` without `/v1`
 */
export const curl = ({ url, route, body }) =>
  [
    `curl ${/^[\w:/.[\]-]+$/.test(url + route) ? url + route : quoted(url + route)}`,
    `  -H "Authorization: Bearer $KEY"`,
    `  -H "Content-Type: application/json"`,
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ].join(" \\\n");

/** @param {any} value */
const textOf = (value) => (typeof value === "string" ? value : "");

/** Names and arguments of tool calls, as they stream in. @param {any} calls */
const toolText = (calls) =>
  Array.isArray(calls)
    ? calls.map((call) => call?.function ?? {}).map(({ name, arguments: given }) =>
      (name ? `\n${name} ` : "") + textOf(given)).join("")
    : "";

/** The pieces of a chunk or of a whole answer. @param {any} answer @returns {Piece[]} */
export function piecesOf(answer) {
  const choices = Array.isArray(answer?.choices) ? answer.choices : [];
  /** @type {Piece[]} */
  const pieces = choices.flatMap((/** @type {any} */ choice) => {
    const message = choice?.delta ?? choice?.message ?? {};
    const at = Number(choice?.index ?? 0);
    return [
      { kind: "reasoning", text: textOf(message.reasoning_content) || textOf(message.reasoning), choice: at },
      { kind: "text", text: textOf(message.content) || textOf(message.refusal) || textOf(choice?.text), choice: at },
      { kind: "tools", text: toolText(message.tool_calls), choice: at },
    ];
  });
  return pieces.filter(({ text }) => text !== "");
}

/** @param {any} answer @returns {Usage | null} */
export function usageOf(answer) {
  const usage = answer?.usage;
  if (!usage || typeof usage !== "object") return null;
  return {
    prompt: Number(usage.prompt_tokens ?? 0),
    completion: Number(usage.completion_tokens ?? 0),
    cached: Number(usage.prompt_tokens_details?.cached_tokens ?? 0),
  };
}

/** The first numbers of each vector. @param {any} answer */
export function vectorsOf(answer) {
  const data = Array.isArray(answer?.data) ? answer.data : [];
  return data.map((/** @type {any} */ { embedding }, /** @type {number} */ at) => {
    if (!Array.isArray(embedding)) return `Vector ${at}: ${String(embedding).slice(0, 64)}…`;
    const shown = embedding.slice(0, 8).join(", ");
    return `Vector ${at}: ${embedding.length} dimensions\n[${shown}${embedding.length > 8 ? ", …" : ""}]`;
  }).join("\n\n");
}

/** An error in the customers' format or in the admin API's. @param {any} answer */
export function errorOf(answer) {
  const error = answer?.error;
  if (!error) return null;
  if (typeof error === "string") return { message: error, code: textOf(answer.code), isOurs: true };
  const message = textOf(error.message) || JSON.stringify(error);
  return { message, code: textOf(error.code) || textOf(error.type), isOurs: false };
}

/**
 * The remaining limits, from an answer's headers.
 *
 * @param {Headers} headers
 * @returns {{type: string, limit: number | null, remaining: number, reset: string | null}[]}
 */
export function limitsOf(headers) {
  return ["requests", "tokens"].flatMap((type) => {
    const remaining = headers.get(`x-ratelimit-remaining-${type}`);
    if (remaining === null) return [];
    const limit = headers.get(`x-ratelimit-limit-${type}`);
    return [{
      type, limit: limit === null ? null : Number(limit), remaining: Number(remaining),
      reset: headers.get(`x-ratelimit-reset-${type}`),
    }];
  });
}
