// The difference between two states of an object, as a list of fields with their values before and after.
//
// Items of a list that have a name (models, limits, budgets) are matched by name, so that removing one from the middle
// does not show every later item as changed.

import { WINDOWS, figure, limitName } from "../format.js";

/**
 * @typedef {{field: string, before: string | null, after: string | null}} Change `before` is null for an added field,
 *   `after` for a removed one
 */

/** Fields that are not listed: the id is shown in the heading, and every change is an update. */
const HIDDEN = new Set(["id", "updated_at"]);

/**
 * @param {unknown} before null if it was created
 * @param {unknown} after null if it was deleted
 * @returns {Change[]}
 */
export function changesOf(before, after) {
  const [was, is] = [fieldsOf(before), fieldsOf(after)];
  const names = new Set([...was.keys(), ...is.keys()]);
  return [...names]
    .map((field) => ({ field, before: was.get(field) ?? null, after: is.get(field) ?? null }))
    .filter((change) => change.before !== change.after)
    .map((change) => ({ ...change, field: change.field.replaceAll(SEPARATOR, " › ") }));
}

const SEPARATOR = "\u0000";

/** Every scalar value of an object, by path. @param {unknown} thing */
function fieldsOf(thing) {
  /** @type {Map<string, string>} */
  const fields = new Map();
  const walk = (/** @type {unknown} */ value, /** @type {string[]} */ path) => {
    if (value === null || value === undefined) return;
    if (Array.isArray(value)) {
      const isPlain = value.every((one) => one === null || typeof one !== "object");
      if (isPlain) {
        if (value.length) fields.set(path.join(SEPARATOR), value.map(text).join(", "));
        return;
      }
      const seen = new Map();
      value.forEach((one, index) => {
        const name = nameOf(one) ?? `${index + 1}.`;
        // The API does not send two items with the same name. If it did, both would be shown.
        const times = (seen.get(name) ?? 0) + 1;
        seen.set(name, times);
        const at = [...path, times > 1 ? `${name} (${times})` : name];
        const rest = without(one);
        if (isLimit(one)) return walk(one.threshold ?? `${figure(one.amount)} ${one.currency}`, at);
        if (Object.keys(rest).length) walk(rest, at);
        // List a model without limits too, although it has no values.
        if (!hasValues(rest)) fields.set(at.join(SEPARATOR), "yes");
      });
    } else if (typeof value === "object") {
      for (const [key, of] of Object.entries(value)) {
        if (path.length === 0 && HIDDEN.has(key)) continue;
        walk(of, key === "metadata" || key === "hierarchy" ? path : [...path, words(key)]);
      }
    } else {
      fields.set(path.join(SEPARATOR), text(value));
    }
  };
  walk(thing, []);
  return fields;
}

/** The name of an item of a list. @param {any} one */
function nameOf(one) {
  if (typeof one?.slug === "string") return one.slug;
  if (!isLimit(one)) return null;
  return one.type ? limitName(one) : WINDOWS[/** @type {keyof typeof WINDOWS} */ (one.unit)];
}

/** Whether it is a limit, or a budget. @param {any} one */
const isLimit = (one) => typeof one?.unit === "string";

/** An item without its name. @param {any} one */
function without(one) {
  if (one === null || typeof one !== "object") return { value: one };
  const { slug, ...rest } = one;
  return typeof slug === "string" ? rest : one;
}

/** @param {unknown} value @returns {boolean} */
function hasValues(value) {
  if (value === null || value === undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === "object") return Object.values(value).some(hasValues);
  return true;
}

/** @param {unknown} value */
function text(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return value.toLocaleString("en");
  const time = typeof value === "string" && /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?Z$/.exec(value);
  return time ? `${time[1]} ${time[2]} UTC` : String(value);
}

/** @param {string} key */
const words = (key) => key.replaceAll("_", " ");
