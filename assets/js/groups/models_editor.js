// The editor of a group's models and limits. It shows the limits that apply as they are typed.

import { ApiError } from "../api.js";
import { fill, h } from "../dom.js";
import { button } from "../ui/button.js";
import { field, select } from "../ui/form.js";
import { limitCard } from "./limit_card.js";
import { violations } from "./limits.js";
import { sameModels } from "./typed_limits.js";

/** @import * as T from "../api_types.js" */
/** @import { LimitCard, Place } from "./limit_card.js" */
/** @import { Declaring } from "./limits.js" */

/**
 * @param {{models: T.Model[], slugs: string[], place: Place, removalNotice?: string, changed?: () => void}} options
 *   `slugs` are those of the endpoints; `removalNotice` describes the effect of removing a saved model
 */
export function modelsEditor({ models: first, slugs, place: firstPlace, removalNotice, changed = () => {} }) {
  let place = firstPlace;
  /** @type {Declaring[]} */
  let below = [];
  let saved = first;
  /** @type {(LimitCard & {removed?: HTMLElement})[]} */
  let cards = [];
  const list = h("div", { class: "limit-cards" });
  const adder = h("div", { class: "limit-add" });
  const wrong = h("div", { class: "field", data: { field: "models" } }, h("p", { class: "field-error" }));
  const remaining = () => cards.filter((card) => !card.removed);
  const value = () => remaining().map((card) => card.value());

  const show = () => {
    const broken = place.mode === "CASCADING" ? violations(value(), place.ancestors, below) : [];
    remaining().forEach((card, index) => card.show(index, place, broken));
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
    if (saved.some((model) => model.slug === card.slug) && removalNotice) {
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
  /** @param {T.Model[]} models */
  const begin = (models) => {
    cards = [];
    fill(list);
    models.forEach(add);
    offer();
    show();
  };
  begin(first);

  return {
    element: h("div", { class: "stack limits-editor" }, list, adder, wrong),
    /** The models as typed. Throws an `ApiError` if a field is not a number. @returns {T.Model[]} */
    models() {
      const problems = remaining().flatMap((card, index) => card.errors(index));
      if (problems[0]) throw new ApiError(0, "", problems[0]);
      return value();
    },
    /** Throws an `ApiError` if a limit violates CASCADING, and marks the fields. */
    check() {
      if (place.mode !== "CASCADING" || !violations(value(), place.ancestors, below).length) return;
      show();
      const at = list.querySelector("[aria-invalid]");
      if (at instanceof HTMLElement) at.focus();
      throw new ApiError(0, "child_exceeds_parent",
        "With CASCADING, a limit may not exceed an ancestor's limit of the same kind. See the marked fields.");
    },
    show,
    dirty: () => !sameModels(value(), saved) || remaining().some((card, index) => card.errors(index).length > 0),
    slugs: () => cards.map((card) => card.slug),
    untouched: () => sameModels(value(), saved),
    /** @param {T.Model[]} models */
    reset(models) {
      saved = models;
      begin(models);
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
