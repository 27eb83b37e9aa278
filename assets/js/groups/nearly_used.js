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
/** Alerts that are looked at, since some are about limits that have changed. */
const MAX_ASKED = 30;

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
    lead: "Limits and budgets that have reached a share at which Tollgate makes an alert, the highest share first.",
  }, list);
  const refresh = async () => {
    const rows = await reached();
    await names.learn(rows.map((row) => row.external_entity_id));
    list.update(rows);
    element.hidden = rows.length === 0;
  };
  await refresh();
  return { element, refresh };
}

/** @returns {Promise<Reached[]>} */
async function reached() {
  const alerts = (await alertsInForce()).slice(0, MAX_ASKED);
  if (!alerts.length) return [];
  const external_entity_ids = [...new Set(alerts.map((alert) => alert.external_entity_id))];
  // An alert names the group that declared the limit; the report names the one whose use it is.
  const start_time = alerts.map((alert) => alert.window_start).sort()[0];
  /** @type {T.UsageReport} */
  const { items } = await api.usageReport({ start_time, external_entity_ids, group_by: "group" });
  const groups = await Promise.all(items.map(async ({ group_id = "", external_entity_id = "" }) => {
    // A deleted group has no limits.
    const usage = await api.groups.usage(group_id).catch(() => null);
    return { group_id, external_entity_id, usage };
  }));
  return alerts.flatMap((alert) => groups.flatMap(({ usage, ...group }) => {
    const rule = usage && group.external_entity_id === alert.external_entity_id && useOf(alert, usage);
    return rule ? [{ alert, rule, ...group }] : [];
  })).slice(0, MAX_SHOWN);
}
