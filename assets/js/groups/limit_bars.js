// Bars of limits and budgets: what is used, held by running requests, and left.

import { scaled } from "../decimal.js";
import { fill, h, update } from "../dom.js";
import { amountText, capital, figure, kindName, limitName } from "../format.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { badge } from "../ui/badge.js";
import { meter } from "../ui/meter.js";
import { resetTime, when } from "../ui/when.js";
import { groupAddress, rowName } from "./names.js";
import { askedOf, isCalendar } from "./why.js";

/** @import * as T from "../api_types.js" */

/** The address of a limit in the editor of the group that declares it. @param {T.Standing} limit @param {string} [slug] */
const editAddress = (limit, slug = "") => link(`/groups/${encodeURIComponent(limit.source_group)}/limits`,
  { edit: rowName(limit, limit.type === "COST" ? null : slug) });

/** When the window of a limit ends, or when a rolling one is free again. @param {T.Standing} limit */
const resetOf = (limit) =>
  limit.unit === "TOTAL" ? " · never resets"
    : limit.reset_at && (isCalendar(limit) ? [" · resets ", resetTime(limit.reset_at)]
      : [" · fully available ", when(limit.reset_at)]);

/** A share that a limit or budget has reached. @param {number | undefined} percent */
export const shareBadge = (percent) =>
  percent !== undefined && badge(percent < 100 ? "warn" : "bad",
    [`${percent} %`, h("span", { class: "visually-hidden" }, " reached")]);

/**
 * Draws the bars, or updates them: rows are kept, since a link in one may have the focus.
 *
 * @param {HTMLElement} bars
 * @param {Pick<T.WouldPass, "limits" | "tokens" | "admitted" | "stopped_by"> & {slug?: string}} answer
 * @param {T.Group} group
 * @param {(id: string) => string} nameOf
 * @param {(limit: T.Standing) => number | undefined} [share] the share that a limit has reached, in percent
 */
export function showBars(bars, { limits, slug, tokens, admitted, stopped_by }, { id: self, hierarchy }, nameOf, share) {
  const keys = limits.map((limit) => `${limit.source_group} ${limitName(limit)}`).join();
  if (bars.dataset.keys !== keys) {
    fill(bars, limits.map((limit) => h("li", null,
      h("div", { class: "bar-name" }, h("strong", null, capital(limitName(limit))),
        limit.source_group === self
          ? h("span", { class: "hint" }, "this group")
          : h("a", { class: "hint", href: groupAddress(limit.source_group, may("manage") ? "limits" : "") },
            nameOf(limit.source_group)),
        h("span", { class: "bar-badges" })),
      h("div", { class: "bar-meter" }), h("p", { class: "bar-figures number" }), h("p", { class: "bar-reset hint" }))));
    bars.dataset.keys = keys;
  }
  limits.forEach((limit, index) => {
    const row = bars.children[index];
    if (!row) return;
    const { used, held, left, threshold } = limit;
    const asked = askedOf(limit, tokens);
    const stops = !admitted && (index === stopped_by || scaled(asked) > scaled(left));
    const shared = hierarchy.limit_enforcement === "CASCADING" && limit.source_group !== self;
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
    update(part(".bar-badges"), stops && badge("bad", "refuses"), shareBadge(share?.(limit)), shared && badge("plain", "shared"),
      stops && may("manage") && h("a", { href: editAddress(limit, slug) }, `Raise this ${kindName(limit)}`));
    fill(part(".bar-meter"), meter({
      label: `${limitName(limit)} of ${nameOf(limit.source_group)}`, used, held, threshold, asked,
    }));
    fill(part(".bar-figures"), h("strong", { title: figure(left) }, amountText(left)), ` left of ${figure(threshold)}`);
    const word = { TOKEN: "used", REQUEST: limit.unit === "CONCURRENT" ? "running" : "used", COST: "spent" }[limit.type];
    const figures = [`${amountText(used)} ${word}`, scaled(held) > 0n && `, ${amountText(held)} held`];
    fill(part(".bar-reset"), h("span", { title: figure(used) }, figures), resetOf(limit));
  });
}
