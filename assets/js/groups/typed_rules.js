// Limits and budgets as they are typed into the rows of the limits editor. Pure.

import { scaled } from "../decimal.js";
import { figure } from "../format.js";
import { declared, isRate } from "./limits.js";

/** @import { Budget, Limit, Model } from "../api_types.js" */
/** @import { Rule, Scope } from "./limits.js" */

/** A row. @typedef {{type: Rule["type"], unit: Rule["unit"], currency?: string, text: string}} Typed */
/** @typedef {"TOKEN" | "REQUEST" | "RUNNING" | "COST"} Measure */

const WINDOWS = /** @type {const} */ (["SECOND", "MINUTE", "DAY", "WEEK", "MONTH"]);

/** The windows of each measure. @type {Record<Measure, readonly Rule["unit"][]>} */
export const UNITS = {
  TOKEN: WINDOWS, REQUEST: WINDOWS, RUNNING: ["CONCURRENT"], COST: ["DAY", "WEEK", "MONTH", "TOTAL"],
};

/** @param {Pick<Typed, "type" | "unit">} rule @returns {Measure} */
export const measureOf = ({ type, unit }) => (unit === "CONCURRENT" ? "RUNNING" : type);

/** @param {Measure} measure @returns {Rule["type"]} */
export const typeOf = (measure) => (measure === "RUNNING" ? "REQUEST" : measure);

/** What a group declares at most once: a type has one rolling window. @param {Pick<Typed, "type" | "unit">} rule */
export const slotOf = ({ type, unit }) => `${type} ${unit === "SECOND" ? "MINUTE" : unit}`;

/** The slots in the order in which rows are added. */
const LIMIT_SLOTS = [
  "TOKEN MINUTE", "REQUEST MINUTE", "TOKEN DAY", "REQUEST DAY", "REQUEST CONCURRENT", "TOKEN MONTH", "REQUEST MONTH",
  "TOKEN WEEK", "REQUEST WEEK",
];
const BUDGET_SLOTS = ["COST MONTH", "COST TOTAL", "COST DAY", "COST WEEK"];

/** The type and unit of the next row, if there can be one more. @param {Scope} scope @param {Set<string>} taken */
export function nextRule(scope, taken) {
  const slot = (scope === null ? BUDGET_SLOTS : LIMIT_SLOTS).find((one) => !taken.has(one));
  const [type, unit] = slot?.split(" ") ?? [];
  return slot && { type: /** @type {Rule["type"]} */ (type), unit: /** @type {Rule["unit"]} */ (unit) };
}

/** @param {Rule} rule @returns {Typed} */
export const typedOf = ({ threshold, ...rule }) => ({ ...rule, text: figure(threshold) });

/** The rules of rows. A row that is empty or not a number declares none. @param {Typed[]} rows @returns {Rule[]} */
export const rulesOf = (rows) => rows.flatMap(({ text, ...rule }) => {
  const { value } = rule.type === "COST" ? money(text) : amount(text);
  return value === null ? [] : [{ ...rule, threshold: value }];
});

/** A model as the API takes it. @param {string} slug @param {Rule[]} rules @returns {Model} */
export function modelOf(slug, rules) {
  const limits = /** @type {Limit[]} */ (rules.map(({ type, unit, threshold }) => ({ type, unit, threshold })));
  return { slug, rate_limits: limits.filter(isRate), usage_limits: limits.filter((limit) => !isRate(limit)) };
}

/** Budgets as the API takes them. @param {Rule[]} rules */
export const budgetsOf = (rules) => /** @type {Budget[]} */ (
  rules.map(({ unit, currency, threshold }) => ({ unit, currency, amount: threshold })));

/** Whether models are the same, regardless of the order of their limits. @param {Model[]} a @param {Model[]} b */
export const sameModels = (a, b) => normal(a, []) === normal(b, []);

/** @param {Budget[]} a @param {Budget[]} b */
export const sameBudgets = (a, b) => normal([], a) === normal([], b);

/** @param {Model[]} models @param {Budget[]} budgets */
const normal = (models, budgets) => JSON.stringify([...models.map(({ slug }) => slug), null].map((scope) => [scope,
  declared({ models, budgets }, scope).map((rule) =>
    `${rule.type} ${rule.unit} ${rule.currency} ${scaled(rule.threshold)}`).sort()]));

const NUMBER = /^(\d+|\d{1,3}(?:[,_ \u00a0]\d{3})+)(?:\.(\d+))?\s*([kmgbt]?)$/;
const ZEROS = { "": 0, k: 3, m: 6, g: 9, b: 9, t: 12 };
const MAX_THRESHOLD = 2 ** 53 - 1;

/** The digits of a number before and after its point; null if the text is not a number. @param {string} text */
function digitsOf(text) {
  const [, whole = "", decimals = "", times = ""] = NUMBER.exec(text.trim().toLowerCase()) ?? [];
  if (!whole) return null;
  const zeros = ZEROS[/** @type {keyof typeof ZEROS} */ (times)];
  const all = decimals.padEnd(zeros, "0");
  const before = `${whole.replace(/\D/g, "")}${all.slice(0, zeros)}`.replace(/^0+(?=\d)/, "");
  return { before, after: all.slice(zeros).replace(/0+$/, ""), hasPoint: decimals !== "" && !times };
}

/**
 * Parses a whole number: `1000`, `1,000`, `1_000`, `1 000`, `1k`, `2.5m`.
 *
 * @param {string} text
 * @returns {{value: number | null, error: string}} null if the text is empty or has an error
 */
export function amount(text) {
  const wrong = (/** @type {string} */ error) => ({ value: null, error });
  if (!text.trim()) return wrong("");
  const digits = digitsOf(text);
  // A point without a suffix may be meant to group digits, as in 1.000.
  if (!digits || digits.hasPoint) return wrong("Enter a whole number, such as 5000, 5k or 2.5m.");
  if (digits.after) return wrong("This is not a whole number.");
  const value = Number(digits.before);
  return value > MAX_THRESHOLD ? wrong("The largest possible limit is 9,007,199,254,740,991.") : { value, error: "" };
}

/**
 * Parses an amount of money: `500`, `49.90`, `1,000.00`, `2.5k`.
 *
 * @param {string} text
 * @returns {{value: string | null, error: string}} the API's decimal string; null if the text is empty or has an error
 */
export function money(text) {
  const digits = digitsOf(text);
  if (!text.trim()) return { value: null, error: "" };
  if (!digits) return { value: null, error: "Enter an amount, such as 500 or 49.90." };
  const { before, after } = digits;
  if (after.length > 6) return { value: null, error: "An amount has at most 6 decimals." };
  return { value: `${before}.${after.padEnd(2, "0")}`, error: "" };
}
