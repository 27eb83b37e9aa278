// The differences that the audit log shows, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./support/load.mjs";

const { changesOf } = await load("js/audit/diff.js");

const GROUP = {
  id: "01", metadata: { name: "Acme", external_entity_id: "cust_1" }, disabled: false, created_at: "2026-03-01T10:00:00.123Z",
  models: [
    { slug: "a/chat", rate_limits: [], usage_limits: [{ type: "TOKEN", unit: "DAY", threshold: 1000 }] },
    { slug: "a/embed", rate_limits: [], usage_limits: [] },
  ],
};

test("a change is a list of the fields that changed, in words", () => {
  const after = structuredClone(GROUP);
  after.metadata.name = null;
  after.disabled = true;
  after.models[0].usage_limits[0].threshold = 2000;
  assert.deepEqual(changesOf(GROUP, after), [
    { field: "name", before: "Acme", after: null },
    { field: "disabled", before: "no", after: "yes" },
    { field: "models › a/chat › usage limits › tokens per day", before: "1,000", after: "2,000" },
  ]);
});

test("a budget is named by its window", () => {
  const budgets = (...all) => ({ ...GROUP, budgets: all.map(([unit, currency, amount]) => ({ unit, currency, amount })) });
  const before = budgets(["MONTH", "EUR", "500"], ["DAY", "EUR", "20"]);
  assert.deepEqual(changesOf(before, budgets(["MONTH", "EUR", "1250.5"], ["TOTAL", "USD", "9000"])), [
    { field: "budgets › per month", before: "500.00 EUR", after: "1,250.50 EUR" },
    { field: "budgets › per day", before: "20.00 EUR", after: null },
    { field: "budgets › in total", before: null, after: "9,000.00 USD" },
  ]);
});

test("a removed model is listed by its limits, or by itself if it has none, and later models are unchanged", () => {
  const after = { ...GROUP, models: GROUP.models.slice(1) };
  assert.deepEqual(changesOf(GROUP, after), [
    { field: "models › a/chat › usage limits › tokens per day", before: "1,000", after: null },
  ]);
  assert.deepEqual(changesOf(GROUP, { ...GROUP, models: GROUP.models.slice(0, 1) }), [{ field: "models › a/embed", before: "yes", after: null }]);
});

test("a created or deleted object is listed in full, and an unchanged one has no fields", () => {
  assert.ok(changesOf(null, GROUP).every(({ before }) => before === null));
  assert.ok(changesOf(GROUP, null).every(({ after }) => after === null));
  assert.deepEqual(changesOf(GROUP, structuredClone(GROUP)), []);
  assert.deepEqual(changesOf({ id: "1", updated_at: "a" }, { id: "1", updated_at: "b" }), []);
});

test("targets of an endpoint are compared by position", () => {
  const one = { targets: [{ provider: "DEMO" }, { provider: "OPENAI", secret_id: "s" }] };
  assert.deepEqual(changesOf(one, { targets: [{ provider: "DEMO" }, { provider: "ANTHROPIC", secret_id: "s" }] }), [
    { field: "targets › 2. › provider", before: "OPENAI", after: "ANTHROPIC" },
  ]);
});

test("a name that contains the path separator is one name", () => {
  assert.deepEqual(changesOf({ name: "a › b" }, { name: "<img src=x>" }), [{ field: "name", before: "a › b", after: "<img src=x>" }]);
});
