// Hostile names and answers, the content security policy, and the secrecy of the operator key.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { ADMIN_KEY, Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";
import { pages } from "./support/pages.mjs";
import { chat, register, seed } from "./support/seed.mjs";
import { Upstream } from "./support/upstream.mjs";

const ASSETS = resolve(import.meta.dirname, "../../assets");
const IMAGE = "<img src=x onerror=alert(1)>";
const SCRIPT = '"><script>alert(1)</script>';

let browser, gateway, seeded;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  seeded = await seed(gateway);
  await hostile();
});
after(async () => {
  await browser.stop();
  await seeded.stop();
  await gateway.stop();
});

// Puts markup in every field that takes text.
async function hostile() {
  const { slug } = seeded.endpoints.chat;
  const make = (name, external_entity_id, hierarchy = {}) =>
    gateway.admin("POST", "/v1/gateway/groups", { metadata: { name, external_entity_id }, models: [{ slug }], hierarchy });
  const parent = await make(IMAGE, SCRIPT);
  const group = await make(SCRIPT, IMAGE, { parent_group_id: parent.id });
  const key = (await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, { name: IMAGE })).api_key;
  await register(gateway, group, { key: '"><img/src=x+onerror=alert(1)>0aZ9', name: SCRIPT });
  await chat(gateway, key, slug, 5, { metadata: { [SCRIPT]: IMAGE } });
  await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_EXPORT_METRICS", name: SCRIPT });
  const url = `${seeded.receivers[1].url}?"><script>alert(1)</script>`;
  const webhook = await gateway.admin("POST", "/v1/gateway/webhooks", { url, description: IMAGE });
  seeded = { ...seeded, groups: { ...seeded.groups, shop: group }, webhooks: { ...seeded.webhooks, failing: webhook } };
}

// Pages that must show at least one of these names.
const SHOWN = ["groups", "group", "group-limits", "group-why", "group-keys", "usage", "events", "webhooks", "webhook", "audit", "settings-operators"];

for (const { name, path, query } of pages) {
  test(`names with markup are shown as text on ${name}`, async (t) => {
    const tab = await browser.tab(t, gateway);
    await tab.open(path(seeded), query);
    const made = await tab.page.locator("img[src='x'], script:not([src]), [onerror]").count();
    assert.equal(made, 0, "elements created from a name");
    if (SHOWN.includes(name)) {
      const texts = tab.main.getByText(/<img src=x onerror=alert\(1\)>|"><script>/).filter({ visible: true });
      await texts.first().waitFor();
    }
  });
}

test("markup in an answer is shown as text in the playground", async (t) => {
  const upstream = await Upstream.start();
  t.after(() => upstream.stop());
  upstream.text = `Of course: ${IMAGE} and ${SCRIPT}`;
  const slug = "acme/hostile";
  await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [upstream.target] });
  const metadata = { external_entity_id: "cust_hostile" };
  const group = await gateway.admin("POST", "/v1/gateway/groups", { metadata, models: [{ slug }], hierarchy: {} });
  const tab = await browser.tab(t, gateway);
  await tab.open("/playground", `group=${group.id}&slug=${slug}`);
  await tab.page.getByLabel("Message").fill("Say it.");
  await tab.page.getByRole("button", { name: "Send" }).click();
  await tab.main.getByText(upstream.text, { exact: true }).waitFor();
  assert.equal(await tab.page.locator("img[src='x'], script:not([src])").count(), 0, "elements created from an answer");
});

test("the content security policy allows only our own origin", async () => {
  const answer = await fetch(gateway.adminURL);
  const policy = answer.headers.get("content-security-policy");
  assert.match(policy, /(^|; *)default-src 'self'(;|$)/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*|data:/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.match(policy, /base-uri 'none'/);
});

test("no file of the UI turns text into markup or code", async () => {
  const forbidden =
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|createContextualFragment|setHTML|srcdoc|javascript:/g;
  for (const [path, text] of await sources()) {
    assert.deepEqual(text.match(forbidden) ?? [], [], path);
    if (path.endsWith(".js")) continue;
    const inline = /<[^>]+\s(style|on[a-z]+)=|<style|<script(?![^>]*\ssrc=)/g;
    assert.deepEqual(text.match(inline) ?? [], [], path);
  }
});

test("no file of the UI loads anything from another site", async () => {
  // Addresses may appear as text; only these forms load them.
  const loaded = /(src|href)=["']?(https?:)?\/\/|url\(["']?(https?:)?\/\/|(import|fetch)\(?\s*["'`](https?:)?\/\//g;
  for (const [path, text] of await sources()) assert.deepEqual(text.match(loaded) ?? [], [], path);
});

test("the operator key is not in addresses, storage, the page or the log", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  const { page } = tab;
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));
  page.on("framenavigated", (frame) => addresses.push(frame.url()));
  await page.goto(gateway.adminURL);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
  await tab.go("/groups");

  assert.deepEqual(addresses.filter((address) => address.includes(ADMIN_KEY)), [], "in an address");
  const readable = await page.evaluate(async () => ({
    local: JSON.stringify({ ...localStorage }),
    session: JSON.stringify({ ...sessionStorage }),
    cookies: document.cookie,
    databases: await indexedDB.databases(),
    caches: await caches.keys(),
    history: JSON.stringify(history.state),
    document: document.documentElement.outerHTML,
  }));
  for (const [place, content] of Object.entries(readable)) assert.ok(!JSON.stringify(content).includes(ADMIN_KEY), place);
  assert.equal(readable.cookies, "", "scripts cannot read the session's cookie");
  const [cookie] = await page.context().cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
  assert.ok(!gateway.log.includes(ADMIN_KEY), "in the log");
});

test("the UI forbids content sniffing and sends no referrer", async () => {
  const answer = await fetch(gateway.adminURL);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  assert.equal(answer.headers.get("referrer-policy"), "no-referrer");
});

// The path and the content of every text file of the UI.
async function sources() {
  const entries = await readdir(ASSETS, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile() && /\.(html|css|js|svg)$/.test(entry.name)).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(paths.map(async (path) => [path, await readFile(path, "utf8")]));
}
