// The field that picks the parent of a new group by name.

import { api } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { debounced } from "../timers.js";
import { button } from "../ui/button.js";
import { field, textInput } from "../ui/form.js";
import { shortName } from "./names.js";

/** @import * as T from "../api_types.js" */

/**
 * @param {{chosen: T.Group | null, changed: (parent: T.Group | null) => Promise<unknown>}} options
 */
export function parentPicker({ chosen: first, changed }) {
  const listId = freshId("parents");
  const input = textInput({
    type: "search", role: "combobox", "aria-expanded": "false", "aria-controls": listId, "aria-autocomplete": "list",
    placeholder: "None (a top-level group)", maxlength: 256, spellcheck: "false",
  });
  const list = h("ul", {
    id: listId, class: "found picker-found", role: "listbox", "aria-label": "Groups found", hidden: true,
  });
  const status = h("p", { class: "hint", role: "status" });
  const chosen = h("div", { class: "picked" });
  const search = field({
    label: "Parent", name: "hierarchy.parent_group_id", input, optional: true,
    hint: "Type to search. A child may share its parent's limits, and cannot be moved later.",
  });
  const element = h("div", { class: "picker" }, search, list, status, chosen);
  /** @type {T.Found[]} */
  let found = [];
  let at = -1;

  const mark = (/** @type {number} */ to) => {
    at = found.length ? (to + found.length) % found.length : -1;
    [...list.children].forEach((one, index) => one.setAttribute("aria-selected", String(index === at)));
    const option = list.children[at];
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  };
  const offer = (/** @type {T.Found[]} */ now) => {
    found = now;
    fill(list, now.map((one) => h("li", {
      id: freshId("parent"), role: "option", "aria-selected": "false", onclick: () => void choose(one.id),
    }, h("span", { class: "found-title" }, one.title), h("span", { class: "hint" }, one.detail))));
    list.hidden = now.length === 0;
    input.setAttribute("aria-expanded", String(now.length > 0));
    mark(0);
  };
  /** @param {string} id */
  const choose = async (id) => {
    const group = await api.groups.get(id);
    input.value = "";
    offer([]);
    show(group);
    await changed(group);
    chosen.querySelector("button")?.focus();
  };
  const show = (/** @type {T.Group | null} */ group) => {
    search.hidden = group !== null;
    fill(status);
    fill(chosen, group && [
      h("p", { class: "picked-label" }, "Parent"),
      h("div", { class: "picked-group" }, h("strong", null, shortName(group.metadata)),
        h("span", { class: "hint" }, group.metadata.name && group.metadata.external_entity_id.slice(0, 48)),
        button({
          label: "Change", small: true, kind: "quiet",
          press: async () => {
            show(null);
            await changed(null);
            input.focus();
          },
        })),
    ]);
  };
  const ask = debounced(async () => {
    const text = input.value.trim();
    const { items } = text ? await api.search(text) : { items: [] };
    if (input.value.trim() !== text) return;
    const groups = items.filter((/** @type {T.Found} */ one) => one.kind === "group").slice(0, 8);
    offer(groups);
    fill(status, text && !groups.length ? "No group has a matching name or id." : "");
  }, 150);
  input.addEventListener("input", ask);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const one = found[at];
    if (step && found.length) mark(at + step);
    else if (event.key === "Enter" && one) void choose(one.id);
    else if (event.key === "Escape" && found.length) offer([]);
    else return;
    event.preventDefault();
  });
  show(first);
  return element;
}
