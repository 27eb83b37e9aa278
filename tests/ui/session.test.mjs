// Signing in and out, in the form that an operator sees.

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

// The last test is the one with many wrong keys: they count by address for a minute.

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

test("after signing in one is where one wanted to go, filters and all", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(`${gateway.adminURL}/#/events?model_slugs=acme%2Fchat`);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/events");
  assert.match(new URL(tab.page.url()).hash, /model_slugs=acme(%2F|\/)chat/);
});

test("a session lasts over a reload and in a second tab", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
  await tab.page.reload();
  await tab.ready("/");
  const second = await tab.again();
  await second.open("/settings");
});

test("a wrong key is said to be wrong, beside the field, and the field is kept for another try", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null, statuses: [401] });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.as("not-an-operator-key-0000");
  await tab.page.getByRole("alert").filter({ hasText: /key/i }).waitFor();
  assert.ok(await tab.signIn.field.isVisible());
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
});

test("signing out ends the session on the server, too", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  await tab.page.getByRole("button", { name: "Sign out" }).click();
  await tab.signIn.field.waitFor();
  const cookies = await tab.page.context().cookies();
  assert.deepEqual(cookies.filter(({ value }) => value), [], "no cookie stays");
  await tab.page.reload();
  await tab.signIn.field.waitFor();
});

test("a session that ended on the server leads to the form, and from there to the place that one wanted", async (t) => {
  // With this scope nothing is live, so that it is the click that finds out.
  const key = await mint("WORKSPACE_MANAGE_API_KEYS");
  const tab = await browser.tab(t, gateway, { key, statuses: [401] });
  await tab.open("/settings");
  await revoke(key);
  await tab.navigation.getByRole("link", { name: "Groups" }).click();
  await tab.signIn.field.waitFor();
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/groups");
});

test("what is live notices by itself that the session ended", async (t) => {
  const key = await mint("WORKSPACE_MANAGE_ALL");
  const tab = await browser.tab(t, gateway, { key });
  await tab.open("/");
  await revoke(key);
  await tab.signIn.field.waitFor();
});

test("a tab that comes back into sight shows who is signed in by now", async (t) => {
  // With this scope nothing is live that would notice before.
  const tab = await browser.tab(t, gateway, { key: await mint("WORKSPACE_MANAGE_API_KEYS") });
  await tab.open("/settings");
  const other = await tab.again();
  await other.open("/settings");
  await other.page.getByRole("button", { name: "Sign out" }).click();
  await other.signIn.as(await mint("WORKSPACE_EXPORT_METRICS"));
  await other.ready("/settings");
  // A browser without windows never hides a tab.
  await tab.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await tab.navigation.getByRole("link", { name: "Usage" }).waitFor();
  assert.equal(await tab.navigation.getByRole("link", { name: "Groups" }).count(), 0);
});

const SCOPES = [
  { type: "WORKSPACE_MANAGE_API_KEYS", sees: ["Groups", "Settings"], first: "Groups" },
  { type: "WORKSPACE_EXPORT_METRICS", sees: ["Overview", "Usage", "Events", "Settings"], first: "Overview" },
];
for (const { type, sees, first } of SCOPES) {
  test(`a ${type} key is offered what it may do and nothing else`, async (t) => {
    const tab = await browser.tab(t, gateway, { key: await mint(type) });
    await tab.open("/");
    await tab.main.getByRole("heading", { level: 1, name: first }).waitFor();
    assert.deepEqual(await tab.navigation.getByRole("listitem").getByRole("link").allInnerTexts(), sees);
  });
}

test("after ten wrong keys one is told to wait, and a right key still opens", async (t) => {
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
