// Asks for confirmation before a page with unsaved changes is left.

import { h } from "../dom.js";
import { button } from "../ui/button.js";
import { dialog } from "../ui/dialog.js";

/**
 * @param {() => boolean} dirty
 * @param {AbortSignal} signal
 */
export function guardUnsaved(dirty, signal) {
  let asking = false;
  /** @param {Event} event @param {string} wanted */
  const ask = async (event, wanted) => {
    if (!dirty() || !event.cancelable) return;
    event.preventDefault();
    if (asking) return;
    asking = true;
    const leave = await dialog({
      heading: "Leave without saving?",
      content: (/** @type {(leave?: boolean) => void} */ close) => h("div", { class: "stack" },
        h("p", null, "Your changes to the limits are not saved."),
        h("div", { class: "form-actions" },
          button({ label: "Stay", kind: "primary", press: () => close(false), props: { autofocus: true } }),
          button({ label: "Leave", kind: "danger-quiet", press: () => close(true) }))),
    });
    asking = false;
    if (!leave) return;
    dirty = () => false;
    location.hash = wanted;
  };
  addEventListener("beforeunload", (event) => {
    if (dirty()) event.preventDefault();
  }, { signal });
  // This covers links, the search and Back. In a browser without this API, only links ask.
  const navigation = /** @type {EventTarget | undefined} */ (/** @type {any} */ (globalThis).navigation);
  navigation?.addEventListener("navigate", (event) => {
    const { hashChange, destination } = /** @type {any} */ (event);
    if (hashChange) void ask(event, new URL(destination.url).hash);
  }, { signal });
  if (navigation) return;
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[href^='#/']");
    if (link) void ask(event, link.getAttribute("href") ?? "");
  }, { signal, capture: true });
}
