// Toasts: short messages at the edge of the window. They disappear by themselves, except errors.

import { h } from "../dom.js";
import { icon } from "./icon.js";

/**
 * @param {string} text
 * @param {{tone?: "ok" | "bad", undo?: () => unknown}} [options]
 */
export function toast(text, { tone = "ok", undo } = {}) {
  const shown = h("div", { class: ["toast", tone], role: tone === "bad" ? "alert" : null },
    icon(tone === "ok" ? "check" : "warn"),
    h("p", null, text),
    undo && h("button", { type: "button", class: "button small", onclick: () => { shown.remove(); undo(); } }, "Undo"),
    h("button", { type: "button", class: "button quiet small icon-only", onclick: () => shown.remove() },
      icon("close"), h("span", { class: "visually-hidden" }, "Dismiss")));
  const place = document.querySelector("dialog[open]:last-of-type .dialog-toasts") ?? document.getElementById("toasts");
  // Replace an earlier toast of the same error.
  for (const old of tone === "bad" ? (place?.querySelectorAll(".toast.bad") ?? []) : []) {
    if (old.querySelector("p")?.textContent === text) old.remove();
  }
  place?.append(shown);
  if (tone === "ok") setTimeout(() => shown.remove(), undo ? 10_000 : 5000);
}
