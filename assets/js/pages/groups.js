// All groups as a tree, with what each has used of its daily limit and budget.

import { all, api } from "../api.js";
import { scaled } from "../decimal.js";
import { fill, h } from "../dom.js";
import { figure, groupName, int, limitName, plural, usedWords } from "../format.js";
import { shareBadge } from "../groups/limit_bars.js";
import { budgetStanding } from "../groups/limits.js";
import { buildTree, disabledBy, rowsOf } from "../groups/tree.js";
import { treegrid } from "../groups/treegrid.js";
import { may } from "../session.js";
import { debounced, every } from "../timers.js";
import { badge } from "../ui/badge.js";
import { button, linkButton } from "../ui/button.js";
import { textInput } from "../ui/form.js";
import { icon } from "../ui/icon.js";
import { meter } from "../ui/meter.js";
import { empty, page } from "../ui/page.js";

/** @import * as T from "../api_types.js" */
/** @import { Kind } from "../format.js" */
/** @import { Context } from "../router.js" */
/** @import { Node, Row } from "../groups/tree.js" */

const REFRESH_MS = 15_000;
/** Trees of up to this many groups are refreshed periodically; larger ones only when the tab becomes visible. */
const MAX_REFRESHED = 1000;
/** Trees of up to this many groups start expanded. */
const MAX_EXPANDED = 200;

/** Groups that were expanded (true) or collapsed (false) during this visit. @type {Map<string, boolean>} */
const folds = new Map();

/** @param {Context} context */
export default async function groups({ query, signal, setQuery }) {
  const list = await all(api.groups.tree);
  const actions = may("manage") &&
    linkButton({ label: "New group", icon: "plus", kind: "primary", href: "#/groups/new" });
  if (!list.length) {
    return page({ heading: "Groups" }, empty({
      heading: "No groups yet",
      text: "A group is a customer or a part of one. It has the models that its keys may call, and the limits on each.",
      actions,
    }));
  }

  let tree = buildTree(list);
  let wanted = query.get("q") ?? "";
  const isOpen = (/** @type {Node} */ node) => folds.get(node.group.id) ?? tree.nodes.size <= MAX_EXPANDED;
  const counts = h("p", { class: "hint tree-told", role: "status" });
  const none = h("p", { class: "tree-none faint" }, "No group has a matching name, external id or id.");
  const grid = treegrid({
    label: "Groups", columns: columns(), signal,
    toggle: (row, open) => {
      folds.set(row.node.group.id, open);
      show();
    },
    open: (row) => {
      location.hash = address(row.node.group);
    },
  });
  const show = () => {
    const { rows, found } = rowsOf(tree.roots, isOpen, wanted);
    const keys = sum([...tree.nodes.values()].map((node) => node.group.keys));
    fill(counts, wanted.trim()
      ? `${int(found)} of ${plural(tree.nodes.size, "group")}`
      : `${plural(tree.nodes.size, "group")}, ${plural(keys, "key")}`);
    none.hidden = rows.length > 0;
    grid.show(rows);
  };
  const refresh = async () => {
    // A failed refresh is tried again at the next interval; the shell shows that the gateway is unreachable.
    const now = await all(api.groups.tree).catch(() => null);
    if (!now || signal.aborted) return;
    tree = buildTree(now);
    show();
  };
  every(REFRESH_MS, () => tree.nodes.size <= MAX_REFRESHED && refresh(), signal);
  document.addEventListener("visibilitychange", () => !document.hidden && void refresh(), { signal });

  const filter = textInput({
    type: "search", value: wanted, "aria-label": "Filter groups", placeholder: "Name, external id or id",
    maxlength: 256, autocomplete: "off", spellcheck: "false",
  });
  const write = debounced(() => !signal.aborted && setQuery({ q: wanted.trim() || null }, { replace: true }));
  filter.addEventListener("input", () => {
    wanted = filter.value;
    show();
    write();
  });
  const foldAll = (/** @type {boolean} */ open) => {
    for (const node of tree.nodes.values()) folds.set(node.group.id, open);
    show();
  };
  const nested = tree.roots.length < tree.nodes.size;
  show();
  return page({ heading: "Groups", actions },
    h("div", { class: "tree-page" },
      h("div", { class: "tree-bar" }, filter, counts,
        nested && h("div", { class: "row tree-folds" },
          button({ label: "Expand all", kind: "quiet", small: true, press: () => foldAll(true) }),
          button({ label: "Collapse all", kind: "quiet", small: true, press: () => foldAll(false) }))),
      grid.element, none));
}

/** @param {T.TreeGroup} group */
const address = (group) => `#/groups/${encodeURIComponent(group.id)}`;

/** @param {number[]} values */
const sum = (values) => values.reduce((all, one) => all + one, 0);

function columns() {
  return [
    { label: "Group", kind: "tree-name", cell: nameCell },
    { label: "Models", kind: "tree-models", cell: (/** @type {Row} */ { node: { group } }) => modelsOf(group) },
    {
      label: "Keys", kind: "number tree-keys",
      cell: (/** @type {Row} */ { node: { group: { keys } } }) =>
        keys ? int(keys) : h("span", { class: "faint" }, "–"),
    },
    ...(may("metrics")
      ? [{ label: "Used", kind: "tree-today", cell: (/** @type {Row} */ { node }) => usedOf(node.group) }]
      : []),
  ];
}

/** @param {Row} row */
function nameCell({ node, expanded }) {
  const { group } = node;
  const above = disabledBy(node);
  return [
    h("span", { class: ["tree-toggle", expanded === null && "leaf"], "aria-hidden": "true" },
      expanded !== null && icon(expanded ? "down" : "right")),
    h("span", { class: "tree-title" },
      h("a", { href: address(group), tabindex: "-1", title: groupName(group) }, groupName(group)),
      group.name && h("span", { class: "tree-id", title: group.external_entity_id }, group.external_entity_id)),
    group.disabled ? badge("warn", "disabled") : above && badge("warn", `disabled by ${groupName(above)}`),
    may("metrics") && shareBadge(group.alert_percent ?? undefined),
    !node.parent && node.children.length > 0 &&
      h("span", { class: "tree-mode" }, badge("plain", group.limit_enforcement)),
  ];
}

/** @param {T.TreeGroup} group */
function modelsOf({ models }) {
  if (!models.length) return h("span", { class: "faint" }, "none");
  const words = models.length === 1 ? models[0] : plural(models.length, "model");
  return h("span", { title: models.slice(0, 20).join("\n") }, words);
}

/** The use of the tightest daily limit, and of the tightest budget. @param {T.TreeGroup} group */
function usedOf({ today, budget }) {
  if (!today && !budget) return h("span", { class: "faint" }, "no daily limit, no budget");
  return [today && usedLine(today, `, ${today.slug}`), budget && usedLine(budgetStanding(budget))];
}

/**
 * @param {Kind & Pick<T.Standing, "used" | "held" | "left" | "threshold">} rule
 * @param {string} [of]
 */
function usedLine(rule, of = "") {
  const words = usedWords(rule) + of;
  return h("div", { class: "tree-left" },
    meter({ label: `${limitName(rule)}${of}`, used: rule.used, held: rule.held, threshold: rule.threshold }),
    h("span", { class: ["number", scaled(rule.left) === 0n && "spent"], title: `${words}; ${figure(rule.left)} left` }, words));
}
