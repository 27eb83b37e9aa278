// Tabs of a page, each with its own address.

import { h } from "../dom.js";

/**
 * @param {{label: string, tabs: {href: string, label: string, current: boolean, count?: number}[]}} options
 */
export const tabs = ({ label, tabs: all }) =>
  h("nav", { class: "tabs", "aria-label": label },
    all.map(({ href, label: of, current, count }) =>
      h("a", { href, "aria-current": current ? "page" : null }, of,
        count !== undefined && h("span", { class: "count" }, count))));
