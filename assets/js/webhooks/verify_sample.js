// Sample code that verifies the signature of a delivery. It does not contain the secret.

export const VERIFY = `import { createHmac, timingSafeEqual } from "node:crypto";

// body: the raw bytes of the request; signature: its X-Tollgate-Signature header
export function verify(body, signature, secret) {
  const expected = Buffer.from("v1=" + createHmac("sha256", secret).update(body).digest("hex"));
  return signature.split(",").some((part) => {
    const given = Buffer.from(part.trim());
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}`;
