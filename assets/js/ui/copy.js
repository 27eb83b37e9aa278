// Buttons and boxes for copying text.

import { h } from "../dom.js";
import { button } from "./button.js";
import { toast } from "./toast.js";

/** @param {string} text @param {string} [message] shown in a toast */
export async function copy(text, message = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers offer the clipboard only on https and localhost.
    const area = h("textarea", { value: text, readonly: true, class: "visually-hidden" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return toast("The browser blocked copying. Select the text and copy it.", { tone: "bad" });
  }
  toast(message);
}

/** @param {{text: string, label?: string, message?: string}} options */
export const copyButton = ({ text, label = "Copy", message = "Copied" }) =>
  button({ label, icon: "copy", small: true, kind: "quiet", iconOnly: label === "Copy", press: () => copy(text, message) });

/** A value to copy. @param {{label: string, value: string}} options */
export const copyField = ({ label, value }) =>
  h("div", { class: "copy-field" },
    h("code", { "aria-label": label, role: "textbox", "aria-readonly": "true", tabindex: "0" }, value),
    button({ label: "Copy", icon: "copy", kind: "primary", press: () => copy(value, `${label} copied`) }));

/** A command or a code sample. @param {{label: string, text: string}} options */
export const snippet = ({ label, text }) =>
  h("figure", { class: "snippet" },
    h("figcaption", null, h("span", null, label), copyButton({ text, message: `${label} copied` })),
    h("pre", { tabindex: "0", "aria-label": label }, h("code", null, text)));
