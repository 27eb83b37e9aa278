// Parts of the usage page: the sums, the table, and the number format of each metric.

import { h } from "../dom.js";
import { joined } from "../filters/lists.js";
import { int, money, percent } from "../format.js";
import { link } from "../router.js";
import { groupCell } from "../groups/known_names.js";
import { may } from "../session.js";
import { costLines } from "../ui/cost.js";
import { table } from "../ui/table.js";
import { nameOf, ranked, tokensOf, valueOf } from "./report.js";

/** @import * as T from "../api_types.js" */
/** @import { Child } from "../dom.js" */
/** @import { KnownNames } from "../groups/known_names.js" */
/** @import { By, Metric } from "./report.js" */

/** The metrics that can be shown, with a cost for each currency. @param {T.UsageItem | undefined} total */
export function metrics(total) {
  /** @type {[Metric, string][]} */
  const known = [["tokens", "Tokens"], ["requests", "Requests"]];
  for (const currency of Object.keys(total?.cost ?? {})) known.push([`cost:${currency}`, `Cost (${currency})`]);
  return known;
}

/** @param {Metric} metric */
export function metricFormat(metric) {
  if (metric === "tokens" || metric === "requests") {
    return { name: metric === "tokens" ? "Tokens" : "Requests", format: int, decimals: false };
  }
  const currency = metric.slice("cost:".length);
  const format = (/** @type {number} */ value) => money({ currency, amount: value.toFixed(12) });
  return { name: `Cost in ${currency}`, format, decimals: true };
}

/** @param {T.UsageItem} total */
export function sumsList(total) {
  /** @type {[string, Child, string][]} */
  const sums = [
    ["Tokens", int(tokensOf(total)), ""],
    ["Input", int(total.input_tokens), ""],
    ["Cached input", int(total.cached_input_tokens), percent(total.cached_input_tokens, total.input_tokens)],
    ["Output", int(total.output_tokens), ""],
    ["Requests", int(total.requests), ""],
    ["Cost", costLines(total.cost), ""],
  ];
  return h("dl", { class: "sums card" }, sums.map(([name, value, more]) =>
    h("div", null, h("dt", null, name),
      h("dd", null, value, more && value !== "0" && h("span", { class: "hint" }, ` ${more}`)))));
}

/**
 * @param {{by: By, items: T.UsageItem[], total: T.UsageItem | undefined, filters: Record<string, string[]>,
 *   address: Record<string, string | null>, names: KnownNames, metric: Metric}} options `address` is the range and
 *   `only`, for links to the same events; `metric` is what the rows are sorted by
 */
export function usageTable({ by, items, total, filters, address, names, metric }) {
  const valueIn = (/** @type {T.UsageItem} */ item) => valueOf(item, metric);
  const most = Math.max(...items.map(valueIn)) || 1;
  const all = total ? valueIn(total) : 0;
  const currency = /** @type {Metric} */ (metric.startsWith("cost:") ? metric : metrics(total)[2]?.[0] ?? "cost:");
  const label = { group: "Group", model: "Model", key: "Key" }[by];
  /**
   * A column of numbers. That of the metric has bars.
   *
   * @param {string} name
   * @param {(item: T.UsageItem) => number} sort
   * @param {Metric} [of]
   * @param {(item: T.UsageItem) => Child} [words]
   * @returns {import("../ui/table.js").Column<T.UsageItem>}
   */
  const column = (name, sort, of, words = (item) => int(sort(item))) => ({
    label: name, kind: "number", sort,
    cell: (item) => of !== metric ? words(item) : h("div", { class: "share" },
      h("span", { class: "share-bar", style: { "--part": `${(100 * sort(item)) / most}%` } }),
      h("span", { title: `${percent(sort(item), all)} of all` }, words(item))),
  });
  const place = (/** @type {T.UsageItem} */ item) => `/groups/${encodeURIComponent(item.group_id ?? "")}`;
  const events = (/** @type {T.UsageItem} */ item) => link("/events", {
    ...address,
    ...Object.fromEntries(Object.entries(filters).map(([name, values]) => [name, joined(values)])),
    ...(item.group_id && { group_ids: item.group_id, only: 1, external_entity_ids: null }),
    ...(item.model_slug && { model_slugs: joined([item.model_slug]) }),
    ...(item.api_key_prefix && { api_keys: joined([item.api_key_prefix]) }),
  });
  /** @type {import("../ui/table.js").Column<T.UsageItem>[]} */
  const columns = [
    {
      label, kind: "main", sort: (item) => nameOf(item, by, names),
      cell: (item) => {
        if (by === "group") return groupCell(names, item);
        if (by === "model") return h("bdi", null, item.model_slug);
        const key = h("bdi", { class: "mono" }, item.api_key_prefix);
        return [may("keys") ? h("a", { href: `#${place(item)}/keys` }, key) : key,
          h("div", { class: "hint" }, h("bdi", null, nameOf(item, "group", names)))];
      },
    },
    column("Tokens", tokensOf, "tokens"),
    column("Input", (item) => item.input_tokens),
    column("Cached", (item) => item.cached_input_tokens),
    column("Output", (item) => item.output_tokens),
    column("Requests", (item) => item.requests, "requests"),
    column("Cost", (item) => valueOf(item, currency), currency, (item) => costLines(item.cost)),
    {
      label: "Events", hideLabel: true, kind: "actions",
      cell: (item) => h("a", { href: events(item) },
        "Events", h("span", { class: "visually-hidden" }, ` of ${nameOf(item, by, names)}`)),
    },
  ];
  return table({
    caption: "Usage", columns, rows: ranked(items, metric),
    sorted: { tokens: "Tokens", requests: "Requests" }[String(metric)] ?? "Cost",
  });
}
