// The usage page: chart, table, totals, CSV file, and filters in the address.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { chat, seed } from "./support/seed.mjs";

let browser, gateway, seeded;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  seeded = await seed(gateway);
});
after(async () => {
  await browser.stop();
  await seeded.stop();
  await gateway.stop();
});

const today = () => `${new Date().toISOString().slice(0, 10)}T00:00:00Z`;
const report = (query) => gateway.admin("GET", `/v1/gateway/usage_report?${new URLSearchParams({ start_time: today(), ...query })}`);
const tokens = (item) => item.input_tokens + item.output_tokens;
const whole = (value) => value.toLocaleString("en");
const rows = async (tab, name = "Usage") => {
  const all = tab.main.getByRole("region", { name, exact: true }).locator("tbody tr");
  return Promise.all((await all.all()).map(async (row) => (await row.locator("th, td").allInnerTexts()).map((text) => text.trim())));
};
// Opens a page with filters in its address.
async function openWith(tab, path) {
  await tab.page.goto("about:blank");
  await tab.page.goto(`${gateway.adminURL}/#${path}`);
  await tab.ready(path.split("?")[0]);
}
const settled = (tab) => tab.main.locator('.results[aria-busy="false"]').waitFor();

test("the table is the report by group, most tokens first, with the totals above", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/usage");
  const { items } = await report({ group_by: "group" });
  items.sort((a, b) => tokens(b) - tokens(a));
  const shown = await rows(tab);
  assert.deepEqual(shown.map(([name]) => name.split("\n").at(-1)), items.map((item) => item.external_entity_id));
  assert.match(shown[0][0], /^Acme Corp\s+cust_acme$/, "the name comes first");
  assert.deepEqual(shown.map(([, , input, , output, requests]) => [input, output, requests]),
    items.map((item) => [item.input_tokens, item.output_tokens, item.requests].map(whole)));
  const [sum] = (await report({})).items;
  await tab.main.locator("dl.sums").getByText(whole(tokens(sum)), { exact: true }).waitFor();
});

test("the chart's data table is the report by hour", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/usage");
  await tab.main.getByLabel("Time", { exact: true }).selectOption("today");
  await tab.main.getByLabel("By", { exact: true }).selectOption("model");
  await settled(tab);
  await tab.main.getByText("Data table").click();
  const figures = tab.main.getByRole("region", { name: /data table/ });
  const heads = (await figures.locator("thead th").allInnerTexts()).slice(1);
  const lines = await rows(tab, "Tokens by model and hour, data table");
  const { items } = await report({ group_by: "model,hour" });
  for (const [time, ...values] of lines) {
    for (const [index, slug] of heads.entries()) {
      const item = items.find((one) => one.model_slug === slug && one.hour.startsWith(time.replace(" ", "T").slice(0, 13)));
      assert.equal(values[index], whole(item ? tokens(item) : 0), `${slug} at ${time}`);
    }
  }
  assert.equal(lines.length, new Set(items.map(({ hour }) => hour)).size);
});

test("a cost can be shown, in its currency", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/usage");
  await tab.main.getByLabel("Show").selectOption("Cost (EUR)");
  await tab.main.getByRole("figure", { name: /Cost in EUR/ }).waitFor();
  await tab.main.getByText("Data table").click();
  const [sum] = (await report({ group_by: "day" })).items;
  const [[, ...values]] = await rows(tab, "Cost in EUR by group and day, data table");
  const shown = values.reduce((all, value) => all + Number(value.replace(/,| EUR/g, "")), 0);
  assert.ok(Math.abs(shown - Number(sum.cost.EUR)) < 1e-9, `${shown} ${sum.cost.EUR}`);
});

test("the table is sorted by what is shown, and every column sorts", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/usage");
  const { items } = await report({ group_by: "group" });
  const order = (value) => [...items].sort((a, b) => value(b) - value(a)).map(value);
  const head = (name) => tab.main.getByRole("columnheader", { name, exact: true });
  const column = async (at) => (await rows(tab)).map((cells) => Number(cells[at].replace(/[^\d.]/g, "")));
  assert.equal(await head("Tokens").getAttribute("aria-sort"), "descending");
  await tab.main.getByLabel("Show").selectOption("Cost (EUR)");
  await head("Cost").and(tab.page.locator("[aria-sort=descending]")).waitFor();
  const cost = (item) => Number(item.cost.EUR ?? 0);
  const names = (await rows(tab)).map(([name]) => name.split("\n").at(-1));
  const costs = names.map((name) => cost(items.find((item) => item.external_entity_id === name)));
  assert.deepEqual(costs, order(cost));
  assert.equal(await tab.main.locator("tbody tr").first().locator("td").nth(5).locator(".share-bar").count(), 1, "the bars are of the cost");
  await head("Requests").getByRole("button").click();
  assert.deepEqual(await column(5), order((item) => item.requests));
  await head("Requests").getByRole("button").click();
  assert.deepEqual(await column(5), order((item) => item.requests).reverse());
  await head("Group").getByRole("button").click();
  const sorted = (await rows(tab)).map(([name]) => name.split("\n")[0]);
  assert.deepEqual(sorted, [...sorted].sort((a, b) => a.localeCompare(b, "en", { numeric: true })));
  await assertAccessible(tab, "usage, sorted by name");
});

test("filters are in the address, survive a reload, and Back removes the last one", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/usage");
  await tab.main.getByLabel("Group", { exact: true }).fill("cust_acme");
  await page.keyboard.press("Enter");
  await settled(tab);
  await tab.main.getByLabel("Model", { exact: true }).fill("acme/chat");
  await page.keyboard.press("Enter");
  await settled(tab);
  await tab.main.getByLabel("Time", { exact: true }).selectOption("today");
  const filters = tab.main.getByRole("list", { name: "Active filters" });
  const hash = () => new URLSearchParams(new URL(page.url()).hash.split("?")[1]);
  assert.deepEqual(Object.fromEntries(hash()), { external_entity_ids: "cust_acme", model_slugs: "acme/chat", range: "today" });
  assert.deepEqual((await rows(tab)).map(([name]) => name.split("\n")[0]), ["Acme Corp"]);

  await page.reload();
  await tab.ready("/usage");
  for (const name of ["Group Acme Corp", "Model acme/chat"]) await filters.getByRole("button", { name: `Remove ${name}` }).waitFor();
  assert.equal(await tab.main.getByLabel("Time", { exact: true }).inputValue(), "today");

  await page.goBack();
  await page.waitForFunction(() => document.querySelector("main select")?.value === "7d");
  const focused = () => page.evaluate(() => (document.activeElement.textContent || document.activeElement.labels?.[0]?.textContent).trim());
  await filters.getByRole("button", { name: "Remove Model acme/chat" }).click();
  assert.equal(await focused(), "Remove Group Acme Corp");
  await settled(tab);
  assert.deepEqual(Object.fromEntries(hash()), { external_entity_ids: "cust_acme" });
  assert.equal(await focused(), "Remove Group Acme Corp");
  await page.keyboard.press("Enter");
  await settled(tab);
  assert.equal(await focused(), "Group", "without filters, the focus is on the first field");
});

test("a group is found by its name, and the proposals show names", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  for (const path of ["/usage", "/events"]) {
    await tab.open(path);
    const box = tab.main.getByLabel("Group", { exact: true });
    await box.focus();
    await page.locator('datalist option[label="Support desk"][value="cust_acme_support"]').waitFor({ state: "attached" });
    await box.fill("support DESK");
    await page.keyboard.press("Enter");
    await tab.main.getByRole("button", { name: "Remove Group Support desk" }).waitFor();
    assert.match(page.url(), /external_entity_ids=cust_acme_support$/);
    await settled(tab);
    const names = await tab.main.locator("tbody .main").allInnerTexts();
    assert.ok(names.length && names.every((name) => name.startsWith("Support desk")), names.join());
  }
});

test("a group's usage includes the groups below it, unless they are excluded", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { globex, research, nightly } = seeded.groups;
  await openWith(tab, `/usage?group_ids=${globex.id}`);
  const names = async () => (await rows(tab)).map(([name]) => name.split("\n")[0]).sort();
  assert.deepEqual(await names(), ["Globex", "Nightly jobs", "Research"]);
  const chips = tab.main.getByRole("list", { name: "Active filters" });
  await chips.getByRole("button", { name: "Remove Group Globex" }).waitFor();
  const csv = new URL(await tab.main.getByRole("link", { name: "Download CSV" }).getAttribute("href"), gateway.adminURL);
  assert.deepEqual(csv.searchParams.getAll("group_ids").sort(), [globex.id, research.id, nightly.id].sort());
  await chips.getByRole("checkbox", { name: "This group only" }).check();
  assert.equal(await tab.page.evaluate(() => document.activeElement.type), "checkbox", "the focus stays");
  await settled(tab);
  await tab.main.getByText("Research").waitFor({ state: "detached" });
  assert.deepEqual(await names(), ["Globex"]);
  await tab.main.getByLabel("By", { exact: true }).selectOption("model");
  const events = await tab.main.getByRole("link", { name: /^Events of/ }).first().getAttribute("href");
  assert.equal(new URLSearchParams(events.split("?")[1]).get("only"), "1", "the events are those of the row");
  await tab.page.goBack();
  await tab.page.goBack();
  await tab.main.getByText("Research").first().waitFor();
});

test("a group's page links to the usage and the events of the figure beside the links", async (t) => {
  const tab = await browser.tab(t, gateway);
  for (const [name, path] of [["Usage", "/usage"], ["Events", "/events"]]) {
    await tab.open(`/groups/${seeded.groups.globex.id}`);
    await tab.main.getByRole("link", { name, exact: true }).click();
    await tab.ready(path);
    assert.ok(await tab.main.getByRole("checkbox", { name: "This group only" }).isChecked());
    assert.equal(await tab.main.getByLabel("Time", { exact: true }).inputValue(), "30d");
    assert.equal(await tab.main.getByText("Research").count(), 0);
  }
});

test("if the groups below cannot be read, the usage is not shown without them", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [500] });
  const { globex } = seeded.groups;
  const tree = "**/v1/gateway/group_tree*";
  await tab.page.route(tree, (route) => route.fulfill({ status: 500, json: { error: "The disk is broken." } }));
  await openWith(tab, `/usage?group_ids=${globex.id}`);
  await tab.main.getByRole("heading", { name: "The disk is broken." }).waitFor();
  await openWith(tab, `/usage?group_ids=${globex.id}&only=1`);
  await tab.main.getByRole("button", { name: `Remove Group ${globex.id}` }).waitFor();
  const only = tab.main.getByRole("checkbox", { name: "This group only" });
  await only.uncheck();
  await tab.main.locator(".results").getByText("The disk is broken.").waitFor();
  await tab.page.unroute(tree);
  await only.check();
  await tab.main.getByRole("button", { name: "Remove Group Globex" }).waitFor();
  await only.uncheck();
  await tab.main.getByText("Research").first().waitFor();
});

test("the CSV file comes from the API, with the same filters", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openWith(tab, "/usage?range=today&by=key&model_slugs=acme/chat");
  const [download] = await Promise.all([
    tab.page.waitForEvent("download"), tab.main.getByRole("link", { name: "Download CSV" }).click(),
  ]);
  assert.match(download.suggestedFilename(), /^usage-.*\.csv$/);
  const answer = await fetch(`${gateway.adminURL}/v1/gateway/usage_report?${new URLSearchParams({
    start_time: today(), group_by: "group,key", model_slugs: "acme/chat", format: "csv",
  })}`, { headers: { authorization: `Bearer ${gateway.adminKey}` } });
  assert.equal(await readFile(await download.path(), "utf8"), await answer.text());
  assert.ok((await rows(tab)).length > 2);
});

test("a row links to its group and to its events in the same period", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openWith(tab, "/usage?range=today");
  const row = tab.main.getByRole("row").filter({ hasText: "cust_acme_support" });
  assert.match(await row.getByRole("link", { name: "Support desk", exact: true }).getAttribute("href"), new RegExp(`#/groups/${seeded.groups.support.id}`));
  await row.getByRole("link", { name: /Events/ }).click();
  await tab.ready("/events");
  const events = tab.main.getByRole("region", { name: "Events" }).locator("tbody tr");
  assert.equal(await events.count(), 13);
  assert.equal(await events.filter({ hasNotText: "Support desk" }).count(), 0);
});

test("custom dates include their last day", async (t) => {
  const tab = await browser.tab(t, gateway);
  const day = new Date().toISOString().slice(0, 10);
  await openWith(tab, `/usage?from=${day}&to=${day}`);
  assert.equal(await tab.main.getByLabel("From (UTC)").inputValue(), day);
  assert.ok((await rows(tab)).length > 0);
  await tab.main.getByLabel("From (UTC)").fill("2020-01-01");
  await tab.main.getByLabel("To, inclusive (UTC)").fill("2020-01-02");
  await tab.main.getByRole("heading", { name: "Nothing was billed in this period" }).waitFor();
});

test("of more than a hundred groups the largest hundred are shown, and the others on request", async (t) => {
  const tab = await browser.tab(t, gateway);
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "many/one", targets: [{ provider: "DEMO" }] });
  const hostile = "<img src=x onerror=alert(1)>";
  const names = [hostile, "=1+1", "שלום, 😀", "w".repeat(255), ...Array.from({ length: 101 }, (_, i) => `many_${i}`)];
  for (const external_entity_id of names) {
    const group = await gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id }, models: [{ slug: "many/one" }] });
    const { api_key } = await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {});
    await chat(gateway, api_key, "many/one", external_entity_id === hostile ? 50 : 5);
  }
  await openWith(tab, "/usage?range=today&model_slugs=many/one");
  assert.equal((await rows(tab)).length, 100);
  assert.equal((await rows(tab))[0][0], hostile);
  await tab.main.getByRole("button", { name: "Show more" }).click();
  await tab.page.waitForFunction((count) => document.querySelectorAll(".results tbody tr").length === count, names.length);
  for (const width of [360, 1280]) {
    await tab.page.setViewportSize({ width, height: 800 });
    assert.equal(await tab.overflow(), 0, `the page scrolls horizontally at ${width} px`);
  }
  await assertAccessible(tab, "usage with hostile names");
});

test("a WORKSPACE_EXPORT_METRICS key sees no links to groups and no switch for the groups below one", async (t) => {
  const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_EXPORT_METRICS" });
  const tab = await browser.tab(t, gateway, { key });
  await tab.open("/usage");
  assert.equal(await tab.main.locator('a[href^="#/groups"]').count(), 0);
  assert.ok((await rows(tab)).length > 3);
  await openWith(tab, `/usage?group_ids=${seeded.groups.globex.id}`);
  await tab.main.getByRole("button", { name: `Remove Group ${seeded.groups.globex.id}` }).waitFor();
  assert.equal(await tab.main.getByRole("checkbox").count(), 0);
});
