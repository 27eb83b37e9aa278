// The number of tokens of a request, as a field and as a slider.

import { h } from "../dom.js";
import { int } from "../format.js";
import { field, fieldError, numberInput } from "../ui/form.js";
import { amount } from "./typed_rules.js";
import { placeOf, tokensAt } from "./why.js";

/** @import { Child } from "../dom.js" */

const MAX_TOKENS = 1_000_000;

/** @param {{tokens: number, hint: Child, changed: () => void}} options */
export function tokensField({ tokens: first, hint, changed }) {
  let tokens = first;
  const number = numberInput({ value: int(tokens) });
  const slider = h("input", {
    type: "range", min: 0, max: 100, value: placeOf(tokens, MAX_TOKENS), class: "slider",
    "aria-label": "Tokens of the request (slider)", "aria-valuetext": `${int(tokens)} tokens`,
  });
  const element = field({ label: "Tokens of the request", name: "tokens", input: number, hint });
  number.addEventListener("input", () => {
    const { value, error } = amount(number.value);
    fieldError(element, error);
    if (error) return;
    tokens = value ?? 0;
    slider.value = String(placeOf(tokens, MAX_TOKENS));
    slider.setAttribute("aria-valuetext", `${int(tokens)} tokens`);
    changed();
  });
  slider.addEventListener("input", () => {
    tokens = tokensAt(Number(slider.value), MAX_TOKENS);
    number.value = int(tokens);
    slider.setAttribute("aria-valuetext", `${int(tokens)} tokens`);
    fieldError(element, "");
    changed();
  });
  return { elements: [element, slider], tokens: () => tokens };
}
