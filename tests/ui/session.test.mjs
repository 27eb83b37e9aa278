// Signing in and out, with the sign-in form.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ADMIN_KEY, Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";

const WRONG_KEYS_A_MINUTE = 10;

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  // The last stored key of this type cannot be deleted.
  await mint("WORKSPACE_MANAGE_ALL");
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

// The test with many wrong keys is the last one: wrong keys are counted by address for a minute.

test("an operator key opens the overview", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
});

test("the form works with the keyboard alone: the field has the focus, Enter sends", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.field.waitFor();
  await tab.page.keyboard.type(ADMIN_KEY);
  await tab.page.keyboard.press("Enter");
  await tab.ready("/");
});

test("signing in leads to the requested page, with its filters", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(`${gateway.adminURL}/#/events?model_slugs=acme%2Fchat`);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/events");
  assert.match(new URL(tab.page.url()).hash, /model_slugs=acme(%2F|\/)chat/);
});

test("a session survives a reload and is valid in a second tab", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
  await tab.page.reload();
  await tab.ready("/");
  const second = await tab.again();
  await second.open("/settings");
});

test("a wrong key shows an error, and another key can be entered", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null, statuses: [401] });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.as("not-an-operator-key-0000");
  await tab.page.getByRole("alert").filter({ hasText: /key/i }).waitFor();
  assert.ok(await tab.signIn.field.isVisible());
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
});

test("signing out also ends the session on the server", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  await tab.page.getByRole("button", { name: "Sign out" }).click();
  await tab.signIn.field.waitFor();
  const cookies = await tab.page.context().cookies();
  assert.deepEqual(cookies.filter(({ value }) => value), [], "no cookie is left");
  await tab.page.reload();
  await tab.signIn.field.waitFor();
});

test("after signing out, the next operator begins at the start page of their role", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/webhooks");
  await tab.page.getByRole("button", { name: "Sign out" }).click();
  await tab.signIn.as(await mint("WORKSPACE_MANAGE_API_KEYS"));
  await tab.main.getByRole("heading", { level: 1, name: "Groups" }).waitFor();
});

test("a page or tab that a key may not see says so in words", async (t) => {
  const slug = "session/chat";
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }] });
  const group = await gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: "seen" }, models: [{ slug }] });
  const tab = await browser.tab(t, gateway, { key: await mint("WORKSPACE_MANAGE_API_KEYS") });
  for (const [path, words] of [
    ["/webhooks", "Your operator key does not have access to this page"],
    [`/groups/${group.id}/limits`, "Your operator key cannot view limits."],
  ]) {
    await tab.open(path);
    await tab.main.getByRole("heading", { name: words }).waitFor();
    const text = await tab.main.innerText();
    assert.match(text, /which may manage customers' keys/);
    assert.doesNotMatch(text, /WORKSPACE_|deleted/);
  }
});

test("after the session has ended, the sign-in form leads to the requested page", async (t) => {
  // With this type of key there is no live stream, so only the click notices the end of the session.
  const key = await mint("WORKSPACE_MANAGE_API_KEYS");
  const tab = await browser.tab(t, gateway, { key, statuses: [401] });
  await tab.open("/settings");
  await revoke(key);
  await tab.navigation.getByRole("link", { name: "Groups" }).click();
  await tab.signIn.field.waitFor();
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/groups");
});

test("the live stream notices the end of the session", async (t) => {
  const key = await mint("WORKSPACE_MANAGE_ALL");
  const tab = await browser.tab(t, gateway, { key });
  await tab.open("/");
  await revoke(key);
  await tab.signIn.field.waitFor();
});

test("a tab that becomes visible shows the current session", async (t) => {
  // With this type of key there is no live stream that would notice the change earlier.
  const tab = await browser.tab(t, gateway, { key: await mint("WORKSPACE_MANAGE_API_KEYS") });
  await tab.open("/settings");
  const other = await tab.again();
  await other.open("/settings");
  await other.page.getByRole("button", { name: "Sign out" }).click();
  await other.signIn.as(await mint("WORKSPACE_EXPORT_METRICS"));
  await other.ready("/");
  // A headless browser never hides a tab.
  await tab.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await tab.navigation.getByRole("link", { name: "Usage" }).waitFor();
  assert.equal(await tab.navigation.getByRole("link", { name: "Groups" }).count(), 0);
});

const SCOPES = [
  { type: "WORKSPACE_MANAGE_API_KEYS", sees: ["Groups", "Settings"], first: "Groups" },
  { type: "WORKSPACE_EXPORT_METRICS", sees: ["Overview", "Usage", "Events", "Settings"], first: "Overview" },
];
for (const { type, sees, first } of SCOPES) {
  test(`a ${type} key sees only the pages that it may use`, async (t) => {
    const tab = await browser.tab(t, gateway, { key: await mint(type) });
    await tab.open("/");
    await tab.main.getByRole("heading", { level: 1, name: first }).waitFor();
    assert.deepEqual(await tab.navigation.getByRole("listitem").getByRole("link").allInnerTexts(), sees);
  });
}

test("after ten wrong keys the form says to wait, and a correct key still works", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null, statuses: [401, 429] });
  await tab.page.goto(gateway.adminURL);
  const wait = tab.page.getByRole("alert").filter({ hasText: /wait|minute|too many/i });
  for (let tries = 0; tries < WRONG_KEYS_A_MINUTE + 1; tries++) {
    const answered = tab.page.waitForResponse((response) => response.url().endsWith("/v1/session"));
    await tab.signIn.as(`not-an-operator-key-${tries}`);
    await answered;
  }
  await wait.waitFor();
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
});

async function mint(type) {
  return (await gateway.admin("POST", "/v1/api_keys", { type })).api_key;
}

async function revoke(key) {
  await gateway.admin("DELETE", `/v1/api_keys/${key.split(".")[0]}`);
}
