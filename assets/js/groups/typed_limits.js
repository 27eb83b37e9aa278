// A model's limits as they are typed into the four cells of the limits editor. Pure.

/** @import { LimitType, Model, Unit } from "../api_types.js" */

const MAX_THRESHOLD = 2 ** 53 - 1;

/** The four limits that a group may set on a model, and the units of each. */
export const CELLS = /** @type {const} */ ([
  { kind: "rate", type: "TOKEN", units: ["MINUTE", "SECOND"] },
  { kind: "rate", type: "REQUEST", units: ["MINUTE", "SECOND"] },
  { kind: "usage", type: "TOKEN", units: ["DAY"] },
  { kind: "usage", type: "REQUEST", units: ["DAY"] },
]);

/**
 * The group's own limit in one cell, as it is typed.
 *
 * @typedef {{text: string, unit: Unit}} Typed
 */

/** A model's four cells, in the order of `CELLS`. @param {Model | undefined} model @returns {Typed[]} */
export function typedOf(model) {
  return CELLS.map(({ kind, type, units }) => {
    const limits = kind === "rate" ? model?.rate_limits : model?.usage_limits;
    const own = limits?.find((limit) => limit.type === type);
    return { text: own ? plain(own.threshold) : "", unit: own?.unit ?? units[0] };
  });
}

/**
 * A model as the API takes it. A cell that is empty or not a number declares no limit.
 *
 * @param {string} slug
 * @param {Typed[]} cells
 * @returns {Model}
 */
export function modelOf(slug, cells) {
  const limits = (/** @type {"rate" | "usage"} */ kind) => CELLS.flatMap((cell, at) => {
    const typed = cells[at];
    const threshold = typed && cell.kind === kind ? amount(typed.text) : null;
    if (typeof threshold !== "number" || !typed) return [];
    return [{ type: /** @type {LimitType} */ (cell.type), unit: typed.unit, threshold }];
  });
  return { slug, rate_limits: limits("rate"), usage_limits: limits("usage") };
}

/**
 * Whether two sets of models are the same, regardless of the order of their limits.
 *
 * @param {Model[]} a
 * @param {Model[]} b
 */
export function sameModels(a, b) {
  const normal = (/** @type {Model[]} */ models) =>
    JSON.stringify(models.map((model) => modelOf(model.slug, typedOf(model))));
  return normal(a) === normal(b);
}

const NUMBER = /^(\d+|\d{1,3}(?:[,_ \u00a0]\d{3})+)(?:\.(\d+))?\s*([kmgbt]?)$/;
const TIMES = { "": 1, k: 1e3, m: 1e6, g: 1e9, b: 1e9, t: 1e12 };

/**
 * Parses a number: `1000`, `1,000`, `1_000`, `1 000`, `1k`, `2.5m`.
 *
 * @param {string} text
 * @returns {number | null | string} null if the text is empty; a string is an error message
 */
export function amount(text) {
  const given = text.trim().toLowerCase();
  if (!given) return null;
  const [, whole = "", decimals = "", times = ""] = NUMBER.exec(given) ?? [];
  if (!whole || (decimals && !times)) return "Enter a whole number, such as 5000, 5k or 2.5m.";
  const factor = TIMES[/** @type {keyof typeof TIMES} */ (times)];
  const value = Math.round(Number(`${whole.replace(/\D/g, "")}.${decimals || "0"}`) * factor);
  const rest = Number((Number(`0.${decimals || 0}`) * factor).toFixed(6));
  if (!Number.isInteger(rest)) return "This is not a whole number.";
  return value > MAX_THRESHOLD ? "The largest possible limit is 9,007,199,254,740,991." : value;
}

/** @param {number} value */
const plain = (value) => new Intl.NumberFormat("en").format(value);
