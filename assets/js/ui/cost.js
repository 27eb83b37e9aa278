// What something cost, rounded. The exact amount is the title.

import { h } from "../dom.js";
import { amountText, money } from "../format.js";

/** A line for each currency. @param {Record<string, string>} costs */
export const costLines = (costs) => {
  const all = Object.entries(costs);
  if (!all.length) return "–";
  return all.map(([currency, amount]) =>
    h("div", { class: "cost", title: money({ currency, amount }) }, `${amountText(amount)} ${currency}`));
};
