// An inline notice.

import { h } from "../dom.js";
import { icon } from "./icon.js";

/** @import { Child } from "../dom.js" */

/** @param {"ok" | "warn" | "bad" | "info"} tone @param {...Child} content */
export const notice = (tone, ...content) =>
  h("div", { class: ["notice", tone] },
    icon(tone === "ok" ? "check" : tone === "info" ? "info" : "warn"), h("div", null, content));
