// Usage and cost by group, model or key: a chart over time, and sums.

import { api, queryString } from "../api.js";
import { fill, h } from "../dom.js";
import { addressQuery, filterBar } from "../filters/bar.js";
import { withSubtrees } from "../filters/groups.js";
import { filtersOf, isFiltered } from "../filters/lists.js";
import { DAY_RANGES, bucketsOf, rangeOf, rangeQuery, stepOf, timesOf } from "../filters/range.js";
import { knownNames } from "../groups/known_names.js";
import { may } from "../session.js";
import { button, linkButton } from "../ui/button.js";
import { chart } from "../ui/chart.js";
import { field, select } from "../ui/form.js";
import { icon } from "../ui/icon.js";
import { notice } from "../ui/notice.js";
import { empty, page } from "../ui/page.js";
import { COLUMNS, identity, nameOf, ranked, seriesOf } from "../usage/report.js";
import { metricFormat, metrics, sumsList, usageTable } from "../usage/view.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */
/** @import { By, Metric } from "../usage/report.js" */

const OTHERWISE = "7d";
const SERIES = 5;
const ROWS = 100;
const MAX_ROWS = 1000;

/** @type {[By, string][]} */
const BYS = [["group", "Group"], ["model", "Model"], ["key", "Key"]];

/** The parameters of the current address. */
function asked() {
  const query = addressQuery();
  const now = Date.now();
  const by = BYS.find(([name]) => name === query.get("by"))?.[0] ?? "group";
  const metric = /** @type {Metric} */ (query.get("metric") ?? "tokens");
  return { query, now, by, metric, range: rangeOf(query, OTHERWISE, now), filters: filtersOf(query) };
}

/** @import { KnownNames } from "../groups/known_names.js" */
/** @typedef {ReturnType<typeof asked> & {names: KnownNames}} Asked */
/** @typedef {{total: T.UsageItem | undefined, items: T.UsageItem[], incomplete: T.Gap[]}} Report */

/** @param {Context} context */
export default async function usage({ signal, setQuery }) {
  const results = h("div", { class: "stack results" });
  const metric = select([["tokens", "Tokens"]]);
  const by = select(BYS, { value: asked().by });
  by.addEventListener("change", () => changed({ by: by.value === "group" ? null : by.value }));
  metric.addEventListener("change", () => changed({ metric: metric.value === "tokens" ? null : metric.value }));

  const names = knownNames();
  let latest = 0;
  let top = ROWS;
  const load = async () => {
    const turn = ++latest;
    const now = asked();
    results.setAttribute("aria-busy", "true");
    const what = { ...now, names, filters: await withSubtrees(now.filters, now.query, names) };
    const report = await reportOf(what, top);
    await names.learn(report.items.map((item) => item.external_entity_id));
    const known = metrics(report.total);
    const shown = known.some(([name]) => name === what.metric) ? what.metric : "tokens";
    const course = report.items.length ? await courseOf({ ...what, metric: shown }, report) : null;
    if (turn !== latest || signal.aborted) return;
    fill(metric, known.map(([value, label]) => h("option", { value }, label)));
    metric.value = shown;
    fill(results, report.items.length && course
      ? resultsOf({ ...what, metric: shown }, report, course, top, () => {
        top = MAX_ROWS;
        return load();
      })
      : nothing(what));
    results.setAttribute("aria-busy", "false");
  };
  /** @param {Record<string, string | null>} [changes] */
  const changed = (changes) => {
    if (changes) setQuery(changes);
    top = ROWS;
    load().catch((error) => {
      results.setAttribute("aria-busy", "false");
      fill(results, notice("bad", error.message));
    });
  };
  await load();

  return page({ heading: "Usage", lead: "Totals of all billed requests. Days begin at midnight UTC." },
    filterBar({
      ranges: DAY_RANGES, otherwise: OTHERWISE, ends: "date", names, setQuery, changed: () => changed(),
      extra: [
        field({ label: "Show", name: "metric", input: metric }),
        field({ label: "By", name: "by", input: by }),
      ],
    }),
    results);
}

/** @param {Asked} what @param {number} top @returns {Promise<Report>} */
async function reportOf({ range, filters, by }, top) {
  const query = { ...timesOf(range), ...filters };
  const [sums, rows] = await Promise.all([
    api.usageReport(query), api.usageReport({ ...query, group_by: COLUMNS[by], top }),
  ]);
  return { total: sums.items[0], items: ranked(rows.items, "tokens"), incomplete: rows.incomplete ?? [] };
}

/**
 * The series of the chart. Only the largest items are requested by hour or day, no more than the chart shows.
 *
 * @param {Asked} what
 * @param {Report} report
 */
async function courseOf({ range, now, filters, by, metric, names }, { items }) {
  const step = stepOf(range, now);
  const buckets = bucketsOf(range, step, now);
  const largest = ranked(items, metric).slice(0, SERIES);
  const these = (/** @type {"group_id" | "model_slug" | "api_key_prefix"} */ column) =>
    [...new Set(largest.map((item) => item[column]))];
  const narrowed = {
    group: () => ({ group_ids: these("group_id") }),
    model: () => ({ model_slugs: these("model_slug") }),
    key: () => ({ api_keys: these("api_key_prefix"), group_ids: these("group_id") }),
  }[by]();
  const query = { ...timesOf(range), ...filters };
  /** @type {[T.UsageReport, T.UsageReport]} */
  const [rows, sums] = await Promise.all([
    api.usageReport({ ...query, ...narrowed, group_by: `${COLUMNS[by]},${step}` }),
    api.usageReport({ ...query, group_by: step }),
  ]);
  const wanted = new Set(largest.map(identity));
  const series = seriesOf({
    buckets, step, largest, rows: rows.items.filter((item) => wanted.has(identity(item))), sums: sums.items, metric,
    nameOf: (item) => nameOf(item, by, names),
  });
  return { buckets, step, series };
}

/**
 * @param {Asked} what
 * @param {Report} report
 * @param {Awaited<ReturnType<typeof courseOf>>} course
 * @param {number} top
 * @param {() => Promise<unknown>} more
 */
function resultsOf(what, { total, items, incomplete }, { buckets, step, series }, top, more) {
  const { by, metric, range, filters, query, names } = what;
  const label = BYS.find(([name]) => name === by)?.[1] ?? "";
  const csv = queryString({ ...timesOf(range), ...filters, group_by: COLUMNS[by], format: "csv" });
  const isCut = items.length >= top;
  const { format, name, decimals } = metricFormat(metric);
  return [
    incomplete.length > 0 && notice("warn",
      h("p", null, "These totals are incomplete: some of the usage in this period can no longer be read."),
      h("ul", { class: "plain-list" }, incomplete.map((gap) => h("li", null, gap.detail))),
      h("p", null, "Restore a backup that contains it, or take the missing part from your own records.")),
    total && sumsList(total),
    h("div", { class: "card" }, chart({
      label: `${name} by ${label.toLowerCase()} and ${step}`, kind: "bars", height: 240, times: buckets,
      step_ms: step === "hour" ? 3_600_000 : 86_400_000, series, format, decimals,
    })),
    h("section", { class: "section" },
      h("header", { class: "section-head" },
        h("h2", null, `By ${label.toLowerCase()}`),
        isCut && h("p", { class: "hint" }, `The ${items.length} with the most tokens. The CSV file has all of them.`),
        h("div", { class: "section-actions" },
          h("a", { class: "button small", href: `/v1/gateway/usage_report${csv}`, download: "" },
            icon("download"), h("span", null, "Download CSV")))),
      usageTable({ by, items, total, address: { ...rangeQuery(range, query), only: query.get("only") }, filters: filtersOf(query), names, metric }),
      isCut && top < MAX_ROWS && h("div", { class: "more" }, button({ label: "Show more", press: more }))),
  ];
}

/** @param {Asked} what */
function nothing({ filters, range }) {
  if (isFiltered(filters)) {
    return empty({ heading: "No matching usage", text: "Remove a filter, or choose a longer period." });
  }
  return empty({
    heading: "Nothing was billed in this period",
    text: "Every answered request is counted here immediately, with the tokens that the model server reported.",
    actions: [
      range.name !== "30d" && linkButton({ label: "Last 30 days", href: "#/usage?range=30d" }),
      may("manage") && linkButton({ label: "Send a request", href: "#/playground", kind: "primary", icon: "play" }),
    ],
  });
}
