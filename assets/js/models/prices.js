// An endpoint's prices, as they are typed, sent and shown. Pure.

import { money } from "../format.js";

/** @import { Pricing } from "../api_types.js" */

/** @typedef {Omit<Pricing, "cached"> & {cached?: string}} PricingBody as the API takes it */
/** @typedef {{currency: string, input: string, output: string, cached: string}} PriceValues as they are typed */

/** Prices as the API takes them; null if all are empty. @param {PriceValues} values @returns {PricingBody | null} */
export function pricingBody(values) {
  const [currency = "", input = "", output = "", cached = ""] =
    [values.currency, values.input, values.output, values.cached].map((one) => one.trim());
  if (!currency && !input && !output && !cached) return null;
  const price = (/** @type {string} */ text) => text.replace(",", ".");
  const body = { currency: currency.toUpperCase(), input: price(input), output: price(output) };
  return cached ? { ...body, cached: price(cached) } : body;
}

/** A normal form in which equal prices are equal. @param {PricingBody | null} pricing */
export const samePrice = (pricing) =>
  pricing &&
  [pricing.currency, Number(pricing.input), Number(pricing.output), Number(pricing.cached || pricing.input)].join(" ");

/** `1.50 / 6.00 EUR` @param {Pricing} pricing */
export const priceText = ({ currency, input, output }) =>
  `${money({ currency: "", amount: input }).trim()} / ${money({ currency, amount: output })}`;
