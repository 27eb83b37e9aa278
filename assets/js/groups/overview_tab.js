// The overview of a group: its budgets and limits with what is used of them, and its children.

import { api } from "../api.js";
import { h } from "../dom.js";
import { rangeOf, timesOf } from "../filters/range.js";
import { amountText, figure, limitName, plural } from "../format.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { badge, state } from "../ui/badge.js";
import { copyButton } from "../ui/copy.js";
import { meter } from "../ui/meter.js";
import { facts, section } from "../ui/page.js";
import { pagedTable, table } from "../ui/table.js";
import { resetTime, when } from "../ui/when.js";
import { shareBadge, showBars } from "./limit_bars.js";
import { MAX_LEVELS, budgetRule, budgetStanding } from "./limits.js";
import { groupAddress, namesOf, shortName } from "./names.js";
import { alertsInForce, shareOf, usedOf } from "./shares.js";

/** @import * as T from "../api_types.js" */
/** @import { EffectiveRule } from "./limits.js" */
/** @import { Used } from "./shares.js" */
/** @import { Tab } from "./tab.js" */

const RANGE = "30d";

/** @param {Tab} tab */
export default async function overviewTab({ group, ancestors }) {
  const { id, metadata, hierarchy, created_at, effective_models } = group();
  const query = { group_ids: id, only: 1, range: RANGE };
  const [usage, alerts, report, children] = await Promise.all([
    may("metrics") ? api.groups.usage(id) : null,
    may("metrics") ? alertsInForce() : [],
    may("metrics") ? api.usageReport({ ...timesOf(rangeOf(new URLSearchParams(), RANGE, Date.now())), group_ids: [id] }) : null,
    childTable(id, ancestors.length + 1, () => [group(), ...ancestors].find((one) => one.disabled)),
  ]);
  const nameOf = namesOf([group(), ...ancestors]);
  // In CASCADING, an ancestor's limit counts the use of the ancestor's subtree, and so do its alerts.
  const path = [group(), ...ancestors].map((one) => one.metadata.external_entity_id);
  const own = alerts.filter((alert) => alert.external_entity_id === metadata.external_entity_id
    || (hierarchy.limit_enforcement === "CASCADING" && path.includes(alert.external_entity_id)));
  const sharesOf = (/** @type {string | null} */ slug) => (/** @type {Used} */ rule) => shareOf(own, slug, rule);
  const models = effective_models.length
    ? table({
      caption: "Models and limits",
      columns: [
        { label: "Model", kind: "main", cell: (model) => model.slug },
        { label: "Rate limits", cell: (model) => limitList(model.rate_limits, "no rate limit", id, nameOf) },
        usage
          ? { label: "Used", cell: (model) => usedList(usedOf(usage, model.slug), id, nameOf, sharesOf(model.slug)) }
          : { label: "Usage limits", cell: (model) => limitList(model.usage_limits, "no usage limit", id, nameOf) },
      ],
      rows: effective_models,
    })
    : h("p", { class: "faint" }, "This group has no models: its keys cannot make calls.");
  return Object.assign(h("div", { class: "stack group-overview" },
    section({
      heading: "Models and limits", kind: "models-held",
      actions: may("manage") && h("a", { href: groupAddress(id, "limits") }, "Edit limits"),
    }, models),
    section({
      heading: "Budgets", actions: may("manage") && h("a", { href: groupAddress(id, "limits") }, "Edit budgets"),
    }, budgetsOf(group(), usage, nameOf, sharesOf(null))),
    section({ heading: "Child groups" }, children),
    section({ heading: "Details" }, h("div", { class: "card" }, facts([
      ["Id", h("span", { class: "external-id" }, h("code", null, id), copyButton({ text: id, message: "Id copied" }))],
      ["Created", when(created_at)],
      ["Limits", hierarchy.limit_enforcement === "CASCADING"
        ? "CASCADING: all limits up to the root apply, and each is shared with the groups below it."
        : "INDEPENDENT: the nearest limit applies, and each group's usage is counted separately."],
      ...(report ? [/** @type {[string, import("../dom.js").Child]} */ (["Billing", h("span", { class: "row" },
        h("span", { class: "row" }, costOf(report), " in the last 30 days"),
        h("a", { href: link("/usage", query) }, "Usage"),
        h("a", { href: link("/events", query) }, "Events"))])] : []),
    ])))), { redraw: children.redraw });
}

/**
 * @param {EffectiveRule[]} limits
 * @param {string} none shown if there are no limits
 * @param {string} self
 * @param {(id: string) => string} nameOf
 */
function limitList(limits, none, self, nameOf) {
  if (!limits.length) return h("span", { class: "faint" }, none);
  return h("ul", { class: "limit-list" }, limits.map((limit) => h("li", null,
    h("span", { class: "number" }, figure(limit.threshold)), ` ${limitName(limit)}`, source(limit, self, nameOf))));
}

/** @param {{source_group: string}} limit @param {string} self @param {(id: string) => string} nameOf */
const source = ({ source_group }, self, nameOf) =>
  source_group !== self &&
  h("span", { class: "hint" }, " of ", h("a", { href: groupAddress(source_group) }, nameOf(source_group)));

/**
 * @param {Used[]} limits
 * @param {string} self
 * @param {(id: string) => string} nameOf
 * @param {(rule: Used) => number | undefined} share in percent
 */
function usedList(limits, self, nameOf, share) {
  if (!limits.length) return h("span", { class: "faint" }, "no usage limit");
  return h("ul", { class: "limit-list used-list" }, limits.map((limit) => {
    const { used, threshold } = limit;
    return h("li", null,
      meter({ label: `${limitName(limit)} of ${nameOf(limit.source_group)}`, used, threshold }),
      h("span", null, h("span", { class: "number" }, `${amountText(used)} of ${figure(threshold)}`),
        ` ${limitName(limit)}`, source(limit, self, nameOf),
        limit.reset_at && h("span", { class: "hint" }, ", resets ", resetTime(limit.reset_at)), " ", shareBadge(share(limit))));
  }));
}

/** @param {T.UsageReport} report */
function costOf({ items: [total] }) {
  const costs = Object.entries(total?.cost ?? {});
  const text = (/** @type {(amount: string) => string} */ show) =>
    costs.map(([currency, amount]) => `${show(amount)} ${currency}`).join(", ");
  return costs.length ? h("span", { title: text(figure) }, text(amountText)) : "No cost";
}

/**
 * The bars of the budgets that apply, or their list if the operator may not read usage.
 *
 * @param {T.Group} group
 * @param {T.GroupUsage | null} usage
 * @param {(id: string) => string} nameOf
 * @param {(rule: Used) => number | undefined} share in percent
 */
function budgetsOf(group, usage, nameOf, share) {
  if (!group.effective_budgets.length) {
    return h("p", { class: "faint" }, "None: only its limits restrict what this group can spend.");
  }
  if (!usage) {
    const rules = group.effective_budgets.map((budget) => ({ ...budgetRule(budget), source_group: budget.source_group }));
    return h("div", { class: "card" }, limitList(rules, "", group.id, nameOf));
  }
  const bars = h("ul", { class: "limit-bars" });
  showBars(bars, { limits: usage.budgets.map(budgetStanding), tokens: 0, admitted: true, stopped_by: null }, group, nameOf, share);
  return bars;
}

/** @param {string} id @param {number} level @param {() => T.Group | undefined} disabledBy the nearest disabled group */
const childTable = (id, level, disabledBy) => pagedTable({
  caption: "Child groups",
  columns: [
    {
      label: "Group", kind: "main",
      cell: (/** @type {T.Group} */ child) => h("a", { href: groupAddress(child.id) }, shortName(child.metadata)),
    },
    {
      label: "External id", kind: "wide-only",
      cell: (child) => h("span", { class: "faint" }, child.metadata.external_entity_id),
    },
    {
      label: "Models",
      cell: ({ models }) => models.length === 1 ? models[0]?.slug : plural(models.length, "model"),
    },
    {
      label: "State",
      cell: (child) => {
        const above = disabledBy();
        return child.disabled ? badge("warn", "disabled")
          : above ? badge("warn", `disabled by ${shortName(above.metadata)}`) : state("ok", "Enabled");
      },
    },
  ],
  list: api.groups.list,
  query: { parent_group_id: id },
  empty: h("p", { class: "faint" }, level < MAX_LEVELS
    ? "None. A child group is a part of this customer with its own keys and limits."
    : "None: a tree has at most five levels."),
});
