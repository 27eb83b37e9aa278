// The parts of a page: its head with breadcrumbs, heading and actions, and its sections.

import { h } from "../dom.js";

/** @import { Child } from "../dom.js" */
/** @import { Page } from "../router.js" */

/**
 * @param {{heading: string, lead?: Child, crumbs?: [string, string][], badges?: Child, actions?: Child}} head `crumbs`
 *   are addresses and labels of the pages above
 * @param {...Child} content
 * @returns {Page}
 */
export function page({ heading, lead, crumbs = [], badges, actions }, ...content) {
  const trail = crumbs.length > 0 && h("nav", { class: "crumbs", "aria-label": "Breadcrumb" },
    h("ol", null, crumbs.map(([address, label]) => h("li", null, h("a", { href: address }, label)))));
  const head = h("header", { class: "page-head" },
    trail,
    h("div", { class: "page-title" },
      h("h1", { tabindex: "-1" }, heading),
      badges && h("div", { class: "badges" }, badges),
      actions && h("div", { class: "page-actions" }, actions)),
    lead && h("p", { class: "page-lead" }, lead));
  return { heading, element: h("div", { class: "page" }, head, content) };
}

/**
 * A section of a page, with its own heading.
 *
 * @param {{heading: string, lead?: Child, actions?: Child, kind?: string}} head
 * @param {...Child} content
 */
export function section({ heading, lead, actions, kind }, ...content) {
  return h("section", { class: ["section", kind] },
    h("header", { class: "section-head" },
      h("h2", null, heading),
      actions && h("div", { class: "section-actions" }, actions),
      lead && h("p", { class: "section-lead" }, lead)),
    content);
}

/** A card around content. @param {...Child} content */
export const card = (...content) => h("div", { class: "card" }, content);

/**
 * The content of an empty page or list: its purpose and the next step.
 *
 * @param {{heading: string, text: Child, actions?: Child}} parts
 */
export const empty = ({ heading, text, actions }) =>
  h("div", { class: "empty" }, h("h2", null, heading), h("p", null, text), actions && h("div", null, actions));

/** A list of names and values. @param {[string, Child][]} pairs */
export const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
