// Limits and budgets that have reached a share of `alert_at` in their current window, as the newest alerts say.

import { api } from "../api.js";
import { scaled } from "../decimal.js";
import { budgetStanding } from "./limits.js";

/** @import * as T from "../api_types.js" */
/** @import { Rule } from "./limits.js" */

/**
 * The use of a limit or budget.
 *
 * @typedef {Rule & {source_group: string, used: number | string, reset_at: string | null}} Used
 */

const MAX_ALERTS = 1000;

/**
 * The newest alert about each limit and budget whose window has not ended, the highest share first. Pure.
 *
 * @param {T.Alert[]} alerts newest first
 * @param {number} now_ms
 */
export function inForce(alerts, now_ms) {
  /** @type {Map<string, T.Alert>} */
  const newest = new Map();
  for (const alert of alerts) {
    const rule = JSON.stringify([alert.external_entity_id, alert.group_id, alert.model_slug, alert.type, alert.unit]);
    if (!newest.has(rule)) newest.set(rule, alert);
  }
  return [...newest.values()]
    .filter(({ reset_at }) => !reset_at || Date.parse(reset_at) > now_ms)
    .sort((a, b) => b.percent - a.percent || b.created_at.localeCompare(a.created_at));
}

/** The alerts that are in force now. */
export async function alertsInForce() {
  /** @type {T.Page<T.Alert>} */
  const { items } = await api.alerts({ limit: MAX_ALERTS });
  return inForce(items, Date.now());
}

/** The use of a group's limits for a model. @param {T.GroupUsage} usage @param {string} slug @returns {Used[]} */
export const usedOf = (usage, slug) =>
  (usage.usage[slug] ?? []).map(({ current_usage, ...limit }) => ({ ...limit, used: current_usage ?? 0 }));

/** Whether an alert is about a limit or budget as it is now. @param {T.Alert} alert @param {Used} rule */
const isAbout = (alert, { type, unit, currency, threshold, source_group }) =>
  alert.group_id === source_group && alert.unit === unit && scaled(alert.threshold) === scaled(threshold)
    && (type === "COST" ? alert.currency === currency : alert.type === type);

/**
 * The use of the limit or budget that an alert is about; undefined if that has changed or is gone.
 *
 * @param {T.Alert} alert
 * @param {T.GroupUsage} usage of the group that the alert is about
 */
export function useOf(alert, usage) {
  /** @type {Used[]} */
  const rules = alert.model_slug === null ? usage.budgets.map(budgetStanding) : usedOf(usage, alert.model_slug);
  return rules.find((rule) => isAbout(alert, rule));
}

/**
 * The share that a group's limit or budget has reached, in percent; undefined if it has reached none.
 *
 * @param {T.Alert[]} alerts the group's, in force
 * @param {string | null} slug null for a budget
 * @param {Used} rule
 */
export const shareOf = (alerts, slug, rule) =>
  alerts.find((alert) => alert.model_slug === slug && isAbout(alert, rule))?.percent;
