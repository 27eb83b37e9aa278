// Setting up a customer, from a new group to a working call, and the life of its keys.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { promisify } from "node:util";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { typeLimit } from "./support/limits_editor.mjs";
import { chat } from "./support/seed.mjs";

const CHAT = "demo/chat";
const run = promisify(execFile);

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start({ durability: "process" });
  for (const slug of [CHAT, "demo/other"]) await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }] });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

let unique = 0;
const make = (more = {}) => {
  unique += 1;
  return gateway.admin("POST", "/v1/gateway/groups", {
    metadata: { external_entity_id: `cust-${unique}`, name: `Customer ${unique}` }, models: [{ slug: CHAT }], hierarchy: {}, ...more,
  });
};
// The colours of points of the window, as a person sees them: [red, green, blue] of each.
async function colours(tab, points) {
  const picture = (await tab.page.screenshot()).toString("base64");
  const { page } = await tab.again();
  return page.evaluate(async ({ picture, points }) => {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    await image.decode();
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return points.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
  }, { picture, points });
}
const dialog = (tab) => tab.page.getByRole("dialog");
const secret = async (tab) => (await dialog(tab).getByRole("textbox", { name: "Key", exact: true }).innerText()).trim();

test("a customer is set up on one page, and the curl sample shown with the key works", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/groups/new");
  await page.getByLabel("Name").first().fill("Acmé Prod (EU)");
  assert.equal(await page.getByLabel("External id").inputValue(), "acme-prod-eu");
  await page.getByLabel("Model").selectOption(CHAT);
  await typeLimit(tab, "Tokens per minute", "1k", CHAT);
  await typeLimit(tab, "Requests per day", "1_000", CHAT);
  await page.getByLabel("Name of the key").fill("Web shop");
  await assertAccessible(tab, "the completed form");
  await page.getByRole("button", { name: "Create group" }).click();

  await dialog(tab).waitFor();
  await assertAccessible(tab, "the new key");
  const [, , id] = new URL(page.url()).hash.split("/");
  const group = await gateway.admin("GET", `/v1/gateway/groups/${id}`);
  assert.deepEqual(group.metadata, { name: "Acmé Prod (EU)", external_entity_id: "acme-prod-eu" });
  assert.equal(group.hierarchy.limit_enforcement, "INDEPENDENT");
  assert.deepEqual(group.models, [{
    slug: CHAT,
    rate_limits: [{ type: "TOKEN", unit: "MINUTE", threshold: 1000 }],
    usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 1000 }],
  }]);

  const key = await secret(tab);
  const curl = await dialog(tab).locator("pre").innerText();
  assert.ok(curl.includes(key) && curl.includes(gateway.baseURL), curl);
  const { stdout } = await run("sh", ["-c", curl]);
  assert.equal(JSON.parse(stdout).model, CHAT);
  for (const [name, line] of [["Python", `base_url="${gateway.baseURL}"`], ["Node", `baseURL: "${gateway.baseURL}"`]]) {
    await dialog(tab).getByRole("radio", { name }).check();
    const code = await dialog(tab).locator("pre").innerText();
    assert.ok(code.includes(line) && code.includes(key) && code.includes(CHAT), code);
  }

  await dialog(tab).getByRole("button", { name: "I have stored it" }).click();
  await dialog(tab).waitFor({ state: "detached" });
  assert.ok(!(await page.content()).includes(key), "the key is shown only once");
  await page.reload();
  await tab.ready(`/groups/${id}/keys`);
  assert.equal(await dialog(tab).count(), 0);
  await page.getByText(key.split(".")[0], { exact: true }).waitFor();
  assert.equal((await gateway.admin("GET", `/v1/gateway/groups/${id}/api_keys`)).items[0].name, "Web shop");
});

test("a new child takes its parent's mode and models, and shows the limits that will apply", async (t) => {
  const parent = await make({
    models: [{ slug: "demo/other", usage_limits: [{ type: "TOKEN", unit: "DAY", threshold: 5000 }] }], hierarchy: { limit_enforcement: "CASCADING" },
  });
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/groups/new");
  await page.getByRole("combobox", { name: "Parent" }).fill(parent.metadata.external_entity_id);
  await page.getByRole("option", { name: parent.metadata.name }).click();
  await page.getByText("5,000 tokens per day of", { exact: false }).waitFor();
  assert.equal(await page.getByRole("radio").count(), 0, "a child cannot choose its mode");
  assert.match(page.url(), new RegExp(`parent=${parent.id}`));
  await typeLimit(tab, "Tokens per day", "6k", "demo/other");
  await page.getByText(`At most 5,000, the limit of ${parent.metadata.name} for tokens per day.`).waitFor();
  await page.getByLabel("External id").fill(`child-of-${parent.id}`);
  await page.getByRole("button", { name: "Create group" }).click();
  await page.locator("[aria-invalid]:focus").waitFor();
  await typeLimit(tab, "Tokens per day", "4k", "demo/other");
  await page.getByRole("checkbox", { name: /first key/ }).uncheck();
  await page.getByRole("button", { name: "Create group" }).click();
  await page.getByText("It has no key yet").waitFor();
  const { items: [child] } = await gateway.admin("GET", `/v1/gateway/groups?external_entity_id=child-of-${parent.id}`);
  assert.deepEqual(child.hierarchy, { limit_enforcement: "CASCADING", parent_group_id: parent.id });
  await page.getByRole("navigation", { name: "Breadcrumb" }).getByRole("link", { name: parent.metadata.name }).click();
  await tab.ready(`/groups/${parent.id}`);
  await page.getByRole("link", { name: `child-of-${parent.id}` }).waitFor();
});

test("a group with groups below it is disabled only after a confirmation with their numbers", async (t) => {
  const parent = await make();
  const child = await make({ hierarchy: { parent_group_id: parent.id } });
  for (let i = 0; i < 2; i++) await gateway.admin("POST", `/v1/gateway/groups/${child.id}/api_keys`, {});
  const disabled = async () => (await gateway.admin("GET", `/v1/gateway/groups/${parent.id}`)).disabled;
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${parent.id}`);
  const disable = tab.main.getByRole("button", { name: "Disable" });
  await disable.click();
  await dialog(tab).getByText(/from 1 group below it are refused until it is enabled again\. Together they have 2 keys\./).waitFor();
  await assertAccessible(tab, "disabling a group");
  await dialog(tab).getByRole("button", { name: "Cancel" }).click();
  assert.equal(await disabled(), false);
  await disable.click();
  await dialog(tab).getByRole("button", { name: "Disable group" }).click();
  await tab.main.getByRole("button", { name: "Enable" }).waitFor();
  assert.equal(await disabled(), true);
});

test("a group is disabled after a confirmation without numbers if the groups below it cannot be read", async (t) => {
  const group = await make();
  const tab = await browser.tab(t, gateway, { statuses: [500] });
  await tab.page.route("**/v1/gateway/group_tree*", (route) => route.fulfill({ status: 500, json: { error: "The disk is broken." } }));
  await tab.open(`/groups/${group.id}`);
  await tab.main.getByRole("button", { name: "Disable" }).click();
  await dialog(tab).getByText("All calls from the group and from all groups below it are refused until it is enabled again.", { exact: true }).waitFor();
  await dialog(tab).getByRole("button", { name: "Disable group" }).click();
  await tab.main.getByRole("button", { name: "Enable" }).waitFor();
});

test("an error does not stretch the field beside it, and a dialog shades the whole window", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/groups/new");
  const height = async () => (await tab.main.getByLabel("Name").first().boundingBox()).height;
  const before = await height();
  await tab.main.getByRole("button", { name: "Create group" }).click();
  await tab.main.getByText("Enter your own id for this customer.").waitFor();
  assert.equal(await height(), before);
  await tab.open("/secrets");
  await tab.page.keyboard.press("/");
  await tab.page.getByRole("dialog").waitFor();
  const [page, gutter] = await colours(tab, [[1232, 700], [1272, 700]]);
  assert.ok(page.every((part, index) => Math.abs(part - gutter[index]) <= 2), `${page} and ${gutter}: the place of the scrollbar is shaded too`);
});

test("a new group's name has the focus, and a chosen tab keeps it", async (t) => {
  const tab = await browser.tab(t, gateway);
  const focused = () => tab.page.evaluate(() => document.activeElement?.name || document.activeElement?.textContent);
  await tab.open("/groups");
  await tab.main.getByRole("link", { name: "New group" }).first().click();
  await tab.ready("/groups/new");
  await tab.page.keyboard.type("Typed at once");
  assert.equal(await tab.main.getByLabel("Name").first().inputValue(), "Typed at once");
  const group = await make();
  await tab.open(`/groups/${group.id}`);
  for (const [name, path] of [["Keys", "/keys"], ["Overview", ""]]) {
    await tab.main.getByRole("navigation", { name: "Parts of the group" }).getByRole("link", { name }).focus();
    await tab.page.keyboard.press("Enter");
    await tab.ready(`/groups/${group.id}${path}`);
    assert.equal(await focused(), name);
  }
});

test("an API error is shown at its field, and the form keeps its values", async (t) => {
  const taken = await make();
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  await tab.open("/groups/new");
  await tab.page.getByLabel("External id").fill(taken.metadata.external_entity_id);
  await tab.page.getByLabel("Model").selectOption(CHAT);
  await tab.page.getByRole("button", { name: "Create group" }).click();
  await tab.page.getByText("another group has", { exact: false }).waitFor();
  assert.equal(await tab.page.getByLabel("External id").getAttribute("aria-invalid"), "true");
  assert.equal(await tab.page.getByLabel("External id").inputValue(), taken.metadata.external_entity_id);
});

test("a key is minted, renamed, disabled, enabled and revoked, and each change takes effect at once", async (t) => {
  const group = await make();
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const call = async (key) => (await chat(gateway, key, CHAT, 2)).status;
  await tab.open(`/groups/${group.id}/keys`);
  await page.getByRole("button", { name: "Mint the first key" }).click();
  await dialog(tab).getByLabel("Name").fill("Web <b>shop</b>");
  await dialog(tab).getByLabel("Expires").selectOption({ label: "In 90 days" });
  await assertAccessible(tab, "minting");
  await dialog(tab).getByRole("button", { name: "Mint key" }).click();
  const key = await secret(tab);
  await dialog(tab).getByRole("button", { name: "I have stored it" }).click();
  const prefix = key.split(".")[0];
  const known = () => gateway.admin("GET", `/v1/gateway/groups/${group.id}/api_keys/${prefix}`);
  const days = (Date.parse((await known()).expires_at) - Date.now()) / 86_400_000;
  assert.ok(days > 89.9 && days < 90.1, `${days} days`);
  assert.equal(await call(key), 200);

  const row = page.getByRole("row").filter({ hasText: prefix });
  await row.getByRole("button", { name: "Disable" }).click();
  await row.getByText("Disabled").waitFor();
  assert.equal(await call(key), 401);
  await page.getByRole("button", { name: "Undo" }).click();
  await row.getByText("Active").waitFor();
  assert.equal(await call(key), 200);

  await row.getByRole("button", { name: "Edit" }).click();
  await dialog(tab).getByLabel("Name").fill("Shop");
  await dialog(tab).getByLabel("Expires").selectOption("never");
  await dialog(tab).getByRole("button", { name: "Save" }).click();
  await row.getByText("Shop", { exact: true }).waitFor();
  assert.equal((await known()).expires_at, null);

  await row.getByRole("button", { name: "Revoke" }).click();
  await dialog(tab).getByText("stops working with its next request", { exact: false }).waitFor();
  await dialog(tab).getByRole("button", { name: "Cancel" }).click();
  assert.equal(await call(key), 200);
  await row.getByRole("button", { name: "Revoke" }).click();
  await dialog(tab).getByRole("button", { name: "Revoke key" }).click();
  await page.getByText("No keys yet").waitFor();
  assert.equal(await call(key), 401);
});

test("a rotated key ends when its row says, and its replacement is shown once", async (t) => {
  const group = await make();
  const root = `/v1/gateway/groups/${group.id}/api_keys`;
  const { api_key: first } = await gateway.admin("POST", root, { name: "Shop", expires_at: "2099-01-01T00:00:00Z" });
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const call = async (key) => (await chat(gateway, key, CHAT, 2)).status;
  const prefixOf = (key) => key.split(".")[0];
  const row = (key) => page.getByRole("row").filter({ hasText: prefixOf(key) });
  await tab.open(`/groups/${group.id}/keys`);
  await row(first).getByText("Active, expires 2099-01-01").waitFor();
  await row(first).getByRole("button", { name: "Rotate Shop" }).click();
  await dialog(tab).getByText("This key already expires at 2099-01-01 00:00:00 UTC").waitFor();
  assert.deepEqual(await dialog(tab).getByRole("option").allInnerTexts(), ["Now", "In 1 hour", "In 1 day", "In 7 days", "In 30 days"]);
  await assertAccessible(tab, "rotating");
  await dialog(tab).getByRole("button", { name: "Rotate key" }).click();
  const second = await secret(tab);
  const { expires_at } = await gateway.admin("GET", `${root}/${prefixOf(first)}`);
  const hours = (Date.parse(expires_at) - Date.now()) / 3_600_000;
  assert.ok(hours > 23.9 && hours <= 24, `${hours} hours`);
  const end = `${expires_at.slice(0, 19).replace("T", " ")} UTC`;
  await dialog(tab).getByText(`The new key replaces ${prefixOf(first)}, which works until ${end}.`).waitFor();
  await dialog(tab).getByRole("button", { name: "I have stored it" }).click();
  await row(first).getByText("Active, expires in 23 h").waitFor();
  assert.equal(await row(first).locator("time").last().getAttribute("title"), end);
  assert.deepEqual([await call(first), await call(second)], [200, 200]);

  await row(second).getByRole("button", { name: "Rotate" }).click();
  assert.equal(await dialog(tab).getByText("already expires").count(), 0);
  await dialog(tab).getByLabel("The old key expires").selectOption("Now");
  await dialog(tab).getByRole("button", { name: "Rotate key" }).click();
  const third = await secret(tab);
  await dialog(tab).getByText(`The new key replaces ${prefixOf(second)}, which no longer works.`).waitFor();
  await dialog(tab).getByRole("button", { name: "I have stored it" }).click();
  await row(second).getByText("Expired").waitFor();
  assert.equal(await row(second).getByRole("button", { name: "Rotate" }).count(), 0);
  assert.ok(!(await page.content()).includes(third), "the key is shown only once");
  assert.deepEqual([await call(second), await call(third)], [401, 200]);

  await tab.go("/audit", "event_type=api_key.rotated");
  const entry = page.locator("ul.audit > li").last();
  await entry.getByText("API key: rotated").click();
  await entry.getByText("API key Shop was changed").waitFor();
  await entry.getByText("API key Shop was created").waitFor();
  assert.deepEqual(await entry.locator(".audit-thing .hint").allInnerTexts(), [first, second].map(prefixOf));
});

test("a customer's existing key is registered with a signature that was made elsewhere", async (t) => {
  const group = await make();
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const public_key = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
  await gateway.admin("PUT", "/v1/gateway/signing_key", { public_key });
  const key = "acme-live-8vQ2xL7bN4mK9rT1pW6zC3dF5gH0";
  const body = JSON.stringify({ key, name: "From before" });
  const signature = sign(null, body, privateKey).toString("base64");
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  await tab.open(`/groups/${group.id}/keys`);
  await page.getByText("Register a key that the customer already has").click();
  await assertAccessible(tab, "registering");
  await page.getByLabel("Signed body").fill(body);
  await page.getByLabel("Signature").fill("not a signature");
  await page.getByRole("button", { name: "Register key" }).click();
  await page.getByText("Enter 64 bytes in base64").waitFor();
  await page.getByLabel("Signature").fill(sign(null, "another body", privateKey).toString("base64"));
  await page.getByRole("button", { name: "Register key" }).click();
  await page.getByText("Signature verification failed").waitFor();
  await page.getByLabel("Signature").fill(signature);
  await page.getByRole("button", { name: "Register key" }).click();
  await page.getByRole("row").filter({ hasText: key.slice(0, 16) }).waitFor();
  assert.equal(await page.getByLabel("Signed body").inputValue(), "", "the key does not stay on the page");
  assert.equal((await chat(gateway, key, CHAT, 2)).status, 200);
});

test("a group is renamed, disabled with undo, and deleted only after its name is typed", async (t) => {
  const group = await make();
  const child = await make({ hierarchy: { parent_group_id: group.id } });
  const keys = [];
  for (const of of [group, child, child]) keys.push((await gateway.admin("POST", `/v1/gateway/groups/${of.id}/api_keys`, {})).api_key);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${group.id}`);
  await page.getByRole("button", { name: "Rename" }).click();
  await dialog(tab).getByLabel("Name").fill("The old customer");
  await dialog(tab).getByRole("button", { name: "Rename" }).click();
  await page.getByRole("heading", { level: 1, name: "The old customer" }).waitFor();

  await page.getByRole("button", { name: "Disable" }).click();
  await dialog(tab).getByRole("button", { name: "Disable group" }).click();
  await page.getByText("disabled", { exact: true }).waitFor();
  const row = page.getByRole("table", { name: "Child groups" }).getByRole("row").filter({ hasText: child.metadata.name });
  await row.getByText("disabled by The old customer").waitFor();
  assert.equal((await chat(gateway, keys[1], CHAT, 2)).status, 403);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByRole("button", { name: "Disable" }).waitFor();
  await row.getByText("Enabled").waitFor();
  assert.equal((await chat(gateway, keys[1], CHAT, 2)).status, 200);

  await page.getByRole("button", { name: "Delete" }).click();
  await dialog(tab).getByText("1 group below it and 3 keys").waitFor();
  await assertAccessible(tab, "deleting");
  await dialog(tab).getByRole("button", { name: "Delete group" }).click();
  await dialog(tab).getByText("Type The old customer exactly.").waitFor();
  await dialog(tab).getByLabel("To confirm, type").fill("The old customer");
  await dialog(tab).getByRole("button", { name: "Delete group" }).click();
  await tab.ready("/groups");
  await page.getByText("The old customer was deleted.").waitFor();
  for (const key of keys) assert.equal((await chat(gateway, key, CHAT, 2)).status, 401);
});

test("a WORKSPACE_MANAGE_API_KEYS key sees groups and keys, and no actions that it may not take", async (t) => {
  const group = await make();
  const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_API_KEYS" });
  const tab = await browser.tab(t, gateway, { key });
  const { page } = tab;
  await tab.open("/groups");
  assert.equal(await page.getByRole("link", { name: "New group" }).count(), 0);
  assert.equal(await page.getByRole("columnheader", { name: "Left" }).count(), 0);
  await page.getByRole("link", { name: group.metadata.name, exact: true }).click();
  await tab.ready(`/groups/${group.id}`);
  assert.deepEqual(await page.getByRole("navigation", { name: "Parts of the group" }).getByRole("link").allInnerTexts(), ["Overview", "Keys"]);
  for (const name of ["Rename", "Disable", "Delete"]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);
  await tab.open(`/groups/${group.id}/keys`);
  await page.getByRole("button", { name: "Mint the first key" }).click();
  await dialog(tab).getByRole("button", { name: "Mint key" }).click();
  assert.equal((await chat(gateway, await secret(tab), CHAT, 2)).status, 200);
  await dialog(tab).getByRole("button", { name: "I have stored it" }).click();
  await tab.open(`/groups/${group.id}/limits`);
  await page.getByText("Your operator key cannot view limits.").waitFor();
});
