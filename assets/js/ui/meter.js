// A bar that shows how much of a limit is used, and held by running requests.

import { h } from "../dom.js";
import { int, percent } from "../format.js";

/**
 * A bar.
 *
 * @param {{label: string, used: number, held?: number, threshold: number, asked?: number}} options `asked` is what
 *   another request would take
 */
export function meter({ label, used, held = 0, threshold, asked = 0 }) {
  const part = (/** @type {number} */ value) =>
    `${threshold > 0 ? Math.min(100, (100 * value) / threshold) : value > 0 ? 100 : 0}%`;
  const gone = used + held;
  const tone = threshold === 0 || gone + asked > threshold ? "bad" : gone > 0.8 * threshold ? "warn" : "ok";
  const text = `${int(used)} of ${int(threshold)} used${held ? `, ${int(held)} held by running requests` : ""}`;
  return h("div", {
    class: ["meter", tone], role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": threshold,
    "aria-valuenow": Math.min(gone, threshold), "aria-valuetext": text, title: `${text} (${percent(gone, threshold)})`,
  },
  h("span", { class: "meter-used", style: { "--part": part(used) } }),
  h("span", { class: "meter-held", style: { "--part": part(held) } }),
  asked > 0 && h("span", { class: "meter-asked", style: { "--part": part(asked) } }));
}
