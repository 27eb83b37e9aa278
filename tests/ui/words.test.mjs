// Amounts, windows and reasons in words. Runs without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./support/load.mjs";

// The browser's time zone. It is read when the module is loaded.
process.env.TZ = "Europe/Berlin";
const { amountText, dayAndTime, figure, limitName, money, windowEnd } = await load("js/format.js");
const { scaled, share } = await load("js/decimal.js");
const { simulation, verdict } = await load("js/groups/why.js");

for (const [now, end, words] of [
  ["2026-11-27T22:59:00Z", "2026-11-29T23:00:00Z", "Monday 00:00, in 2 days"],
  ["2026-11-28T23:30:00Z", "2026-11-29T23:00:00Z", "Monday 00:00, in 23 h"],
  ["2026-11-28T10:00:00Z", "2026-11-29T23:00:00Z", "Monday 00:00, in 1 d 13 h"],
  ["2026-11-29T22:48:30Z", "2026-11-29T23:00:00Z", "Monday 00:00, in 11 min"],
  ["2026-11-23T00:00:00Z", "2026-11-30T23:00:00Z", "1 December 00:00, in 7 days"],
  ["2026-12-01T00:00:00Z", "2026-12-31T23:00:00Z", "1 January 00:00, in 30 days"],
  // The clocks are set forward on 28 March.
  ["2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z", "Monday 00:00, in 23 h"],
]) {
  test(`at ${now}, ${end} is "${words}"`, (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: new Date(now) });
    assert.equal(windowEnd(end), words);
  });
}

test("decimals are compared exactly", () => {
  assert.ok(scaled("9007199254740993.000000000001") > scaled("9007199254740993"));
  assert.ok(scaled("0.1") + scaled("0.2") === scaled("0.3"));
  assert.equal(scaled("12.50"), scaled("12.5"));
  assert.equal(scaled(7), scaled("7.000000000000"));
  assert.ok(scaled("0.000000000001") > 0n);
});

test("a share is rounded down, so that only what is used up is full", () => {
  assert.equal(share(scaled("499.999999"), scaled("500")), 9999);
  assert.equal(share(scaled("500"), scaled("500")), 10_000);
  assert.equal(share(scaled("501"), scaled("500")), 10_000);
  assert.equal(share(0n, 0n), 0);
  assert.equal(share(1n, 0n), 10_000);
});

test("money keeps every decimal, and has at least two", () => {
  assert.equal(figure("1234567890123456789.5"), "1,234,567,890,123,456,789.50");
  assert.equal(figure("0.000000000001"), "0.000000000001");
  assert.equal(figure("500"), "500.00");
  assert.equal(figure(500), "500");
  for (const [exact, shown] of [
    ["499.9647005", "499.96"], ["1234.5", "1,234.50"], ["0.01234567", "0.0123"], ["0.3", "0.30"], ["0", "0.00"],
    ["0.000045", "<0.0001"], ["0.00006", "<0.0001"], [40_000, "40,000"],
  ]) assert.equal(amountText(exact), shown);
  assert.equal(money({ currency: "EUR", amount: "2.500000000000" }), "2.50 EUR");
});

test("limits and budgets have names", () => {
  for (const [type, unit, name, currency] of [
    ["TOKEN", "SECOND", "tokens per second"], ["REQUEST", "WEEK", "requests per week"], ["TOKEN", "MONTH", "tokens per month"],
    ["REQUEST", "CONCURRENT", "running requests"], ["COST", "TOTAL", "EUR in total", "EUR"], ["COST", "DAY", "USD per day", "USD"],
  ]) {
    assert.equal(limitName({ type, unit, currency }), name);
  }
});

for (const [limit, retry_after_s, refused, wait] of [
  [{ type: "REQUEST", unit: "CONCURRENT", threshold: 3 }, 1, "limit of Acme for running requests", "Try again when a running request has ended."],
  [{ type: "TOKEN", unit: "MINUTE", threshold: 3 }, 42, "limit of Acme for tokens per minute", "Try again in 42 s."],
  [{ type: "TOKEN", unit: "WEEK", threshold: 3, reset_at: "2026-11-29T23:00:00Z" }, 191_000, "limit of Acme for tokens per week", "Try again Monday 00:00, in 2 days."],
  [{ type: "TOKEN", unit: "DAY", threshold: 3, reset_at: null }, null, "limit of Acme for tokens per day", "It can never pass: it needs more than the whole limit."],
  [{ type: "COST", unit: "MONTH", currency: "EUR", threshold: "10.00", reset_at: "2026-11-30T23:00:00Z" }, 277_000, "budget of Acme for EUR per month", "Try again Tuesday 00:00, in 3 days."],
  [{ type: "COST", unit: "TOTAL", currency: "EUR", threshold: "10.00", reset_at: null }, null, "budget of Acme for EUR in total", "This budget never resets. A larger amount lets requests pass again."],
  [{ type: "COST", unit: "DAY", currency: "EUR", threshold: "0.00", reset_at: null }, null, "budget of Acme for EUR per day", "The budget is 0, so it refuses every request."],
]) {
  test(`a refusal by the ${refused} is explained`, (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: new Date("2026-11-27T18:00:00Z") });
    const answer = { tokens: 5, admitted: false, stopped_by: 0, retry_after_s, limits: [{ ...limit, source_group: "a" }] };
    assert.deepEqual(verdict(answer, () => "Acme", false), {
      passes: false, sentence: `A request of 5 tokens would be refused by the ${refused}.`, wait,
    });
  });
}

const stop = (refused, limit, source_group = "shop") =>
  ({ refused, limit: { kind: "usage", slug: "a/b", type: "REQUEST", unit: "DAY", threshold: 5000, ...limit, source_group } });
const spent = (refused, source_group) => ({ refused, budget: { unit: "MONTH", currency: "EUR", amount: "200", source_group } });
const at = "2026-11-24T13:05:30Z";
const first = "Tuesday, 24 Nov, 14:05";
const refusals = "requests of the last 7 days would have been refused";

for (const [what, answer, slugs, sentence] of [
  ["no requests", { requests: 0, refused: 0 }, ["a/b"], "There were no requests in the last 7 days."],
  ["no refusals", { requests: 340, refused: 0 }, ["a/b"], `With these limits, none of 340 ${refusals}.`],
  ["a limit and an ancestor's budget", { requests: 1340, refused: 12, first_refused_at: at, stopped_by: [stop(10), spent(2, "acme")] }, ["a/b"],
    `With these limits, 12 of 1,340 ${refusals}, the first on ${first}: 10 by 5,000 requests per day, 2 by 200.00 EUR per month of Acme.`],
  ["one refusal", { requests: 1, refused: 1, first_refused_at: at, stopped_by: [stop(1, { unit: "CONCURRENT", threshold: 8 })] }, ["a/b"],
    `With these limits, 1 of 1 request of the last 7 days would have been refused, on ${first}: 1 by 8 running requests.`],
  ["several models", { requests: 9, refused: 4, first_refused_at: at, stopped_by: [stop(3, { type: "TOKEN" }, "acme"), stop(1, { slug: "c/d" })] }, ["a/b", "c/d"],
    `With these limits, 4 of 9 ${refusals}, the first on ${first}: 3 by 5,000 tokens per day of Acme for a/b, 1 by 5,000 requests per day for c/d.`],
  ["a removed model", { requests: 9, refused: 2, first_refused_at: at, stopped_by: [stop(2, { slug: "c/d" }, "acme")] }, ["a/b"],
    `With these limits, 2 of 9 ${refusals}, the first on ${first}: 2 by 5,000 requests per day of Acme for c/d.`],
  ["many limits", { requests: 99, refused: 45, first_refused_at: at, stopped_by: [9, 8, 7, 6, 5, 4, 3, 2, 1].map((refused) => spent(refused, "shop")) }, ["a/b"],
    `With these limits, 45 of 99 ${refusals}, the first on ${first}: ${[9, 8, 7].map((count) => `${count} by 200.00 EUR per month`).join(", ")}, 21 by 6 others.`],
  ["events that cannot be read", { requests: 3, refused: 0, incomplete: [{ detail: "A record cannot be read." }, { detail: "A day is missing." }] }, ["a/b"],
    `With these limits, none of 3 ${refusals}. A record cannot be read. A day is missing.`],
]) {
  test(`a simulation with ${what} is told in a sentence`, () => {
    const group = { id: "shop", models: slugs.map((slug) => ({ slug })) };
    const parts = simulation({ first_refused_at: null, stopped_by: [], ...answer }, group, () => "Acme", dayAndTime);
    assert.equal(parts.flat().join(""), sentence);
  });
}
