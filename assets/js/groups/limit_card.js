// One model in the limits editor: four cells for the group's own limits, and below each the limit that applies.

import { fill, freshId, h } from "../dom.js";
import { int, limitName } from "../format.js";
import { badge } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { fieldError, numberInput, select } from "../ui/form.js";
import { effective } from "./limits.js";
import { CELLS, amount, modelOf, typedOf } from "./typed_limits.js";

/** @import * as T from "../api_types.js" */
/** @import { Child } from "../dom.js" */
/** @import { Declaring, Violation } from "./limits.js" */

/**
 * The group's place in the tree.
 *
 * @typedef {{self: string, ancestors: Declaring[], mode: T.Enforcement, nameOf: (id: string) => string}} Place
 */

/** @typedef {ReturnType<typeof limitCard>} LimitCard */

/**
 * @param {{model: T.Model, known: boolean, remove: () => void, changed: () => void}} options `known`: has an endpoint
 */
export function limitCard({ model, known, remove, changed }) {
  const { slug } = model;
  const cells = typedOf(model).map((typed, at) => limitCell(slug, at, typed, changed));
  const head = h("div", { class: "limit-head" },
    h("h3", null, slug), !known && badge("bad", "no endpoint"),
    button({ label: `Remove ${slug}`, icon: "trash", kind: "quiet", small: true, iconOnly: true, press: remove }),
    h("p", { class: "field-error" }));
  const element = h("div", { class: "limit-card" }, head,
    h("div", { class: "limit-cells" }, cells.map((cell) => cell.element)));
  const value = () => modelOf(slug, cells.map((cell) => cell.typed()));
  return {
    slug,
    element,
    value,
    focus: () => cells[0]?.input.focus(),
    /** The errors of fields that are not numbers, each after the field's name in the API. @param {number} index */
    errors: (index) => cells.flatMap((cell) => {
      const is = amount(cell.input.value);
      return typeof is === "string" ? [`${cell.name(index, value())}: ${is}`] : [];
    }),
    /**
     * Shows the limits that apply.
     *
     * @param {number} index among the models that will be sent
     * @param {Place} place
     * @param {Violation[]} broken
     */
    show(index, place, broken) {
      const own = value();
      head.dataset.field = `models[${index}].slug`;
      const above = effective(place.ancestors, slug, place.mode);
      const all = effective([{ id: place.self, models: [own] }, ...place.ancestors], slug, place.mode);
      for (const cell of cells) {
        cell.element.dataset.field = cell.name(index, own);
        cell.show(place, [...above.rate_limits, ...above.usage_limits], [...all.rate_limits, ...all.usage_limits],
          broken.find((one) => one.slug === slug && cell.matches(one.limit)));
      }
    },
  };
}

/**
 * @param {string} slug
 * @param {number} at its place in `CELLS`
 * @param {import("./typed_limits.js").Typed} first
 * @param {() => void} changed
 */
function limitCell(slug, at, first, changed) {
  const { kind, type, units } = /** @type {typeof CELLS[number]} */ (CELLS[at]);
  const [errorId, holdsId] = [freshId("error"), freshId("holds")];
  const input = numberInput({
    id: freshId("limit"), value: first.text, placeholder: "none", "aria-describedby": `${errorId} ${holdsId}`,
  });
  const what = type === "TOKEN" ? "Tokens" : "Requests";
  const unit = units.length > 1 && select(units.map((of) => [of, of.toLowerCase()]), {
    value: first.unit, "aria-label": `${what}: rolling window`,
  });
  const typed = () => ({ text: input.value, unit: /** @type {T.Unit} */ (unit ? unit.value : units[0]) });
  const label = h("label", { for: input.id });
  const holds = h("dl", { class: "holds", id: holdsId });
  const element = h("div", { class: "field limit-cell" },
    label, unit ? h("div", { class: "input-row" }, input, unit) : input,
    h("p", { class: "field-error", id: errorId }), holds);
  let broken = "";
  const showError = () => {
    const is = amount(input.value);
    fieldError(element, typeof is === "string" ? is : broken);
  };
  input.addEventListener("input", changed);
  unit && unit.addEventListener("change", changed);
  input.addEventListener("change", () => {
    const is = amount(input.value);
    if (typeof is === "number") input.value = int(is);
    showError();
  });
  const ofKind = (/** @type {T.Limit} */ limit) => limit.type === type && (limit.unit === "DAY") === (kind === "usage");
  return {
    element,
    input,
    typed,
    matches: ofKind,
    /** The field's name in the API. @param {number} index @param {T.Model} own */
    name(index, own) {
      const list = kind === "rate" ? own.rate_limits : own.usage_limits;
      const place = list.findIndex((limit) => limit.type === type);
      return `models[${index}].${kind}_limits[${place < 0 ? list.length : place}].threshold`;
    },
    /**
     * @param {Place} place
     * @param {T.EffectiveLimit[]} above
     * @param {T.EffectiveLimit[]} all
     * @param {Violation | undefined} violation
     */
    show(place, above, all, violation) {
      fill(label, `${what} per ${typed().unit.toLowerCase()}`, h("span", { class: "visually-hidden" }, ` for ${slug}`));
      const is = amount(input.value);
      const inherited = above.filter(ofKind);
      const now = all.filter(ofKind);
      const line = (/** @type {T.EffectiveLimit} */ limit) => limitLine(limit, place, typed().unit);
      const [least] = inherited.filter((limit) => limit.unit === typed().unit)
        .sort((a, b) => a.threshold - b.threshold);
      input.placeholder = least && place.mode === "CASCADING" ? `at most ${int(least.threshold)}` : "none";
      /** @type {[string, Child][]} */
      const lines = [];
      if (place.ancestors.length || is === 0 || (typeof is === "number" && input.value.trim() !== int(is))) {
        lines.push(["In force", now.length ? now.map(line) : "no limit"]);
      }
      const unused = inherited.filter((limit) =>
        !now.some((one) => one.source_group === limit.source_group && one.unit === limit.unit));
      if (unused.length) lines.push(["Overrides", unused.map(line)]);
      fill(holds, lines.map(([name, child]) => h("div", null, h("dt", null, name), h("dd", null, child))));
      broken = violation ? sentence(violation, place.nameOf) : "";
      if (document.activeElement !== input || typeof is !== "string") showError();
    },
  };
}

/** @param {T.EffectiveLimit} limit @param {Place} place @param {T.Unit} unit omitted from the text */
function limitLine(limit, { self, mode, nameOf }, unit) {
  const of = ` of ${nameOf(limit.source_group)}${mode === "CASCADING" ? ", shared" : ""}`;
  return h("span", { class: "holds-line" },
    h("strong", { class: "number" }, int(limit.threshold)),
    limit.unit === unit ? "" : ` per ${limit.unit.toLowerCase()}`,
    h("span", { class: "faint" }, limit.source_group === self ? " of this group" : of),
    limit.threshold === 0 && h("span", { class: "faint" }, " (refuses every request)"));
}

/** @param {Violation} violation @param {(id: string) => string} nameOf */
const sentence = ({ side, bound, group, limit }, nameOf) =>
  side === "ancestor"
    ? `At most ${int(bound)}, the limit of ${nameOf(group)} for ${limitName(limit)}.`
    : `At least ${int(bound)}, the limit of ${nameOf(group)}, a group below. Lower that one first.`;
