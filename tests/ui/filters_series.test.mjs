// The filters and series of the usage and events pages, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./support/load.mjs";

const { bucketsOf, moment, rangeOf, stepOf, timesOf } = await load("js/filters/range.js");
const { joined, listOf } = await load("js/filters/lists.js");
const { seriesOf } = await load("js/usage/report.js");
const { ulidTime } = await load("js/events/ulid.js");

const NOW = Date.parse("2026-03-01T10:30:00Z");
const range = (address, otherwise = "7d") => timesOf(rangeOf(new URLSearchParams(address), otherwise, NOW));

test("ranges begin and end at midnight UTC, and months begin on their first day", () => {
  assert.deepEqual(range(""), { start_time: "2026-02-23T00:00:00.000Z", end_time: undefined });
  assert.deepEqual(range("range=today"), { start_time: "2026-03-01T00:00:00.000Z", end_time: undefined });
  assert.deepEqual(range("range=yesterday"), { start_time: "2026-02-28T00:00:00.000Z", end_time: "2026-03-01T00:00:00.000Z" });
  assert.deepEqual(range("range=last_month"), { start_time: "2026-02-01T00:00:00.000Z", end_time: "2026-03-01T00:00:00.000Z" });
  assert.deepEqual(range("", "all"), { start_time: undefined, end_time: undefined });
});

test("an end date includes its day, an end time does not, and an invalid range is the default one", () => {
  assert.deepEqual(range("from=2026-01-01&to=2026-01-31"), { start_time: "2026-01-01T00:00:00.000Z", end_time: "2026-02-01T00:00:00.000Z" });
  assert.equal(moment("2026-01-01T10:00", true), Date.parse("2026-01-01T10:00:00Z"));
  assert.deepEqual(range("range=never&from=x"), range(""));
  assert.deepEqual(range("from=2026-02-02&to=2026-01-01").end_time, "2026-02-02T00:00:00.000Z");
});

test("up to three days have one bucket per hour, and no bucket is in the future", () => {
  const today = rangeOf(new URLSearchParams("range=today"), "7d", NOW);
  assert.equal(stepOf(today, NOW), "hour");
  assert.equal(bucketsOf(today, "hour", NOW).length, 11);
  const week = rangeOf(new URLSearchParams("range=7d"), "7d", NOW);
  assert.equal(stepOf(week, NOW), "day");
  assert.deepEqual(bucketsOf(week, "day", NOW).map((at) => new Date(at).getUTCDate()), [23, 24, 25, 26, 27, 28, 1]);
});

test("lists in an address keep the commas and percent signs of their values", () => {
  for (const values of [["a"], ["a", "b/c"], ["a,b", "50%", "%2C", "x,%25"]]) {
    assert.deepEqual(listOf(new URLSearchParams({ x: joined(values) }), "x"), values);
  }
  assert.deepEqual(listOf(new URLSearchParams("x=a&x=b&x=a"), "x"), ["a", "b"]);
  assert.equal(joined([]), null);
});

test("a ULID has a time, and other text has none", () => {
  assert.equal(ulidTime("01ARZ3NDEKTSV4RRFFQ69G5FAV"), 1469922850259);
  for (const bad of ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU"]) assert.equal(ulidTime(bad), null);
});

test("each of the largest items has a series, and the rest of the sums is the series Others", () => {
  const item = (group, hour, input) => ({
    group_id: group, external_entity_id: group, hour: `2026-03-01T0${hour}:00:00Z`, requests: 1, input_tokens: input, output_tokens: 0, cost: {},
  });
  const buckets = [0, 1].map((hour) => Date.parse(`2026-03-01T0${hour}:00:00Z`));
  const given = { buckets, step: "hour", nameOf: (one) => one.external_entity_id, metric: "tokens", largest: [item("a", 0, 0)] };
  const sums = [0, 1].map((hour) => ({ ...item("x", hour, 10), group_id: undefined, external_entity_id: undefined }));
  assert.deepEqual(seriesOf({ ...given, rows: [item("a", 0, 7), item("a", 1, 10)], sums }), [
    { name: "a", values: [7, 10] }, { name: "Others", values: [3, 0] },
  ]);
  const alone = seriesOf({ ...given, rows: [item("a", 0, 10), item("a", 1, 10)], sums });
  assert.deepEqual(alone.map(({ name }) => name), ["a"], "without a rest there is no series Others");
});

test("rounding errors of costs do not create a series Others", () => {
  const item = (amount) => ({ group_id: "a", external_entity_id: "a", day: "2026-03-01", cost: { EUR: amount } });
  const sums = [{ day: "2026-03-01", cost: { EUR: "0.3" } }];
  const made = seriesOf({
    buckets: [Date.parse("2026-03-01")], step: "day", nameOf: (one) => one.external_entity_id, metric: "cost:EUR", largest: [item("0")],
    rows: [item("0.1"), item("0.2")], sums,
  });
  assert.deepEqual(made.map(({ name }) => name), ["a"]);
});
