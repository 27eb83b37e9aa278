// The limits and budgets of all groups that have reached a share of `alert_at`, for the overview.

import { api } from "../api.js";
import { h } from "../dom.js";
import { usedWords } from "../format.js";
import { meter } from "../ui/meter.js";
import { section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { when } from "../ui/when.js";
import { groupCell, knownNames } from "./known_names.js";
import { shareBadge } from "./limit_bars.js";
import { alertsInForce, useOf } from "./shares.js";

/** @import * as T from "../api_types.js" */
/** @import { Used } from "./shares.js" */

const MAX_SHOWN = 10;
/** Alerts that are looked at, since some are about limits that have changed, and how many at once. */
const MAX_ASKED = 90;
const TOGETHER = 30;

/** @typedef {{alert: T.Alert, rule: Used, group_id: string, external_entity_id: string}} Reached */

/** A section, hidden while there is nothing to show, and a function that reads it again. */
export async function nearlyUsed() {
  const names = knownNames();
  const list = table({
    caption: "Nearly used up",
    columns: [
      { label: "Group", kind: "main", cell: (/** @type {Reached} */ row) => groupCell(names, row) },
      {
        label: "Used",
        cell: ({ alert, rule }) => [
          h("div", null, usedWords(rule), alert.model_slug && [", ", h("bdi", null, alert.model_slug)], " ",
            shareBadge(alert.percent)),
          meter({ label: usedWords(rule), used: rule.used, threshold: rule.threshold }),
        ],
      },
      { label: "Since", kind: "wide-only", cell: ({ alert }) => when(alert.created_at) },
    ],
    rows: [],
  });
  const element = section({
    heading: "Nearly used up",
    lead: "Limits and budgets that have raised an alert, the highest share first.",
  }, list);
  const refresh = async () => {
    const rows = await reached();
    await names.learn(rows.map((row) => row.external_entity_id));
    list.update(rows);
    element.hidden = rows.length === 0;
  };
  element.hidden = true;
  await refresh().catch(() => {});
  return { element, refresh };
}

/** @returns {Promise<Reached[]>} */
async function reached() {
  const alerts = await alertsInForce();
  /** @type {Map<string, T.GroupUsage | null>} by group; null for a deleted one, which has no limits */
  const usages = new Map();
  const read = (/** @type {string[]} */ ids) => Promise.all([...new Set(ids)].map(async (id) =>
    usages.has(id) || usages.set(id, await api.groups.usage(id).catch(() => null))));
  /** @type {Reached[]} */
  const rows = [];
  for (let at = 0; at < MAX_ASKED && rows.length < MAX_SHOWN; at += TOGETHER) {
    const some = alerts.slice(at, at + TOGETHER);
    await read(some.map((alert) => alert.group_id));
    // An alert names the group that declared the limit. In INDEPENDENT, the use can be of a group below it.
    const below = some.filter(({ group_id, external_entity_id }) =>
      (usages.get(group_id)?.customer_id ?? external_entity_id) !== external_entity_id);
    if (below.length) {
      /** @type {T.UsageReport} */
      const { items } = await api.usageReport({
        start_time: below.map((alert) => alert.window_start).sort()[0], group_by: "group",
        external_entity_ids: [...new Set(below.map((alert) => alert.external_entity_id))],
      });
      await read(items.map(({ group_id = "" }) => group_id));
    }
    for (const alert of some) {
      for (const [group_id, usage] of usages) {
        const rule = usage?.customer_id === alert.external_entity_id && useOf(alert, usage);
        if (rule) rows.push({ alert, rule, group_id, external_entity_id: usage.customer_id });
      }
    }
  }
  return rows.slice(0, MAX_SHOWN);
}
