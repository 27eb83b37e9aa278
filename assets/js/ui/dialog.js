// Dialogs. They use the browser's dialog element, which handles the focus, Escape and the page in the background.

import { ApiError } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { button } from "./button.js";
import { field, form, textInput } from "./form.js";
import { icon } from "./icon.js";

/** @import { Child } from "../dom.js" */

/**
 * Opens a dialog. `content` receives a function that closes it with a result. If `stays` is set, only that function
 * closes it, and Escape does not, so that a one-time secret is not lost.
 *
 * @template Result
 * @param {{heading: string, wide?: boolean, stays?: boolean, content: (close: (result?: Result) => void) => Child}} options
 * @returns {Promise<Result | undefined>} undefined if it was dismissed
 */
export function dialog({ heading, wide, stays, content }) {
  return new Promise((resolve) => {
    const id = freshId("dialog");
    /** @type {Result | undefined} */
    let chosen;
    const close = (/** @type {Result} */ result) => {
      chosen = result;
      shown.close();
    };
    const dismiss = h("button", { type: "button", class: "button quiet icon-only", onclick: () => shown.close() },
      icon("close"), h("span", { class: "visually-hidden" }, "Close"));
    const shown = h("dialog", { "aria-labelledby": id, class: [wide && "wide"], data: { stays: stays && "" } },
      h("header", { class: "dialog-head" }, h("h2", { id }, heading), !stays && dismiss),
      h("div", { class: "dialog-body" }, content(/** @type {(result?: Result) => void} */ (close))),
      h("div", { class: "dialog-toasts", role: "status" }));
    const closed = new AbortController();
    shown.addEventListener("close", () => {
      closed.abort();
      shown.remove();
      resolve(chosen);
    });
    if (stays) shown.addEventListener("cancel", (event) => event.preventDefault());
    // Leaving a page closes its other dialogs.
    else addEventListener("hashchange", () => shown.close(), { signal: closed.signal });
    document.body.append(shown);
    shown.showModal();
    const first = shown.querySelector("[autofocus], .dialog-body :is(input, select, textarea)");
    if (first instanceof HTMLElement) first.focus();
  });
}

/**
 * Asks for confirmation of something that cannot be undone. If `word` is given, it must be typed.
 *
 * @param {{heading: string, text: Child, action: string, word?: string, wordLabel?: string,
 *   run: () => Promise<unknown>}} options `run` performs the action; its error is shown in the dialog
 * @returns {Promise<boolean>} whether the action was performed
 */
export async function confirmDanger({ heading, text, action, word, wordLabel, run }) {
  const done = await dialog({
    heading,
    content: (/** @type {(done?: boolean) => void} */ close) => {
      const typed = word && textInput({ name: "confirm", autocomplete: "off", spellcheck: "false" });
      return form({
        submit: action,
        kind: "danger",
        cancel: () => close(),
        send: async () => {
          if (typed && typed.value.trim() !== word) throw new ApiError(0, "", `confirm: Type ${word} exactly.`);
          await run();
          close(true);
        },
      },
      h("div", { class: "prose" }, text),
      typed && field({ label: wordLabel ?? "To confirm, type", name: "confirm", input: typed, hint: h("code", null, word) }));
    },
  });
  return done === true;
}

/**
 * Shows a one-time secret.
 *
 * @param {{heading: string, text: Child, secret: string, label: string, more?: Child}} options
 */
export async function showSecret({ heading, text, secret, label, more }) {
  const { copyField } = await import("./copy.js");
  await dialog({
    heading,
    wide: true,
    stays: true,
    content: (close) => {
      const body = h("div", { class: "stack" });
      fill(body, h("p", null, text), copyField({ label, value: secret }), more,
        h("div", { class: "form-actions" }, button({ label: "I have stored it", kind: "primary", press: () => close() })));
      return body;
    },
  });
}
