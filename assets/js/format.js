// Numbers and times formatted for people. Pure.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** `1,234,567` @param {number} value */
export const int = (value) => whole.format(value);

/** `1.2M`, for narrow places @param {number} value */
export const compact = (value) => (Math.abs(value) < 10_000 ? whole.format(value) : short.format(value));

/** `0.42 %` @param {number} part @param {number} of */
export function percent(part, of) {
  const value = of > 0 ? (100 * part) / of : 0;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** `3 keys`, `1 key` @param {number} count @param {string} one @param {string} [many] */
export const plural = (count, one, many = `${one}s`) => `${int(count)} ${count === 1 ? one : many}`;

/** `61.4 MB` @param {number} value */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let rest = value;
  while (rest >= 1000 && at < units.length - 1) {
    rest /= 1000;
    at += 1;
  }
  return `${at === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${units[at]}`;
}

/** `812 ms`, `12.4 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h` @param {number} value */
export function milliseconds(value) {
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
  return seconds(value / 1000);
}

/** `0.81 ms` @param {number} value */
export const microseconds = (value) => `${(value / 1000).toFixed(value < 10_000 ? 2 : 0)} ms`;

/** @param {number} value */
export function seconds(value) {
  const all = Math.max(0, Math.round(value));
  const [days, hours, minutes, rest] = [
    Math.floor(all / 86_400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60,
  ];
  if (days) return `${days} d${hours ? ` ${hours} h` : ""}`;
  if (hours) return `${hours} h${minutes ? ` ${minutes} min` : ""}`;
  if (minutes) return `${minutes} min${rest ? ` ${rest} s` : ""}`;
  return `${rest} s`;
}

/** `2026-11-23 10:00:05 UTC`: bills and limits use UTC @param {string | number | Date} at */
export const utc = (at) => `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** `5 min ago`, `in 3 h`, or a date if that is more than 30 days away @param {string} at */
export function relative(at) {
  const past = (Date.now() - Date.parse(at)) / 1000;
  const far = Math.abs(past);
  if (far < 5) return "now";
  if (far > 30 * 86_400) return new Date(at).toISOString().slice(0, 10);
  const words = far < 3600 ? seconds(far < 60 ? far : Math.floor(far / 60) * 60) : seconds(Math.floor(far / 3600) * 3600);
  return past > 0 ? `${words} ago` : `in ${words}`;
}

/** `0.00004500 EUR` without the zeros at its end @param {{currency: string, amount: string} | null} cost */
export const money = (cost) => (cost ? `${trimmed(cost.amount)} ${cost.currency}` : "–");

/** An amount without trailing zeros, but with at least two decimals @param {string} amount */
function trimmed(amount) {
  const [before = "", decimals = ""] = amount.split(".");
  return `${whole.format(BigInt(before))}.${decimals.replace(/0+$/, "").padEnd(2, "0")}`;
}

const digits = [2, 4].map((most) => new Intl.NumberFormat("en", { minimumFractionDigits: most, maximumFractionDigits: most }));

/** A number, or money rounded to two decimals, below 1 to four @param {number | string} value */
export function amountText(value) {
  if (typeof value === "number") return int(value);
  const exact = trimmed(value);
  const [most, rounded] = Number(value) < 1 ? [4, digits[1]] : [2, digits[0]];
  if ((exact.split(".")[1] ?? "").length <= most) return exact;
  return Number(value) < 0.0001 ? "<0.0001" : rounded?.format(Number(value)) ?? exact;
}

/** @typedef {{type: string, unit: string, currency?: string}} Kind of a limit, or of a budget, which has a currency */

export const MEASURES = { TOKEN: "tokens", REQUEST: "requests", RUNNING: "running requests" };
export const WINDOWS = {
  SECOND: "per second", MINUTE: "per minute", DAY: "per day", WEEK: "per week", MONTH: "per month", TOTAL: "in total",
  CONCURRENT: "at once",
};

/** `tokens per minute`, `running requests`, `EUR per month` @param {Kind} kind */
export function limitName({ type, unit, currency }) {
  if (unit === "CONCURRENT") return MEASURES.RUNNING;
  const measure = currency ?? MEASURES[/** @type {keyof typeof MEASURES} */ (type)];
  return `${measure} ${WINDOWS[/** @type {keyof typeof WINDOWS} */ (unit)]}`;
}

/** `Tokens per minute` @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** `limit` or `budget` @param {{type: string}} rule */
export const kindName = ({ type }) => (type === "COST" ? "budget" : "limit");

/** `60,000`; `500.00` for money, which is a decimal string @param {number | string} value */
export const figure = (value) => (typeof value === "number" ? int(value) : trimmed(value));

const NOW = { DAY: " today", WEEK: " this week", MONTH: " this month" };

/** `39,909 of 40,000 tokens today` @param {Kind & {used: number | string, threshold: number | string}} rule */
export const usedWords = ({ type, unit, currency, used, threshold }) =>
  `${amountText(used)} of ${amountText(threshold)} ${currency ?? MEASURES[/** @type {keyof typeof MEASURES} */ (type)]}`
    + (NOW[/** @type {keyof typeof NOW} */ (unit)] ?? "");

const weekday = new Intl.DateTimeFormat("en-GB", { weekday: "long" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** `Monday 00:00, in 2 days`: when a calendar window ends, in the browser's time zone @param {string} at */
export function windowEnd(at) {
  const end = new Date(at);
  const days = (end.getTime() - Date.now()) / 86_400_000;
  const words = days < 2 ? relative(at) : `in ${Math.floor(days)} days`;
  return `${(days < 7 ? weekday : date).format(end)} ${clock.format(end)}, ${words}`;
}

const shortDate = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** `Tuesday, 24 Nov, 14:05` in the browser's time zone @param {string} at */
export function dayAndTime(at) {
  const time = new Date(at);
  return `${weekday.format(time)}, ${shortDate.format(time)}, ${clock.format(time)}`;
}

/** A group's name, or its external id without one @param {{name: string | null, external_entity_id: string}} group */
export const groupName = (group) => group.name || group.external_entity_id;

/** `Server 1`: a target, counted from 1 @param {number} index its index in the API */
export const serverName = (index) => `Server ${index + 1}`;
