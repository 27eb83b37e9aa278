// The events page: order, filters, a single event, the CSV file, following new events.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { chat } from "./support/seed.mjs";

// More events than the gateway reads at once for a CSV file.
const MANY = 600;
const HOSTILE = { note: "<img src=x onerror=alert(1)>", formula: "=1+1", wide: "w".repeat(400) };

let browser, gateway, groups, keys;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  for (const slug of ["a/chat", "b/chat"]) {
    await gateway.admin("POST", "/v1/gateway/endpoints", {
      slug, targets: [{ provider: "DEMO" }], pricing: { currency: "EUR", input: "1", output: "2" },
    });
  }
  groups = [];
  keys = [];
  for (const external_entity_id of ["one", "two, with a comma"]) {
    const group = await gateway.admin("POST", "/v1/gateway/groups", {
      metadata: { external_entity_id }, models: [{ slug: "a/chat" }, { slug: "b/chat" }],
    });
    groups.push(group);
    keys.push((await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {})).api_key);
  }
  for (let made = 0; made < MANY; made += 100) {
    await Promise.all(Array.from({ length: 100 }, () => chat(gateway, keys[0], "a/chat", 3, { max_tokens: 2 })));
  }
  for (let i = 0; i < 3; i++) await chat(gateway, keys[1], "b/chat", 5, { max_tokens: 3, stream: true });
  await chat(gateway, keys[1], "b/chat", 7, { max_tokens: 3, metadata: HOSTILE });
  await gateway.waitEvents(4, keys[1]);
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

const newest = async (query = {}) =>
  (await gateway.admin("GET", `/v1/gateway/events?${new URLSearchParams({ order: "desc", limit: "1000", ...query })}`)).items;
const rowsOf = (tab) => tab.main.getByRole("region", { name: "Events" }).locator("tbody tr");
const idsOf = (tab) => rowsOf(tab).locator("a[data-event]").evaluateAll((all) => all.map((one) => one.dataset.event));
// Opens a page with filters in its address.
async function openWith(tab, path) {
  await tab.page.goto("about:blank");
  await tab.page.goto(`${gateway.adminURL}/#${path}`);
  await tab.ready(path.split("?")[0]);
}
const settled = (tab) => tab.main.locator('.results[aria-busy="false"]').waitFor();
const queryOf = (tab) => Object.fromEntries(new URLSearchParams(new URL(tab.page.url()).hash.split("?")[1]));

test("the newest events are on top, and Show more adds each older one once", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/events");
  const expected = (await newest()).map((event) => event.idempotencyKey);
  assert.deepEqual(await idsOf(tab), expected.slice(0, 50));
  for (const count of [100, 150, 200]) {
    await tab.main.getByRole("button", { name: "Show more" }).click();
    await tab.page.waitForFunction((of) => document.querySelectorAll("main tbody tr").length === of, count);
  }
  assert.deepEqual(await idsOf(tab), expected.slice(0, 200));
});

test("filters are in the address, survive a reload, and Back removes the last one", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/events");
  await tab.main.getByLabel("Group", { exact: true }).fill("two, with a comma");
  await page.keyboard.press("Enter");
  await tab.main.getByRole("button", { name: /Remove Group/ }).waitFor();
  await settled(tab);
  assert.equal(await rowsOf(tab).count(), 4);
  await tab.main.getByLabel("Time", { exact: true }).selectOption("yesterday");
  await tab.main.getByRole("heading", { name: "No matching events" }).waitFor();
  assert.deepEqual(queryOf(tab), { external_entity_ids: "two%2C with a comma", range: "yesterday" });
  await page.reload();
  await tab.ready("/events");
  await tab.main.getByRole("heading", { name: "No matching events" }).waitFor();
  await page.goBack();
  await rowsOf(tab).first().waitFor();
  assert.equal(await rowsOf(tab).count(), 4);
  assert.deepEqual(queryOf(tab), { external_entity_ids: "two%2C with a comma" });
});

test("filters by key, model, group and time show only matching events", async (t) => {
  const tab = await browser.tab(t, gateway);
  for (const query of [`api_keys=${keys[1].split(".")[0]}`, "model_slugs=b/chat", `group_ids=${groups[1].id}`, "model_slugs=b/chat&range=hour"]) {
    await openWith(tab, `/events?${query}`);
    assert.equal(await rowsOf(tab).count(), 4, query);
  }
  const [latest] = await newest({ model_slugs: "b/chat" });
  await openWith(tab, `/events?model_slugs=b/chat&to=${latest.timestamp}`);
  const before = (await newest({ model_slugs: "b/chat", end_time: latest.timestamp })).length;
  assert.equal(await rowsOf(tab).count(), before);
  assert.ok(before < 4);
});

test("a row opens its event in full, with hostile metadata as text and its id in the address", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const [event] = await newest();
  await tab.open("/events");
  await rowsOf(tab).first().getByRole("link").click();
  const panel = page.getByRole("dialog", { name: "Event" });
  for (const value of [event.idempotencyKey, event.requestId, event.groupId, event.apiKeyPrefix, "b/chat", "/v1/chat/completions", "Server 1", "none besides tokens"]) {
    await panel.getByText(value, { exact: true }).first().waitFor();
  }
  assert.deepEqual(JSON.parse(await panel.locator("pre").innerText()), HOSTILE);
  assert.equal(await panel.locator("img").count(), 0);
  assert.equal(queryOf(tab).event, event.idempotencyKey);
  await page.setViewportSize({ width: 360, height: 800 });
  assert.equal(await tab.overflow(), 0);
  await assertAccessible(tab, "an event in full");
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
  assert.equal(queryOf(tab).event, undefined);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.event), event.idempotencyKey, "the focus returns to the row");
});

test("a link to an old event finds it without reading all events", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { items } = await gateway.admin("GET", "/v1/gateway/events?start_time=2000-01-01T00:00:00Z&limit=1");
  const asked = [];
  tab.page.on("request", (request) => {
    const { pathname, searchParams } = new URL(request.url());
    if (pathname === "/v1/gateway/events") asked.push(searchParams);
  });
  await openWith(tab, `/events?event=${items[0].idempotencyKey}`);
  const panel = tab.page.getByRole("dialog", { name: "Event" });
  await panel.getByText(items[0].requestId).waitFor();
  const [, { start_time, end_time }, ...more] = asked.map((query) => Object.fromEntries(query));
  assert.equal(Date.parse(end_time) - Date.parse(start_time), 1, "only the event's millisecond is read");
  assert.deepEqual(more, []);
  await panel.getByRole("link", { name: "of this model" }).click();
  await tab.main.getByRole("button", { name: "Remove Model a/chat" }).waitFor();
  assert.equal(await panel.count(), 0);
});

test("a link to a missing event says that it was not found", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openWith(tab, "/events?event=01ARZ3NDEKTSV4RRFFQ69G5FAV");
  await tab.page.getByRole("dialog", { name: "Event not found" }).waitFor();
});

test("the CSV file comes from the API, has each matching event once, and no formula", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/events");
  const download = async () => {
    const [file] = await Promise.all([
      tab.page.waitForEvent("download"), tab.main.getByRole("link", { name: "Download CSV" }).click(),
    ]);
    assert.match(file.suggestedFilename(), /^events-.*\.csv$/);
    return (await readFile(await file.path(), "utf8")).trimEnd().split("\n");
  };
  const [head, ...lines] = await download();
  assert.match(head, /^idempotencyKey,timestamp,requestId,requestMetadata,/);
  assert.equal(lines.length, MANY + 4);
  assert.equal(new Set(lines.map((line) => line.split(",")[0])).size, MANY + 4);
  assert.equal(lines[0].split(",")[0], (await newest())[0].idempotencyKey);
  assert.match(lines[0], /"two, with a comma"/);
  for (const line of lines) assert.doesNotMatch(line, /(^|,)"?[=+@-]/, "no cell is a formula");
  await openWith(tab, "/events?model_slugs=b/chat");
  const chosen = await download();
  const ids = (await newest({ model_slugs: "b/chat" })).map((event) => event.idempotencyKey);
  assert.deepEqual(chosen.slice(1).map((line) => line.split(",")[0]), ids);
});

test("Follow adds new events on top and keeps the focus on its row", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openWith(tab, "/events?model_slugs=b/chat");
  await tab.main.getByLabel("Follow").check();
  const first = rowsOf(tab).first().getByRole("link");
  await first.focus();
  const before = await rowsOf(tab).count();
  const at = await tab.page.evaluate(() => document.activeElement.dataset.event);
  await chat(gateway, keys[0], "b/chat", 9, { max_tokens: 3 });
  await tab.page.waitForFunction((count) => document.querySelectorAll("main tbody tr").length === count, before + 1);
  assert.equal((await idsOf(tab))[0], (await newest())[0].idempotencyKey);
  assert.equal(await tab.page.evaluate(() => document.activeElement.dataset.event), at);
});

test("more new events than one page holds leave no gap", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/events");
  await tab.main.getByLabel("Follow").check();
  await Promise.all(Array.from({ length: 260 }, () => chat(gateway, keys[0], "a/chat", 3, { max_tokens: 2 })));
  const expected = (await newest()).map((event) => event.idempotencyKey);
  await tab.main.locator(`a[data-event="${expected[0]}"]`).waitFor();
  const shown = await idsOf(tab);
  assert.deepEqual(shown, expected.slice(0, shown.length));
});
