// The limits and budgets that apply to a group, computed as the gateway does. Pure: pages and tests share it.
//
// * A rule is a limit of a model, or a budget: a limit on money for all models of a group.
// * INDEPENDENT: for each (type, unit) the nearest declaration on the path applies, and each group counts for itself.
// * CASCADING: every declaration on the path applies, and a group's whole subtree draws on it.
// * CASCADING: no group may declare more than an ancestor does for the same (slug, type, unit, currency).

import { scaled } from "../decimal.js";

/** @import { Budget, BudgetStanding, BudgetUnit, BudgetUsage, Enforcement, LimitType, Model, Unit } from "../api_types.js" */
/** @import { Kind } from "../format.js" */

/**
 * @typedef {{type: LimitType | "COST", unit: Unit | BudgetUnit, currency?: string, threshold: number | string}} Rule
 *   money has a currency, and a threshold that is a decimal string
 * @typedef {Rule & {source_group: string}} EffectiveRule
 */
/** A slug, for the limits of that model, or null, for budgets. @typedef {string | null} Scope */
/** The parts of a group that matter to limits. @typedef {{id: string, models: Model[], budgets: Budget[]}} Declaring */
/**
 * @typedef {{scope: Scope, rule: Rule, bound: number | string, group: string,
 *   side: "ancestor" | "descendant"}} Violation
 *   `rule` is the group's own; `group` is an ancestor that allows at most `bound`, or a descendant that has `bound`
 */

export const MAX_LEVELS = 5;

/** @param {Budget} budget @returns {Rule} */
export const budgetRule = ({ unit, currency, amount }) => ({ type: "COST", unit, currency, threshold: amount });

/** @param {BudgetUsage} budget @returns {BudgetStanding} */
export const budgetStanding = ({ amount, spent, ...rest }) =>
  ({ kind: "budget", type: "COST", threshold: amount, used: spent, ...rest });

/** Whether a limit is one of `rate_limits`, not of `usage_limits`. @param {{unit: string}} rule */
export const isRate = ({ unit }) => ["SECOND", "MINUTE", "CONCURRENT"].includes(unit);

/** Whether the nearer of two rules applies instead of the other one. @param {Kind} a @param {Kind} b */
export const ofOneKind = (a, b) => a.type === b.type && a.unit === b.unit;

/** The rules that a group declares. @param {Omit<Declaring, "id">} group @param {Scope} scope @returns {Rule[]} */
export function declared({ models, budgets }, scope) {
  if (scope === null) return budgets.map(budgetRule);
  const model = models.find(({ slug }) => slug === scope);
  return model ? [...model.rate_limits, ...model.usage_limits] : [];
}

/**
 * The rules that apply, in the API's order.
 *
 * @param {Declaring[]} path the group itself, then its ancestors up to the root
 * @param {Scope} scope
 * @param {Enforcement} mode
 */
export function effective(path, scope, mode) {
  /** @type {EffectiveRule[]} */
  const found = [];
  for (const group of path) {
    const more = declared(group, scope).filter((rule) =>
      mode === "CASCADING" || !found.some((nearer) => ofOneKind(nearer, rule)));
    found.push(...more.map((rule) => ({ ...rule, source_group: group.id })));
  }
  return found;
}

/**
 * The rules of a group that violate the rule of CASCADING; the gateway would refuse them.
 *
 * @param {Omit<Declaring, "id">} group
 * @param {Declaring[]} ancestors nearest first
 * @param {Declaring[]} descendants
 * @returns {Violation[]} at most one for each rule: that of the tightest bound
 */
export function violations(group, ancestors, descendants) {
  const scopes = [...group.models.map(({ slug }) => slug), null];
  return scopes.flatMap((scope) => declared(group, scope).flatMap((rule) => {
    const own = scaled(rule.threshold);
    const [least] = alike(ancestors, scope, rule);
    const most = alike(descendants, scope, rule).pop();
    /** @type {Violation[]} */
    const found = [];
    if (least && own > scaled(least.bound)) found.push({ scope, rule, ...least, side: "ancestor" });
    else if (most && own < scaled(most.bound)) found.push({ scope, rule, ...most, side: "descendant" });
    return found;
  }));
}

/**
 * The declarations of groups that bound a rule, least first.
 *
 * @param {Declaring[]} groups
 * @param {Scope} scope
 * @param {Rule} rule
 */
const alike = (groups, scope, rule) => groups.flatMap((group) =>
  declared(group, scope).filter((other) => ofOneKind(other, rule) && other.currency === rule.currency)
    .map(({ threshold }) => ({ bound: threshold, group: group.id })))
  .sort((a, b) => Number(scaled(a.bound) - scaled(b.bound)));
