// The health and load of a target's server, and the queue before it, the same wherever they are shown.

import { h } from "../dom.js";
import { compact, int, milliseconds, plural, serverName } from "../format.js";
import { state } from "../ui/badge.js";
import { meter } from "../ui/meter.js";
import { when } from "../ui/when.js";

/** @import { Queue, Upstream } from "../api_types.js" */
/** @import { Child } from "../dom.js" */

const STATES = /** @type {const} */ ({
  ok: ["ok", "Working"],
  failing: ["bad", "Failing"],
  out: ["bad", "Out"],
  probing: ["warn", "On trial"],
  unused: ["plain", "Not called yet"],
});

/** @param {Pick<Upstream, "state"> | undefined} upstream */
export const toneOf = (upstream) => STATES[upstream?.state ?? "unused"];

/** Whether a server does not answer, or is left out. @param {Pick<Upstream, "state">} upstream */
export const isDown = ({ state: now }) => now !== "ok" && now !== "unused";

/** The state of a server: a dot and a word. @param {Pick<Upstream, "state"> | undefined} upstream */
export function healthState(upstream) {
  const [tone, words] = toneOf(upstream);
  return state(tone, words);
}

/**
 * The times that belong to the state, such as `left out 12 s ago · next try in 8 s`.
 *
 * @param {Upstream | undefined} upstream
 * @returns {Child}
 */
export function healthTimes(upstream) {
  switch (upstream?.state) {
    case "ok":
      return ["last success ", when(upstream.last_success_at),
        upstream.last_failure_at && [" · last failure ", when(upstream.last_failure_at)]];
    case "failing":
      return [plural(upstream.failures_in_a_row, "failure"), " in a row · last success ", when(upstream.last_success_at)];
    case "out":
      return ["left out ", when(upstream.out_since), " · next try ", when(upstream.out_until)];
    case "probing":
      return ["left out ", when(upstream.out_since), " · the next request tries it"];
    default:
      return "since startup or the last change";
  }
}

/** Why a server is left out or failing; null if it is not. @param {Upstream | undefined} upstream */
export const healthReason = (upstream) =>
  upstream?.out_reason ?? (upstream?.state === "failing" ? upstream.last_error : null);

/**
 * The running requests: a number, and a bar if there is a capacity.
 *
 * @param {Upstream} upstream
 * @param {string} [words] follow the number
 */
export const load = ({ index, running, max_concurrent: most }, words = " running") =>
  h("span", { class: "load" },
    most !== null &&
      meter({ label: `Load of ${serverName(index)}`, used: running, threshold: most, words: "running requests" }),
    h("span", null, most === null ? int(running) : `${int(running)} of ${int(most)}`, words));

/** The attempts since startup, by outcome. @param {Upstream} upstream */
export function attempts({ attempts: { answered, refused, failed, limited } }) {
  const others = [[refused, "refused"], [failed, "failed"], [limited, "rate-limited"]].filter(([count]) => count);
  return [[answered, "answered"], ...others].map(([count, words]) => `${compact(Number(count))} ${words}`).join(", ");
}

/** Lines with everything about a server. @param {Upstream | undefined} upstream */
export function healthLines(upstream) {
  const reason = healthReason(upstream);
  return [
    h("p", { class: "target-health" }, healthState(upstream), h("span", { class: "hint" }, healthTimes(upstream))),
    reason && h("p", { class: "target-error" }, reason),
    upstream && h("p", { class: "target-health hint" }, load(upstream), h("span", null, attempts(upstream))),
  ];
}

/** How long requests waited, and how many found no place in time. @param {Queue} queue */
export function queueTimes({ waiting, queued, timed_out: refused, wait_p50_ms: median, wait_p99_ms: most }) {
  const waits = queued
    ? `${int(queued)} waited since startup: median ${milliseconds(median)}, 99th percentile ${milliseconds(most)}`
    : waiting ? "no wait has ended yet" : "none waited since startup";
  return refused ? `${waits}; ${int(refused)} found no place in time` : waits;
}

/** The queue in front of an endpoint's servers. @param {Queue} queue */
export const queueLine = (queue) =>
  h("p", { class: "target-health" },
    state(queue.waiting ? "warn" : "ok",
      queue.waiting ? plural(queue.waiting, "request waits", "requests wait") : "No request waits"),
    h("span", { class: "hint" }, queueTimes(queue)));
