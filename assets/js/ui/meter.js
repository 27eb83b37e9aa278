// A bar that shows how much of a limit, of a budget or of a capacity is used, and held by running requests.

import { scaled, share } from "../decimal.js";
import { h } from "../dom.js";
import { figure, percent } from "../format.js";

/**
 * Creates a bar. Money is in decimal strings.
 *
 * @param {{label: string, used: number | string, held?: number | string, threshold: number | string,
 *   asked?: number, words?: string}} options `asked` is the amount that another request would need; `words` follow
 *   “3 of 8”
 */
export function meter({ label, used, held = 0, threshold, asked = 0, words = "used" }) {
  const [top, now, more] = [scaled(threshold), scaled(used), scaled(held)];
  const part = (/** @type {bigint} */ value) => share(value, top) / 100;
  const taken = now + more;
  const tone = top === 0n || taken + scaled(asked) > top ? "bad" : 5n * taken > 4n * top ? "warn" : "ok";
  const holding = more ? `, ${figure(held)} held by running requests` : "";
  const text = `${figure(used)} of ${figure(threshold)} ${words}${holding}`;
  const piece = (/** @type {string} */ kind, /** @type {bigint} */ value) =>
    value > 0n && h("span", { class: `meter-${kind}`, style: { "--part": `${part(value)}%` } });
  return h("div", {
    class: ["meter", tone], role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": threshold,
    "aria-valuenow": Number(taken < top ? taken : top) / 1e12, "aria-valuetext": text, title: `${text} (${percent(part(taken), 100)})`,
  },
  piece("used", now), piece("held", more), piece("asked", scaled(asked)));
}
