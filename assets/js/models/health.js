// The health of a target's server, the same wherever a target is shown.

import { h } from "../dom.js";
import { plural } from "../format.js";
import { state } from "../ui/badge.js";
import { when } from "../ui/when.js";

/** @import { Upstream } from "../api_types.js" */

const STATES = /** @type {const} */ ({
  ok: ["ok", "Working"],
  failing: ["bad", "Failing"],
  unused: ["plain", "Not called yet"],
});

/** @param {Pick<Upstream, "state"> | undefined} upstream */
export const toneOf = (upstream) => STATES[upstream?.state ?? "unused"];

/** The state of a server: a dot and a word. @param {Pick<Upstream, "state"> | undefined} upstream */
export function healthState(upstream) {
  const [tone, words] = toneOf(upstream);
  return state(tone, words);
}

/** One or two lines: the state, since when, and the last error. @param {Upstream | undefined} upstream */
export function healthLine(upstream) {
  if (!upstream || upstream.state === "unused") {
    return h("p", { class: "target-health" }, healthState(upstream),
      h("span", { class: "hint" }, "since startup or the last change"));
  }
  const { failures_in_a_row: failures, last_error: error } = upstream;
  const { last_success_at: success, last_failure_at: failure } = upstream;
  return [
    h("p", { class: "target-health" }, healthState(upstream),
      h("span", { class: "hint" }, upstream.state === "failing" && [plural(failures, "failure"), " in a row · "],
        "last success ", when(success)),
      upstream.state === "ok" && failure && h("span", { class: "hint" }, "last failure ", when(failure))),
    error && upstream.state === "failing" && h("p", { class: "target-error" }, error),
  ];
}
