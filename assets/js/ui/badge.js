// Badges that name a state. The colour only repeats the word.

import { h } from "../dom.js";

/** @import { Child } from "../dom.js" */
/** @typedef {"ok" | "warn" | "bad" | "plain" | "accent"} Tone */

/** @param {Tone} tone @param {Child} text */
export const badge = (tone, text) => h("span", { class: ["badge", tone] }, text);

/** A state with a dot before it. @param {Tone} tone @param {Child} text */
export const state = (tone, text) => h("span", { class: ["state", tone] }, text);
