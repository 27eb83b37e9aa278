// Times relative to now, kept up to date.

import { h } from "../dom.js";
import { dayAndTime, relative, utc, windowEnd } from "../format.js";

const UPDATE_MS = 5000;

/**
 * A time relative to now. The exact time is its title.
 *
 * @param {string | null | undefined} at
 * @param {string} [never] shown if there is no time
 */
export function when(at, never = "never") {
  if (!at) return h("span", { class: "faint" }, never);
  return time(at, "relative");
}

/** When a calendar window ends: `Monday 00:00, in 2 days`. @param {string} at */
export const resetTime = (at) => time(at, "end");

/** A time of the last days: `Tuesday, 24 Nov, 14:05`. @param {string} at */
export const dayTime = (at) => time(at, "day");

const WORDS = { relative, end: windowEnd, day: dayAndTime };

/** @param {string} at @param {keyof typeof WORDS} words */
const time = (at, words) => h("time", { datetime: at, title: utc(at), data: { words } }, WORDS[words](at));

setInterval(() => {
  if (document.hidden) return;
  for (const shown of document.querySelectorAll("time[data-words]")) {
    if (!(shown instanceof HTMLTimeElement)) continue;
    const text = WORDS[/** @type {keyof typeof WORDS} */ (shown.dataset.words)](shown.dateTime);
    if (shown.textContent !== text) shown.textContent = text;
  }
}, UPDATE_MS);
