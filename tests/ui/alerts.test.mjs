// Limits and budgets that have reached a share of `alert_at`, on the overview, in the tree and on a group's page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { load } from "./support/load.mjs";
import { chat, eventually } from "./support/seed.mjs";

const CHAT = "demo/chat";
const pricing = { currency: "EUR", input: "1000", output: "1000" };

let browser, gateway, acme, shop, quiet;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start({ durability: "process" });
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: CHAT, targets: [{ provider: "DEMO" }], pricing });
  acme = await make("cust_acme", "Acme Corp", { usage_limits: [{ type: "REQUEST", unit: "WEEK", threshold: 4 }] },
    { budgets: [{ unit: "MONTH", currency: "EUR", amount: "1000" }] });
  shop = await make("cust_shop", undefined, { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 3 }] });
  quiet = await make("cust_quiet", "Quiet", { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 5 }] });
  await use(acme, 3);
  await use(shop, 3);
  await use(quiet, 1);
  await eventually("both alerts", async () => (await gateway.admin("GET", "/v1/gateway/alerts")).items.length === 2);
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

async function make(external_entity_id, name, limits, more = {}) {
  const group = await gateway.admin("POST", "/v1/gateway/groups", {
    metadata: { external_entity_id, name }, models: [{ slug: CHAT, ...limits }], ...more,
  });
  return { ...group, key: (await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {})).api_key };
}

async function use({ key }, requests) {
  for (let i = 0; i < requests; i++) await chat(gateway, key, CHAT, 3);
}

const rows = (tab) => tab.main.getByRole("table", { name: "Nearly used up" }).locator("tbody tr");

test("the overview lists limits that have reached a share, the highest first, with names and figures", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/");
  const texts = (await rows(tab).allInnerTexts()).map((text) => text.replace(/\s+/g, " "));
  assert.equal(texts.length, 2, texts.join("\n"));
  assert.match(texts[0], /^cust_shop 3 of 3 requests today, demo\/chat 100 %/);
  assert.match(texts[1], /^Acme Corp cust_acme 3 of 4 requests this week, demo\/chat 75 %/);
  await assertAccessible(tab, "the overview with limits nearly used up");
  await rows(tab).getByRole("link", { name: "Acme Corp" }).click();
  await tab.ready(`/groups/${acme.id}`);
  const limits = tab.main.getByRole("table", { name: "Models and limits" });
  await limits.getByRole("listitem").filter({ hasText: "3 of 4" }).getByText("75 %").waitFor();
  assert.equal(await tab.main.getByText(/^\d+ % reached$/).count(), 1, "the budget has reached no share");
});

test("the tree marks groups that have reached a share", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/groups");
  const row = (name) => tab.page.getByRole("row").filter({ hasText: name });
  await row("Acme Corp").getByText("75 %").waitFor();
  await row("cust_shop").getByText("100 %").waitFor();
  assert.equal(await row("Quiet").getByText("reached").count(), 0);
});

test("a limit that was raised since its alert is not listed", async (t) => {
  const models = [{ slug: CHAT, usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 300 }] }];
  await gateway.admin("PATCH", `/v1/gateway/groups/${shop.id}`, { models });
  const tab = await browser.tab(t, gateway);
  await tab.open("/");
  assert.match((await rows(tab).allInnerTexts()).join(), /^Acme Corp/);
  await gateway.admin("PATCH", `/v1/gateway/groups/${acme.id}`, { models: [{ slug: CHAT }] });
  await tab.page.reload();
  await tab.ready("/");
  assert.equal(await tab.main.getByRole("heading", { name: "Nearly used up" }).isVisible(), false);
});

test("an operator who may only read metrics sees the external ids", async (t) => {
  await use(quiet, 4);
  await eventually("its alert", async () => (await gateway.admin("GET", "/v1/gateway/alerts")).items.some((one) => one.external_entity_id === "cust_quiet"));
  const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_EXPORT_METRICS" });
  const tab = await browser.tab(t, gateway, { key });
  await tab.open("/");
  await rows(tab).filter({ hasText: "cust_quiet" }).getByText("5 of 5 requests today").waitFor();
  assert.equal(await tab.main.getByRole("link", { name: "cust_quiet" }).count(), 0);
});

test("a limit whose use is all by the groups below is listed as its own group's", async (t) => {
  const limits = { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 2 }] };
  const root = await make("cust_root", "Root", limits, { hierarchy: { limit_enforcement: "CASCADING" } });
  const child = await make("cust_root_child", "Child", {}, { hierarchy: { parent_group_id: root.id } });
  await use(child, 2);
  await eventually("its alert", async () => (await gateway.admin("GET", "/v1/gateway/alerts")).items.some((one) => one.group_id === root.id));
  const tab = await browser.tab(t, gateway);
  await tab.open("/");
  const row = rows(tab).filter({ hasText: "2 of 2 requests today" });
  assert.match(await row.innerText(), /^Root\s+cust_root\s/);
});

test("an inherited limit in INDEPENDENT is listed as that of the group that used it", async (t) => {
  const limits = { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 6 }] };
  const root = await make("cust_each", "Each", limits, { hierarchy: { limit_enforcement: "INDEPENDENT" } });
  const child = await make("cust_each_child", "One of them", {}, { hierarchy: { parent_group_id: root.id } });
  await use(child, 6);
  await eventually("its alert", async () => (await gateway.admin("GET", "/v1/gateway/alerts")).items.some((one) => one.group_id === root.id));
  const tab = await browser.tab(t, gateway);
  await tab.open("/");
  assert.match(await rows(tab).filter({ hasText: "6 of 6 requests today" }).innerText(), /^One of them\s+cust_each_child\s/);
});

test("the overview is shown without limits nearly used up if they cannot be read", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [500] });
  await tab.page.route("**/v1/gateway/alerts?*", (route) => route.fulfill({ status: 500, json: { error: "The disk is broken." } }));
  await tab.open("/");
  await tab.main.getByRole("heading", { name: "Top groups today" }).waitFor();
  assert.equal(await tab.main.getByRole("heading", { name: "Nearly used up" }).isVisible(), false);
});

test("of the alerts about a limit, the newest counts, until its window ends", async () => {
  // `shares.js` itself needs no page.
  const { inForce } = await load("js/groups/shares.js");
  const alert = (more) => ({
    external_entity_id: "a", group_id: "A", model_slug: CHAT, type: "TOKEN", unit: "DAY", percent: 75,
    created_at: "2026-11-30T10:00:00Z", reset_at: "2026-12-01T00:00:00Z", ...more,
  });
  const found = inForce([
    alert({ percent: 90 }), alert({}), alert({ type: "REQUEST", reset_at: "2026-11-30T00:00:00Z" }),
    alert({ model_slug: null, type: null, unit: "TOTAL", reset_at: null, percent: 100 }),
  ], Date.parse("2026-11-30T12:00:00Z"));
  assert.deepEqual(found.map(({ unit, percent }) => [unit, percent]), [["TOTAL", 100], ["DAY", 90]]);
});
