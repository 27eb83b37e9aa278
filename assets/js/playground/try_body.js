// The bodies that the playground sends, in the form that customers send, and the figures and errors that it reads.

import { textOf } from "./pieces.js";

/** @typedef {"/v1/chat/completions" | "/v1/responses" | "/v1/messages" | "/v1/completions" | "/v1/embeddings"} Route */
/** @typedef {{role: string, content: string}} Message */
/** @typedef {{prompt: number, completion: number, cached: number}} Usage */

/** @type {[Route, string][]} */
export const ROUTES = [
  ["/v1/chat/completions", "Chat completions"],
  ["/v1/responses", "Responses"],
  ["/v1/messages", "Messages"],
  ["/v1/completions", "Completions"],
  ["/v1/embeddings", "Embeddings"],
];

/** The maximum of a message if none is given, in tokens. The API requires one. */
const DEFAULT_MAX_TOKENS = 1024;

/**
 * @param {{route: Route, model: string, system: string, messages: Message[], text: string, temperature: number | null,
 *   max_tokens: number | null, stream: boolean}} asked `messages` are those before `text`
 * @returns {Record<string, unknown>}
 */
export function bodyOf({ route, model, system, messages, text, temperature, max_tokens, stream }) {
  if (route === "/v1/embeddings") return { model, input: text };
  const hasSystem = system.trim() !== "";
  const turns = [...messages, { role: "user", content: text }];
  const settings = { ...(temperature !== null && { temperature }), ...(stream && { stream }) };
  if (route === "/v1/responses") {
    const most = max_tokens !== null && { max_output_tokens: max_tokens };
    return { model, ...(hasSystem && { instructions: system }), input: turns, ...most, ...settings };
  }
  if (route === "/v1/messages") {
    return { model, ...(hasSystem && { system }), messages: turns, max_tokens: max_tokens ?? DEFAULT_MAX_TOKENS, ...settings };
  }
  const first = hasSystem ? [{ role: "system", content: system }] : [];
  return {
    model,
    ...(route === "/v1/completions" ? { prompt: text } : { messages: [...first, ...turns] }),
    ...(max_tokens !== null && { max_tokens }),
    ...settings,
    // Ask for usage as a customer would, so that the stream ends with it.
    ...(stream && { stream_options: { include_usage: true } }),
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

/**
 * The usage in a chunk, in an event or in a whole answer. Messages report the prompt and the output in different events.
 *
 * @param {any} answer
 * @param {Usage | null} before the usage so far
 * @returns {Usage | null}
 */
export function usageOf(answer, before = null) {
  const usage = answer?.usage ?? answer?.response?.usage ?? answer?.message?.usage;
  if (!usage || typeof usage !== "object") return before;
  const { cache_read_input_tokens: read, cache_creation_input_tokens: written } = usage;
  const details = usage.prompt_tokens_details ?? usage.input_tokens_details;
  const input = usage.prompt_tokens ?? usage.input_tokens;
  return {
    // Messages report the cached parts of the prompt beside the rest.
    prompt: input === undefined ? before?.prompt ?? 0 : Number(input) + Number(read ?? 0) + Number(written ?? 0),
    completion: Number(usage.completion_tokens ?? usage.output_tokens ?? 0),
    cached: Number(details?.cached_tokens ?? read ?? before?.cached ?? 0),
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
