// The search dialog: finds a page by name, id or a customer's key.

import { api } from "./api.js";
import { fill, freshId, h } from "./dom.js";
import { may } from "./session.js";
import { debounced } from "./timers.js";
import { dialog } from "./ui/dialog.js";
import { textInput } from "./ui/form.js";
import { icon } from "./ui/icon.js";

/** @import { Found } from "./api_types.js" */

const ICONS = { group: "tree", endpoint: "route", api_key: "key" };

/** @param {Found} found */
const address = (found) =>
  ({
    group: `#/groups/${encodeURIComponent(found.id)}`,
    endpoint: `#/endpoints/${encodeURIComponent(found.id)}`,
    api_key: `#/groups/${encodeURIComponent(found.group_id ?? "")}/keys`,
  })[found.kind];

/**
 * The text to search for, without the secret of a customer's key. If the text has a key, alone or in a pasted header or
 * command, only the key's prefix is sent: the part before the dot of a minted key, the first 16 characters of a
 * registered one.
 *
 * @param {string} text
 */
const withoutSecret = (text) => {
  const [key] = /[^\s"']{32,}/.exec(text) ?? [];
  return key ? (/^(\w+)\./.exec(key)?.[1] ?? key.slice(0, 16)) : text;
};

/** Distinguishes results with the same title. @param {Found} found */
const detail = (found) =>
  ({ group: found.detail, endpoint: "model", api_key: `${found.id} of ${found.detail}` })[found.kind];

export function openSearch() {
  return dialog({
    heading: "Search",
    content: (close) => {
      const listId = freshId("found");
      const input = textInput({
        role: "combobox", "aria-expanded": "true", "aria-controls": listId, "aria-autocomplete": "list",
        "aria-label": "Search groups, endpoints and keys", placeholder: "Name, id, model or key", autofocus: true,
        maxlength: 256, autocomplete: "off", spellcheck: "false",
      });
      const list = h("ul", { id: listId, class: "found", role: "listbox", "aria-label": "Results" });
      const status = h("p", { class: "hint", role: "status" }, "You can paste a customer's key: only its prefix is sent.");
      let at = 0;
      const options = () => /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=option]")]);
      const mark = (/** @type {number} */ to) => {
        const all = options();
        at = all.length ? (to + all.length) % all.length : 0;
        all.forEach((one, index) => one.setAttribute("aria-selected", String(index === at)));
        const chosen = all[at];
        if (chosen) input.setAttribute("aria-activedescendant", chosen.id);
        else input.removeAttribute("aria-activedescendant");
        chosen?.scrollIntoView({ block: "nearest" });
      };
      const open = (/** @type {Found} */ found) => {
        close();
        location.hash = address(found);
      };
      let asked = "";
      const failed = (/** @type {Error} */ error) => {
        // Allow the same text to be searched again.
        asked = "";
        fill(list);
        fill(status, error.message);
      };
      const ask = debounced(async () => {
        const text = withoutSecret(input.value.trim());
        if (text === asked) return;
        asked = text;
        const found = text ? await api.search(text).catch(failed) : { items: [], more: false };
        if (!found || asked !== text) return;
        const { items, more } = found;
        const shown = /** @type {Found[]} */ (items).filter((found) => found.kind !== "endpoint" || may("manage"));
        fill(list, shown.map((found) => h("li", {
          id: freshId("option"), role: "option", "aria-selected": "false", onclick: () => open(found),
        }, icon(ICONS[found.kind]), h("span", { class: "found-title" }, found.title), h("span", { class: "hint" }, detail(found)))));
        fill(status, !text ? "" : shown.length === 0 ? "No group, endpoint or key matches." : more ? "There are more results. Type more to narrow the search." : "");
        shown.forEach((found, index) => {
          const option = options()[index];
          if (option) targets.set(option, found);
        });
        mark(0);
      }, 120);
      /** @type {WeakMap<HTMLElement, Found>} */
      const targets = new WeakMap();
      input.addEventListener("input", ask);
      input.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        const chosen = options()[at];
        const found = chosen && targets.get(chosen);
        if (step) mark(at + step);
        else if (event.key === "Enter" && found) open(found);
        else return;
        event.preventDefault();
      });
      return h("div", { class: "search" }, input, list, status);
    },
  });
}
