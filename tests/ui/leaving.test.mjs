// Pages that are left while they load, failed requests and ended sessions do not disturb what follows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";

let browser, gateway, group, webhook;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "a/chat", targets: [{ provider: "DEMO" }] });
  group = await gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: "one" }, models: [{ slug: "a/chat" }] });
  webhook = await gateway.admin("POST", "/v1/gateway/webhooks", { url: "http://127.0.0.1:1/usage", enabled: false });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

// Delays every answer to `url` until `open()` is called. `asked` resolves at the first request.
async function delayed(page, url) {
  let open, request;
  const opened = new Promise((resolve) => (open = resolve));
  const asked = new Promise((resolve) => (request = resolve));
  await page.route(url, async (route) => {
    request();
    await opened;
    await route.continue();
  });
  return { open, asked };
}

test("a late answer for a page that was left changes neither the next page nor its address", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  const { open, asked } = await delayed(tab.page, "**/v1/gateway/group_tree*");
  await tab.page.evaluate(() => (location.hash = "#/playground"));
  await asked;
  await tab.go("/secrets");
  const answer = tab.page.waitForResponse("**/v1/gateway/group_tree*");
  open();
  await (await answer).finished();
  await tab.liveEvents(2);
  assert.equal(new URL(tab.page.url()).hash, "#/secrets");
  await tab.page.getByRole("heading", { level: 1, name: "Secrets" }).waitFor();
});

test("a page that was left while it loaded sends no more requests", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  await tab.page.clock.install();
  const { open, asked } = await delayed(tab.page, `**/v1/gateway/webhooks/${webhook.id}/dead_letters*`);
  const why = await delayed(tab.page, `**/v1/gateway/groups/${group.id}/limits*`);
  for (const [path, until] of [[`/webhooks/${webhook.id}`, asked], [`/groups/${group.id}/why`, why.asked]]) {
    await tab.page.evaluate((to) => (location.hash = to), `#${path}`);
    await until;
  }
  await tab.go("/secrets");
  const late = [`**/dead_letters*`, `**/limits*`].map((url) => tab.page.waitForResponse(url));
  open();
  why.open();
  for (const answer of late) await (await answer).finished();
  const more = [];
  tab.page.on("request", (request) => /webhooks|limits/.test(request.url()) && more.push(request.url()));
  await tab.page.clock.runFor(20_000);
  assert.deepEqual(more, []);
});

test("a module that fails to load shows that the gateway is not responding, and loads on retry", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [503] });
  await tab.open("/settings");
  await tab.page.route("**/assets/js/pages/webhooks.js", (route) => route.fulfill({ status: 503 }));
  await tab.page.evaluate(() => (location.hash = "#/webhooks"));
  await tab.main.getByRole("heading", { name: "The gateway is not responding. Is it running?" }).waitFor();
  await tab.page.unroute("**/assets/js/pages/webhooks.js");
  await tab.main.getByRole("button", { name: "Try again" }).click();
  await tab.page.getByRole("heading", { level: 1, name: "Webhooks" }).waitFor();
});

test("a truncated answer is not reported as a bug", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.page.route("**/v1/secrets", (route) => route.fulfill({ contentType: "application/json", body: `{"secrets": [` }));
  await tab.open("/secrets");
  await tab.main.getByRole("heading", { name: "The gateway's response was cut off. Try again." }).waitFor();
});

test("a failed search shows its error in the dialog and can be repeated", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [500] });
  const { page } = tab;
  await tab.open("/groups");
  await page.route("**/v1/gateway/search*", (route) =>
    route.fulfill({ status: 500, contentType: "application/json", body: `{"error": "It failed.", "code": "internal"}` }));
  await page.keyboard.press("/");
  const box = page.getByRole("dialog", { name: "Search" });
  await page.keyboard.type("one");
  await box.getByText("It failed.").waitFor();
  await page.unroute("**/v1/gateway/search*");
  await page.keyboard.type(" ");
  await box.getByRole("option", { name: "one" }).waitFor();
});

const endSession = (page) => page.evaluate(() =>
  fetch("/v1/session", { method: "DELETE", headers: { "Content-Type": "application/json", "X-Tollgate-CSRF": "1" } }));

test("signing out works when the session has already ended", async (t) => {
  // With this type of key there is no live stream that would notice the end of the session.
  const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_API_KEYS" });
  const tab = await browser.tab(t, gateway, { key, statuses: [401] });
  await tab.open("/groups");
  await endSession(tab.page);
  await tab.page.getByRole("button", { name: "Sign out" }).click();
  await tab.signIn.field.waitFor();
  assert.equal(await tab.page.locator(".toast").count(), 0);
});

test("a half-typed key is kept when other answers also find the session ended", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [401] });
  const { page } = tab;
  await tab.open("/settings");
  const { open, asked } = await delayed(page, "**/v1/secrets");
  await page.evaluate(() => (location.hash = "#/secrets"));
  await asked;
  await endSession(page);
  await page.evaluate(() => (location.hash = "#/groups"));
  await tab.signIn.field.fill("half-typed");
  const answer = page.waitForResponse("**/v1/secrets");
  open();
  await (await answer).finished();
  await page.evaluate(async () => (await fetch("/healthz")).text());
  assert.equal(await tab.signIn.field.inputValue(), "half-typed");
});
