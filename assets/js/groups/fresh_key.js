// A key that is minted on one page and shown once on the next one. It is kept in memory only.

import { fill, h } from "../dom.js";
import { about } from "../session.js";
import { snippet } from "../ui/copy.js";
import { showSecret } from "../ui/dialog.js";
import { choice } from "../ui/form.js";
import { SNIPPETS } from "./snippets.js";

/** @import { MintedKey } from "../api_types.js" */
/** @import { Child } from "../dom.js" */

/** @type {{group: string, key: MintedKey} | null} */
let kept = null;

/** @param {string} group @param {MintedKey} key */
export function keepFresh(group, key) {
  kept = { group, key };
}

/** Removes and returns the key, so that it cannot be shown twice. @param {string} group */
export function takeFresh(group) {
  const key = kept?.group === group ? kept.key : null;
  kept = null;
  return key;
}

/**
 * Shows a key once, with sample calls that use it.
 *
 * @param {MintedKey} key
 * @param {string | undefined} model that it may call
 * @param {Child} [note] a sentence on the key
 */
export const showKey = (key, model, note) => showSecret({
  heading: "New key",
  text: ["Copy it now: it is shown only once. Tollgate keeps no readable copy. ", note],
  label: "Key",
  secret: key.api_key,
  more: model
    ? snippets({ url: about().inference_url, key: key.api_key, model })
    : h("p", { class: "faint" }, "The group has no models yet, so the key cannot make calls. Add a model on the Limits tab."),
});

/** @param {import("./snippets.js").Call} call */
export function snippets(call) {
  const shown = h("div");
  const show = (/** @type {string} */ name) => {
    const one = SNIPPETS.find((each) => each.name === name);
    const label = name === "curl" ? "Shell" : `${one?.label}, OpenAI SDK`;
    fill(shown, one && snippet({ label, text: one.text(call) }));
  };
  show("curl");
  const pick = choice({
    legend: "Try it", name: "snippet", value: "curl", onchange: show,
    options: SNIPPETS.map(({ name, label }) => ({ value: name, label })),
  });
  pick.classList.add("segments");
  return h("div", { class: "snippets" }, pick, shown);
}
