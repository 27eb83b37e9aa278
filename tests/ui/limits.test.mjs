// The UI's computation of limits, compared with the gateway's on random trees.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { load } from "./support/load.mjs";

const { effective, violations } = await load("js/groups/limits.js");
const { amount, modelOf, sameModels, typedOf } = await load("js/groups/typed_limits.js");

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

  // Computes the violations, sends the models, and compares the gateway's answer.
  const tried = async (models, ancestors, descendants, write) => {
    const broken = mode === "CASCADING" ? violations(models, ancestors, descendants) : [];
    const answer = await write(models);
    const details = `seed ${seed}: ${JSON.stringify({ models, broken, answer })}`;
    if (broken.length) assert.equal(answer.error, "Child group exceeds parent group limit.", details);
    else assert.equal(answer.error, undefined, details);
    return answer;
  };
  const agree = async () => {
    for (const known of groups) {
      const group = await gateway.admin("GET", `/v1/gateway/groups/${known.id}`);
      const computed = group.models.map(({ slug }) => ({ slug, ...effective(pathOf(known), slug, mode) }));
      assert.deepEqual(computed, group.effective_models, `seed ${seed}`);
    }
  };

  for (let count = 0; count < GROUPS_A_TREE; count++) {
    const parents = groups.filter((group) => pathOf(group).length < MAX_LEVELS);
    const parent = groups.length ? parents[next(parents.length)] : undefined;
    const made = await tried(someModels(next), pathOf(parent), [], (models) => send("POST", "/v1/gateway/groups", {
      metadata: { external_entity_id: `random-${mode}-${seed}-${count}` },
      models,
      hierarchy: parent ? { parent_group_id: parent.id } : { limit_enforcement: mode },
    }));
    if (!made.error) groups.push(made);
  }
  await agree();
  for (let count = 0; count < CHANGES_A_TREE; count++) {
    const at = next(groups.length);
    const group = groups[at];
    const changed = await tried(someModels(next), pathOf(group).slice(1), below(group.id), (models) =>
      send("PATCH", `/v1/gateway/groups/${group.id}`, { models }));
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

// Models with random limits of few sizes, so that many are equal and many violate the rule.
function someModels(next) {
  const limit = (type, unit) => ({ type, unit, threshold: [0, 10, 20, 30, 40][next(5)] });
  const either = (...all) => all.filter(() => next(2)).sort(() => next(3) - 1);
  const slugs = SLUGS.filter((_, index) => next(4) || index === 0);
  return slugs.map((slug) => ({
    slug,
    rate_limits: either("TOKEN", "REQUEST").map((type) => limit(type, ["SECOND", "MINUTE"][next(2)])),
    usage_limits: either("TOKEN", "REQUEST").map((type) => limit(type, "DAY")),
  }));
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
    rate_limits: [{ type: "REQUEST", unit: "SECOND", threshold: 5 }, { type: "TOKEN", unit: "MINUTE", threshold: 1_000_000 }],
    usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 0 }],
  };
  const typed = typedOf(model);
  assert.deepEqual(typed, [
    { text: "1,000,000", unit: "MINUTE" }, { text: "5", unit: "SECOND" }, { text: "", unit: "DAY" }, { text: "0", unit: "DAY" },
  ]);
  assert.ok(sameModels([modelOf("a/b", typed)], [model]), "the order of the limits does not matter");
  typed[1].unit = "MINUTE";
  assert.ok(!sameModels([modelOf("a/b", typed)], [model]));
});

for (const [text, value] of [
  ["", null], ["  ", null], ["0", 0], ["1000", 1000], ["1,000", 1000], ["1_000_000", 1_000_000], ["1 000", 1000], ["1k", 1000],
  ["2.5m", 2_500_000], ["2.5 M", 2_500_000], ["1.1k", 1100], ["0.29k", 290], ["1g", 1e9], ["9007199254740991", 2 ** 53 - 1],
]) {
  test(`"${text}" is the number ${value}`, () => assert.equal(amount(text), value));
}

for (const text of ["-1", "1.5", "1.000", "1,00", "abc", "1.2345k", "0x10", "1e6", "9007199254740993", "99t9", "1k2", "10,0000"]) {
  test(`"${text}" is refused with a message`, () => assert.match(String(amount(text)), /[a-z]/i));
}
