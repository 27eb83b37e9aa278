// The limits editor shows the limits that will apply while they are typed. After saving, the gateway applies the same.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { limitBox, shownLimits, typeLimit } from "./support/limits_editor.mjs";
import { load } from "./support/load.mjs";
import { chat } from "./support/seed.mjs";

const { limitName } = await load("js/format.js");

const CHAT = "demo/chat";
const OTHER = "demo/other";

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start({ durability: "process" });
  for (const slug of [CHAT, OTHER]) await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }] });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

let unique = 0;
const make = (name, models, hierarchy = {}) => {
  unique += 1;
  return gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: `limits-${unique}`, name }, models, hierarchy });
};
const day = (type, threshold) => ({ type, unit: "DAY", threshold });
const minute = (type, threshold) => ({ type, unit: "MINUTE", threshold });
const second = (type, threshold) => ({ type, unit: "SECOND", threshold });
const read = ({ id }) => gateway.admin("GET", `/v1/gateway/groups/${id}`);
const box = (tab, name, slug = CHAT) => limitBox(tab, name, slug);
const type = (tab, name, text, slug = CHAT) => typeLimit(tab, name, text, slug);
const save = (tab) => tab.page.getByRole("button", { name: "Save limits" }).click();

// The gateway's effective limits, in the form of `shownLimits`.
async function effective(group, names, slug = CHAT) {
  const model = (await read(group)).effective_models.find((one) => one.slug === slug);
  return [...model.rate_limits, ...model.usage_limits]
    .map((limit) => `${limitName(limit)} ${limit.threshold} ${names[limit.source_group]}`).sort();
}

for (const mode of ["INDEPENDENT", "CASCADING"]) {
  test(`${mode}: the limits shown before saving are in force after it`, async (t) => {
    const root = await make("Root", [{ slug: CHAT, rate_limits: [second("REQUEST", 50), minute("TOKEN", 9000)], usage_limits: [day("TOKEN", 70_000)] }],
      { limit_enforcement: mode });
    const middle = await make("Middle", [{ slug: CHAT, rate_limits: [minute("REQUEST", 600)], usage_limits: [day("TOKEN", 60_000)] }], { parent_group_id: root.id });
    const leaf = await make("Leaf", [{ slug: CHAT }, { slug: OTHER }], { parent_group_id: middle.id });
    const names = { [root.id]: "Root", [middle.id]: "Middle", [leaf.id]: "this group" };
    const tab = await browser.tab(t, gateway);
    await tab.open(`/groups/${leaf.id}/limits`);
    assert.deepEqual(await shownLimits(tab, CHAT), await effective(leaf, names));
    await type(tab, "Tokens per day", "2.5k");
    await type(tab, "Requests per minute", "5");
    await type(tab, "Running requests", "12");
    await type(tab, "Requests per month", "90,000");
    await tab.page.getByRole("button", { name: `Set here: tokens per minute for ${CHAT}` }).click();
    await type(tab, "Tokens per minute", "0");
    await tab.page.getByText("Not saved yet.").waitFor();
    await tab.page.getByText(/^Refuses every request\./).waitFor();
    const shownBefore = await shownLimits(tab, CHAT);
    for (const own of ["tokens per day 2500", "running requests 12", "requests per month 90000"]) {
      assert.ok(shownBefore.includes(`${own} this group`), shownBefore.join());
    }
    assert.deepEqual(await shownLimits(tab, OTHER), []);
    await assertAccessible(tab, "the editor, changed");
    await save(tab);
    await tab.page.getByText("Saved. The limits apply from the next request.").waitFor();
    assert.deepEqual(await effective(leaf, names), shownBefore);
    assert.deepEqual(await shownLimits(tab, CHAT), shownBefore);
    await tab.page.getByRole("button", { name: "Undo" }).click();
    await tab.page.getByText("The previous limits are restored.").waitFor();
    assert.deepEqual((await read(leaf)).models.map(({ usage_limits, rate_limits }) => [...usage_limits, ...rate_limits]), [[], []]);
  });
}

test("the measure and the window of a row can be changed, and a typed number is shown in full", async (t) => {
  const group = await make("Units", [{ slug: CHAT, rate_limits: [minute("REQUEST", 5)], usage_limits: [day("TOKEN", 9)] }]);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${group.id}/limits`);
  const row = tab.page.getByRole("group", { name: `Requests per minute for ${CHAT}` });
  await row.getByRole("combobox", { name: "Measure" }).selectOption("tokens");
  const changed = tab.page.getByRole("group", { name: `Tokens per minute for ${CHAT}` });
  // A model has one rolling window for tokens, and the other row has the day.
  const disabled = await changed.getByRole("option", { disabled: true }).allInnerTexts();
  assert.deepEqual(disabled, ["per day"]);
  await changed.getByRole("combobox", { name: "Window" }).selectOption("per second");
  const field = box(tab, "Tokens per second");
  await field.fill("2.5m");
  await tab.page.getByText("2,500,000").waitFor();
  await field.blur();
  assert.equal(await field.inputValue(), "2,500,000");
  await field.fill("1.000");
  await save(tab);
  await tab.page.getByText("Enter a whole number, such as 5000, 5k or 2.5m.").waitFor();
  assert.equal(await field.getAttribute("aria-invalid"), "true");
  await field.fill("1_000");
  await save(tab);
  await tab.page.getByText("Saved.", { exact: false }).waitFor();
  assert.deepEqual((await read(group)).models[0].rate_limits, [second("TOKEN", 1000)]);
  await tab.page.getByRole("button", { name: `Remove tokens per second for ${CHAT}` }).click();
  await save(tab);
  await tab.page.getByText("Saved.", { exact: false }).first().waitFor();
  await tab.page.getByText("Not saved yet.").waitFor({ state: "detached" });
  assert.deepEqual((await read(group)).models[0].rate_limits, []);
});

test("CASCADING: a violation is shown while typing, names the other group, and is not sent", async (t) => {
  const root = await make("Acme", [{ slug: CHAT, usage_limits: [day("TOKEN", 100_000)] }], { limit_enforcement: "CASCADING" });
  const middle = await make("Acme prod", [{ slug: CHAT }], { parent_group_id: root.id });
  const leaf = await make("Shop", [{ slug: CHAT, usage_limits: [day("TOKEN", 60_000)] }], { parent_group_id: middle.id });
  const tab = await browser.tab(t, gateway);
  await tab.page.setViewportSize({ width: 1280, height: 420 });
  await tab.open(`/groups/${leaf.id}/limits`);
  await type(tab, "Tokens per day", "100,001");
  await tab.page.getByText("At most 100,000, the limit of Acme for tokens per day.").waitFor();
  await save(tab);
  const marked = box(tab, "Tokens per day");
  assert.ok(await marked.evaluate((input) => input.matches("[aria-invalid='true']:focus")), "the field keeps its mark");
  const error = tab.page.getByText("At most 100,000, the limit of Acme for tokens per day.");
  const bar = await tab.page.locator(".limits-form > .form-actions").boundingBox();
  const place = await error.boundingBox();
  assert.ok(place.y > 0 && place.y + place.height <= bar.y, "its error is in view, above the save bar");
  assert.deepEqual((await read(leaf)).models[0].usage_limits, [day("TOKEN", 60_000)]);
  await type(tab, "Tokens per day", "100k");
  assert.equal(await tab.page.getByText("At most 100,000,").count(), 0);
  await save(tab);
  await tab.page.getByText("Saved.", { exact: false }).waitFor();

  await tab.open(`/groups/${root.id}/limits`);
  await type(tab, "Tokens per day", "99,999");
  await tab.page.getByText("At least 100,000, the limit of Shop, a group below. Lower that one first.").waitFor();
  await type(tab, "Tokens per day", "100,000");
  await tab.page.getByText("At least 100,000,").waitFor({ state: "detached" });
});

test("removing a model shows a warning and can be undone, and another model can be added", async (t) => {
  const group = await make("Models", [{ slug: CHAT, usage_limits: [day("TOKEN", 5)] }]);
  const { api_key: key } = await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {});
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${group.id}/limits`);
  await page.getByRole("button", { name: `Remove ${CHAT}` }).click();
  await page.getByText("can then no longer call it").waitFor();
  await page.getByRole("button", { name: `Keep ${CHAT}` }).click();
  assert.equal(await box(tab, "Tokens per day").inputValue(), "5");
  await page.getByRole("button", { name: `Remove ${CHAT}` }).click();
  await page.getByLabel("Another model").selectOption(OTHER);
  await save(tab);
  await page.getByText("Saved.", { exact: false }).waitFor();
  assert.deepEqual((await read(group)).models.map(({ slug }) => slug), [OTHER]);
  assert.equal((await chat(gateway, key, CHAT, 2)).status, 404);
  assert.equal((await chat(gateway, key, OTHER, 2)).status, 200);
});

test("leaving with unsaved changes asks whether to stay or leave", async (t) => {
  const group = await make("Unsaved", [{ slug: CHAT }]);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const dialog = page.getByRole("dialog");
  const leave = () => page.getByRole("navigation", { name: "Parts of the group" }).getByRole("link", { name: "Keys" }).click();
  await tab.open(`/groups/${group.id}/limits`);
  await type(tab, "Tokens per day", "7");
  await leave();
  await assertAccessible(tab, "the question before leaving");
  await dialog.getByRole("button", { name: "Stay" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal(await box(tab, "Tokens per day").inputValue(), "7");
  assert.match(page.url(), /\/limits$/);
  await leave();
  await dialog.getByRole("button", { name: "Leave" }).click();
  await tab.ready(`/groups/${group.id}/keys`);
  await tab.open(`/groups/${group.id}/limits`);
  assert.equal(await box(tab, "Tokens per day").count(), 0);
  await type(tab, "Tokens per day", "7");
  await page.getByRole("button", { name: "Discard changes" }).click();
  assert.equal(await box(tab, "Tokens per day").count(), 0);
  await leave();
  await tab.ready(`/groups/${group.id}/keys`);
});
