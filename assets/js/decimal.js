// Exact decimals: whole numbers, and money as the API writes it. Pure.

const DECIMALS = 12;

/** A whole number or a decimal string such as `0.05`, in units of 10^-12. @param {number | string} value */
export function scaled(value) {
  const [whole, decimals = ""] = String(value).split(".");
  return BigInt(whole + decimals.slice(0, DECIMALS).padEnd(DECIMALS, "0"));
}

/** The hundredths of a percent that a part is of a whole, at most 10000. @param {bigint} part @param {bigint} of */
export const share = (part, of) => part >= of ? (part > 0n ? 10_000 : 0) : Number((10_000n * part) / of);
