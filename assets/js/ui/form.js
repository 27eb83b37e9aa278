// Forms: each field has its label above it and its error below it.

import { ApiError } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { busy } from "./button.js";
import { icon } from "./icon.js";

/** @import { Child, Props } from "../dom.js" */

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

/**
 * A labelled field.
 *
 * @param {{label: string, name: string, input: Control, hint?: Child, optional?: boolean, unit?: Child,
 *   after?: Child}} options `name` is the field's name in the API's errors
 */
export function field({ label, name, input, hint, optional, unit, after }) {
  input.id ||= freshId("field");
  const hintId = hint ? freshId("hint") : null;
  const errorId = freshId("error");
  input.setAttribute("aria-describedby", [errorId, hintId].filter(Boolean).join(" "));
  return h("div", { class: "field", data: { field: name } },
    h("label", { for: input.id }, label, optional && [" ", h("span", { class: "optional" }, "optional")]),
    unit || after ? h("div", { class: "input-row" }, input, unit && h("span", { class: "unit" }, unit), after) : input,
    h("p", { class: "field-error", id: errorId }),
    hint && h("p", { class: "hint", id: hintId }, hint));
}

/** @param {Props} [props] */
export const textInput = (props) => h("input", { type: "text", class: "input", ...props });

/** A whole number; a text field, so that the mouse wheel does not change it. @param {Props} [props] */
export const numberInput = (props) =>
  h("input", { type: "text", inputmode: "numeric", class: "input number", autocomplete: "off", ...props });

/** @param {Props} [props] */
export const textArea = (props) => h("textarea", { class: "input", rows: 4, ...props });

/**
 * @param {[string, string][]} options values and labels
 * @param {Props} [props]
 */
export function select(options, props = {}) {
  const { value, ...rest } = props;
  const made = h("select", { class: "input", ...rest },
    options.map(([of, label]) => h("option", { value: of }, label)));
  if (value !== undefined && value !== null) made.value = String(value);
  return made;
}

/**
 * A checkbox, followed by its label.
 *
 * @param {{label: Child, name: string, checked?: boolean, hint?: Child, onchange?: (event: Event) => void}} options
 */
export function checkbox({ label, name, checked, hint, onchange }) {
  return h("div", { class: "field checkbox", data: { field: name } },
    h("label", null, h("input", { type: "checkbox", name, checked: checked ?? false, onchange }), h("span", null, label)),
    h("p", { class: "field-error" }),
    hint && h("p", { class: "hint" }, hint));
}

/**
 * Radio buttons, or checkboxes if `value` is a list.
 *
 * @param {{legend: string, name: string, value: string | string[],
 *   options: {value: string, label: Child, text?: Child}[], onchange?: (value: string) => void}} options
 */
export function choice({ legend, name, value, options, onchange }) {
  return h("fieldset", { class: "choice", data: { field: name } },
    h("legend", null, legend),
    h("div", { class: "choice-options" }, options.map((option) =>
      h("label", { class: "choice-option" },
        h("input", {
          type: Array.isArray(value) ? "checkbox" : "radio", name, value: option.value,
          checked: [value].flat().includes(option.value),
          onchange: () => onchange?.(option.value),
        }),
        h("span", null, h("strong", null, option.label), option.text && h("span", { class: "hint" }, option.text))))),
    h("p", { class: "field-error" }));
}

/**
 * A form that submits itself, and shows the API's error at the field that it names.
 *
 * @param {{submit: string, kind?: "primary" | "danger", cancel?: () => void, cancelLabel?: string,
 *   send: () => Promise<unknown>, extra?: Child}} options
 * @param {...Child} fields
 */
export function form({ submit, kind = "primary", cancel, cancelLabel = "Cancel", send, extra }, ...fields) {
  const problem = h("div", { class: "form-problem", role: "alert" });
  const go = h("button", { type: "submit", class: ["button", kind] }, h("span", null, submit));
  const made = h("form", { class: "form", novalidate: true, autocomplete: "off" }, fields, problem,
    h("div", { class: "form-actions" },
      go, cancel && h("button", { type: "button", class: "button", onclick: cancel }, cancelLabel), extra));
  const clear = () => {
    fill(problem);
    for (const old of made.querySelectorAll(".field-error")) fill(old);
    for (const old of made.querySelectorAll("[aria-invalid]")) old.removeAttribute("aria-invalid");
  };
  /** Runs work that sends the fields, and shows its error. @param {() => Promise<unknown>} work */
  const attempt = async (work) => {
    clear();
    await work().catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      showError(made, problem, error);
    });
  };
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    void busy(go, () => attempt(send));
  });
  return Object.assign(made, {
    attempt,
    /** Replaces the errors shown, for actions other than submitting. @param {...ApiError} errors */
    showErrors: (...errors) => {
      clear();
      for (const error of errors) showError(made, problem, error);
    },
  });
}

/**
 * @param {HTMLElement} made
 * @param {HTMLElement} problem shows an error that names no visible field
 * @param {ApiError} error
 */
function showError(made, problem, error) {
  const at = fieldOf(made, error.field);
  if (at) {
    fieldError(at, error.message);
    at.closest("details")?.setAttribute("open", "");
    const input = at.querySelector("input, select, textarea");
    if (input instanceof HTMLElement) input.focus();
  } else {
    fill(problem, icon("warn"), h("p", null, error.sentence));
  }
}

/**
 * Shows an error below a field, or clears it.
 *
 * @param {Element} at a `.field`
 * @param {string} message
 */
export function fieldError(at, message) {
  const place = at.querySelector(".field-error");
  if (place) fill(place, message);
  // The first control of a field is the one that the message is about.
  const input = at.querySelector("input, select, textarea");
  if (message) input?.setAttribute("aria-invalid", "true");
  else input?.removeAttribute("aria-invalid");
}

/**
 * The field that an error names: `models[0].rate_limits[1].threshold` is found by its full name, else by the longest
 * prefix that is on the form.
 *
 * @param {HTMLElement} made
 * @param {string} name
 */
function fieldOf(made, name) {
  for (let part = name; part; part = part.replace(/(\.\w+|\[\d+\]|\w+)$/, "")) {
    const found = made.querySelector(`[data-field="${CSS.escape(part)}"]`);
    if (found) return found;
  }
  return null;
}
