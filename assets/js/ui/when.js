// Times relative to now, kept up to date.

import { h } from "../dom.js";
import { relative, utc } from "../format.js";

const UPDATE_MS = 5000;

/**
 * A time relative to now. The exact time is its title.
 *
 * @param {string | null | undefined} at
 * @param {string} [never] shown if there is no time
 */
export function when(at, never = "never") {
  if (!at) return h("span", { class: "faint" }, never);
  return h("time", { datetime: at, title: utc(at), data: { relative: "" } }, relative(at));
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = relative(time.getAttribute("datetime") ?? "");
    if (time.textContent !== text) time.textContent = text;
  }
}, UPDATE_MS);
