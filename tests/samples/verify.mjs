// Verifies a webhook delivery: `node verify.mjs SECRET SIGNATURE < body` exits with 0 if it is genuine, with 1 if it is not.

import { readFileSync } from "node:fs";

// ---- the code for a receiver

import { createHmac, timingSafeEqual } from "node:crypto";

export function verify(body, signature, secret) {
  const expected = Buffer.from("v1=" + createHmac("sha256", secret).update(body).digest("hex"));
  return signature.split(",").some((part) => {
    const given = Buffer.from(part.trim());
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

// ---- a command that runs it

const [secret, signature] = process.argv.slice(2);
process.exit(verify(readFileSync(0), signature, secret) ? 0 : 1);
