// Whole numbers as they are typed. Pure.

import { ApiError } from "../api.js";

/**
 * Parses a whole number; null if the text is empty.
 *
 * @param {string} text
 * @param {{name: string, least: number, most: number}} field its name in errors, and its range
 * @throws {ApiError} if the text is not a number in the range
 */
export function wholeNumber(text, { name, least, most }) {
  const given = text.trim();
  if (!given) return null;
  const value = /^\d+$/.test(given) ? Number(given) : NaN;
  if (value >= least && value <= most) return value;
  throw new ApiError(0, "", `${name}: Enter a whole number from ${least} to ${most}.`);
}
