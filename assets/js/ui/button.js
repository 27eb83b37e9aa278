// Buttons and links that look like them. A button that waits for an answer says so and cannot be pressed twice.

import { ApiError } from "../api.js";
import { h } from "../dom.js";
import { icon } from "./icon.js";
import { toast } from "./toast.js";

/** @import { Props } from "../dom.js" */

/**
 * @typedef {{label: string, icon?: string, kind?: "primary" | "danger" | "quiet" | "danger-quiet" | "", small?: boolean,
 *   iconOnly?: boolean, press?: (event: Event) => unknown, props?: Props}} ButtonOptions `press` may give a promise: the
 *   button is busy until it settles, and an error is told in a toast
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
 * Runs something that a button began.
 *
 * @param {HTMLButtonElement} made
 * @param {() => unknown} work
 */
export async function busy(made, work) {
  if (made.getAttribute("aria-disabled") === "true") return;
  const result = tried(work);
  if (!(result instanceof Promise)) return;
  made.setAttribute("aria-disabled", "true");
  made.classList.add("busy");
  try {
    await result;
  } catch (error) {
    told(error);
  } finally {
    made.removeAttribute("aria-disabled");
    made.classList.remove("busy");
  }
}

/** @param {() => unknown} work */
function tried(work) {
  try {
    return work();
  } catch (error) {
    return told(error);
  }
}

/** @param {unknown} error */
function told(error) {
  if (!(error instanceof Error) || error.name === "TypeError") throw error;
  // The sign-in form tells it by now.
  if (error instanceof ApiError && error.status === 401) return;
  toast(error.message, { tone: "bad" });
}
