// The editor of a group's models, limits and budgets. It shows the rules that apply as they are typed.

import { ApiError } from "../api.js";
import { fill, h } from "../dom.js";
import { button } from "../ui/button.js";
import { field, select } from "../ui/form.js";
import { limitCard } from "./limit_card.js";
import { declared, violations } from "./limits.js";
import { ruleRows } from "./rule_rows.js";
import { budgetsOf, sameBudgets, sameModels } from "./typed_rules.js";

/** @import * as T from "../api_types.js" */
/** @import { LimitCard } from "./limit_card.js" */
/** @import { Declaring } from "./limits.js" */
/** @import { Place } from "./rule_rows.js" */

/** The parts of a group that are edited here. @typedef {Pick<T.Group, "models" | "budgets">} Edited */

/** Explain the rows. */
export const ROWS = "Without a limit, only the model servers limit requests; 0 refuses every request. "
  + "You can write 1k or 2.5m.";
export const BUDGETS = "The most that all models together may cost, at the prices of their endpoints. "
  + "Calls of a model without prices cost nothing.";

/**
 * @param {{first: Edited, endpoints: T.Endpoint[], place: Place, removalNotice?: string, changed?: () => void}} options
 *   `removalNotice` describes the effect of removing a saved model
 */
export function limitsEditor({ first, endpoints, place: firstPlace, removalNotice, changed = () => {} }) {
  const slugs = endpoints.map((endpoint) => endpoint.slug).sort();
  const priced = endpoints.find((endpoint) => endpoint.pricing)?.pricing?.currency;
  let place = firstPlace;
  /** @type {Declaring[]} */
  let below = [];
  let saved = first;
  /** @type {(LimitCard & {removed?: HTMLElement})[]} */
  let cards = [];
  const list = h("div", { class: "limit-cards" });
  const money = h("div", { class: "limit-card", data: { field: "budgets" } });
  const adder = h("div", { class: "limit-add" });
  const wrong = h("div", { class: "field", data: { field: "models" } }, h("p", { class: "field-error" }));
  const remaining = () => cards.filter((card) => !card.removed);
  /** @returns {Edited} */
  const value = () => ({ models: remaining().map((card) => card.value()), budgets: budgetsOf(budgets.value()) });
  const broken = () => place.mode === "CASCADING" ? violations(value(), place.ancestors, below) : [];

  const show = () => {
    const all = broken();
    remaining().forEach((card, index) => card.show(index, place, all));
    budgets.show("", place, all);
  };
  const refresh = () => {
    show();
    changed();
  };
  /** @param {T.Model} model */
  const add = (model) => {
    const card = /** @type {LimitCard & {removed?: HTMLElement}} */ (limitCard({
      model, known: slugs.includes(model.slug), changed: refresh, remove: () => remove(card),
    }));
    cards.push(card);
    list.append(card.element);
    return card;
  };
  /** @param {typeof cards[number]} card */
  const remove = (card) => {
    if (saved.models.some((model) => model.slug === card.slug) && removalNotice) {
      const undo = button({
        label: `Keep ${card.slug}`, small: true,
        press: () => {
          card.removed?.replaceWith(card.element);
          card.removed = undefined;
          offer();
          refresh();
          card.focus();
        },
      });
      card.removed = h("div", { class: "limit-gone" }, h("p", null, h("strong", null, card.slug), ` ${removalNotice}`), undo);
      card.element.replaceWith(card.removed);
      undo.focus();
    } else {
      cards = cards.filter((one) => one !== card);
      card.element.remove();
      adder.querySelector("select")?.focus();
    }
    offer();
    refresh();
  };
  /** Offers the models that can be added. */
  const offer = () => {
    const rest = slugs.filter((slug) => !cards.some((card) => card.slug === slug));
    const options = rest.map((slug) => /** @type {[string, string]} */ ([slug, slug]));
    const choice = select([["", cards.length ? "Add a model…" : "Choose a model…"], ...options]);
    choice.addEventListener("change", () => {
      const card = add({ slug: choice.value, rate_limits: [], usage_limits: [] });
      offer();
      refresh();
      card.focus();
    });
    const label = cards.length ? "Another model" : "Model";
    fill(adder, rest.length > 0 && field({ label, name: "slug", input: choice }));
  };
  const budgetRows = () => ruleRows({
    scope: null, rules: declared(saved, null), changed: refresh,
    currency: place.ancestors.flatMap((one) => one.budgets)[0]?.currency ?? priced,
  });
  let budgets = budgetRows();
  const begin = () => {
    cards = [];
    fill(list);
    saved.models.forEach(add);
    budgets = budgetRows();
    fill(money, budgets.element, h("p", { class: "field-error" }));
    offer();
    show();
  };
  begin();

  return {
    models: h("div", { class: "stack limits-editor" }, list, adder, wrong),
    budgets: money,
    /** What was typed. Throws an `ApiError` if a row has an error, or violates CASCADING; it is marked. */
    value() {
      remaining().forEach((card) => card.check());
      budgets.check();
      if (broken().length) {
        show();
        const at = [list, money].map((part) => part.querySelector("[aria-invalid]")).find(Boolean);
        const row = /** @type {HTMLElement | null | undefined} */ (at?.closest("[data-field]"));
        throw new ApiError(0, "child_exceeds_parent",
          `${row?.dataset.field}: ${row?.querySelector(".field-error")?.textContent}`);
      }
      return value();
    },
    show,
    /** Whether a model or limit, and whether a budget, differs from what is saved. */
    differs() {
      const { models, budgets: money } = value();
      return { models: !sameModels(models, saved.models), budgets: !sameBudgets(money, saved.budgets) };
    },
    isWrong: () => [...remaining(), budgets].some((part) => part.isWrong()),
    /** @param {Edited} now */
    reset(now) {
      saved = now;
      begin();
      changed();
    },
    /** @param {Place} now */
    move(now) {
      place = now;
      show();
    },
    /** Sets the descendants, which are loaded later. @param {Declaring[]} descendants */
    setDescendants(descendants) {
      below = descendants;
      show();
    },
  };
}
