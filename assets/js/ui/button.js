// Buttons, and links that look like them. A button is busy while its work runs, and cannot be pressed again.

import { ApiError } from "../api.js";
import { h } from "../dom.js";
import { icon } from "./icon.js";
import { toast } from "./toast.js";

/** @import { Props } from "../dom.js" */

/**
 * @typedef {{label: string, icon?: string, kind?: "primary" | "danger" | "quiet" | "danger-quiet" | "", small?: boolean,
 *   iconOnly?: boolean, press?: (event: Event) => unknown, props?: Props}} ButtonOptions `press` may return a promise: the
 *   button is busy until it settles, and an error is shown in a toast
 */

/** @param {ButtonOptions} options */
export function button({ label, icon: sign, kind = "", small, iconOnly, press, props }) {
  const made = h("button", { type: "button", class: ["button", kind, small && "small", iconOnly && "icon-only"], ...props },
    sign && icon(sign), iconOnly ? h("span", { class: "visually-hidden" }, label) : h("span", null, label));
  if (iconOnly) made.title = label;
  if (press) made.addEventListener("click", (event) => void busy(made, () => press(event)));
  return made;
}

/** @param {{label: string, href: string, icon?: string, kind?: string, small?: boolean}} options */
export const linkButton = ({ label, href, icon: sign, kind = "", small }) =>
  h("a", { href, class: ["button", kind, small && "small"] }, sign && icon(sign), h("span", null, label));

/**
 * Runs a button's work; the button is busy until it settles.
 *
 * @param {HTMLButtonElement} made
 * @param {() => unknown} work
 */
export async function busy(made, work) {
  if (made.getAttribute("aria-disabled") === "true") return;
  const result = runOrReport(work);
  if (!(result instanceof Promise)) return;
  made.setAttribute("aria-disabled", "true");
  made.classList.add("busy");
  try {
    await result;
  } catch (error) {
    report(error);
  } finally {
    made.removeAttribute("aria-disabled");
    made.classList.remove("busy");
  }
}

/** @param {() => unknown} work */
function runOrReport(work) {
  try {
    return work();
  } catch (error) {
    return report(error);
  }
}

/** @param {unknown} error */
function report(error) {
  if (!(error instanceof Error) || error.name === "TypeError") throw error;
  // The sign-in form is already shown.
  if (error instanceof ApiError && error.status === 401) return;
  toast(error.message, { tone: "bad" });
}
