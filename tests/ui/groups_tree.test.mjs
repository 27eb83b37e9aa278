// The tree of groups: large trees, the filter, keyboard navigation and hostile names.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { chat } from "./support/seed.mjs";

const CHAT = "demo/chat";
const MAX_ROWS_DRAWN = 80;

let browser;
before(async () => (browser = await Browser.start()));
after(() => browser.stop());

const endpoint = (gateway) => gateway.admin("POST", "/v1/gateway/endpoints", { slug: CHAT, targets: [{ provider: "DEMO" }] });

const make = (gateway, external_entity_id, { name, parent, usage_limits = [], hierarchy = {} } = {}) =>
  gateway.admin("POST", "/v1/gateway/groups", {
    metadata: { external_entity_id, name },
    models: [{ slug: CHAT, usage_limits }],
    hierarchy: parent ? { parent_group_id: parent.id } : hierarchy,
  });

const rowOf = (tab, name) => tab.page.getByRole("row").filter({ has: tab.page.getByRole("link", { name, exact: true }) });
const focused = (tab) => tab.page.evaluate(() => document.activeElement?.querySelector("a")?.textContent);
const filterBox = (tab) => tab.page.getByRole("searchbox", { name: "Filter groups" });

describe("with a few groups", () => {
  let gateway, acme, prod, shop;
  before(async () => {
    gateway = await Gateway.start({ durability: "process" });
    await endpoint(gateway);
    acme = await make(gateway, "cust_acme", {
      name: "Acme Corp", hierarchy: { limit_enforcement: "CASCADING" }, usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 10 }],
    });
    prod = await make(gateway, "cust_acme_prod", { name: "Acme production", parent: acme });
    shop = await make(gateway, "cust_acme_shop", { name: "Shop assistant", parent: prod });
    await make(gateway, "cust_globex", { name: "Globex" });
  });
  after(() => gateway.stop());

  test("what each group has used today is shown, and refreshed when the tab becomes visible", async (t) => {
    const { api_key: key } = await gateway.admin("POST", `/v1/gateway/groups/${shop.id}/api_keys`, {});
    await chat(gateway, key, CHAT, 3);
    const tab = await browser.tab(t, gateway);
    await tab.open("/groups");
    await rowOf(tab, "Shop assistant").getByText("1 of 10 requests today, demo/chat").waitFor();
    await rowOf(tab, "Acme Corp").getByText("1 of 10 requests today, demo/chat").waitFor();
    await rowOf(tab, "Globex").getByText("no daily limit").waitFor();
    await chat(gateway, key, CHAT, 3);
    await tab.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await rowOf(tab, "Shop assistant").getByText("2 of 10 requests today, demo/chat").waitFor();
  });

  test("arrow keys, Home, End and Enter navigate the tree", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/groups");
    const { keyboard } = tab.page;
    await rowOf(tab, "Acme Corp").focus();
    const press = async (key, name) => {
      await keyboard.press(key);
      assert.equal(await focused(tab), name, `after ${key}`);
    };
    await press("ArrowDown", "Acme production");
    await press("ArrowDown", "Shop assistant");
    await press("ArrowLeft", "Acme production");
    await press("ArrowLeft", "Acme production");
    assert.equal(await rowOf(tab, "Acme production").getAttribute("aria-expanded"), "false");
    assert.equal(await rowOf(tab, "Shop assistant").count(), 0);
    await press("ArrowRight", "Acme production");
    await press("ArrowRight", "Shop assistant");
    const row = rowOf(tab, "Shop assistant");
    assert.deepEqual(
      await Promise.all(["aria-level", "aria-setsize", "aria-posinset"].map((name) => row.getAttribute(name))), ["3", "1", "1"]);
    await press("End", "Globex");
    await press("Home", "Acme Corp");
    await press("ArrowDown", "Acme production");
    await keyboard.press("Enter");
    await tab.ready(`/groups/${prod.id}`);
  });

  test("the groups below a disabled one are shown as disabled by it", async (t) => {
    await gateway.admin("PATCH", `/v1/gateway/groups/${acme.id}`, { disabled: true });
    const tab = await browser.tab(t, gateway);
    await tab.open("/groups");
    for (const name of ["Acme production", "Shop assistant"]) {
      await rowOf(tab, name).getByText("disabled by Acme Corp").waitFor();
      assert.match(await rowOf(tab, name).getAttribute("class"), /\boff\b/);
    }
    await tab.open(`/groups/${prod.id}`);
    const child = tab.main.getByRole("table", { name: "Child groups" }).getByRole("row").filter({ hasText: "Shop assistant" });
    await child.getByText("disabled by Acme Corp").waitFor();
    await gateway.admin("PATCH", `/v1/gateway/groups/${acme.id}`, { disabled: false });
    await tab.open("/groups");
    assert.equal(await tab.page.getByText("disabled by").count(), 0);
  });

  test("the groups below a group without a name are shown as disabled by it as soon as the tab becomes visible", async (t) => {
    const nameless = await make(gateway, "cust_nameless");
    await make(gateway, "cust_nameless_child", { name: "Below it", parent: nameless });
    const tab = await browser.tab(t, gateway);
    await tab.open("/groups");
    await rowOf(tab, "Below it").waitFor();
    await gateway.admin("PATCH", `/v1/gateway/groups/${nameless.id}`, { disabled: true });
    await tab.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await rowOf(tab, "Below it").getByText("disabled by cust_nameless").waitFor();
    await gateway.admin("DELETE", `/v1/gateway/groups/${nameless.id}`);
  });

  test("collapsed groups stay collapsed during the visit", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/groups");
    await rowOf(tab, "Acme Corp").locator(".tree-toggle").click();
    await tab.page.getByRole("link", { name: "Globex" }).click();
    await tab.page.getByRole("heading", { level: 1, name: "Globex" }).waitFor();
    await tab.page.goBack();
    await tab.ready("/groups");
    assert.equal(await rowOf(tab, "Acme Corp").getAttribute("aria-expanded"), "false");
    await tab.page.getByRole("button", { name: "Expand all" }).click();
    await rowOf(tab, "Shop assistant").waitFor();
  });

  test("the filter shows matches below their ancestors, and is in the address", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/groups");
    await filterBox(tab).fill("SHOP");
    await tab.page.getByText("1 of 4 groups").waitFor();
    assert.deepEqual(await tab.page.getByRole("treegrid").getByRole("link").allInnerTexts(), ["Acme Corp", "Acme production", "Shop assistant"]);
    await tab.page.waitForURL(/q=SHOP/);
    await tab.page.reload();
    await tab.ready("/groups");
    assert.equal(await filterBox(tab).inputValue(), "SHOP");
    await filterBox(tab).fill(acme.id.slice(-8));
    await tab.page.getByText("1 of 4 groups").waitFor();
    await filterBox(tab).fill("nobody at all");
    await tab.page.getByText("No group has a matching name").waitFor();
  });
});

// Tabs on a gateway of the test's own. They must close before it stops, but `t.after` would run their hooks last.
function alone(t, gateway) {
  const tabs = [];
  const own = { tab: (settings) => browser.tab({ after: (end) => tabs.push(end) }, gateway, settings) };
  t.after(async () => {
    for (const end of tabs) await end();
    await gateway.stop();
  });
  return own;
}

test("without groups the page leads to creating the first one", async (t) => {
  const gateway = await Gateway.start();
  const own = alone(t, gateway);
  const tab = await own.tab();
  await tab.open("/groups");
  await tab.main.getByRole("link", { name: "New group" }).click();
  await tab.ready("/groups/new");
  await tab.main.getByRole("link", { name: "New endpoint" }).click();
  await tab.ready("/endpoints/new");
});

test("of 3,000 groups only the visible ones are drawn, and the filter finds any of them", async (t) => {
  const gateway = await Gateway.start({ durability: "process" });
  const own = alone(t, gateway);
  await endpoint(gateway);
  const roots = [];
  for (let at = 0; at < 100; at++) roots.push(await make(gateway, `root-${at}`, { name: `Customer ${at}` }));
  for (let from = 0; from < 2900; from += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, at) => make(gateway, `child-${from + at}`, { parent: roots[(from + at) % 100] })));
  }
  const tab = await own.tab();
  await tab.open("/groups");
  await tab.page.getByText("3,000 groups").waitFor();
  const rows = tab.page.getByRole("treegrid").getByRole("row");
  assert.ok(await rows.count() < MAX_ROWS_DRAWN);
  await tab.page.getByRole("button", { name: "Expand all" }).click();
  assert.ok(await rows.count() < MAX_ROWS_DRAWN);
  assert.equal(await tab.page.getByRole("treegrid").getAttribute("aria-rowcount"), "3001");
  await rowOf(tab, "Customer 0").focus();
  await tab.page.keyboard.press("End");
  assert.equal(await focused(tab), "child-2899");
  assert.ok(await rows.count() < MAX_ROWS_DRAWN);
  await assertAccessible(tab, "the end of 3,000 groups");
  await tab.page.evaluate(() => scrollTo(0, 40_000));
  await tab.page.getByRole("link", { name: "Customer 30", exact: true }).waitFor();
  assert.ok(await rows.count() < MAX_ROWS_DRAWN);
  assert.equal(await focused(tab), "child-2899", "the focused row keeps the focus when it is scrolled out of view");
  await filterBox(tab).fill("child-1234");
  await tab.page.getByText("1 of 3,000 groups").waitFor();
  assert.equal(await rows.count(), 3);
});

test("hostile names are shown as text and do not widen the page", async (t) => {
  const gateway = await Gateway.start({ durability: "process" });
  const own = alone(t, gateway);
  await endpoint(gateway);
  const names = [
    "<img src=x onerror=alert(1)>", "W".repeat(255), "שלום عليكم \u202Eabc", "👩‍👩‍👧‍👦".repeat(20), "  two  spaces  ", "a/b?c#d&e=%00",
  ];
  let parent;
  for (const [at, name] of names.entries()) {
    if (at % 4 === 0) parent = undefined;
    parent = await make(gateway, at === 1 ? "x".repeat(255) : `hostile ${at} ${name.slice(0, 99)}`, { name, parent });
    const tab = await own.tab({ viewport: { width: 360, height: 800 } });
    await tab.open("/groups");
    assert.equal(await tab.overflow(), 0, `the tree with ${name}`);
    for (const part of ["", "/limits", "/why", "/keys"]) {
      await tab.go(`/groups/${parent.id}${part}`);
      const heading = await tab.page.locator("h1").evaluate((element) => element.textContent);
      assert.equal(heading, name);
      assert.equal(await tab.overflow(), 0, `${part || "/"} of ${name}`);
    }
  }
  const tab = await own.tab();
  await tab.open("/groups");
  await tab.page.getByRole("button", { name: "Expand all" }).click();
  await tab.page.getByRole("link", { name: names[0], exact: true }).waitFor();
  assert.equal(await tab.page.locator("main img").count(), 0);
  assert.equal(await tab.overflow(), 0);
});
