// The results of a target's check, in four lines. The line of a failed check says how to fix the problem.

import { h } from "../dom.js";
import { icon } from "../ui/icon.js";

/** @import { Check, Checked } from "../api_types.js" */

const NAMES = /** @type {const} */ ({
  reachable: "Reachable",
  model: "Has the model",
  stream: "Streams",
  usage: "Reports usage",
});

/** @param {boolean | null} ok */
const resultOf = (ok) =>
  ok === null ? ["open", "question", "unknown"] : ok ? ["good", "check", "OK"] : ["bad", "warn", "failed"];

/** @param {Check[]} checks */
export const checkLines = (checks) =>
  h("ul", { class: "checks", "aria-label": "Results of the check" }, checks.map(({ name, ok, detail }) => {
    const [kind, sign, words] = resultOf(ok);
    return h("li", { class: kind, data: { check: name } },
      icon(sign ?? ""),
      h("strong", null, NAMES[name], h("span", { class: "visually-hidden" }, `: ${words}.`)),
      h("span", null, detail));
  }));

/** The same lines while the check runs. */
export const checkRunning = () =>
  h("ul", { class: "checks", "aria-label": "Check in progress" }, Object.values(NAMES).map((name) =>
    h("li", { class: "open" },
      icon("question"), h("strong", null, name), h("span", { class: "faint" }, "Checking…"))));

/** The indexes of targets with a problem. @param {Checked} checked */
export const failedTargets = (checked) =>
  checked.targets.filter(({ checks }) => checks.some(({ ok }) => ok === false)).map(({ index }) => index);
