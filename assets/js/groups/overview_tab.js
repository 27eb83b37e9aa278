// The overview of a group: its limits and today's usage, and its children.

import { api } from "../api.js";
import { h } from "../dom.js";
import { int, limitName, plural } from "../format.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { badge, state } from "../ui/badge.js";
import { copyButton } from "../ui/copy.js";
import { meter } from "../ui/meter.js";
import { facts, section } from "../ui/page.js";
import { pagedTable, table } from "../ui/table.js";
import { when } from "../ui/when.js";
import { MAX_LEVELS } from "./limits.js";
import { groupAddress, namesOf, shortName } from "./names.js";

/** @import * as T from "../api_types.js" */
/** @import { Tab } from "./tab.js" */

/** @param {Tab} tab */
export default async function overviewTab({ group, ancestors }) {
  const { id, metadata, hierarchy, created_at, effective_models } = group();
  const [usage, children] = await Promise.all([
    may("metrics") ? api.groups.usage(id) : null,
    childTable(id, ancestors.length + 1),
  ]);
  const nameOf = namesOf([group(), ...ancestors]);
  const models = effective_models.length
    ? table({
      caption: "Models and limits",
      columns: [
        { label: "Model", kind: "main", cell: (model) => model.slug },
        { label: "Rate limits", cell: (model) => limitList(model.rate_limits, "no rate limit", id, nameOf) },
        usage
          ? { label: "Today", cell: (model) => todayList(usage.usage[model.slug] ?? [], id, nameOf) }
          : { label: "Daily limits", cell: (model) => limitList(model.usage_limits, "no daily limit", id, nameOf) },
      ],
      rows: effective_models,
    })
    : h("p", { class: "faint" }, "This group has no models: its keys cannot make calls.");
  return h("div", { class: "stack group-overview" },
    section({
      heading: "Models and limits", kind: "models-held",
      actions: may("manage") && h("a", { href: groupAddress(id, "limits") }, "Edit limits"),
    }, models),
    section({ heading: "Child groups" }, children),
    section({ heading: "Details" }, h("div", { class: "card" }, facts([
      ["Id", h("span", { class: "external-id" }, h("code", null, id), copyButton({ text: id, message: "Id copied" }))],
      ["Created", when(created_at)],
      ["Limits", hierarchy.limit_enforcement === "CASCADING"
        ? "CASCADING: all limits up to the root apply, and each is shared with the groups below it."
        : "INDEPENDENT: the nearest limit applies, and each group's usage is counted separately."],
      ...(may("metrics") ? [/** @type {[string, import("../dom.js").Child]} */ (["Billing", h("span", { class: "row" },
        h("a", { href: link("/usage", { group_ids: id }) }, "Usage"),
        h("a", { href: link("/events", { external_entity_ids: metadata.external_entity_id }) }, "Events"))])] : []),
    ]))));
}

/**
 * @param {T.EffectiveLimit[]} limits
 * @param {string} none shown if there are no limits
 * @param {string} self
 * @param {(id: string) => string} nameOf
 */
function limitList(limits, none, self, nameOf) {
  if (!limits.length) return h("span", { class: "faint" }, none);
  return h("ul", { class: "limit-list" }, limits.map((limit) => h("li", null,
    h("span", { class: "number" }, int(limit.threshold)), ` ${limitName(limit)}`, source(limit, self, nameOf))));
}

/** @param {T.EffectiveLimit} limit @param {string} self @param {(id: string) => string} nameOf */
const source = ({ source_group }, self, nameOf) =>
  source_group !== self &&
  h("span", { class: "hint" }, " of ", h("a", { href: groupAddress(source_group) }, nameOf(source_group)));

/** @param {T.LimitUsage[]} limits @param {string} self @param {(id: string) => string} nameOf */
function todayList(limits, self, nameOf) {
  if (!limits.length) return h("span", { class: "faint" }, "no daily limit");
  return h("ul", { class: "limit-list today-list" }, limits.map((limit) => {
    const used = limit.current_usage ?? 0;
    return h("li", null,
      meter({ label: `${limitName(limit)} of ${nameOf(limit.source_group)}`, used, threshold: limit.threshold }),
      h("span", null, h("span", { class: "number" }, `${int(used)} of ${int(limit.threshold)}`),
        ` ${limit.type === "TOKEN" ? "tokens" : "requests"}`, source(limit, self, nameOf)));
  }));
}

/** @param {string} id @param {number} level */
const childTable = (id, level) => pagedTable({
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
    { label: "State", cell: (child) => child.disabled ? badge("warn", "disabled") : state("ok", "Enabled") },
  ],
  list: api.groups.list,
  query: { parent_group_id: id },
  empty: h("p", { class: "faint" }, level < MAX_LEVELS
    ? "None. A child group is a part of this customer with its own keys and limits."
    : "None: a tree has at most five levels."),
});
