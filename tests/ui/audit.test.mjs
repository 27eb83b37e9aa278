// The audit log: each change, who made it, and the values before and after it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";

const HOSTILE = "<img src=x onerror=alert(1)>";

let browser, gateway, group;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "a/chat", targets: [{ provider: "DEMO" }] });
  const models = (threshold) => [{ slug: "a/chat", usage_limits: [{ type: "TOKEN", unit: "DAY", threshold }] }];
  group = await gateway.admin("POST", "/v1/gateway/groups", { metadata: { name: HOSTILE, external_entity_id: "one" }, models: models(1000) });
  await gateway.admin("PATCH", `/v1/gateway/groups/${group.id}`, { metadata: { name: "Acme" }, models: models(2500) });
  for (let i = 0; i < 60; i++) await gateway.admin("PATCH", `/v1/gateway/groups/${group.id}`, { disabled: i % 2 === 0 });
  const gone = await gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: "gone" }, models: models(1) });
  await gateway.admin("DELETE", `/v1/gateway/groups/${gone.id}`);
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

const entries = (tab) => tab.main.locator("ul.audit > li");
const opened = async (entry) => {
  await entry.locator("summary").click();
  await entry.locator(".diff").first().waitFor();
  return Promise.all((await entry.locator(".diff > div").all()).map(async (line) =>
    [await line.locator("dt").innerText(), ...(await line.locator("dd bdi").allInnerTexts())]));
};

async function openWith(tab, path) {
  await tab.page.goto("about:blank");
  await tab.page.goto(`${gateway.adminURL}/#${path}`);
  await tab.ready(path.split("?")[0]);
}

test("an entry shows the values before and after the change, and links to the changed object", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openWith(tab, "/audit?event_type=group.updated");
  await tab.main.getByRole("button", { name: "Show more" }).click();
  await tab.page.waitForFunction(() => document.querySelectorAll("ul.audit > li").length === 61);
  const first = entries(tab).last();
  assert.deepEqual(await opened(first), [
    ["name", HOSTILE, "Acme"],
    ["models › a/chat › usage limits › tokens per day", "1,000", "2,500"],
  ]);
  await first.getByText("TOLLGATE_ADMIN_KEY").first().waitFor();
  await assertAccessible(tab, "an open entry");
  await first.getByRole("link", { name: "Open" }).click();
  await tab.ready(`/groups/${group.id}`);
});

test("a deleted object is shown as it was, without a link", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openWith(tab, "/audit?event_type=group.deleted");
  assert.equal(await entries(tab).count(), 1);
  const lines = await opened(entries(tab).first());
  assert.deepEqual(lines.find(([field]) => field === "external entity id"), ["external entity id", "gone"]);
  assert.equal(await entries(tab).getByRole("link").count(), 0);
});

test("filters are in the address, survive a reload, and Back removes the last one", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/audit");
  const kinds = await tab.main.getByLabel("Change").locator("option").count();
  assert.equal(kinds, 24, "every event type, and All changes");
  await tab.main.getByLabel("Change").selectOption("endpoint.created");
  await page.waitForFunction(() => document.querySelectorAll("ul.audit > li").length === 1);
  await tab.main.getByLabel("Time", { exact: true }).selectOption("yesterday");
  await tab.main.getByRole("heading", { name: "No matching changes" }).waitFor();
  await page.reload();
  await tab.ready("/audit");
  await tab.main.getByRole("heading", { name: "No matching changes" }).waitFor();
  await page.goBack();
  await page.waitForFunction(() => document.querySelectorAll("ul.audit > li").length === 1);
  assert.equal(await tab.main.getByLabel("Change").inputValue(), "endpoint.created");
  assert.match(page.url(), /event_type=endpoint.created$/);
});

test("the API accepts every event type that the filter offers", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/audit");
  const values = await tab.main.getByLabel("Change").locator("option").evaluateAll((all) => all.map((one) => one.value).filter(Boolean));
  for (const event_type of values) await gateway.admin("GET", `/v1/audit_logs?limit=1&event_type=${event_type}`);
});
