// The limits that apply to a group, computed as the gateway does. Pure: pages and tests share it.
//
// * INDEPENDENT: for each (type, unit) the nearest declaration on the path applies, and each group counts for itself.
// * CASCADING: every declaration on the path applies, and a group's whole subtree draws on it.
// * CASCADING: no group may declare a threshold above an ancestor's for the same (slug, type, unit).

/** @import { Enforcement, EffectiveLimit, Limit, LimitType, Model, Unit } from "../api_types.js" */

/** The parts of a group that matter to limits. @typedef {{id: string, models: Model[]}} Declaring */
/** @typedef {{rate_limits: EffectiveLimit[], usage_limits: EffectiveLimit[]}} Effective */
/**
 * @typedef {{slug: string, limit: Limit, bound: number, group: string, side: "ancestor" | "descendant"}} Violation
 *   `limit` is the group's own; `group` is an ancestor that allows at most `bound`, or a descendant that has `bound`
 */

export const MAX_LEVELS = 5;
const MAX_THRESHOLD = 2 ** 53 - 1;

/** The four limits that a group may set on a model, and the units of each. */
export const CELLS = /** @type {const} */ ([
  { kind: "rate", type: "TOKEN", units: ["MINUTE", "SECOND"] },
  { kind: "rate", type: "REQUEST", units: ["MINUTE", "SECOND"] },
  { kind: "usage", type: "TOKEN", units: ["DAY"] },
  { kind: "usage", type: "REQUEST", units: ["DAY"] },
]);

/** @param {Model | undefined} model */
const limitsOf = (model) => (model ? [...model.rate_limits, ...model.usage_limits] : []);

/** @param {Limit} a @param {Limit} b */
const alike = (a, b) => a.type === b.type && a.unit === b.unit;

/** @param {Declaring} group @param {string} slug */
const declared = (group, slug) => limitsOf(group.models.find((model) => model.slug === slug));

/**
 * The limits that apply to a request for `slug`, in the API's order.
 *
 * @param {Declaring[]} path the group itself, then its ancestors up to the root
 * @param {string} slug
 * @param {Enforcement} mode
 * @returns {Effective}
 */
export function effective(path, slug, mode) {
  /** @type {EffectiveLimit[]} */
  const found = [];
  for (const group of path) {
    for (const limit of declared(group, slug)) {
      if (mode === "INDEPENDENT" && found.some((nearer) => alike(nearer, limit))) continue;
      found.push({ type: limit.type, unit: limit.unit, threshold: limit.threshold, source_group: group.id });
    }
  }
  return {
    rate_limits: found.filter((limit) => limit.unit !== "DAY"),
    usage_limits: found.filter((limit) => limit.unit === "DAY"),
  };
}

/**
 * The limits of a group that violate the rule of CASCADING; the gateway would refuse them.
 *
 * @param {Model[]} models the group's own
 * @param {Declaring[]} ancestors nearest first
 * @param {Declaring[]} descendants
 * @returns {Violation[]} at most one for each limit: that of the tightest bound
 */
export function violations(models, ancestors, descendants) {
  /** @type {Violation[]} */
  const found = [];
  for (const model of models) {
    for (const limit of limitsOf(model)) {
      const least = tightest(ancestors, model.slug, limit, (known, best) => known < best);
      const most = tightest(descendants, model.slug, limit, (known, best) => known > best);
      const { slug } = model;
      if (least && limit.threshold > least.bound) found.push({ slug, limit, ...least, side: "ancestor" });
      else if (most && limit.threshold < most.bound) found.push({ slug, limit, ...most, side: "descendant" });
    }
  }
  return found;
}

/**
 * @param {Declaring[]} groups
 * @param {string} slug
 * @param {Limit} like
 * @param {(known: number, best: number) => boolean} better
 */
function tightest(groups, slug, like, better) {
  /** @type {{bound: number, group: string} | null} */
  let best = null;
  for (const group of groups) {
    const known = declared(group, slug).find((limit) => alike(limit, like));
    if (known && (!best || better(known.threshold, best.bound))) best = { bound: known.threshold, group: group.id };
  }
  return best;
}

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
