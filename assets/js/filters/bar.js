// The filter bar: a time range, and filter values that are added one by one. All of them are in the address.

import { api } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { parse } from "../router.js";
import { may } from "../session.js";
import { field, select, textInput } from "../ui/form.js";
import { icon } from "../ui/icon.js";
import { externalIdOf, groupWords } from "./groups.js";
import { FILTERS, joined, listOf } from "./lists.js";
import { rangeOf } from "./range.js";

/** @import { Child } from "../dom.js" */
/** @import { Context } from "../router.js" */
/** @import { UsageItem } from "../api_types.js" */
/** @import { KnownNames } from "../groups/known_names.js" */

const SUGGESTIONS = 200;
const MONTH = 31 * 86_400_000;

/** The query of the current address. */
export const addressQuery = () => parse(location.hash).query;

/**
 * @param {{ranges: [string, string][], otherwise: string, ends: "date" | "datetime-local", names?: KnownNames,
 *   setQuery: Context["setQuery"], changed: () => void, extra?: Child}} options `otherwise` is the range if the address
 *   has none; `ends` is the precision of custom dates; `names` adds filters by group, model and key
 */
export function filterBar({ ranges, otherwise, ends, names, setQuery, changed, extra }) {
  const kinds = [...FILTERS, { name: "group_ids", label: "Group" }];
  const chips = h("ul", { class: "chips", "aria-label": "Active filters" });
  const inputs = names ? FILTERS.map((one) => listInput(one, names, (value) => put(one.name, value, true))) : [];

  /** @param {Record<string, string | null>} changes */
  const write = (changes) => {
    setQuery(changes);
    drawChips();
    changed();
  };
  /** @param {string} name @param {string} value @param {boolean} on */
  const put = (name, value, on) => {
    const others = listOf(addressQuery(), name).filter((one) => one !== value);
    write({ [name]: joined(on ? [...others, value] : others) });
  };

  const only = h("input", { type: "checkbox", onchange: () => write({ only: only.checked ? "1" : null }) });
  const alone = h("li", { class: "plain" }, h("label", null, only, h("span", null, "This group only")));
  const clear = h("li", { class: "plain" }, h("button", {
    type: "button", class: "button quiet small",
    onclick: () => {
      write({ ...Object.fromEntries(kinds.map(({ name }) => [name, null])), only: null });
      inputs[0]?.querySelector("input")?.focus();
    },
  }, "Clear all"));
  chips.append(alone, clear);

  const drawChips = () => {
    const query = addressQuery();
    const on = names ? kinds.flatMap(({ name, label }) => listOf(query, name).map((value) => ({ name, label, value }))) : [];
    chips.hidden = on.length === 0;
    alone.hidden = !may("keys") || !query.get("group_ids");
    only.checked = Boolean(query.get("only"));
    clear.hidden = on.length < 2;
    for (const old of chips.querySelectorAll("li:not(.plain)")) old.remove();
    chips.prepend(...on.map(({ name, label, value }) => {
      const text = () => h("bdi", { data: { group: label === "Group" ? value : null } }, value);
      return h("li", null,
        h("span", { title: value }, h("span", { class: "faint" }, label), " ", text()),
        h("button", {
          type: "button", class: "button quiet small icon-only", title: "Remove",
          onclick: () => {
            put(name, value, false);
            (chips.hidden ? inputs[0]?.querySelector("input") : chips.querySelector("button"))?.focus();
          },
        }, icon("close"), h("span", { class: "visually-hidden" }, `Remove ${label} `, text())));
    }));
    if (names && chips.querySelector("[data-group]")) {
      void groupWords(names).then((words) => {
        for (const one of chips.querySelectorAll("bdi")) one.textContent = words.get(one.dataset.group ?? "") ?? one.textContent;
      });
    }
  };
  drawChips();

  return h("div", { class: "filters" },
    h("div", { class: "toolbar" }, rangeFields({ ranges, otherwise, ends, write }), extra, inputs), chips);
}

/**
 * @param {{ranges: [string, string][], otherwise: string, ends: "date" | "datetime-local",
 *   write: (changes: Record<string, string | null>) => void}} options
 */
function rangeFields({ ranges, otherwise, ends, write }) {
  const range = rangeOf(addressQuery(), otherwise, Date.now());
  const chosen = select(ranges, { value: range.name });
  const end = (/** @type {string} */ label) => {
    const input = textInput({ type: ends });
    return { input, element: field({ label, name: label, input }) };
  };
  const [from, to] = [end("From (UTC)"), end(ends === "date" ? "To, inclusive (UTC)" : "To (UTC)")];
  // An end given as a date includes that day; the API's end is the next midnight.
  const inputValue = (/** @type {number | null} */ at, isEnd = false) => at === null ? "" :
    new Date(ends === "date" && isEnd ? at - 1 : at).toISOString().slice(0, ends === "date" ? 10 : 16);
  const show = () => {
    const { name, from_ms, to_ms } = rangeOf(addressQuery(), otherwise, Date.now());
    const isCustom = chosen.value === "custom";
    from.element.hidden = to.element.hidden = !isCustom;
    if (isCustom || name !== "custom") {
      from.input.value = inputValue(from_ms);
      to.input.value = inputValue(to_ms ?? (isCustom && ends === "date" ? Date.now() : null), true);
    }
  };
  chosen.addEventListener("change", () => {
    show();
    if (chosen.value === "custom") from.input.focus();
    else write({ range: chosen.value === otherwise ? null : chosen.value, from: null, to: null });
  });
  for (const { input } of [from, to]) {
    input.addEventListener("change", () => {
      if (from.input.value || to.input.value) write({ range: null, from: from.input.value, to: to.input.value });
    });
  }
  show();
  return [field({ label: "Time", name: "range", input: chosen }), from.element, to.element];
}

/**
 * A field that adds one value after another to a filter, and suggests values that were billed recently.
 *
 * @param {typeof FILTERS[number]} what
 * @param {KnownNames} names
 * @param {(value: string) => void} put
 */
function listInput({ label, hint, by, of }, names, put) {
  const listed = h("datalist", { id: freshId("proposed") });
  const input = textInput({
    list: listed.id, placeholder: `Any ${hint}`, autocomplete: "off", spellcheck: "false", enterkeyhint: "done",
  });
  const take = async () => {
    const value = input.value.trim();
    input.value = "";
    if (value) put(by === "group" ? externalIdOf(await names.tree().catch(() => []), value) : value);
  };
  const isSuggested = () => [...listed.options].some((option) => option.value === input.value);
  input.addEventListener("focus", async () => {
    const start_time = new Date(Date.now() - MONTH).toISOString();
    const report = await api.usageReport({ start_time, group_by: by, top: SUGGESTIONS }).catch(() => null);
    const values = new Set(report?.items.map((/** @type {UsageItem} */ item) => item[of] ?? ""));
    const words = by === "group" ? await groupWords(names) : new Map();
    fill(listed, [...values].map((value) => value && h("option", { value, label: words.get(value) })));
  }, { once: true });
  input.addEventListener("keydown", (event) => event.key === "Enter" && void take());
  // Some browsers report a chosen suggestion as an input event that is not typing.
  input.addEventListener("input", (event) => {
    const typed = event instanceof InputEvent && event.inputType !== "insertReplacementText";
    if (!typed && isSuggested()) void take();
  });
  input.addEventListener("change", () => isSuggested() && void take());
  return h("div", { class: "list-input" }, field({ label, name: of, input }), listed);
}
