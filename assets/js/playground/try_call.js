// One real call on behalf of a group, from the request to its last byte.
//
// It does not use the API client, which turns refusals into exceptions: the playground shows them and their headers.

import { api } from "../api.js";
import { piecesOf } from "./pieces.js";
import { SseParser } from "./sse.js";
import { errorOf, usageOf, vectorsOf } from "./try_body.js";

/** @import { Piece } from "./pieces.js" */
/** @import { Usage } from "./try_body.js" */

/**
 * @typedef {{status: number, headers: Headers}} Head
 * @typedef {{message: string, code: string, isOurs: boolean}} CallError
 * @typedef {{head: Head | null, error: CallError | null, stopped: boolean, usage: Usage | null, ttft_ms: number | null,
 *   duration_ms: number, writing_ms: number}} Outcome `writing_ms` is from the first token to the last
 */

/**
 * @param {{group: string, route: string, body: unknown, signal: AbortSignal, head: (head: Head) => void,
 *   piece: (piece: Piece) => void}} call
 * @returns {Promise<Outcome>} never rejects: errors are in the outcome
 */
export async function tryCall({ group, route, body, signal, head: onHead, piece: onPiece }) {
  const began = performance.now();
  /** @type {Outcome} */
  const outcome = {
    head: null, error: null, stopped: false, usage: null, ttft_ms: null, duration_ms: 0, writing_ms: 0,
  };
  let last = began;
  const read = (/** @type {any} */ answer) => {
    for (const piece of piecesOf(answer)) {
      last = performance.now();
      outcome.ttft_ms ??= last - began;
      onPiece(piece);
    }
    outcome.usage = usageOf(answer, outcome.usage);
    outcome.error = errorOf(answer) ?? outcome.error;
  };
  try {
    const answer = await fetch(`/v1/gateway/groups/${encodeURIComponent(group)}/try`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Tollgate-CSRF": "1" },
      body: JSON.stringify({ route, body }),
      signal,
    });
    outcome.head = { status: answer.status, headers: answer.headers };
    onHead(outcome.head);
    const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream");
    if (isStream && answer.body) await readStream(answer.body, read);
    else readWhole(await answer.text(), answer.status, read, outcome, onPiece);
    // A request of the API client makes the UI notice that the session has ended.
    if (answer.status === 401 && outcome.error?.isOurs) void api.status().catch(() => {});
  } catch {
    if (signal.aborted) outcome.stopped = true;
    else if (outcome.head) outcome.error = { message: "The response was cut off.", code: "", isOurs: true };
    else outcome.error = { message: "The gateway is not responding. Is it running?", code: "", isOurs: true };
  }
  outcome.duration_ms = performance.now() - began;
  outcome.writing_ms = outcome.ttft_ms === null ? 0 : last - began - outcome.ttft_ms;
  return outcome;
}

/** @param {ReadableStream<Uint8Array>} stream @param {(answer: any) => void} read */
async function readStream(stream, read) {
  const parser = new SseParser();
  const reader = stream.getReader();
  const each = (/** @type {import("./sse.js").ServerEvent[]} */ events) => {
    for (const { data } of events) if (data !== "[DONE]") read(parsed(data));
  };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    each(parser.push(value));
  }
  each(parser.end());
}

/**
 * @param {string} text
 * @param {number} status
 * @param {(answer: any) => void} read
 * @param {Outcome} outcome
 * @param {(piece: Piece) => void} onPiece
 */
function readWhole(text, status, read, outcome, onPiece) {
  const answer = parsed(text);
  read(answer);
  const vectors = vectorsOf(answer);
  if (vectors) onPiece({ kind: "text", text: vectors, choice: 0 });
  // Without a stream, the time of the first token is unknown.
  outcome.ttft_ms = null;
  if (status >= 400) outcome.error ??= { message: text.slice(0, 2000) || `Status ${status}`, code: "", isOurs: false };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
