// Converts rows of usage reports to the series of a chart and the rows of a table.

/** @import { UsageItem } from "../api_types.js" */

/** @typedef {"group" | "model" | "key"} By */
/** @typedef {"tokens" | "requests" | `cost:${string}`} Metric a cost is in one currency: others cannot be added */

/** The API's columns of each. A key is listed with its group, since the playground's prefix occurs in every group. */
export const COLUMNS = /** @type {const} */ ({ group: "group", model: "model", key: "group,key" });

const OTHERS = "Others";

/** @param {UsageItem} item */
export const tokensOf = (item) => item.input_tokens + item.output_tokens;

/** @param {UsageItem} item @param {Metric} metric */
export function valueOf(item, metric) {
  if (metric === "requests") return item.requests;
  if (metric === "tokens") return tokensOf(item);
  return Number(item.cost[metric.slice("cost:".length)] ?? 0);
}

/** Identifies a row of a report, apart from its time. @param {UsageItem} item */
export const identity = (item) => JSON.stringify([item.group_id, item.model_slug, item.api_key_prefix]);

/**
 * @param {UsageItem} item
 * @param {By} by
 * @param {{nameOf: (externalId: string, id?: string) => string}} names
 */
export function nameOf(item, by, names) {
  const group = names.nameOf(item.external_entity_id ?? item.group_id ?? "", item.group_id);
  if (by === "group") return group;
  if (by === "model") return item.model_slug ?? "";
  const key = item.api_key_prefix ?? "";
  return key === "playground" ? `${key}, ${group}` : key;
}

/** Largest first. @param {UsageItem[]} items @param {Metric} metric */
export const ranked = (items, metric) => [...items].sort((a, b) => valueOf(b, metric) - valueOf(a, metric));

/**
 * A series for each of the largest items, and one for the rest of the sums.
 *
 * @param {{buckets: number[], step: "hour" | "day", largest: UsageItem[], rows: UsageItem[], sums: UsageItem[],
 *   metric: Metric, nameOf: (item: UsageItem) => string}} given `rows` are by time and item, `sums` by time alone
 */
export function seriesOf({ buckets, step, largest, rows, sums, metric, nameOf }) {
  const place = new Map(buckets.map((time, index) => [time, index]));
  const at = (/** @type {UsageItem} */ item) => place.get(Date.parse((step === "hour" ? item.hour : item.day) ?? ""));
  const series = largest.map((item) => ({ name: nameOf(item), values: buckets.map(() => 0) }));
  const index = new Map(largest.map((item, of) => [identity(item), of]));
  const rest = buckets.map(() => 0);
  for (const item of sums) {
    const bucket = at(item);
    if (bucket !== undefined) rest[bucket] = (rest[bucket] ?? 0) + valueOf(item, metric);
  }
  for (const item of rows) {
    const [of, bucket] = [index.get(identity(item)), at(item)];
    const values = of === undefined ? undefined : series[of]?.values;
    if (!values || bucket === undefined) continue;
    const value = valueOf(item, metric);
    values[bucket] = (values[bucket] ?? 0) + value;
    rest[bucket] = (rest[bucket] ?? 0) - value;
  }
  // Costs are added as floating-point numbers here, so a tiny remainder means zero.
  const left = rest.map((value) => (value < 1e-9 ? 0 : value));
  return left.some((value) => value > 0) ? [...series, { name: OTHERS, values: left }] : series;
}
