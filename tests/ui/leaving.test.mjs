// A page that is left before it is ready, and a gateway that does not answer: neither harms what comes after.

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

// Holds every answer to `url` back until `open()`; `asked` is when the first request has come.
async function held(page, url) {
  let open, told;
  const opened = new Promise((resolve) => (open = resolve));
  const asked = new Promise((resolve) => (told = resolve));
  await page.route(url, async (route) => {
    told();
    await opened;
    await route.continue();
  });
  return { open, asked };
}

test("what comes late for a page that was left changes neither the page nor the address of the next", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  const { open, asked } = await held(tab.page, "**/v1/gateway/group_tree*");
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

test("a page that was left while it loaded does not go on asking", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  await tab.page.clock.install();
  const { open, asked } = await held(tab.page, `**/v1/gateway/webhooks/${webhook.id}/dead_letters*`);
  const why = await held(tab.page, `**/v1/gateway/groups/${group.id}/limits*`);
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

test("a part of the UI that does not come says that the gateway is away, and comes at the next try", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [503] });
  await tab.open("/settings");
  await tab.page.route("**/assets/js/pages/webhooks.js", (route) => route.fulfill({ status: 503 }));
  await tab.page.evaluate(() => (location.hash = "#/webhooks"));
  await tab.main.getByRole("heading", { name: "The gateway is not responding. Is it running?" }).waitFor();
  await tab.page.unroute("**/assets/js/pages/webhooks.js");
  await tab.main.getByRole("button", { name: "Try again" }).click();
  await tab.page.getByRole("heading", { level: 1, name: "Webhooks" }).waitFor();
});

test("an answer that breaks off is not called a defect", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.page.route("**/v1/secrets", (route) => route.fulfill({ contentType: "application/json", body: `{"secrets": [` }));
  await tab.open("/secrets");
  await tab.main.getByRole("heading", { name: "The gateway's response was cut off. Try again." }).waitFor();
});

test("a search that fails says so where it was asked, and asks again", async (t) => {
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

test("one can sign out of a session that has ended elsewhere", async (t) => {
  // This type of key has no live stream that would find it out.
  const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_API_KEYS" });
  const tab = await browser.tab(t, gateway, { key, statuses: [401] });
  await tab.open("/groups");
  await endSession(tab.page);
  await tab.page.getByRole("button", { name: "Sign out" }).click();
  await tab.signIn.field.waitFor();
  assert.equal(await tab.page.locator(".toast").count(), 0);
});

test("a key that is half typed outlasts other answers that find the session ended", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [401] });
  const { page } = tab;
  await tab.open("/settings");
  const { open, asked } = await held(page, "**/v1/secrets");
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
