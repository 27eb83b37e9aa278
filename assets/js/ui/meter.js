// A bar that shows how much of a limit or of a capacity is used, and held by running requests.

import { h } from "../dom.js";
import { int, percent } from "../format.js";

/**
 * Creates a bar.
 *
 * @param {{label: string, used: number, held?: number, threshold: number, asked?: number, words?: string}} options
 *   `asked` is the amount that another request would need; `words` follow “3 of 8”
 */
export function meter({ label, used, held = 0, threshold, asked = 0, words = "used" }) {
  const part = (/** @type {number} */ value) =>
    `${threshold > 0 ? Math.min(100, (100 * value) / threshold) : value > 0 ? 100 : 0}%`;
  const taken = used + held;
  const tone = threshold === 0 || taken + asked > threshold ? "bad" : taken > 0.8 * threshold ? "warn" : "ok";
  const text = `${int(used)} of ${int(threshold)} ${words}${held ? `, ${int(held)} held by running requests` : ""}`;
  return h("div", {
    class: ["meter", tone], role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": threshold,
    "aria-valuenow": Math.min(taken, threshold), "aria-valuetext": text, title: `${text} (${percent(taken, threshold)})`,
  },
  h("span", { class: "meter-used", style: { "--part": part(used) } }),
  h("span", { class: "meter-held", style: { "--part": part(held) } }),
  asked > 0 && h("span", { class: "meter-asked", style: { "--part": part(asked) } }));
}
