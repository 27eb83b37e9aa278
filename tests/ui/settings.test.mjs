// Settings: status, operators, key registration, backup, API.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

async function openTab(tab, name) {
  await tab.open("/settings");
  await tab.main.getByRole("navigation", { name: "Settings" }).getByRole("link", { name, exact: true }).click();
  await tab.main.locator(`.tabs a[aria-current]`).filter({ hasText: name }).waitFor();
}

test("an operator key is created, signs in, and is deleted", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await openTab(tab, "Operators");
  await tab.main.getByRole("button", { name: "New operator key" }).click();
  const asked = page.getByRole("dialog", { name: "New operator key" });
  await asked.getByLabel("Name").fill("<b>Grafana</b>");
  await asked.getByLabel(/Read metrics/).check();
  await assertAccessible(tab, "a new operator key");
  assert.doesNotMatch(await asked.innerText(), /Terraform|Prometheus/, "only what there is");
  await asked.getByRole("button", { name: "Create key" }).click();
  const shown = page.getByRole("dialog", { name: "Operator key created" });
  const key = await shown.getByRole("textbox", { name: "Operator key" }).innerText();
  await shown.getByRole("button", { name: "I have stored it" }).click();
  const row = tab.main.getByRole("row").filter({ hasText: "<b>Grafana</b>" });
  await row.getByText("metrics, read only").waitFor();

  const other = await browser.tab(t, gateway, { key: null });
  await other.page.goto(gateway.adminURL);
  await other.signIn.as(key);
  await other.ready("/");

  await row.getByRole("button", { name: /^Delete/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete key" }).click();
  await row.waitFor({ state: "detached" });
  await other.signIn.field.waitFor();
});

test("the environment's key has no delete button, and deleting the last stored key says why it fails", async (t) => {
  const { keys } = await gateway.admin("GET", "/v1/api_keys");
  for (const { prefix } of keys.filter((key) => key.prefix !== "env")) await gateway.admin("DELETE", `/v1/api_keys/${prefix}`).catch(() => {});
  await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_ALL", name: "The last" }).catch(() => {});
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  await openTab(tab, "Operators");
  assert.equal(await tab.main.getByRole("row").filter({ hasText: "from the environment" }).getByRole("button").count(), 0);
  await tab.main.getByRole("button", { name: "Delete The last" }).click();
  await tab.page.getByRole("dialog").getByRole("button", { name: "Delete key" }).click();
  await tab.page.getByRole("dialog").getByText("create another one first").waitFor();
});

test("the public key for registrations is saved, shown and deleted, and an invalid one is refused at its field", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [400, 404] });
  const { page } = tab;
  await openTab(tab, "Key registration");
  const field = tab.main.getByLabel("Public key", { exact: true });
  await field.fill("not a key");
  await tab.main.getByRole("button", { name: "Save public key" }).click();
  await page.waitForFunction(() => document.querySelector("[aria-invalid]"));
  const key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
  await field.fill(key);
  await tab.main.getByRole("button", { name: "Save public key" }).click();
  await tab.main.getByText(key).waitFor();
  assert.equal((await gateway.admin("GET", "/v1/gateway/signing_key")).public_key, key);
  await tab.main.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete public key" }).click();
  await tab.main.getByText("There is no public key").waitFor();
});

test("a backup is a tar file with the name that the gateway gives it", async (t) => {
  const tab = await browser.tab(t, gateway);
  await openTab(tab, "Backup");
  const [download] = await Promise.all([
    tab.page.waitForEvent("download"), tab.main.getByRole("button", { name: "Download backup" }).click(),
  ]);
  assert.match(download.suggestedFilename(), /^tollgate-\d{4}-\d\d-\d\dT[\d-]+Z\.tar$/);
  // Cron ends a command at a bare percent sign.
  const line = await tab.main.getByLabel("Backup from cron").innerText();
  assert.match(line, /^0 3 \* \* \* tollgate backup .*date \+\\%F/);
  assert.doesNotMatch(line, /[^\\]%/);
  const files = execFileSync("tar", ["-tf", await download.path()], { encoding: "utf8" }).split("\n");
  assert.ok(files.includes("manifest.json"), files.join(" "));
  assert.ok(!files.some((file) => file.includes("admin.key")));
  await tab.main.getByText(`${download.suggestedFilename()},`).waitFor();
});

test("the status is the API's and updates by itself", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/settings");
  const { version, journal } = await gateway.admin("GET", "/v1/gateway/status");
  await tab.main.getByRole("definition").getByText(version, { exact: true }).waitFor();
  const records = () => tab.main.locator("dt", { hasText: /^Records$/ }).locator("+ dd").innerText();
  const before = Number((await records()).replaceAll(",", ""));
  assert.ok(before >= journal.last_sequence);
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "a/b", targets: [{ provider: "DEMO" }] });
  await tab.page.waitForFunction((was) => [...document.querySelectorAll("dt")]
    .some((dt) => dt.textContent === "Records" && Number(dt.nextElementSibling.textContent.replaceAll(",", "")) > was), before);
});

const SCOPES = [
  ["WORKSPACE_MANAGE_ALL", ["Status", "Operators", "Key registration", "Backup", "API"]],
  ["WORKSPACE_EXPORT_METRICS", ["Status", "API"]],
  ["WORKSPACE_MANAGE_API_KEYS", []],
];
for (const [type, labels] of SCOPES) {
  test(`a ${type} key sees only the settings that it may use`, async (t) => {
    const { api_key: key } = await gateway.admin("POST", "/v1/api_keys", { type });
    const tab = await browser.tab(t, gateway, { key });
    await tab.open("/settings");
    assert.deepEqual(await tab.main.getByRole("navigation", { name: "Settings" }).getByRole("link").allInnerTexts(), labels);
    if (!labels.length) await tab.main.getByRole("heading", { name: "API" }).waitFor();
  });
}
