// Picks a group by name, from the loaded groups or from the API's search.

import { api } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { groupName } from "../format.js";
import { debounced } from "../timers.js";
import { field, textInput } from "../ui/form.js";

/** @import { Found, TreeGroup } from "../api_types.js" */

/** @typedef {{id: string, title: string, detail: string}} Choice */

const MAX_SHOWN = 20;

/**
 * @param {{groups: TreeGroup[], isWhole: boolean, value: string, pick: (id: string) => void}} options `isWhole`:
 *   `groups` are all groups; `value` is the name of the current one
 */
export function groupPicker({ groups, isWhole, value, pick }) {
  const listId = freshId("groups");
  const input = textInput({
    value, role: "combobox", "aria-expanded": "false", "aria-controls": listId, "aria-autocomplete": "list",
    autocomplete: "off", spellcheck: "false", maxlength: 256, placeholder: "Search by name or id",
  });
  const list = h("ul",
    { id: listId, class: "group-picker-list", role: "listbox", "aria-label": "Groups", hidden: true });
  const status = h("p", { class: "visually-hidden", role: "status" });
  let name = value;
  let at = 0;
  /** @type {Choice[]} */
  let shown = [];

  const open = (/** @type {boolean} */ isOpen) => {
    list.hidden = !isOpen;
    input.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) input.removeAttribute("aria-activedescendant");
  };
  const mark = (/** @type {number} */ to) => {
    at = shown.length ? (to + shown.length) % shown.length : 0;
    const options = [...list.querySelectorAll("[role=option]")];
    options.forEach((one, index) => one.setAttribute("aria-selected", String(index === at)));
    const chosen = options[at];
    if (chosen) input.setAttribute("aria-activedescendant", chosen.id);
    chosen?.scrollIntoView({ block: "nearest" });
  };
  const choose = (/** @type {Choice | undefined} */ choice) => {
    if (!choice) return;
    name = choice.title;
    input.value = name;
    open(false);
    pick(choice.id);
  };
  const show = (/** @type {Choice[]} */ choices) => {
    shown = choices.slice(0, MAX_SHOWN);
    fill(list, shown.map((choice) => h("li", {
      id: freshId("option"), role: "option", "aria-selected": "false",
      // The field keeps the focus.
      onpointerdown: (/** @type {Event} */ event) => event.preventDefault(), onclick: () => choose(choice),
    }, h("span", { class: "found-title" }, choice.title), h("span", { class: "hint" }, choice.detail))),
    shown.length === 0 && h("li", { class: "hint", role: "option", "aria-disabled": "true", "aria-selected": "false" },
      "No group has a matching name or id."));
    fill(status, `${shown.length} shown`);
    open(true);
    mark(0);
  };
  const ask = async () => {
    const text = input.value === name ? "" : input.value.trim();
    const wanted = text.toLowerCase();
    if (!text || isWhole) {
      const holds = (/** @type {string | null} */ of) => of?.toLowerCase().includes(wanted);
      return show(groups.filter(({ name: of, external_entity_id: own, id }) => [of, own, id].some(holds)).map(choiceOf));
    }
    const { items } = await api.search(text);
    if (input.value.trim() !== text || document.activeElement !== input) return;
    show(/** @type {Found[]} */ (items).filter(({ kind }) => kind === "group"));
  };
  const typed = debounced(() => void ask(), isWhole ? 0 : 150);
  input.addEventListener("input", typed);
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => list.hidden && void ask());
  input.addEventListener("blur", () => {
    open(false);
    input.value = name;
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) list.hidden ? void ask() : mark(at + step);
    else if (event.key === "Enter" && !list.hidden && !event.ctrlKey) choose(shown[at]);
    else if (event.key === "Escape" && !list.hidden) {
      open(false);
      input.value = name;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const element = field({ label: "Group", name: "group", input });
  element.classList.add("group-picker");
  element.append(list, status);
  return element;
}

/** @param {TreeGroup} group @returns {Choice} */
const choiceOf = (group) =>
  ({ id: group.id, title: groupName(group), detail: group.name ? group.external_entity_id : "" });
