// The UI's computation of limits, compared with the gateway's on random trees.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { load } from "./support/load.mjs";

const { declared, effective, isRate, violations } = await load("js/groups/limits.js");
const { amount, budgetsOf, modelOf, money, nextRule, rulesOf, sameBudgets, sameModels, slotOf, typedOf } = await load("js/groups/typed_rules.js");

const SLUGS = ["random/a", "random/b"];
const TREES = 12;
const GROUPS_A_TREE = 10;
const CHANGES_A_TREE = 12;
const MAX_LEVELS = 5;

let gateway;
before(async () => {
  gateway = await Gateway.start({ durability: "process" });
  for (const slug of SLUGS) await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }] });
});
after(() => gateway.stop());

for (const mode of ["INDEPENDENT", "CASCADING"]) {
  test(`${mode}: the editor computes the same limits and violations as the gateway`, async () => {
    for (let tree = 0; tree < TREES; tree++) await checkTree(mode, randomOf(tree * 7919 + mode.length));
  });
}

async function checkTree(mode, next) {
  const groups = [];
  const pathOf = (group) => (group ? [group, ...pathOf(groups.find(({ id }) => id === group.hierarchy.parent_group_id))] : []);
  const below = (id) => groups.filter((group) => pathOf(group).slice(1).some((above) => above.id === id));
  const seed = next(1e9);

  // Computes the violations, sends the models and budgets, and compares the gateway's answer.
  const tried = async (rules, ancestors, descendants, write) => {
    const broken = mode === "CASCADING" ? violations(rules, ancestors, descendants) : [];
    const answer = await write(rules);
    const details = `seed ${seed}: ${JSON.stringify({ rules, broken, answer })}`;
    if (broken.length) assert.equal(answer.error, "Child group exceeds parent group limit.", details);
    else assert.equal(answer.error, undefined, details);
    return answer;
  };
  const agree = async () => {
    for (const known of groups) {
      const group = await gateway.admin("GET", `/v1/gateway/groups/${known.id}`);
      const computed = group.models.map(({ slug }) => {
        const rules = effective(pathOf(known), slug, mode);
        return { slug, rate_limits: rules.filter(isRate), usage_limits: rules.filter((rule) => !isRate(rule)) };
      });
      assert.deepEqual(computed, group.effective_models, `seed ${seed}`);
      const budgets = effective(pathOf(known), null, mode)
        .map(({ unit, currency, threshold, source_group }) => ({ unit, currency, amount: threshold, source_group }));
      assert.deepEqual(budgets, group.effective_budgets, `seed ${seed}`);
    }
  };

  for (let count = 0; count < GROUPS_A_TREE; count++) {
    const parents = groups.filter((group) => pathOf(group).length < MAX_LEVELS);
    const parent = groups.length ? parents[next(parents.length)] : undefined;
    const made = await tried(someRules(next), pathOf(parent), [], (rules) => send("POST", "/v1/gateway/groups", {
      metadata: { external_entity_id: `random-${mode}-${seed}-${count}` },
      ...rules,
      hierarchy: parent ? { parent_group_id: parent.id } : { limit_enforcement: mode },
    }));
    if (!made.error) groups.push(made);
  }
  await agree();
  for (let count = 0; count < CHANGES_A_TREE; count++) {
    const at = next(groups.length);
    const group = groups[at];
    const changed = await tried(someRules(next), pathOf(group).slice(1), below(group.id), (rules) =>
      send("PATCH", `/v1/gateway/groups/${group.id}`, rules));
    if (!changed.error) groups[at] = changed;
  }
  await agree();
}

async function send(method, path, body) {
  const answer = await fetch(gateway.adminURL + path, {
    method, headers: { authorization: `Bearer ${gateway.adminKey}` }, body: JSON.stringify(body),
  });
  return answer.json();
}

// Models with random limits, and random budgets, of few sizes, so that many are equal and many violate the rule.
function someRules(next) {
  const limit = (type, unit) => ({ type, unit, threshold: [0, 10, 20, 30, 40][next(5)] });
  const either = (...all) => all.filter(() => next(2)).sort(() => next(3) - 1);
  const slugs = SLUGS.filter((_, index) => next(4) || index === 0);
  const models = slugs.map((slug) => ({
    slug,
    rate_limits: [
      ...either("TOKEN", "REQUEST").map((type) => limit(type, ["SECOND", "MINUTE"][next(2)])),
      ...either("CONCURRENT").map((unit) => limit("REQUEST", unit)),
    ],
    usage_limits: either("DAY", "WEEK", "MONTH").flatMap((unit) => either("TOKEN", "REQUEST").map((type) => limit(type, unit))),
  }));
  const budgets = either("DAY", "WEEK", "MONTH", "TOTAL").map((unit) =>
    ({ unit, currency: ["EUR", "USD"][next(2)], amount: ["0", "9.5", "10", "10.000001", "123456789012.5"][next(5)] }));
  return { models, budgets };
}

// Mulberry32: the same numbers for the same seed.
function randomOf(seed) {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % below;
  };
}

test("limits survive the conversion to typed text and back", () => {
  const model = {
    slug: "a/b",
    rate_limits: [
      { type: "REQUEST", unit: "SECOND", threshold: 5 }, { type: "TOKEN", unit: "MINUTE", threshold: 1_000_000 },
      { type: "REQUEST", unit: "CONCURRENT", threshold: 8 },
    ],
    usage_limits: [{ type: "REQUEST", unit: "MONTH", threshold: 0 }],
  };
  const typed = declared({ models: [model], budgets: [] }, "a/b").map(typedOf);
  assert.deepEqual(typed, [
    { type: "REQUEST", unit: "SECOND", text: "5" }, { type: "TOKEN", unit: "MINUTE", text: "1,000,000" },
    { type: "REQUEST", unit: "CONCURRENT", text: "8" }, { type: "REQUEST", unit: "MONTH", text: "0" },
  ]);
  assert.deepEqual(modelOf("a/b", rulesOf(typed)), model);
  typed.reverse();
  assert.ok(sameModels([modelOf("a/b", rulesOf(typed))], [model]), "the order of the limits does not matter");
  typed[0].unit = "WEEK";
  assert.ok(!sameModels([modelOf("a/b", rulesOf(typed))], [model]));
});

test("budgets survive the conversion to typed text and back, and equal amounts are equal", () => {
  const budgets = [
    { unit: "TOTAL", currency: "EUR", amount: "123456789012.000001" }, { unit: "MONTH", currency: "USD", amount: "1500" },
  ];
  const typed = declared({ models: [], budgets }, null).map(typedOf);
  assert.deepEqual(typed.map(({ text }) => text), ["123,456,789,012.000001", "1,500.00"]);
  const again = budgetsOf(rulesOf(typed));
  assert.ok(sameBudgets([...again].reverse(), budgets));
  assert.ok(!sameBudgets([again[0], { ...again[1], amount: "1500.000001" }], budgets));
  assert.ok(!sameBudgets([again[0], { ...again[1], currency: "EUR" }], budgets));
  assert.ok(!sameBudgets([again[0]], budgets));
});

test("each kind of limit and budget can be added once, and then none is left", () => {
  for (const [scope, count] of [["a/b", 9], [null, 4]]) {
    const taken = new Set();
    for (let rule; (rule = nextRule(scope, taken)); taken.add(slotOf(rule))) assert.ok(!taken.has(slotOf(rule)));
    assert.equal(taken.size, count);
  }
  assert.equal(slotOf({ type: "TOKEN", unit: "SECOND" }), slotOf({ type: "TOKEN", unit: "MINUTE" }));
});

for (const [text, value] of [
  ["", null], ["  ", null], ["0", 0], ["1000", 1000], ["1,000", 1000], ["1_000_000", 1_000_000], ["1 000", 1000], ["1k", 1000],
  ["2.5m", 2_500_000], ["2.5 M", 2_500_000], ["1.1k", 1100], ["0.29k", 290], ["1g", 1e9], ["9007199254740991", 2 ** 53 - 1],
]) {
  test(`"${text}" is the number ${value}`, () => assert.deepEqual(amount(text), { value, error: "" }));
}

for (const text of ["-1", "1.5", "1.000", "1,00", "abc", "1.2345k", "0x10", "1e6", "9007199254740993", "99t9", "1k2", "10,0000"]) {
  test(`"${text}" is refused with a message`, () => {
    assert.equal(amount(text).value, null);
    assert.match(amount(text).error, /[a-z]/i);
  });
}

for (const [text, value] of [
  ["", null], ["0", "0.00"], ["500", "500.00"], ["49.9", "49.90"], ["1,000.50", "1000.50"], ["2.5k", "2500.00"],
  ["0.000001", "0.000001"], ["007", "7.00"], ["0.1000000", "0.10"], ["999999999999.999999", "999999999999.999999"],
]) {
  test(`"${text}" is the amount ${value}`, () => assert.deepEqual(money(text), { value, error: "" }));
}

for (const text of ["-1", "1,5", ".5", "5 EUR", "1e3", "0.0000001", "1.2.3"]) {
  test(`the amount "${text}" is refused with a message`, () => {
    assert.equal(money(text).value, null);
    assert.match(money(text).error, /amount/);
  });
}
