// Webhooks from end to end: creation, test, delivery, failure, redelivery, rotation, disabling, deletion.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { Receiver } from "./support/receiver.mjs";
import { chat, eventually } from "./support/seed.mjs";

let browser, gateway, receiver, key;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  receiver = await Receiver.start(200);
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "a/chat", targets: [{ provider: "DEMO" }] });
  const group = await gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: "<b>one</b>" }, models: [{ slug: "a/chat" }] });
  key = (await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {})).api_key;
});
after(async () => {
  await browser.stop();
  await receiver.stop();
  await gateway.stop();
});

const create = (description) => gateway.admin("POST", "/v1/gateway/webhooks", { url: receiver.url, description });
const take = () => receiver.deliveries.splice(0);
const hmac = (secret, delivery) => `v1=${createHmac("sha256", secret).update(JSON.stringify(delivery.body)).digest("hex")}`;
const rows = (tab) => tab.main.getByRole("region", { name: "Recent deliveries" }).locator("tbody tr");
const letters = (tab) => tab.main.locator("ul.letters > li");

async function deadLetter(tab, webhook) {
  receiver.status = 400;
  await chat(gateway, key, "a/chat", 3);
  await eventually("a dead letter", async () =>
    (await gateway.admin("GET", `/v1/gateway/webhooks/${webhook.id}/dead_letters`)).items.length > 0);
  receiver.status = 200;
  await tab.open(`/webhooks/${webhook.id}`);
  await letters(tab).first().waitFor();
}

test("a webhook is created, shows its secret once, is tested, and delivers", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/webhooks");
  await tab.main.getByRole("button", { name: "New webhook" }).first().click();
  const asked = page.getByRole("dialog", { name: "New webhook" });
  await asked.getByLabel("URL").fill(receiver.url);
  await asked.getByLabel("Description").fill("Billing");
  await asked.getByRole("button", { name: "Create webhook" }).click();
  const shown = page.getByRole("dialog", { name: "Webhook created" });
  const secret = await shown.getByRole("textbox", { name: "Signing secret" }).innerText();
  await assertAccessible(tab, "a webhook's secret");
  await shown.getByRole("button", { name: "I have stored it" }).click();
  await page.getByRole("heading", { level: 1, name: "Billing" }).waitFor();

  await tab.main.getByRole("button", { name: "Send a test" }).click();
  await tab.main.getByText("The receiver accepted the test and answered 200.").waitFor();
  const [tested] = take();
  assert.equal(tested.body.type, "TEST");
  assert.equal(tested.headers["x-tollgate-signature"], hmac(secret, tested));
  await rows(tab).filter({ hasText: "Test" }).filter({ hasText: "Delivered" }).waitFor();

  await chat(gateway, key, "a/chat", 3);
  await rows(tab).filter({ hasText: "Events (1)" }).filter({ hasText: "Delivered" }).waitFor();
  await tab.main.getByText(/Deliveries are succeeding/).waitFor();
  assert.equal(await tab.main.getByText(secret).count(), 0);
});

test("a webhook receives what its form says: billing events, alerts or both", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  const types = async (description) => {
    const { items } = await gateway.admin("GET", "/v1/gateway/webhooks");
    return items.find((webhook) => webhook.description === description)?.types;
  };
  await tab.open("/webhooks");
  await tab.main.getByRole("button", { name: "New webhook" }).first().click();
  const asked = page.getByRole("dialog", { name: "New webhook" });
  await asked.getByLabel("URL").fill(receiver.url);
  await asked.getByLabel("Description").fill("Alerted");
  assert.ok(await asked.getByRole("checkbox", { name: /Billing events/ }).isChecked(), "the API's default");
  await asked.getByRole("checkbox", { name: /Billing events/ }).uncheck();
  await asked.getByRole("button", { name: "Create webhook" }).click();
  await asked.getByText("must not be empty; to get no deliveries, disable the webhook").waitFor();
  assert.ok(await asked.getByRole("checkbox").first().evaluate((box) => box.matches("[aria-invalid]:focus")));
  await asked.getByRole("checkbox", { name: /Alerts/ }).check();
  await assertAccessible(tab, "the form of a webhook");
  await asked.getByRole("button", { name: "Create webhook" }).click();
  await page.getByRole("button", { name: "I have stored it" }).click();
  const receives = tab.main.locator(".facts > div").filter({ hasText: "Receives" }).locator("dd");
  await receives.getByText("Alerts", { exact: true }).waitFor();
  assert.deepEqual(await types("Alerted"), ["ALERT"]);

  await tab.main.getByRole("button", { name: "Edit" }).click();
  await page.getByRole("checkbox", { name: /Billing events/ }).check();
  await page.getByRole("button", { name: "Save" }).click();
  await receives.getByText("Billing events, Alerts", { exact: true }).waitFor();
  assert.deepEqual((await types("Alerted")).sort(), ["ALERT", "API_BILLING_USAGE"]);
  await gateway.admin("DELETE", new URL(page.url()).hash.replace("#", "/v1/gateway"));
});

test("an invalid URL is refused at its field", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  await tab.open("/webhooks");
  await tab.main.getByRole("button", { name: "New webhook" }).first().click();
  const asked = tab.page.getByRole("dialog", { name: "New webhook" });
  await asked.getByLabel("URL").fill("ftp://nowhere");
  await asked.getByRole("button", { name: "Create webhook" }).click();
  await tab.page.waitForFunction(() => document.querySelector("dialog [aria-invalid]")?.matches("input[name=url]"));
});

test("a refused delivery becomes a dead letter, whose events can be read and redelivered", async (t) => {
  const webhook = await create("CRM");
  const tab = await browser.tab(t, gateway);
  await deadLetter(tab, webhook);
  take();
  await tab.main.getByText(/given up; redeliver below/).waitFor();
  const headings = await tab.main.getByRole("heading", { level: 2 }).allInnerTexts();
  assert.deepEqual(headings.slice(0, 2), ["Dead letters", "Recent deliveries"]);
  await letters(tab).locator("summary").click();
  await letters(tab).getByRole("cell", { name: "a/chat" }).waitFor();
  assert.equal(await letters(tab).getByText("<b>one</b>").count(), 1, "hostile names are text");
  await assertAccessible(tab, "a dead letter");
  await letters(tab).getByRole("button", { name: /^Redeliver/ }).click();
  await eventually("a redelivery", () => receiver.deliveries.some(({ body }) => body.type === "API_BILLING_USAGE"));
  await letters(tab).first().waitFor({ state: "detached" });
  await rows(tab).filter({ hasText: "Redelivery" }).filter({ hasText: "Delivered" }).waitFor();
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});

test("all dead letters are redelivered after a confirmation", async (t) => {
  const webhook = await create("CRM");
  const tab = await browser.tab(t, gateway);
  await deadLetter(tab, webhook);
  await tab.main.getByRole("button", { name: "Redeliver all" }).click();
  await tab.page.getByRole("dialog").getByRole("button", { name: "Redeliver all" }).click();
  await letters(tab).first().waitFor({ state: "detached" });
  await tab.main.getByText("No dead letters.").waitFor();
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});

test("a failed test says why", async (t) => {
  const webhook = await create("CRM");
  const tab = await browser.tab(t, gateway);
  receiver.status = 503;
  await tab.open(`/webhooks/${webhook.id}`);
  await tab.main.getByRole("button", { name: "Send a test" }).click();
  await tab.main.getByText(/The test failed: .*503/).waitFor();
  await rows(tab).filter({ hasText: "Failed" }).waitFor();
  receiver.status = 200;
  await chat(gateway, key, "a/chat", 3);
  await rows(tab).filter({ hasText: "Delivered" }).waitFor();
  await tab.main.getByText("The test failed").waitFor({ state: "detached" });
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});

test("ten deliveries are shown, and the others on request", async (t) => {
  const webhook = await create("Busy");
  for (let i = 0; i < 12; i++) await gateway.admin("POST", `/v1/gateway/webhooks/${webhook.id}/test`);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/webhooks/${webhook.id}`);
  assert.equal(await rows(tab).count(), 10);
  await tab.main.getByRole("button", { name: "Show more" }).last().click();
  assert.equal(await rows(tab).count(), 12);
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});

test("a rotated secret signs at once, together with the previous one", async (t) => {
  const webhook = await create("Rotated");
  const tab = await browser.tab(t, gateway);
  await tab.open(`/webhooks/${webhook.id}`);
  await tab.main.getByRole("button", { name: "Rotate secret" }).click();
  await tab.page.getByRole("dialog").getByRole("button", { name: "Rotate secret" }).click();
  const shown = tab.page.getByRole("dialog", { name: "Secret rotated" });
  const secret = await shown.getByRole("textbox", { name: "Signing secret" }).innerText();
  assert.notEqual(secret, webhook.secret);
  await shown.getByRole("button", { name: "I have stored it" }).click();
  await tab.main.getByText(/also signs until/).waitFor();
  take();
  await tab.main.getByRole("button", { name: "Send a test" }).click();
  await tab.main.getByText("The receiver accepted the test").waitFor();
  const [tested] = take();
  assert.deepEqual(tested.headers["x-tollgate-signature"].split(",").map((part) => part.trim()), [hmac(secret, tested), hmac(webhook.secret, tested)]);
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});

test("a webhook is disabled with undo, and edited", async (t) => {
  const webhook = await create("Undone");
  const enabled = async () => (await gateway.admin("GET", `/v1/gateway/webhooks/${webhook.id}`)).enabled;
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/webhooks/${webhook.id}`);
  await tab.main.getByRole("button", { name: "Disable", exact: true }).click();
  await tab.main.getByText("This webhook is disabled.").waitFor();
  assert.equal(await enabled(), false);
  await page.getByRole("button", { name: "Undo" }).click();
  await tab.main.getByRole("button", { name: "Disable", exact: true }).waitFor();
  await eventually("the webhook to be enabled", enabled);

  await tab.main.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Description").fill("<img src=x onerror=alert(1)>");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { level: 1, name: "<img src=x onerror=alert(1)>" }).waitFor();
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});

test("a webhook is deleted only after its host is typed", async (t) => {
  const webhook = await create("Gone");
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/webhooks/${webhook.id}`);
  await tab.main.getByRole("button", { name: "Delete webhook" }).click();
  const asked = page.getByRole("dialog");
  await asked.getByRole("button", { name: "Delete webhook" }).click();
  await asked.getByText(/Type .* exactly/).waitFor();
  await asked.getByLabel(/type its host/).fill(new URL(receiver.url).host);
  await asked.getByRole("button", { name: "Delete webhook" }).click();
  await tab.ready("/webhooks");
  const { items } = await gateway.admin("GET", "/v1/gateway/webhooks");
  assert.ok(items.every(({ id }) => id !== webhook.id));
});

test("the list shows a failing receiver without a reload and does not move the focus", async (t) => {
  const webhook = await create("Watched");
  const tab = await browser.tab(t, gateway);
  await tab.open("/webhooks");
  const row = tab.main.getByRole("row").filter({ hasText: "Watched" });
  await row.getByRole("link").focus();
  receiver.status = 400;
  await chat(gateway, key, "a/chat", 3);
  await row.getByText("answered 400").waitFor();
  receiver.status = 200;
  assert.equal(await tab.page.evaluate(() => document.activeElement?.textContent), "Watched");
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhook.id}`);
});
