// An icon from assets/icons.svg. It is hidden from screen readers, which read the text beside it.

import { svg } from "../dom.js";

/** @param {string} name @param {string} [kind] */
export const icon = (name, kind) =>
  svg("svg", { class: ["icon", kind], "aria-hidden": "true", focusable: "false" },
    svg("use", { href: `/assets/icons.svg#${name}` }));
