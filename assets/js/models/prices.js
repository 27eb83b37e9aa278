// An endpoint's prices, as they are typed, sent and shown. Pure.

import { money } from "../format.js";
import { wholeNumber } from "./whole_number.js";

/** @import { LongPrices, Pricing } from "../api_types.js" */

/**
 * @typedef {Omit<Pricing, "cached" | "long"> & {cached?: string, long?: LongBody}} PricingBody as the API takes it
 * @typedef {Omit<LongPrices, "above"> & {above: number | null}} LongBody null if it is missing, which the API refuses
 */
/** @typedef {Record<string, string>} PriceValues the texts of the fields, by their names in `Pricing` (`long.input`) */

/** The optional prices of a pricing, which are left out if they are empty. */
const OPTIONAL = /** @type {const} */ (["cached", "cache_write", "request", "image", "second", "characters"]);

/** Prices as the API takes them; null if all are empty. @param {PriceValues} values @returns {PricingBody | null} */
export function pricingBody(values) {
  const text = (/** @type {string} */ name) => (values[name] ?? "").trim().replace(",", ".");
  const isGiven = (/** @type {string} */ start) => Object.keys(values).some((name) => name.startsWith(start) && text(name));
  if (!isGiven("")) return null;
  const prices = (/** @type {string} */ start) => ({
    input: text(`${start}input`),
    output: text(`${start}output`),
    ...Object.fromEntries(OPTIONAL.map((name) => [name, text(start + name)]).filter(([, price]) => price)),
  });
  const above = { name: "pricing.long.above", least: 1, most: Number.MAX_SAFE_INTEGER };
  return {
    currency: text("currency").toUpperCase(),
    ...prices(""),
    ...(isGiven("long.") && { long: { above: wholeNumber(text("long.above"), above), ...prices("long.") } }),
  };
}

/** A normal form in which equal prices are equal. @param {PricingBody | null} pricing */
export function samePrice(pricing) {
  if (!pricing) return null;
  const { currency, long, ...prices } = pricing;
  const numbers = (/** @type {Record<string, string | number | null | undefined>} */ { above, input, output, ...more }) =>
    [above, input, output, ...OPTIONAL.map((name) => more[name])].map((price) => (price ? Number(price) : null));
  return JSON.stringify([currency, numbers({ ...prices, cached: prices.cached || prices.input }), long && numbers(long)]);
}

/** Whether anything besides the prices of input and output was set. @param {Pricing} pricing */
export const hasMorePrices = ({ input, cached, long, ...rest }) =>
  cached !== input || long !== undefined || OPTIONAL.some((name) => name !== "cached" && rest[name] !== undefined);

/** `1.50 / 6.00 EUR` @param {Pricing} pricing */
export const priceText = ({ currency, input, output }) =>
  `${money({ currency: "", amount: input }).trim()} / ${money({ currency, amount: output })}`;
