// The outcome of a call: its speed and tokens, the remaining limits, and its billing event.

import { fill, h } from "../dom.js";
import { int, milliseconds, money } from "../format.js";
import { badge } from "../ui/badge.js";
import { snippet } from "../ui/copy.js";
import { meter } from "../ui/meter.js";
import { facts, section } from "../ui/page.js";
import { limitsOf } from "./try_body.js";

/** @import { BillingEvent } from "../api_types.js" */
/** @import { Child } from "../dom.js" */
/** @import { Head, Outcome } from "./try_call.js" */

const FIGURES = /** @type {const} */ (["Status", "Request id", "First token", "Duration", "Speed", "Tokens"]);

/** @typedef {ReturnType<typeof outcomePanel>} OutcomePanel */

export function outcomePanel() {
  const figures = Object.fromEntries(FIGURES.map((name) => [name, h("span", { class: "number" }, "–")]));
  const put = (/** @type {typeof FIGURES[number]} */ name, /** @type {Child} */ value) => {
    const place = figures[name];
    if (place) fill(place, value);
  };
  const limits = h("div", { class: "limits-left" });
  const event = h("div", { class: "made-event", "aria-live": "polite" });
  const hint = (/** @type {string} */ text) => h("p", { class: "hint" }, text);
  const tell = (/** @type {Child} */ text) => fill(event, h("p", { class: "hint" }, text));
  fill(limits, hint("Taken from the headers of each response."));
  tell("Each answer creates one event, which is billed to the group.");
  return {
    element: h("div", { class: "stack outcome" },
      section({ heading: "This call" }, facts(FIGURES.map((name) => [name, figures[name]]))),
      section({ heading: "Remaining limits" }, limits),
      section({ heading: "Billing event" }, event)),
    start() {
      for (const name of FIGURES) put(name, "–");
      put("Status", "waiting");
      tell("The event is created when the answer ends.");
    },
    /** @param {Head} head */
    head({ status, headers }) {
      put("Status", badge(status < 400 ? "ok" : "bad", String(status)));
      put("Request id", h("code", null, headers.get("x-request-id") ?? "–"));
      const left = limitsOf(headers);
      fill(limits, left.length ? left.map(limitLeft) : hint("No limit is set for this model."));
    },
    /** @param {Outcome} outcome */
    ended({ head, usage, ttft_ms: first, duration_ms: duration, writing_ms: writing, stopped }) {
      if (!head) put("Status", stopped ? "stopped" : badge("bad", "no response"));
      if (first !== null) put("First token", milliseconds(first));
      put("Duration", milliseconds(duration));
      if (usage) put("Tokens", tokens(usage.prompt, usage.completion, usage.cached));
      if (usage && usage.completion > 1 && writing > 0) put("Speed", speed(usage.completion - 1, writing));
    },
    /** @param {BillingEvent} made @param {Outcome} outcome */
    event(made, { writing_ms: writing }) {
      const { inputTokens, outputTokens, cachedInputTokens } = made.tokens;
      put("Tokens", tokens(inputTokens, outputTokens, cachedInputTokens));
      if (outputTokens > 1 && writing > 0) put("Speed", speed(outputTokens - 1, writing));
      fill(event,
        facts([
          ["Cost", made.cost ? h("strong", null, money(made.cost)) : h("span", { class: "faint" }, "not priced")],
          ["Tokens from",
            made.usageSource === "upstream" ? "the model server's report" : "counted by Tollgate: the model server reported none"],
        ]),
        snippet({ label: "The whole event", text: JSON.stringify(made, null, 2) }));
    },
    tell,
  };
}

/** @param {number} input @param {number} output @param {number} cached */
const tokens = (input, output, cached) =>
  `${int(input)} in${cached ? ` (${int(cached)} cached)` : ""}, ${int(output)} out`;

/** The output speed, without the wait for the first token. @param {number} count @param {number} ms */
const speed = (count, ms) => `${((1000 * count) / ms).toFixed(1)} tokens/s`;

/** @param {ReturnType<typeof limitsOf>[number]} limit */
function limitLeft({ type, limit, remaining, reset }) {
  const left = int(remaining);
  const words = limit === null ? `${left} left, shared with others` : `${left} of ${int(limit)} left`;
  const name = type === "tokens" ? "Tokens" : "Requests";
  return h("div", { class: "limit-left" },
    h("p", null, h("span", null, name), h("span", { class: "number" }, words)),
    limit !== null && meter({ label: `${name} used`, used: Math.max(0, limit - remaining), threshold: limit }),
    reset && h("p", { class: "hint" }, `resets in ${reset}`));
}
