// The limits editor tells which requests of the last 7 days the limits in its rows would have refused.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { tabTo } from "./support/keyboard.mjs";
import { ALL_MODELS, limitBox, typeBudget, typeLimit } from "./support/limits_editor.mjs";
import { chat, eventually } from "./support/seed.mjs";
import { THEMES, shot } from "./support/shots.mjs";

const CHAT = "demo/chat";
const PRICED = "demo/priced";
const DAY_AND_TIME = String.raw`\w+day, \d+ \w+, \d\d:\d\d`;

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start({ durability: "process" });
  const make = (slug, more) => gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }], ...more });
  await make(CHAT);
  await make(PRICED, { pricing: { currency: "EUR", input: "1000000", output: "1000000" } });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

let unique = 0;
const make = (name, { models = [{ slug: CHAT }], budgets = [], hierarchy = {} } = {}) => {
  unique += 1;
  return gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: `simulate-${unique}`, name }, models, budgets, hierarchy });
};
const read = ({ id }) => gateway.admin("GET", `/v1/gateway/groups/${id}`);
const tryButton = (tab) => tab.page.getByRole("button", { name: "Try on the last 7 days" });
const result = (tab) => tab.page.locator("p[role=status].anywhere");
const tried = async (tab, sentence) => {
  await tryButton(tab).click();
  await result(tab).filter({ hasText: sentence }).waitFor();
};

// Sends requests that all succeed, one after another, and waits until they are billed.
async function ask(group, slug, count) {
  const { api_key: key } = await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {});
  for (let sent = 0; sent < count; sent++) assert.equal((await chat(gateway, key, slug, 10, { max_tokens: 10 })).status, 200);
  await eventually("events", async () => {
    const { items } = await gateway.admin("GET", `/v1/gateway/events?start_time=1970-01-01T00:00:00Z&api_keys=${key.split(".")[0]}`);
    return items.length === count;
  });
}

test("refusals by a limit and by an ancestor's budget are told in one sentence, and nothing is saved", async (t) => {
  const models = [{ slug: CHAT }, { slug: PRICED }];
  const root = await make("Acme", { models, hierarchy: { limit_enforcement: "CASCADING" } });
  const shop = await make("Shop", { models, hierarchy: { parent_group_id: root.id } });
  await ask(shop, CHAT, 5);
  await ask(shop, PRICED, 3);
  // One request costs 10 to 20 EUR: a token costs 1 EUR.
  await gateway.admin("PATCH", `/v1/gateway/groups/${root.id}`, { budgets: [{ unit: "MONTH", currency: "EUR", amount: "1" }] });
  const tab = await browser.tab(t, gateway, { timezoneId: "Asia/Kolkata" });
  const { page } = tab;
  await tab.open(`/groups/${shop.id}/limits`);
  const asked = page.waitForRequest((request) => request.url().endsWith("/simulate"));
  await tried(tab, /^With these limits, 3 of 8 requests of the last 7 days would have been refused/);
  const body = (await asked).postDataJSON();
  assert.deepEqual([body.models.length, body.budgets], [2, []]);
  assert.ok(Math.abs(Date.parse(body.start_time) - (Date.now() - 7 * 86_400_000)) < 60_000);

  await typeLimit(tab, "Requests per day", "3", CHAT);
  const sentence = new RegExp(`^With these limits, 5 of 8 requests of the last 7 days would have been refused, `
    + `the first on ${DAY_AND_TIME}: 3 by 1\\.00 EUR per month of Acme, 2 by 3 requests per day for ${CHAT}\\.$`);
  await tryButton(tab).click();
  await result(tab).filter({ hasText: sentence }).waitFor();
  const at = result(tab).locator("time");
  const usage_limits = [{ type: "REQUEST", unit: "DAY", threshold: 3 }];
  const answer = await gateway.admin("POST", `/v1/gateway/groups/${shop.id}/simulate`, {
    models: [{ slug: CHAT, usage_limits }, { slug: PRICED }], budgets: [], start_time: body.start_time,
  });
  assert.equal(await at.getAttribute("datetime"), answer.first_refused_at);
  const clock = new Date(Date.parse(answer.first_refused_at) + 5.5 * 3_600_000).toISOString().slice(11, 16);
  assert.ok((await at.textContent()).endsWith(`, ${clock}`), "the time is the browser's");
  await assertAccessible(tab, "limits that would have refused requests");
  assert.deepEqual((await read(shop)).models.map(({ usage_limits }) => usage_limits), [[], []]);
});

test("a group's only model is not named, an edit clears the sentence, and other limits refuse none", async (t) => {
  const group = await make("Solo");
  await ask(group, CHAT, 4);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${group.id}/limits`);
  assert.equal(await result(tab).textContent(), "");
  await typeLimit(tab, "Requests per day", "3", CHAT);
  await tried(tab, new RegExp(`1 of 4 requests of the last 7 days would have been refused, on ${DAY_AND_TIME}: 1 by 3 requests per day\\.$`));
  const box = limitBox(tab, "Requests per day", CHAT);
  await box.fill("4");
  assert.equal(await result(tab).textContent(), "");
  await tried(tab, /^With these limits, none of 4 requests of the last 7 days would have been refused\.$/);
  await page.getByRole("button", { name: `Add a limit for ${CHAT}` }).click();
  assert.equal(await result(tab).textContent(), "");
  await tried(tab, "none of 4 requests");
  await page.getByRole("button", { name: "Discard changes" }).click();
  assert.equal(await result(tab).textContent(), "");

  // The answer to limits that were edited meanwhile is not shown.
  await typeLimit(tab, "Requests per day", "1", CHAT);
  const held = new Promise((arrived) => page.route("**/simulate", arrived, { times: 1 }));
  await tryButton(tab).click();
  const route = await held;
  await box.fill("2");
  await route.continue();
  await tryButton(tab).and(page.locator(":not([aria-disabled])")).waitFor();
  assert.equal(await result(tab).textContent(), "");
  await tried(tab, "2 by 2 requests per day");
});

test("a group without requests is told so, by keyboard alone", async (t) => {
  const group = await make("Quiet");
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${group.id}/limits`);
  await tabTo(tab.page, tryButton(tab));
  await tab.page.keyboard.press("Enter");
  await tab.page.getByRole("status").filter({ hasText: /^There were no requests in the last 7 days\.$/ }).waitFor();
  assert.ok(await tryButton(tab).evaluate((button) => button === document.activeElement), "the button keeps the focus");
});

test("INDEPENDENT: a descendant whose limit would have refused requests is named", async (t) => {
  const root = await make("Holding", { hierarchy: { limit_enforcement: "INDEPENDENT" } });
  const child = await make("Daughter", { hierarchy: { parent_group_id: root.id } });
  await ask(child, CHAT, 2);
  const usage_limits = [{ type: "REQUEST", unit: "WEEK", threshold: 1 }];
  await gateway.admin("PATCH", `/v1/gateway/groups/${child.id}`, { models: [{ slug: CHAT, usage_limits }] });
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${root.id}/limits`);
  await tried(tab, /: 1 by 1 requests per week of Daughter\.$/);
});

test("errors of rows and of the gateway are shown at their rows", async (t) => {
  const group = await make("Typos");
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  await tab.open(`/groups/${group.id}/limits`);
  await tried(tab, "no requests");
  await typeLimit(tab, "Tokens per day", "1.5", CHAT);
  await tryButton(tab).click();
  await page.getByRole("group", { name: `Tokens per day for ${CHAT}` }).getByText("Enter a whole number").waitFor();
  await limitBox(tab, "Tokens per day", CHAT).fill("15");
  await typeBudget(tab, "E per month", "20");
  await tryButton(tab).click();
  const row = page.getByRole("group", { name: `E per month for ${ALL_MODELS}` });
  await row.getByText("three capital letters", { exact: false }).waitFor();
  assert.equal(await result(tab).textContent(), "");
  await assertAccessible(tab, "an error of a simulation");
  await row.getByRole("textbox", { name: "Currency" }).fill("EUR");
  await tried(tab, "no requests");
  await page.getByText("three capital letters", { exact: false }).waitFor({ state: "detached" });
});

test("CASCADING: limits above the parent's are not tried, as they are not saved", async (t) => {
  const limited = [{ slug: CHAT, usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 5 }] }];
  const root = await make("Acme", { models: limited, hierarchy: { limit_enforcement: "CASCADING" } });
  const leaf = await make("Shop", { hierarchy: { parent_group_id: root.id } });
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${leaf.id}/limits`);
  await typeLimit(tab, "Requests per day", "6", CHAT);
  for (const pressed of [tryButton(tab), tab.page.getByRole("button", { name: "Save limits" })]) {
    await pressed.click();
    await tab.page.locator("[aria-invalid]:focus").waitFor();
    assert.equal(await limitBox(tab, "Requests per day", CHAT).getAttribute("aria-invalid"), "true");
    await tab.page.getByText("At most 5, the limit of Acme for requests per day.").waitFor();
    assert.equal(await result(tab).textContent(), "");
  }
});

test("limits of a new group cannot be tried", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/groups/new");
  await tab.page.getByRole("button", { name: "Create group" }).waitFor();
  assert.equal(await tryButton(tab).count(), 0);
});

for (const colorScheme of THEMES) {
  test(`the sentence fits a phone and a large screen, and is accessible (${colorScheme})`, async (t) => {
    const group = await make("A".repeat(60));
    const child = await make("B".repeat(60), { hierarchy: { parent_group_id: group.id } });
    await ask(child, CHAT, 2);
    const usage_limits = [{ type: "REQUEST", unit: "MONTH", threshold: 1 }];
    await gateway.admin("PATCH", `/v1/gateway/groups/${child.id}`, { models: [{ slug: CHAT, usage_limits }] });
    for (const width of [360, 1280]) {
      const tab = await browser.tab(t, gateway, { colorScheme, viewport: { width, height: 800 } });
      await tab.open(`/groups/${group.id}/limits`);
      await typeLimit(tab, "Tokens per minute", "9000", CHAT);
      await tried(tab, "1 by 1 requests per month of BBB");
      const ends = (locator) => locator.boundingBox().then(({ y, height }) => [y, y + height]);
      const [[, sentence], [bar]] = [await ends(result(tab)), await ends(tab.page.locator(".form-actions"))];
      assert.ok(sentence <= bar, "the bar does not cover the sentence");
      await shot(tab.page, "simulate");
      await assertAccessible(tab, `the sentence at ${width} px, ${colorScheme}`);
      assert.equal(await tab.overflow(), 0);
      assert.deepEqual(await hiddenStops(tab.page), [], "the bar hides no control with the focus");
    }
  });
}

// Presses Tab through the form, and lists the controls whose centre is covered while they have the focus.
async function hiddenStops(page) {
  await page.getByRole("link", { name: "Limits" }).focus();
  const hidden = [];
  for (let stop = "", stops = 0; stop !== "Save limits"; stops++) {
    assert.ok(stops < 100, `Tab never reaches the bar, but ${stop}`);
    await page.keyboard.press("Tab");
    const seen = await page.evaluate(() => {
      const focused = document.activeElement;
      const { x, y, width, height } = focused.getBoundingClientRect();
      const top = document.elementFromPoint(x + width / 2, y + height / 2);
      return { name: focused.textContent || focused.ariaLabel, covered: !focused.contains(top), inForm: Boolean(focused.closest("form")) };
    });
    stop = seen.name;
    if (seen.inForm && seen.covered) hidden.push(stop);
  }
  return hidden;
}
