// The timestamp of a ULID: its first ten characters, in Crockford's base 32.

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Unix ms, or null if the text is not a ULID. @param {string} text */
export function ulidTime(text) {
  if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i.test(text)) return null;
  return [...text.slice(0, 10).toUpperCase()].reduce((sum, digit) => 32 * sum + DIGITS.indexOf(digit), 0);
}
