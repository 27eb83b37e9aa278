// Endpoints: creation from a preset, the four checks, the order of targets, deletion.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { tabTo } from "./support/keyboard.mjs";
import { Upstream } from "./support/upstream.mjs";

// Nothing listens on this port.
const DEAD_URL = "http://127.0.0.1:1";

let browser, gateway, upstream;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  upstream = await Upstream.start();
});
after(async () => {
  await browser.stop();
  await gateway.stop();
  await upstream.stop();
});

let unique = 0;
const freshSlug = () => `test/model-${++unique}`;
const create = (targets, more = {}) => gateway.admin("POST", "/v1/gateway/endpoints", { slug: freshSlug(), targets, ...more });
const stored = (id) => gateway.admin("GET", `/v1/gateway/endpoints/${id}`);
const target = (page, number) => page.getByRole("group", { name: `Server ${number}`, exact: true });
const announced = (page, text) => page.getByRole("status").filter({ hasText: text }).first().waitFor();
const line = (place, words) => place.getByRole("listitem").filter({ hasText: words });
const group = (slug) => gateway.admin("POST", "/v1/gateway/groups", {
  metadata: { external_entity_id: `carries-${slug}`, name: `Carries ${slug}` }, models: [{ slug }], hierarchy: {},
});

test("an endpoint is created from a preset, after a check", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const slug = freshSlug();
  await tab.open("/endpoints/new");
  await page.getByLabel("Slug").fill(slug);
  await target(page, 1).getByRole("button", { name: "vLLM" }).click();
  const url = target(page, 1).getByLabel("Base URL");
  assert.equal(await url.inputValue(), "http://127.0.0.1:8000");
  await url.fill(upstream.baseURL);
  await target(page, 1).getByLabel("Model name").fill(upstream.target.target_model);
  await page.getByRole("button", { name: "Check", exact: true }).click();
  for (const words of ["Reachable: OK", "Has the model: OK", "Streams: OK", "Reports usage: OK"]) {
    await line(target(page, 1), words).waitFor();
  }
  await assertAccessible(tab, "a checked endpoint");
  await page.getByRole("button", { name: "Create endpoint" }).click();
  await announced(page, slug);
  await page.getByRole("heading", { level: 1, name: slug }).waitFor();
  const { items } = await gateway.admin("GET", "/v1/gateway/endpoints?limit=1000");
  const made = items.find((endpoint) => endpoint.slug === slug);
  assert.equal(made.targets[0].base_url, upstream.baseURL);
  assert.equal(made.pricing, null);
  await tab.open("/endpoints");
  await page.getByRole("row").filter({ hasText: slug }).getByText("not priced").waitFor();
});

test("a failed check is shown at its target and does not prevent saving", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  const slug = freshSlug();
  await tab.open("/endpoints/new");
  await page.getByLabel("Slug").fill(slug);
  await target(page, 1).getByLabel("Base URL").fill(DEAD_URL);
  await page.getByRole("button", { name: "Add a server" }).click();
  await target(page, 2).getByLabel("Provider").selectOption("DEMO");
  await page.getByRole("button", { name: "Create endpoint" }).click();
  await line(target(page, 1), "Reachable: failed").waitFor();
  await line(target(page, 1), "Streams: unknown").waitFor();
  await line(target(page, 2), "Reachable: OK").waitFor();
  const anyway = page.getByRole("button", { name: "Save anyway" });
  await anyway.waitFor();
  assert.ok(await anyway.evaluate((button) => button === document.activeElement), "Save anyway has the focus");
  await anyway.click();
  await page.getByRole("heading", { level: 1, name: slug }).waitFor();
});

const FAILURES = [
  { name: "a model that the server does not have", set: { target_model: "another-model" }, line: "Has the model: failed" },
  { name: "a server that reports no usage", server: { usage: false }, line: "Reports usage: failed" },
  { name: "a server that fails", server: { status: 500 }, line: "Streams: failed" },
];
for (const { name, set, server, line: words } of FAILURES) {
  test(`the check reports ${name}`, async (t) => {
    const own = await Upstream.start();
    t.after(() => own.stop());
    Object.assign(own, server);
    const endpoint = await create([{ ...own.target, ...set }]);
    const tab = await browser.tab(t, gateway);
    await tab.open(`/endpoints/${endpoint.id}`);
    await tab.page.getByRole("button", { name: "Check", exact: true }).click();
    const found = line(target(tab.page, 1), words);
    await found.waitFor();
    assert.ok((await found.innerText()).length > words.length + 10, "the line says what to do");
  });
}

test("targets are reordered by keyboard and saved in the order shown", async (t) => {
  const endpoint = await create([upstream.target, { provider: "DEMO" }]);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/endpoints/${endpoint.id}`);
  await tabTo(page, target(page, 2).getByRole("button", { name: "Move up" }));
  await page.keyboard.press("Enter");
  assert.equal(await target(page, 1).getByLabel("Provider").inputValue(), "DEMO");
  const down = target(page, 1).getByRole("button", { name: "Move down" });
  assert.ok(await down.evaluate((button) => button === document.activeElement), "the focus moves with the target");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await announced(page, "Saved");
  const { targets } = await stored(endpoint.id);
  assert.deepEqual(targets.map(({ provider }) => provider), ["DEMO", "OPENAI_COMPATIBLE"]);
});

test("a target can be removed unless it is the last one", async (t) => {
  const endpoint = await create([{ provider: "DEMO" }, { ...upstream.target, base_url: DEAD_URL }]);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/endpoints/${endpoint.id}`);
  await target(page, 2).getByRole("button", { name: "Remove" }).click();
  assert.ok(await target(page, 1).getByRole("button", { name: "Remove" }).isDisabled(), "the last target cannot be removed");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await announced(page, "Saved");
  assert.equal((await stored(endpoint.id)).targets.length, 1);
});

test("an API error about a target's field is shown at that field", async (t) => {
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  await tab.open("/endpoints/new");
  await page.getByLabel("Slug").fill(freshSlug());
  await target(page, 1).getByRole("button", { name: "Demo" }).click();
  await page.getByRole("button", { name: "Add a server" }).click();
  const url = target(page, 2).getByLabel("Base URL");
  await url.fill("ftp://files.example");
  await page.getByRole("button", { name: "Create endpoint" }).click();
  await target(page, 2).getByText("must begin with http").waitFor();
  assert.equal(await url.getAttribute("aria-invalid"), "true");
  assert.ok(await url.evaluate((input) => input === document.activeElement), "the field has the focus");
  assert.equal(await target(page, 1).locator("[aria-invalid]").count(), 0);
});

test("each provider shows the fields that it takes and no others", async (t) => {
  const tab = await browser.tab(t, gateway);
  const place = target(tab.page, 1);
  await tab.open("/endpoints/new");
  const shown = async () => {
    const labels = ["Base URL", "Model id", "Model name", "Environment", "Secret"];
    const seen = await Promise.all(labels.map((label) => place.getByLabel(label).isVisible()));
    return labels.filter((_, index) => seen[index]);
  };
  const FIELDS = {
    OPENAI_COMPATIBLE: ["Base URL", "Model name", "Secret"],
    OPENAI: ["Base URL", "Model name", "Secret"],
    ANTHROPIC: ["Base URL", "Model name", "Secret"],
    BASETEN: ["Model id", "Model name", "Environment", "Secret"],
    DEMO: ["Model name"],
  };
  for (const [provider, fields] of Object.entries(FIELDS)) {
    await place.getByLabel("Provider").selectOption(provider);
    assert.deepEqual(await shown(), fields, provider);
  }
});

test("a secret that is created in the form is selected", async (t) => {
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open("/endpoints/new");
  await target(page, 1).getByRole("button", { name: "New secret" }).click();
  const dialog = page.getByRole("dialog", { name: "New secret" });
  await dialog.getByLabel("Name").fill("made-in-the-form");
  await dialog.getByLabel("Value").fill("not-a-real-token-3");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  const secret = target(page, 1).getByLabel("Secret");
  assert.equal(await secret.evaluate((select) => select.selectedOptions[0].text), "made-in-the-form");
});

test("a price can be set and removed", async (t) => {
  const endpoint = await create([{ provider: "DEMO" }]);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/endpoints/${endpoint.id}`);
  for (const [label, value] of [["Currency", "eur"], ["Input", "1,50"], ["Output", "6"]]) {
    await page.getByLabel(label, { exact: true }).fill(value);
  }
  const save = page.getByRole("button", { name: "Save", exact: true });
  await save.click();
  await announced(page, "Saved");
  assert.deepEqual((await stored(endpoint.id)).pricing, { currency: "EUR", input: "1.5", output: "6", cached: "1.5" });
  await page.getByRole("button", { name: "Dismiss" }).click();
  await page.getByRole("button", { name: "Clear" }).click();
  await save.click();
  await announced(page, "Saved");
  assert.equal((await stored(endpoint.id)).pricing, null);
});

test("prices besides those of input and output are behind a disclosure", async (t) => {
  const endpoint = await create([{ provider: "DEMO" }], { pricing: { currency: "EUR", input: "1.5", output: "6" } });
  const tab = await browser.tab(t, gateway, { statuses: [400] });
  const { page } = tab;
  const more = page.getByText("More prices");
  const save = page.getByRole("button", { name: "Save", exact: true });
  const PRICES = {
    "Cached input": "0.15", "Cache writes": "1.875", "Each request": "0.001", "Each image": "0.04",
    "Second of audio": "0.0001", "Million characters of speech": "15", "Above input tokens": "200000",
    "Long input": "3", "Long output": "12", "Long cached input": "0.3", "Long cache writes": "3.75",
  };
  await tab.open(`/endpoints/${endpoint.id}`);
  assert.equal(await page.getByLabel("Cached input", { exact: true }).isVisible(), false);
  await more.click();
  assert.equal(await page.getByLabel("Cached input", { exact: true }).inputValue(), "", "it follows the input price");
  for (const [label, value] of Object.entries(PRICES)) await page.getByLabel(label, { exact: true }).fill(value);
  await assertAccessible(tab, "an endpoint with all prices");
  await save.click();
  await announced(page, "Saved");
  assert.deepEqual((await stored(endpoint.id)).pricing, {
    currency: "EUR", input: "1.5", output: "6", cached: "0.15", cache_write: "1.875", request: "0.001", image: "0.04",
    second: "0.0001", characters: "15", long: { above: 200_000, input: "3", output: "12", cached: "0.3", cache_write: "3.75" },
  });

  await tab.open(`/endpoints/${endpoint.id}`);
  for (const [label, value] of Object.entries(PRICES)) {
    const input = page.getByLabel(label, { exact: true });
    assert.ok(await input.isVisible(), `${label} is shown because it is set`);
    assert.equal(await input.inputValue(), value);
  }
  await page.getByLabel("Long output", { exact: true }).fill("twelve");
  await more.click();
  await save.click();
  const wrong = page.getByLabel("Long output", { exact: true });
  await page.getByText("must be a decimal string").waitFor();
  assert.equal(await wrong.getAttribute("aria-invalid"), "true");
  assert.ok(await wrong.evaluate((input) => input === document.activeElement), "the disclosure opens at the error");
});

test("changing the slug warns about customers who use the old one", async (t) => {
  const endpoint = await create([{ provider: "DEMO" }]);
  await group(endpoint.slug);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/endpoints/${endpoint.id}`);
  const slug = freshSlug();
  await page.getByLabel("Slug").fill(slug);
  await page.getByText("Customers use this name").waitFor();
  await page.getByText("1 group will switch to the new name").waitFor();
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: slug }).waitFor();
  assert.equal((await stored(endpoint.id)).slug, slug);
});

test("a target's failures are shown without a reload", async (t) => {
  const { slug, key } = await gateway.customer(DEAD_URL);
  const { items } = await gateway.admin("GET", "/v1/gateway/endpoints?limit=1000");
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${items.find((endpoint) => endpoint.slug === slug).id}`);
  const first = target(tab.page, 1);
  await first.getByText("Not called yet").waitFor();
  await fetch(`${gateway.baseURL}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: slug, messages: [{ role: "user", content: "hi" }] }),
  });
  await first.getByText("Failing", { exact: true }).waitFor();
  await first.getByText(/failures? in a row/).waitFor();
  await first.getByText(/refused/).waitFor();
});

test("deletion lists the groups that use the endpoint and requires its slug to be typed", async (t) => {
  const endpoint = await create([{ provider: "DEMO" }]);
  const { metadata } = await group(endpoint.slug);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/endpoints/${endpoint.id}`);
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(metadata.name).waitFor();
  await dialog.getByRole("button", { name: "Delete endpoint" }).click();
  await dialog.getByText("exactly").waitFor();
  await dialog.getByRole("textbox").fill(endpoint.slug);
  await page.keyboard.press("Enter");
  await tab.ready("/endpoints");
  assert.equal(await page.getByRole("link", { name: endpoint.slug, exact: true }).count(), 0);
});
