// The rows of the limits editor: an amount, what it measures, and its window. Limits and budgets have the same rows.

import { ApiError } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { MEASURES, WINDOWS, figure, kindName, limitName } from "../format.js";
import { button } from "../ui/button.js";
import { fieldError, numberInput, select, textInput } from "../ui/form.js";
import { effective, isRate, ofOneKind } from "./limits.js";
import { rowName } from "./names.js";
import { UNITS, amount, measureOf, money, nextRule, rulesOf, slotOf, typeOf, typedOf } from "./typed_rules.js";

/** @import * as T from "../api_types.js" */
/** @import { Declaring, EffectiveRule, Rule, Scope, Violation } from "./limits.js" */
/** @import { Measure, Typed } from "./typed_rules.js" */

/** What a budget is for. */
const ALL = "all models";

/**
 * The group's place in the tree.
 *
 * @typedef {{self: string, ancestors: Declaring[], mode: T.Enforcement, nameOf: (id: string) => string}} Place
 */

/**
 * @param {{scope: Scope, rules: Rule[], currency?: string, changed: () => void}} options `currency` is that of a new
 *   budget
 */
export function ruleRows({ scope, rules, currency, changed }) {
  /** @type {ReturnType<typeof ruleRow>[]} */
  let rows = [];
  const word = scope === null ? "budget" : "limit";
  const list = h("div", { class: "rules" });
  const above = h("ul", { class: "limit-list rules-above" });
  const title = h("p", { class: "hint" });
  const taken = () => new Set(rows.map((row) => slotOf(row.typed())));
  const insert = (/** @type {Typed} */ typed) => {
    const row = ruleRow({
      scope, typed, changed,
      remove: () => {
        rows = rows.filter((one) => one !== row);
        row.element.remove();
        changed();
        add.focus();
      },
    });
    rows.push(row);
    list.append(row.element);
    return row;
  };
  const begin = (/** @type {Pick<Typed, "type" | "unit" | "currency"> | "" | undefined} */ rule) => {
    if (!rule) return;
    const row = insert({ currency: scope === null ? currency : undefined, ...rule, text: "" });
    changed();
    row.input.focus();
  };
  const add = button({
    label: `Add a ${word}`, icon: "plus", small: true, press: () => begin(nextRule(scope, taken())),
    props: { "aria-label": `Add a ${word}${scope === null ? "" : ` for ${scope}`}` },
  });
  const value = () => rulesOf(rows.map((row) => row.typed()));
  rules.forEach((rule) => insert(typedOf(rule)));
  return {
    element: h("div", { class: "stack rules-part" }, list, h("div", null, title, above), h("div", null, add)),
    value,
    focus: () => (rows[0]?.input ?? add).focus(),
    /** Throws an `ApiError` if a row has an error. */
    check() {
      const wrong = rows.find((row) => row.error());
      if (wrong) throw new ApiError(0, "", `${wrong.element.dataset.field}: ${wrong.error()}`);
    },
    isWrong: () => rows.some((row) => row.error()),
    /**
     * Shows which rules apply.
     *
     * @param {string} prefix of the rows' names in the API
     * @param {Place} place
     * @param {Violation[]} broken
     */
    show(prefix, { ancestors, mode, nameOf }, broken) {
      const [slots, counts] = [taken(), { rate_limits: 0, usage_limits: 0, budgets: 0 }];
      const inherited = effective(ancestors, scope, mode);
      for (const row of rows) {
        const typed = row.typed();
        const of = scope === null ? "budgets" : isRate(typed) ? "rate_limits" : "usage_limits";
        row.element.dataset.field = `${prefix}${of}[${counts[of]}]`;
        if (typed.text.trim()) counts[of] += 1;
        row.offer(slots);
        row.show(inherited.find((rule) => ofOneKind(rule, typed)), mode, nameOf,
          broken.find((one) => one.scope === scope && ofOneKind(one.rule, typed)));
      }
      const own = value();
      const inForce = inherited.filter((rule) => mode === "CASCADING" || !own.some((nearer) => ofOneKind(nearer, rule)));
      fill(title, inForce.length ? "Inherited" : !rows.length && `No ${word} applies.`);
      fill(above, inForce.map((rule) => h("li", null,
        h("span", null, h("strong", { class: "number" }, figure(rule.threshold)), ` ${limitName(rule)}`,
          h("span", { class: "faint" }, ` of ${nameOf(rule.source_group)}${mode === "CASCADING" ? ", shared" : ""}`)), " ",
        !slots.has(slotOf(rule)) && button({
          label: "Set here", kind: "quiet", small: true,
          props: { "aria-label": `Set here: ${limitName(rule)} for ${scope ?? ALL}` },
          press: () => begin({ type: rule.type, unit: rule.unit, currency: rule.currency }),
        }))));
      add.hidden = !nextRule(scope, slots);
    },
  };
}

/** @param {{scope: Scope, typed: Typed, changed: () => void, remove: () => void}} options */
function ruleRow({ scope, typed: first, changed, remove }) {
  const [errorId, hintId] = [freshId("error"), freshId("hint")];
  const input = numberInput({
    value: first.text, inputmode: "decimal", placeholder: "none", "aria-describedby": `${errorId} ${hintId}`,
  });
  const measure = scope === null
    ? textInput({
      value: first.currency ?? "", "aria-label": "Currency", maxlength: 3, placeholder: "EUR", autocomplete: "off",
    })
    : select(Object.entries(MEASURES), { value: measureOf(first), "aria-label": "Measure" });
  const unit = select([], { "aria-label": "Window" });
  const hint = h("p", { class: "hint", id: hintId });
  const drop = button({ label: "Remove", icon: "trash", kind: "quiet", small: true, iconOnly: true, press: remove });
  const element = h("div", { class: "field rule", role: "group" },
    input, measure, unit, drop, h("p", { class: "field-error", id: errorId }), hint);
  const measured = () => /** @type {Measure} */ (scope === null ? "COST" : measure.value);
  /** @returns {Typed} */
  const typed = () => ({
    type: typeOf(measured()), unit: /** @type {Rule["unit"]} */ (unit.value), text: input.value,
    ...(scope === null && { currency: measure.value.trim().toUpperCase() }),
  });
  const parsed = () => (scope === null ? money : amount)(input.value);
  /** @param {string} value the window to choose, if the measure has it */
  const offerWindows = (value) => {
    fill(unit, UNITS[measured()].map((of) => h("option", { value: of }, WINDOWS[of])));
    unit.value = value;
    if (!unit.value) unit.selectedIndex = 0;
  };
  offerWindows(first.unit);
  let slots = new Set();
  let broken = "";
  const showError = () => fieldError(element, parsed().error || broken);
  input.addEventListener("input", changed);
  input.addEventListener("change", () => {
    const { value } = parsed();
    if (value !== null) input.value = figure(value);
    showError();
  });
  measure.addEventListener(scope === null ? "input" : "change", () => {
    if (scope !== null) {
      const free = UNITS[measured()].filter((of) => !slots.has(slotOf({ type: typeOf(measured()), unit: of })));
      offerWindows(free.find((of) => of === unit.value) ?? free[0] ?? "");
    }
    changed();
  });
  unit.addEventListener("change", changed);
  return {
    element,
    input,
    typed,
    error: () => parsed().error,
    /** Disables what other rows have. @param {Set<string>} taken */
    offer(taken) {
      const own = slotOf(typed());
      slots = new Set([...taken].filter((slot) => slot !== own));
      const isTaken = (/** @type {Measure} */ of, /** @type {Rule["unit"]} */ window) =>
        slots.has(slotOf({ type: typeOf(of), unit: window }));
      for (const option of unit.options) {
        option.disabled = isTaken(measured(), /** @type {Rule["unit"]} */ (option.value));
      }
      if (measure instanceof HTMLSelectElement) {
        for (const option of measure.options) {
          const of = /** @type {Measure} */ (option.value);
          option.disabled = UNITS[of].every((window) => isTaken(of, window));
        }
      }
    },
    /**
     * @param {EffectiveRule | undefined} nearest the nearest ancestor's of this kind
     * @param {T.Enforcement} mode
     * @param {(id: string) => string} nameOf
     * @param {Violation | undefined} violation
     */
    show(nearest, mode, nameOf, violation) {
      const label = rowName(typed(), scope);
      element.setAttribute("aria-label", label);
      input.setAttribute("aria-label", label);
      drop.title = `Remove ${limitName(typed())}`;
      fill(/** @type {Element} */ (drop.lastElementChild), `Remove ${limitName(typed())} for ${scope ?? ALL}`);
      const { value, error } = parsed();
      const isHardToRead = value !== null && /[a-z]|\d{5}/i.test(input.value);
      fill(hint,
        isHardToRead && h("span", { class: "number" }, `${figure(value)}. `),
        value !== null && Number(value) === 0 && "Refuses every request. ",
        value !== null && nearest && mode === "INDEPENDENT" &&
          `Instead of ${figure(nearest.threshold)} ${limitName(nearest)} of ${nameOf(nearest.source_group)}.`);
      broken = violation ? sentence(violation, nameOf) : "";
      if (document.activeElement !== input || !error) showError();
    },
  };
}

/** @param {Violation} violation @param {(id: string) => string} nameOf */
const sentence = ({ side, bound, group, rule }, nameOf) =>
  side === "ancestor"
    ? `At most ${figure(bound)}, the ${kindName(rule)} of ${nameOf(group)} for ${limitName(rule)}.`
    : `At least ${figure(bound)}, the ${kindName(rule)} of ${nameOf(group)}, a group below. Lower that one first.`;
