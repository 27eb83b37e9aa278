// One group, in tabs: overview, limits, reasons for refusals, keys.

import { ApiError, api, loaded } from "../api.js";
import { h } from "../dom.js";
import { groupName } from "../format.js";
import { groupActions } from "../groups/actions.js";
import { ancestorsOf } from "../groups/family.js";
import { groupAddress, shortName } from "../groups/names.js";
import { may } from "../session.js";
import { badge } from "../ui/badge.js";
import { copyButton } from "../ui/copy.js";
import { page } from "../ui/page.js";
import { tabs } from "../ui/tabs.js";

/** @import * as T from "../api_types.js" */
/** @import { Tab } from "../groups/tab.js" */
/** @import { Context } from "../router.js" */

/** @typedef {HTMLElement & {redraw?: () => void}} Content `redraw` is called after a change of the group */
/** @typedef {() => Promise<{default: (tab: Tab) => Promise<Content>}>} LoadTab */
/** @type {{name: string, label: string, allowed: () => boolean, load: LoadTab}[]} */
const TABS = [
  { name: "", label: "Overview", allowed: () => true, load: () => import("../groups/overview_tab.js") },
  { name: "limits", label: "Limits", allowed: () => may("manage"), load: () => import("../groups/limits_tab.js") },
  { name: "why", label: "Why 429?", allowed: () => may("metrics"), load: () => import("../groups/why_tab.js") },
  { name: "keys", label: "Keys", allowed: () => true, load: () => import("../groups/keys_tab.js") },
];

/** @param {Context} context */
export default async function group(context) {
  const { id = "", tab = "" } = context.params;
  const chosen = TABS.find((one) => one.name === tab);
  if (!chosen) throw new ApiError(404, "", "This tab does not exist.");
  if (!chosen.allowed()) throw new ApiError(403, "", `Your operator key cannot view ${tab === "why" ? "refusals" : tab}.`);
  let now = await api.groups.get(id);
  const ancestors = await ancestorsOf(now);

  /** @type {Content | null} */
  let content = null;
  const draw = () => page(head(now, ancestors, update),
    tabs({
      label: "Parts of the group",
      tabs: TABS.filter((one) => one.allowed()).map((one) => ({
        href: groupAddress(id, one.name), label: one.label, current: one === chosen,
      })),
    }),
    content);
  const update = (/** @type {T.Group} */ changed) => {
    now = changed;
    // An undo may run after the page was left.
    if (context.signal.aborted) return;
    const before = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.action : null;
    const redrawn = draw();
    shown.element.replaceChildren(...redrawn.element.childNodes);
    content?.redraw?.();
    document.title = `${redrawn.heading} · Tollgate`;
    const again = before && shown.element.querySelector(`[data-action="${before}"]`);
    if (again instanceof HTMLElement) again.focus();
  };
  content = await (await loaded(chosen.load)).default({ group: () => now, ancestors, update, context });
  const shown = draw();
  return shown;
}

/**
 * @param {T.Group} group
 * @param {T.Group[]} ancestors
 * @param {(group: T.Group) => void} update
 */
function head(group, ancestors, update) {
  const off = ancestors.find((one) => one.disabled);
  const path = [...ancestors].reverse().map((one) =>
    /** @type {[string, string]} */ ([groupAddress(one.id), shortName(one.metadata)]));
  return {
    heading: groupName(group.metadata),
    crumbs: /** @type {[string, string][]} */ ([["#/groups", "Groups"], ...path]),
    lead: h("span", { class: "external-id" }, h("code", null, group.metadata.external_entity_id),
      copyButton({ text: group.metadata.external_entity_id, message: "External id copied" })),
    badges: [
      group.disabled ? badge("warn", "disabled") : off && badge("warn", `disabled by ${shortName(off.metadata)}`),
      badge("plain", group.hierarchy.limit_enforcement),
    ],
    actions: may("manage") && groupActions(group, ancestors.length + 1, update),
  };
}
