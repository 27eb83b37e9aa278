// Named time ranges, in UTC like bills. An address has the name (`range=7d`) or the ends (`from`, `to`), so that a link
// to "the last 7 days" stays relative to today.

const DAY = 86_400_000;

/**
 * Unix ms. `from_ms` is null if the range has no start; `to_ms` is exclusive, and null if the range has no end.
 *
 * @typedef {{name: string, from_ms: number | null, to_ms: number | null}} Range
 */

/** @type {[string, string][]} */
export const DAY_RANGES = [
  ["today", "Today"],
  ["yesterday", "Yesterday"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["month", "This month"],
  ["last_month", "Last month"],
  ["custom", "Custom dates"],
];

/** @type {[string, string][]} */
export const MOMENT_RANGES = [["all", "Any time"], ["hour", "Last hour"], ...DAY_RANGES];

/** Midnight UTC before a time. @param {number} at */
const midnight = (at) => Math.floor(at / DAY) * DAY;

/** The start of the month `away` months after the month of `at`. @param {number} at @param {number} [away] */
function month(at, away = 0) {
  const date = new Date(at);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + away, 1);
}

/**
 * The range of an address.
 *
 * @param {URLSearchParams} query
 * @param {string} otherwise name of the range if the address has none
 * @param {number} now
 * @returns {Range}
 */
export function rangeOf(query, otherwise, now) {
  const [from, to] = [moment(query.get("from")), moment(query.get("to"), true)];
  if (from !== null || to !== null) {
    return { name: "custom", from_ms: from, to_ms: to !== null && from !== null ? Math.max(from, to) : to };
  }
  const name = query.get("range") ?? otherwise;
  return named(name, now) ?? named(otherwise, now) ?? { name: "all", from_ms: null, to_ms: null };
}

/** @param {string} name @param {number} now @returns {Range | null} */
export function named(name, now) {
  const today = midnight(now);
  switch (name) {
    case "all": return { name, from_ms: null, to_ms: null };
    case "hour": return { name, from_ms: now - 3_600_000, to_ms: null };
    case "today": return { name, from_ms: today, to_ms: null };
    case "yesterday": return { name, from_ms: today - DAY, to_ms: today };
    case "7d": return { name, from_ms: today - 6 * DAY, to_ms: null };
    case "30d": return { name, from_ms: today - 29 * DAY, to_ms: null };
    case "month": return { name, from_ms: month(now), to_ms: null };
    case "last_month": return { name, from_ms: month(now, -1), to_ms: month(now) };
    default: return null;
  }
}

/**
 * Parses a date or a minute, as addresses and inputs write it, in UTC. Unix ms.
 *
 * @param {string | null} text `2026-11-23` or `2026-11-23T10:00`, with or without a zone
 * @param {boolean} [isEnd] whether a date means the end of that day
 */
export function moment(text, isEnd = false) {
  if (!text) return null;
  const isDate = /^\d{4}-\d\d-\d\d$/.test(text);
  const at = Date.parse(isDate || /(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
  if (Number.isNaN(at)) return null;
  return isDate && isEnd ? at + DAY : at;
}

/** A range as query parameters of the API. @param {Range} range */
export const timesOf = ({ from_ms, to_ms }) => ({
  start_time: from_ms === null ? undefined : new Date(from_ms).toISOString(),
  end_time: to_ms === null ? undefined : new Date(to_ms).toISOString(),
});

/**
 * A range as query parameters of an address.
 *
 * @param {Range} range
 * @param {URLSearchParams} query the current address's, with the ends of a custom range
 */
export const rangeQuery = ({ name }, query) =>
  name === "custom" ? { from: query.get("from"), to: query.get("to"), range: null } : { range: name, from: null, to: null };

/** Hours for ranges of up to three days, else days. @param {Range} range @param {number} now @returns {"hour" | "day"} */
export const stepOf = ({ from_ms, to_ms }, now) => ((to_ms ?? now) - (from_ms ?? 0) <= 3 * DAY ? "hour" : "day");

/**
 * The start of each hour or day of a range, up to now.
 *
 * @param {Range} range
 * @param {"hour" | "day"} step
 * @param {number} now
 */
export function bucketsOf({ from_ms, to_ms }, step, now) {
  const width = step === "hour" ? 3_600_000 : DAY;
  const end = Math.min(to_ms ?? now, now);
  const first = Math.floor((from_ms ?? end) / width) * width;
  const count = Math.max(1, Math.ceil((end - first) / width));
  return Array.from({ length: Math.min(count, 1000) }, (_, index) => first + index * width);
}
