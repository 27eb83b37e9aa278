// The limits that apply to a group, computed as the gateway does. Pure: pages and tests share it.
//
// * INDEPENDENT: for each (type, unit) the nearest declaration on the path applies, and each group counts for itself.
// * CASCADING: every declaration on the path applies, and a group's whole subtree draws on it.
// * CASCADING: no group may declare a threshold above an ancestor's for the same (slug, type, unit).

/** @import { Enforcement, EffectiveLimit, Limit, Model } from "../api_types.js" */

/** The parts of a group that matter to limits. @typedef {{id: string, models: Model[]}} Declaring */
/** @typedef {{rate_limits: EffectiveLimit[], usage_limits: EffectiveLimit[]}} Effective */
/**
 * @typedef {{slug: string, limit: Limit, bound: number, group: string, side: "ancestor" | "descendant"}} Violation
 *   `limit` is the group's own; `group` is an ancestor that allows at most `bound`, or a descendant that has `bound`
 */

export const MAX_LEVELS = 5;

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
