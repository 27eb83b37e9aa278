// The fields of an endpoint's prices.

import { h } from "../dom.js";
import { button } from "../ui/button.js";
import { field, textInput } from "../ui/form.js";
import { pricingBody } from "./prices.js";

/** @import { Pricing } from "../api_types.js" */

/** @param {Pricing | null | undefined} pricing */
export function priceFields(pricing) {
  const input = (/** @type {"currency" | "input" | "output" | "cached"} */ name, /** @type {object} */ more) =>
    textInput({ value: pricing?.[name] ?? "", autocomplete: "off", spellcheck: "false", ...more });
  const price = { inputmode: "decimal", class: "input number", placeholder: "0.00" };
  const inputs = {
    currency: input("currency", { maxlength: 3, placeholder: "EUR", autocapitalize: "characters" }),
    input: input("input", price),
    output: input("output", price),
    cached: input("cached", price),
  };
  const clear = button({
    label: "Clear", kind: "quiet",
    press: () => {
      for (const one of Object.values(inputs)) one.value = "";
      inputs.currency.focus();
    },
  });
  const element = h("div", { class: "card prices", data: { field: "pricing" } },
    field({ label: "Currency", name: "pricing.currency", input: inputs.currency }),
    field({ label: "Input", name: "pricing.input", input: inputs.input }),
    field({ label: "Output", name: "pricing.output", input: inputs.output }),
    field({ label: "Cached input", name: "pricing.cached", input: inputs.cached, optional: true }),
    clear, h("p", { class: "field-error" }));
  return {
    element,
    body: () => pricingBody({
      currency: inputs.currency.value,
      input: inputs.input.value,
      output: inputs.output.value,
      cached: inputs.cached.value,
    }),
  };
}
