// The overview, the search and the frame around every page.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";
import { chat, seed } from "./support/seed.mjs";

let browser;
before(async () => (browser = await Browser.start()));
after(() => browser.stop());

describe("with customers", () => {
  let gateway, seeded;
  before(async () => {
    gateway = await Gateway.start();
    seeded = await seed(gateway);
  });
  after(async () => {
    await seeded.stop();
    await gateway.stop();
  });

  const card = (tab, name) => tab.main.locator(".card").filter({ has: tab.page.getByRole("heading", { name, exact: true }) });
  const figure = async (tab, name) => Number((await card(tab, name).locator(".figure").innerText()).replace(/\D/g, ""));

  test("customers' requests are counted without a reload", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    await tab.page.getByText("Live", { exact: true }).waitFor();
    await card(tab, "Requests").locator(".figure").filter({ hasText: /\d/ }).waitFor();
    const before = await figure(tab, "Requests");
    assert.ok(before > 0, "the seeded requests are in the last minute");
    for (let i = 0; i < 3; i++) await chat(gateway, seeded.keys.nameless, seeded.endpoints.chat.slug, 5);
    await tab.page.waitForFunction(
      ({ before }) => {
        const cards = [...document.querySelectorAll("main .card")];
        const text = cards.find((one) => one.querySelector("h2")?.textContent === "Requests")?.querySelector(".figure")?.textContent;
        return Number(text?.replace(/\D/g, "")) >= before + 3;
      },
      { before },
    );
  });

  test("each notice is a sentence with a link to the page where the problem can be fixed", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    const failing = tab.main.getByRole("listitem").filter({ hasText: seeded.endpoints.down.slug }).first();
    await failing.getByRole("link", { name: "Open the endpoint" }).click();
    await tab.ready(`/endpoints/${seeded.endpoints.down.id}`);
    await tab.open("/");
    const webhook = tab.main.getByRole("listitem").filter({ hasText: "dead letters" }).first();
    await webhook.getByRole("link", { name: "Open the webhook" }).click();
    await tab.ready(`/webhooks/${seeded.webhooks.failing.id}`);
  });

  test("the tile of the webhooks says what the notices say", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    const tile = tab.main.locator(".card").filter({ has: tab.page.getByRole("heading", { name: "Webhooks" }) });
    const failing = tab.main.locator(".notices li").filter({ hasText: "has accepted no delivery" });
    for (let looks = 0; looks < 3; looks++) {
      assert.equal(await failing.count(), 1);
      assert.match(await tile.innerText(), /1 failing\s+\d+ dead letters?/);
      await tab.liveEvents(1);
    }
  });

  test("an endpoint without a working server comes before one that runs on its backup", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    const items = tab.main.locator(".notices > ul > li");
    const heads = await items.locator("strong").allInnerTexts();
    assert.deepEqual(heads.slice(0, 2), ["Customers get errors", "Running on the backup"]);
    const down = items.filter({ hasText: "Customers get errors" });
    const { slug } = seeded.endpoints.down;
    assert.match(await down.innerText(), new RegExp(`${slug}\\s+Server 1: .*failures? in a row.*refused.*\\s+Server 2: .*refused`));
    const backup = items.filter({ hasText: "Running on the backup" });
    assert.match(await backup.innerText(), new RegExp(`${seeded.endpoints.coder.slug}\\s+Server 1: left out .*refused`));
    const colour = (item) => item.locator("strong").evaluate((one) => getComputedStyle(one).color);
    assert.notEqual(await colour(down), await colour(backup), "an outage is red");
    assert.doesNotMatch(await tab.main.innerText(), /Target \d/);
    await tab.open("/settings");
    await tab.main.getByText("Customers get errors").waitFor();
    assert.doesNotMatch(await tab.main.innerText(), /Target \d/, "servers are counted from 1 here too");
  });

  test("tables fit their columns on a laptop", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    const hidden = await tab.main.locator(".table-frame").evaluateAll((frames) =>
      frames.map((frame) => [frame.getAttribute("aria-label"), frame.scrollWidth - frame.clientWidth]).filter(([, width]) => width > 0));
    assert.deepEqual(hidden, []);
  });

  test("the groups with the most usage come first and link to their pages", async (t) => {
    const report = await gateway.admin("GET", "/v1/gateway/usage_report?group_by=group&top=3&start_time=2020-01-01T00:00:00Z");
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    const table = tab.main.getByRole("table", { name: "Top groups today" });
    const names = (await table.getByRole("rowheader").allInnerTexts()).map((text) => text.split(/\s*\n\s*/));
    assert.deepEqual(names.slice(0, 3).map((lines) => lines.at(-1)), report.items.map((item) => item.external_entity_id));
    assert.deepEqual(names[0], ["Acme Corp", "cust_acme"], "the name comes first");
    await table.getByRole("link", { name: "Acme Corp", exact: true }).click();
    await tab.ready(`/groups/${report.items[0].group_id}`);
  });

  test("a chart has a label and a data table", async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open("/");
    const requests = card(tab, "Requests");
    const plot = requests.getByRole("img");
    assert.match(await plot.getAttribute("aria-label"), /Requests over the last day/);
    await requests.getByText("Data table").click();
    await requests.getByRole("table").waitFor();
  });

  test("the search finds a group, and the group of a pasted key, by keyboard alone", async (t) => {
    const tab = await browser.tab(t, gateway);
    const { page } = tab;
    const addresses = [];
    page.on("request", (request) => addresses.push(request.url()));
    await tab.open("/");
    await page.keyboard.press("/");
    const box = page.getByRole("combobox");
    await box.fill("support");
    await page.getByRole("option", { name: /Support desk/ }).first().waitFor();
    await page.keyboard.press("Enter");
    await tab.ready(`/groups/${seeded.groups.support.id}`);

    await page.keyboard.press("Control+k");
    await page.getByRole("combobox").fill(seeded.keys.shop);
    await page.getByRole("option").filter({ hasText: seeded.keys.shop.split(".")[0] }).waitFor();
    await page.keyboard.press("Enter");
    await tab.ready(`/groups/${seeded.groups.shop.id}/keys`);
    const secret = seeded.keys.shop.split(".")[1];
    assert.deepEqual(addresses.filter((address) => address.includes(secret)), [], "a pasted key's secret stays in the browser");

    await page.keyboard.press("/");
    await page.getByRole("combobox").fill("no object has this name");
    await page.getByText(/No group, endpoint or key matches/).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await page.getByRole("dialog").count(), 0);
  });

  test("the chosen theme is applied and kept", async (t) => {
    const tab = await browser.tab(t, gateway, { colorScheme: "light" });
    const { page } = tab;
    await tab.open("/settings");
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await page.getByRole("button", { name: "Theme: system" }).click();
    await page.getByRole("button", { name: "Theme: light" }).click();
    await page.getByRole("button", { name: "Theme: dark" }).waitFor();
    assert.notEqual(await paper(), light);
    await page.reload();
    await tab.ready("/settings");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    assert.notEqual(await paper(), light);
    await page.getByRole("button", { name: "Theme: dark" }).click();
    assert.equal(await paper(), light, "the system's theme again");
  });

  test("an unknown address says that there is no page", async (t) => {
    const tab = await browser.tab(t, gateway, { statuses: [404] });
    await tab.open("/nowhere/at/all");
    await tab.main.getByRole("link", { name: "Go to the overview" }).waitFor();
    await tab.open("/groups/00000000000000000000000000");
    await tab.main.getByRole("heading", { level: 1, name: "Not found" }).waitFor();
  });
});

describe("with nothing yet", () => {
  let gateway;
  before(async () => (gateway = await Gateway.start()));
  after(() => gateway.stop());

  test("the overview guides through the first steps", async (t) => {
    const tab = await browser.tab(t, gateway);
    const steps = tab.main.getByRole("list").filter({ hasText: "Add a model" }).getByRole("listitem");
    const current = () => tab.main.locator("[aria-current='step'] h3").innerText();
    await tab.open("/");
    assert.equal(await steps.count(), 4);
    assert.equal((await tab.main.innerText()).match(/UTC/g).length, 1, "the time zone is named once");
    assert.equal(await current(), "Add a model");
    const slug = "first/model";
    await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }] });
    await tab.page.reload();
    await tab.ready("/");
    assert.equal(await current(), "Add a customer");
    const group = await gateway.admin("POST", "/v1/gateway/groups", {
      metadata: { external_entity_id: "first" }, models: [{ slug }], hierarchy: {},
    });
    await tab.page.reload();
    await tab.ready("/");
    assert.equal(await current(), "Mint a key");
    const { api_key: key } = await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {});
    await tab.page.reload();
    await tab.ready("/");
    assert.equal(await current(), "Send the first request");
    const other = await browser.tab(t, gateway);
    await other.open("/");
    await other.main.getByRole("button", { name: "Dismiss" }).click();
    assert.equal(await other.main.getByText("Add a model").count(), 0);
    await other.page.reload();
    await other.ready("/");
    assert.equal(await other.main.getByText("Add a model").count(), 0, "dismissed steps are not shown again");
    await chat(gateway, key, slug, 2);
    await tab.page.reload();
    await tab.ready("/");
    assert.equal(await steps.count(), 0, "completed steps are no longer shown");
  });

  test("when the gateway stops, the page stays and shows No connection", async (t) => {
    const other = await Gateway.start();
    const context = await browser.chromium.newContext();
    t.after(() => context.close());
    await context.request.post(`${other.adminURL}/v1/session`, {
      data: { key: other.adminKey }, headers: { origin: other.adminURL, "x-tollgate-csrf": "1" },
    });
    const page = await context.newPage();
    await page.goto(other.adminURL);
    await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
    await other.stop();
    await page.getByText("No connection", { exact: true }).waitFor();
    assert.ok(await page.getByRole("heading", { level: 1, name: "Overview" }).isVisible(), "the page stays");
  });
});
