// Secrets: once stored, a value is nowhere in a page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";

const VALUE = "sk-never-to-be-seen-again-1";
const OTHER = "sk-never-to-be-seen-again-2";

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

// Everything in the page that a script could read.
const contents = (page) => page.evaluate(() => {
  const typed = [...document.querySelectorAll("input, textarea, select")].map(({ value }) => value);
  const stores = [localStorage, sessionStorage].map((store) => JSON.stringify({ ...store }));
  return [document.documentElement.outerHTML, ...typed, ...stores, location.href, document.cookie].join("\n");
});

test("a secret is stored, replaced and deleted, and no page shows its value", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/secrets");
  await page.getByRole("heading", { name: "No secrets yet" }).waitFor();
  await page.getByRole("button", { name: "New secret" }).click();
  const dialog = page.getByRole("dialog");
  assert.equal(await dialog.getByLabel("Value").getAttribute("type"), "password");
  await assertAccessible(tab, "the dialog of a new secret");
  await dialog.getByLabel("Name").fill("openai");
  await dialog.getByLabel("Value").fill(VALUE);
  await dialog.getByRole("button", { name: "Store" }).click();
  await page.getByRole("row").filter({ hasText: "openai" }).getByText("no endpoint").waitFor();
  assert.ok(!(await contents(page)).includes(VALUE), "the value is gone from the page");

  await page.getByRole("button", { name: "Replace openai" }).click();
  await dialog.getByLabel("New value").fill(OTHER);
  await page.keyboard.press("Enter");
  await page.getByRole("status").filter({ hasText: "next request" }).waitFor();
  assert.ok(!(await contents(page)).includes(OTHER), "the new value is not in the page");
  const replace = page.getByRole("button", { name: "Replace openai" });
  assert.ok(await replace.evaluate((button) => button === document.activeElement), "the focus returns to the button");

  await page.getByRole("button", { name: "Delete openai" }).click();
  await dialog.getByRole("button", { name: "Delete secret" }).click();
  await page.getByRole("heading", { name: "No secrets yet" }).waitFor();
});

test("a secret with a replaced value keeps its id", async (t) => {
  const { id } = await gateway.admin("POST", "/v1/secrets", { name: "rotated", value: VALUE });
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/secrets");
  await page.getByRole("button", { name: "Replace rotated" }).click();
  await page.getByRole("dialog").getByLabel("New value").fill(OTHER);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const { secrets } = await gateway.admin("GET", "/v1/secrets");
  assert.equal(secrets.find(({ name }) => name === "rotated").id, id, "targets still refer to it");
});

test("a secret in use cannot be deleted, and the error names the endpoint", async (t) => {
  const { id } = await gateway.admin("POST", "/v1/secrets", { name: "in-use", value: VALUE });
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "uses/it", targets: [{ provider: "OPENAI", secret_id: id }] });
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  await tab.open("/secrets");
  await page.getByRole("row").filter({ hasText: "in-use" }).getByRole("link", { name: "uses/it" }).waitFor();
  await page.getByRole("button", { name: "Delete in-use" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete secret" }).click();
  await page.getByRole("dialog").getByRole("alert").filter({ hasText: "uses/it" }).waitFor();
});

test("a new secret cannot overwrite an existing one", async (t) => {
  await gateway.admin("POST", "/v1/secrets", { name: "taken", value: VALUE });
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/secrets");
  await page.getByRole("button", { name: "New secret" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("taken");
  await dialog.getByLabel("Value").fill(OTHER);
  await page.keyboard.press("Enter");
  await dialog.getByText("A secret with this name already exists").waitFor();
});

test("a search with a customer's key, as in a header, sends only the prefix and finds the key", async (t) => {
  const { group, key } = await gateway.customer("http://127.0.0.1:9");
  const [prefix, secret] = key.split(".");
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const sent = [];
  page.on("request", (request) => sent.push(request.url(), request.postData()));
  await tab.open("/groups");
  for (const pasted of [key, `Authorization: Bearer ${key}`, `-H "Authorization: Bearer ${key}"`]) {
    await page.keyboard.press("/");
    const dialog = page.getByRole("dialog", { name: "Search" });
    await dialog.getByRole("combobox").fill(pasted);
    await dialog.getByRole("option").filter({ hasText: prefix }).click();
    await page.waitForURL(`**/#/groups/${group.id}/keys`);
    await tab.open("/groups");
  }
  assert.equal(sent.filter((text) => text?.includes(`/search?q=${prefix}`)).length, 3);
  assert.ok(!sent.some((text) => text?.includes(secret)), "the secret is never sent");
});
