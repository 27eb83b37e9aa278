// The fields of an endpoint's prices. Those that few endpoints need are behind a disclosure.

import { h } from "../dom.js";
import { button } from "../ui/button.js";
import { field, textInput } from "../ui/form.js";
import { hasMorePrices, pricingBody } from "./prices.js";

/** @import { Pricing } from "../api_types.js" */
/** @import { Props } from "../dom.js" */

const PRICE = { inputmode: "decimal", class: "input number", placeholder: "0.00" };
const LIKE_INPUT = { ...PRICE, placeholder: "as input" };

/** @param {Pricing | null | undefined} pricing */
export function priceFields(pricing) {
  // If a price follows the input price, its field stays empty, so that it goes on following it.
  const { long, cached, ...rest } = pricing ?? {};
  /** @type {Record<string, string | undefined>} */
  const stored = { ...rest, cached: cached === pricing?.input ? "" : cached };
  for (const [name, value] of Object.entries(long ?? {})) stored[`long.${name}`] = String(value);

  /** @type {Record<string, HTMLInputElement>} */
  const inputs = {};
  const one = (/** @type {string} */ label, /** @type {string} */ name, /** @type {Props} */ props = PRICE) => {
    const input = (inputs[name] = textInput({ value: stored[name] ?? "", autocomplete: "off", spellcheck: "false", ...props }));
    return field({ label, name: `pricing.${name}`, input });
  };
  const part = (/** @type {string} */ legend, /** @type {HTMLElement[]} */ ...fields) =>
    h("fieldset", null, h("legend", null, legend), h("div", { class: "prices" }, fields));

  const clear = button({
    label: "Clear", kind: "quiet",
    press: () => {
      for (const input of Object.values(inputs)) input.value = "";
      inputs.currency?.focus();
    },
  });
  const element = h("div", { class: "card stack", data: { field: "pricing" } },
    h("div", { class: "prices" },
      one("Currency", "currency", { maxlength: 3, placeholder: "EUR", autocapitalize: "characters" }),
      one("Input", "input"),
      one("Output", "output"),
      clear),
    h("p", { class: "field-error" }),
    h("details", { class: "more-prices", open: Boolean(pricing && hasMorePrices(pricing)) },
      h("summary", null, "More prices"),
      h("div", { class: "stack" },
        part("Prompt cache, per million tokens",
          one("Cached input", "cached", LIKE_INPUT), one("Cache writes", "cache_write", LIKE_INPUT)),
        part("Besides tokens",
          one("Each request", "request"), one("Each image", "image"),
          one("Second of audio", "second"), one("Million characters of speech", "characters")),
        part("Long prompts: other prices for all tokens of a request, per million",
          one("Above input tokens", "long.above", { inputmode: "numeric", class: "input number" }),
          one("Long input", "long.input"), one("Long output", "long.output"),
          one("Long cached input", "long.cached", LIKE_INPUT), one("Long cache writes", "long.cache_write", LIKE_INPUT)))));
  return {
    element,
    body: () => pricingBody(Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]))),
  };
}
