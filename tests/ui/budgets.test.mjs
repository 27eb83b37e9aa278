// Budgets: the editor says which apply before they are saved, and the group's page shows what is spent and left.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { tabTo } from "./support/keyboard.mjs";
import { ALL_MODELS, limitBox, shownLimits, typeBudget, typeLimit } from "./support/limits_editor.mjs";
import { load } from "./support/load.mjs";
import { chat } from "./support/seed.mjs";
import { THEMES, shot } from "./support/shots.mjs";

const { amountText, figure } = await load("js/format.js");

const CHAT = "demo/chat";
const TIME_ZONE = "Asia/Kolkata";
const PRICING = { currency: "EUR", input: "100000", output: "200000" };

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start({ durability: "process", time_zone: TIME_ZONE });
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: CHAT, targets: [{ provider: "DEMO" }], pricing: PRICING });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

let unique = 0;
const make = (name, budgets, hierarchy = {}, models = [{ slug: CHAT }]) => {
  unique += 1;
  return gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: `budgets-${unique}`, name }, models, budgets, hierarchy });
};
const budget = (unit, amount, currency = "EUR") => ({ unit, currency, amount });
const read = ({ id }) => gateway.admin("GET", `/v1/gateway/groups/${id}`);
const save = (tab) => tab.page.getByRole("button", { name: "Save limits" }).click();
const saved = (tab) => tab.page.getByText("Saved.", { exact: false }).waitFor();

for (const mode of ["INDEPENDENT", "CASCADING"]) {
  test(`${mode}: the budgets shown before saving are in force after it, and can be undone`, async (t) => {
    const root = await make("Root", [budget("MONTH", "500"), budget("TOTAL", "9000", "USD")], { limit_enforcement: mode });
    const middle = await make("Middle", [budget("WEEK", "90.5")], { parent_group_id: root.id });
    const leaf = await make("Leaf", [], { parent_group_id: middle.id });
    const names = { [root.id]: "Root", [middle.id]: "Middle", [leaf.id]: "this group" };
    const words = { DAY: "per day", WEEK: "per week", MONTH: "per month", TOTAL: "in total" };
    const effective = async () => (await read(leaf)).effective_budgets.map(({ unit, currency, amount, source_group }) =>
      `${currency} ${words[unit]} ${Number(amount).toFixed(2)} ${names[source_group]}`).sort();
    const tab = await browser.tab(t, gateway);
    await tab.open(`/groups/${leaf.id}/limits`);
    assert.deepEqual(await shownLimits(tab, ALL_MODELS), await effective());
    await typeBudget(tab, "EUR per month", "49.9");
    await typeBudget(tab, "USD per day", "2.5k");
    await tab.page.getByText("2,500.00").waitFor();
    await tab.page.getByRole("button", { name: "Set here: EUR per week" }).click();
    await typeBudget(tab, "EUR per week", "0");
    if (mode === "INDEPENDENT") await tab.page.getByText("Instead of 500.00 EUR per month of Root.").waitFor();
    await limitBox(tab, "USD per day", ALL_MODELS).blur();
    await limitBox(tab, "EUR per week", ALL_MODELS).press("Tab");
    const before = await shownLimits(tab, ALL_MODELS);
    assert.ok(before.includes("USD per day 2500.00 this group"), before.join());
    assert.equal(before.some((line) => line.endsWith("500.00 Root")), mode === "CASCADING");
    await save(tab);
    await saved(tab);
    assert.deepEqual(await effective(), before);
    assert.deepEqual(await shownLimits(tab, ALL_MODELS), before);
    await tab.page.getByRole("button", { name: "Undo" }).click();
    await tab.page.getByText("The previous limits are restored.").waitFor();
    assert.deepEqual((await read(leaf)).budgets, []);
  });
}

test("CASCADING: a budget above the parent's is shown while it is typed, to the last decimal, and is not sent", async (t) => {
  const root = await make("Acme", [budget("MONTH", "123456789012.000001")], { limit_enforcement: "CASCADING" });
  const leaf = await make("Shop", [budget("MONTH", "60")], { parent_group_id: root.id });
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${leaf.id}/limits`);
  const box = limitBox(tab, "EUR per month", ALL_MODELS);
  await box.fill("123,456,789,012.000002");
  await page.getByText("At most 123,456,789,012.000001, the budget of Acme for EUR per month.").waitFor();
  assert.equal(await box.getAttribute("aria-invalid"), "true");
  await save(tab);
  await page.locator("[aria-invalid]:focus").waitFor();
  assert.deepEqual((await read(leaf)).budgets, [budget("MONTH", "60")]);
  // Budgets in other currencies, or for other times, do not bound each other.
  await page.getByRole("textbox", { name: "Currency" }).fill("usd");
  await page.getByText("At most", { exact: false }).waitFor({ state: "detached" });
  await page.getByRole("textbox", { name: "Currency" }).fill("EUR");
  await box.fill("123456789012.000001");
  await page.getByText("At most", { exact: false }).waitFor({ state: "detached" });
  await save(tab);
  await saved(tab);

  await tab.open(`/groups/${root.id}/limits`);
  await box.fill("123456789012");
  await page.getByText("At least 123,456,789,012.000001, the budget of Shop, a group below. Lower that one first.").waitFor();
});

test("an error of the gateway is shown at the row that it names", async (t) => {
  const group = await make("Typos", []);
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  await tab.open(`/groups/${group.id}/limits`);
  await typeBudget(tab, "EUR in total", "10");
  await typeBudget(tab, "E per month", "20");
  await save(tab);
  const row = page.getByRole("group", { name: `E per month for ${ALL_MODELS}` });
  await row.getByText("three capital letters", { exact: false }).waitFor();
  await row.getByRole("textbox", { name: "Currency" }).fill("EUR");
  await limitBox(tab, "EUR per month", ALL_MODELS).fill("1.2345678");
  await save(tab);
  await page.getByText("An amount has at most 6 decimals.").waitFor();
  await limitBox(tab, "EUR per month", ALL_MODELS).fill("12345678901234");
  await save(tab);
  await page.locator(".rule .field-error").filter({ hasText: /\w/ }).waitFor();
  assert.deepEqual((await read(group)).budgets, []);
});

test("saving limits keeps a budget that was topped up meanwhile", async (t) => {
  const group = await make("Prepaid", [budget("TOTAL", "100")]);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${group.id}/limits`);
  await gateway.admin("PATCH", `/v1/gateway/groups/${group.id}`, { budgets: [budget("TOTAL", "200")] });
  await typeLimit(tab, "Running requests", "4", CHAT);
  await save(tab);
  await saved(tab);
  const { budgets, models: [{ rate_limits }] } = await read(group);
  assert.deepEqual(budgets, [budget("TOTAL", "200")]);
  assert.deepEqual(rate_limits, [{ type: "REQUEST", unit: "CONCURRENT", threshold: 4 }]);
  assert.equal(await limitBox(tab, "EUR in total", ALL_MODELS).inputValue(), "200.00");
});

test("a new group gets its budgets on the page where it is created, by keyboard alone", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/groups/new");
  await page.getByLabel("Name").first().fill("Prepaid customer");
  await tabTo(page, page.getByRole("button", { name: "Add a budget" }));
  await page.keyboard.press("Enter");
  // The currency of the endpoint's prices is proposed.
  await page.keyboard.type("250");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.type("in");
  await limitBox(tab, "EUR in total", ALL_MODELS).waitFor();
  await tabTo(page, page.getByRole("checkbox", { name: /first key/ }));
  await page.keyboard.press("Space");
  await tabTo(page, page.getByRole("button", { name: "Create group" }));
  await page.keyboard.press("Enter");
  await page.getByText("It has no key yet").waitFor();
  const { items: [group] } = await gateway.admin("GET", "/v1/gateway/groups?external_entity_id=prepaid-customer");
  assert.deepEqual(group.budgets, [budget("TOTAL", "250")]);
});

test("what is spent, held and left is shown on the group's page, in the tree and as the reason for a refusal", async (t) => {
  const root = await make("Acme", [budget("TOTAL", "5000")], { limit_enforcement: "CASCADING" });
  const shop = await make("Shop", [budget("MONTH", "100.25")], { parent_group_id: root.id });
  const { api_key: key } = await gateway.admin("POST", `/v1/gateway/groups/${shop.id}/api_keys`, {});
  assert.equal((await chat(gateway, key, CHAT, 100, { max_tokens: 300 })).status, 200);
  const { budgets: [own, shared] } = await gateway.admin("GET", `/v1/gateway/groups/${shop.id}/usage`);
  assert.deepEqual([own.amount, shared.amount, own.held, own.spent], ["100.25", "5000", "0", shared.spent]);
  assert.ok(Number(own.spent) > 0);

  const tab = await browser.tab(t, gateway, { timezoneId: TIME_ZONE });
  const { page } = tab;
  await tab.open(`/groups/${shop.id}`);
  const month = page.getByRole("listitem").filter({ hasText: "EUR per month" });
  await month.getByText(`${amountText(own.left)} left of 100.25`).waitFor();
  // The window ends at midnight of the gateway's time zone, which is the browser's here.
  await month.getByText(new RegExp(`^${amountText(own.spent)} spent · resets [A-Z0-9][a-zA-Z0-9 ]+ 00:00, in \\d+ \\w+`)).waitFor();
  const total = page.getByRole("listitem").filter({ hasText: "EUR in total" });
  await total.getByText(`${amountText(shared.left)} left of 5,000.00`).waitFor();
  await total.getByText(`${amountText(shared.spent)} spent · never resets`).waitFor();
  await total.getByText("shared", { exact: true }).waitFor();
  const bar = month.getByRole("meter", { name: "EUR per month of Shop" });
  assert.equal(await bar.getAttribute("aria-valuetext"), `${figure(own.spent)} of 100.25 used`);
  await page.getByText(`${amountText(own.spent)} EUR in the last 30 days`).waitFor();
  assert.equal(await month.getByText(amountText(own.left), { exact: true }).getAttribute("title"), figure(own.left), "the exact value");
  await assertAccessible(tab, "budgets of a group");
  await tab.open("/groups");
  await page.getByRole("row").filter({ hasText: "budgets-" }).filter({ hasText: `${amountText(own.spent)} of 100.25 EUR this month` }).waitFor();
  await tab.open("/");
  await page.getByRole("row").filter({ hasText: shop.metadata.external_entity_id }).getByText(`${amountText(own.spent)} EUR`).waitFor();

  await gateway.admin("PATCH", `/v1/gateway/groups/${shop.id}`, { budgets: [budget("MONTH", own.spent)] });
  assert.equal((await chat(gateway, key, CHAT, 100)).status, 429);
  await tab.open(`/groups/${shop.id}/why`);
  await page.getByText(/tokens would be refused by the budget of Shop for EUR per month\. Try again .* 00:00, in \d/).waitFor();
  await month.getByText("refuses").waitFor();
  await assertAccessible(tab, "why, refused by a budget");
  await gateway.admin("PATCH", `/v1/gateway/groups/${shop.id}`, { budgets: [budget("TOTAL", own.spent)] });
  await page.getByText("This budget never resets. A larger amount lets requests pass again.").waitFor();
});

test("running requests and weeks are explained as other limits are", async (t) => {
  const limits = {
    rate_limits: [{ type: "REQUEST", unit: "CONCURRENT", threshold: 1 }], usage_limits: [{ type: "REQUEST", unit: "WEEK", threshold: 2 }],
  };
  const group = await make("Jobs", [], {}, [{ slug: CHAT, ...limits }]);
  const { api_key: key } = await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {});
  const tab = await browser.tab(t, gateway, { timezoneId: TIME_ZONE });
  const { page } = tab;
  await tab.open(`/groups/${group.id}/why`);
  const running = page.getByRole("listitem").filter({ hasText: "Running requests" });
  await running.getByText("1 left of 1").waitFor();
  const stop = new AbortController();
  const stream = await fetch(`${gateway.baseURL}/chat/completions`, {
    method: "POST", signal: stop.signal, headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: CHAT, stream: true, max_tokens: 4000, messages: [{ role: "user", content: "count me ".repeat(20_000) }] }),
  });
  assert.equal(stream.status, 200);
  await page.getByText("would be refused by the limit of Jobs for running requests. Try again when a running request has ended.").waitFor();
  await running.getByText("1 running", { exact: true }).waitFor();
  stop.abort();
  await running.getByText("0 running", { exact: true }).waitFor();
  assert.equal((await chat(gateway, key, CHAT, 3)).status, 200);
  await page.getByText(/would be refused by the limit of Jobs for requests per week\. Try again \w+ 00:00, in \d/).waitFor();
  await tab.open(`/groups/${group.id}`);
  await page.getByText(/^2 of 2 requests per week, resets \w+ 00:00, in \d/).waitFor();
});

test("budgets are listed without what is spent for a key that may not read usage", async (t) => {
  const group = await make("Quiet", [budget("WEEK", "12.5", "USD")]);
  const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_API_KEYS" });
  const tab = await browser.tab(t, gateway, { key });
  await tab.open(`/groups/${group.id}`);
  await tab.page.getByText("12.50 USD per week").waitFor();
  assert.equal(await tab.page.getByRole("link", { name: "Edit budgets" }).count(), 0);
});

for (const colorScheme of THEMES) {
  test(`budgets fit a phone and a large screen, and are accessible (${colorScheme})`, async (t) => {
    const root = await make("Acme", [budget("MONTH", "500"), budget("TOTAL", "999999999999.999999")], { limit_enforcement: "CASCADING" });
    const leaf = await make("Shop", [budget("MONTH", "60"), budget("DAY", "999999999999.999999")], { parent_group_id: root.id });
    for (const width of [360, 3840]) {
      const tab = await browser.tab(t, gateway, { colorScheme, viewport: { width, height: 900 } });
      await tab.open(`/groups/${leaf.id}`);
      await shot(tab.page, "budgets");
      await assertAccessible(tab, `the group's page at ${width} px, ${colorScheme}`);
      assert.equal(await tab.overflow(), 0);
      await tab.open(`/groups/${leaf.id}/limits`);
      await limitBox(tab, "EUR per month", ALL_MODELS).fill("501");
      await tab.page.getByText("At most 500.00", { exact: false }).waitFor();
      await shot(tab.page, "budgets-editor");
      await assertAccessible(tab, `budgets at ${width} px, ${colorScheme}`);
      assert.equal(await tab.overflow(), 0);
    }
  });
}
