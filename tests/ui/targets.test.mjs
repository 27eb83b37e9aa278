// The servers of an endpoint: how requests are distributed over them, what they can run, and their state as it changes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { chat } from "./support/seed.mjs";
import { SIZES, THEMES } from "./support/shots.mjs";
import { Upstream } from "./support/upstream.mjs";

// Nothing listens on this port.
const DEAD_URL = "http://127.0.0.1:1";

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

let unique = 0;
const demo = (more = {}) => ({ provider: "DEMO", ...more });
const dead = (more = {}) => ({ provider: "OPENAI_COMPATIBLE", base_url: DEAD_URL, ...more });
const create = (targets, more = {}) =>
  gateway.admin("POST", "/v1/gateway/endpoints", { slug: `targets/model-${++unique}`, targets, ...more });
const stored = (id) => gateway.admin("GET", `/v1/gateway/endpoints/${id}`);
const server = (tab, number) => tab.main.getByRole("group", { name: `Server ${number}`, exact: true });
// A customer's key for these endpoints.
async function customer(...endpoints) {
  const group = await gateway.admin("POST", "/v1/gateway/groups", {
    metadata: { external_entity_id: `targets-${++unique}` }, models: endpoints.map(({ slug }) => ({ slug })), hierarchy: {},
  });
  return (await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {})).api_key;
}
// A server whose streams wait until `open()` is called.
async function heldServer(t) {
  const upstream = await Upstream.start();
  let open;
  upstream.hold = new Promise((resolve) => (open = resolve));
  t.after(() => {
    open();
    return upstream.stop();
  });
  return { target: upstream.target, open };
}
const stream = (key, slug) => chat(gateway, key, slug, 1, { stream: true });
async function assertFits(tab) {
  for (const size of SIZES) {
    await tab.page.setViewportSize(size);
    assert.equal(await tab.overflow(), 0, `${tab.page.url()} scrolls horizontally at ${size.width} px`);
  }
}
test("a working backup is added to an endpoint whose server is down without Save anyway", async (t) => {
  const upstream = await Upstream.start();
  t.after(() => upstream.stop());
  const endpoint = await create([dead()]);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  await tab.main.getByRole("button", { name: "Add a server" }).click();
  await server(tab, 2).getByLabel("Base URL").fill(upstream.baseURL);
  await server(tab, 2).getByLabel("Model name").fill(upstream.target.target_model);
  await save(tab);
  assert.equal((await stored(endpoint.id)).targets.length, 2);
});

test("the only working server is not removed without a warning", async (t) => {
  const endpoint = await create([demo(), dead()]);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  await server(tab, 1).getByRole("button", { name: "Remove" }).click();
  await tab.main.getByRole("button", { name: "Save", exact: true }).click();
  await tab.main.getByRole("button", { name: "Save anyway" }).waitFor();
  assert.equal((await stored(endpoint.id)).targets.length, 2);
});

const save = async (tab) => {
  await tab.main.getByRole("button", { name: "Save", exact: true }).click();
  await tab.page.getByRole("status").filter({ hasText: "Saved" }).first().waitFor();
};

test("saving one field of an endpoint keeps all others", async (t) => {
  const targets = [demo({ weight: 3, max_concurrent: 7 }), demo({ weight: 100, target_model: "another" })];
  const endpoint = await create(targets, { routing: "SPREAD", queue_timeout_s: 45 });
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  await server(tab, 2).getByLabel("Model name").fill("renamed");
  await save(tab);
  const now = await stored(endpoint.id);
  const [first, second] = endpoint.targets;
  assert.deepEqual(now, { ...endpoint, targets: [first, { ...second, target_model: "renamed" }], updated_at: now.updated_at });
});

test("routing, weights, capacities and the queue time are set without a check of the servers", async (t) => {
  const endpoint = await create([dead(), demo()]);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  assert.ok(await tab.main.getByRole("radio", { name: /In order PRIORITY/ }).isChecked());
  const weight = server(tab, 1).getByLabel("Weight");
  assert.ok(await weight.isHidden(), "a weight has no effect on servers in order");
  await tab.main.getByRole("radio", { name: /Spread over all SPREAD/ }).check();
  await weight.fill("4");
  await server(tab, 1).getByLabel("Capacity").fill("64");
  await tab.main.getByLabel("Queue time").fill("30");
  await save(tab);
  let now = await stored(endpoint.id);
  assert.deepEqual([now.routing, now.queue_timeout_s], ["SPREAD", 30]);
  assert.deepEqual(now.targets.map(({ weight, max_concurrent }) => [weight, max_concurrent]), [[4, 64], [1, null]]);

  await tab.main.getByRole("radio", { name: /In order/ }).check();
  await server(tab, 1).getByLabel("Capacity").fill("");
  await tab.page.getByRole("button", { name: "Dismiss" }).click();
  await save(tab);
  now = await stored(endpoint.id);
  assert.equal(now.routing, "PRIORITY");
  assert.deepEqual([now.targets[0].weight, now.targets[0].max_concurrent], [4, null], "the hidden weight is kept");
});

test("a number out of its range is shown at its field, and nothing is saved", async (t) => {
  const endpoint = await create([demo(), demo()], { routing: "SPREAD" });
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  const changes = [];
  tab.page.on("request", (request) => request.method() === "PATCH" && changes.push(request.url()));
  for (const [place, label, value, range] of [
    [server(tab, 2), "Weight", "0", "1 to 100"],
    [server(tab, 2), "Weight", "101", "1 to 100"],
    [server(tab, 1), "Capacity", "0", "1 to 100000"],
    [server(tab, 1), "Capacity", "2.5", "1 to 100000"],
    [tab.main, "Queue time", "601", "0 to 600"],
    [tab.main, "Queue time", "soon", "0 to 600"],
  ]) {
    const input = place.getByLabel(label);
    const before = await input.inputValue();
    await input.fill(value);
    await tab.main.getByRole("button", { name: "Save", exact: true }).click();
    const error = tab.main.locator(".field-error").filter({ hasText: `Enter a whole number from ${range}.` });
    await error.waitFor();
    assert.ok((await input.getAttribute("aria-describedby")).includes(await error.getAttribute("id")), `${label} has the error`);
    assert.ok(await input.evaluate((one) => one === document.activeElement), `${label} has the focus`);
    assert.equal(await tab.main.locator("[aria-invalid]").count(), 1, `${label} ${value}`);
    await input.fill(before);
  }
  assert.deepEqual(changes, []);
});

test("an invalid weight stays visible until it is corrected", async (t) => {
  const endpoint = await create([demo(), demo()], { routing: "SPREAD" });
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  await server(tab, 1).getByLabel("Weight").fill("many");
  await tab.main.getByRole("radio", { name: /In order/ }).check();
  assert.ok(await server(tab, 2).getByLabel("Weight").isHidden());
  await tab.main.getByRole("button", { name: "Save", exact: true }).click();
  await server(tab, 1).getByText("Enter a whole number from 1 to 100.").waitFor();
});

test("an endpoint has up to 16 servers, and the last one can be moved to the front", async (t) => {
  const endpoint = await create([demo({ target_model: "first" })]);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  const add = tab.main.getByRole("button", { name: "Add a server" });
  for (let count = 2; count <= 16; count++) {
    await add.click();
    await server(tab, count).getByLabel("Provider").selectOption("DEMO");
  }
  assert.ok(await add.isHidden(), "a seventeenth server cannot be added");
  await server(tab, 16).getByLabel("Model name").fill("last");
  for (let at = 16; at > 1; at--) await server(tab, at).getByRole("button", { name: "Move up" }).click();
  await save(tab);
  const { targets } = await stored(endpoint.id);
  assert.deepEqual([targets.length, targets[0].target_model, targets[1].target_model], [16, "last", "first"]);
});

test("the load and the queue of a server are shown as they change, and its elements are kept", async (t) => {
  const held = await heldServer(t);
  const endpoint = await create([{ ...held.target, max_concurrent: 2 }], { queue_timeout_s: 600 });
  const key = await customer(endpoint);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  const place = server(tab, 1);
  await place.getByText("0 of 2 running").waitFor();
  await tab.main.getByText("No request waits", { exact: true }).waitFor();
  const bar = place.getByRole("meter", { name: "Load of Server 1" });
  const kept = [await bar.elementHandle(), await place.locator(".state").elementHandle()];
  const streams = Array.from({ length: 3 }, () => stream(key, endpoint.slug));
  await place.getByText("2 of 2 running").waitFor();
  assert.equal(await bar.getAttribute("aria-valuenow"), "2");
  await tab.main.getByText("1 request waits").waitFor();
  const list = await tab.again();
  await list.open("/endpoints");
  const row = list.main.getByRole("row").filter({ hasText: endpoint.slug });
  await row.getByText("2 of 2 running").waitFor();
  await row.getByText("1 request waits").waitFor();
  const overview = await tab.again();
  await overview.open("/");
  const waits = overview.main.getByRole("listitem").filter({ hasText: "1 request waits" });
  await waits.filter({ hasText: endpoint.slug }).waitFor();
  const settings = await tab.again();
  await settings.open("/settings");
  const queue = settings.main.getByRole("table", { name: "Queues" }).getByRole("row").filter({ hasText: endpoint.slug });
  assert.deepEqual(await queue.getByRole("cell").allInnerTexts(), ["1", "0", "0", "–", "–"]);
  for (const one of [tab, list, overview, settings]) await assertFits(one);
  for (const colorScheme of THEMES) {
    await tab.page.emulateMedia({ colorScheme });
    await assertAccessible(tab, `a full server, ${colorScheme}`);
  }
  held.open();
  await Promise.all(streams);
  await place.getByText("0 of 2 running").waitFor();
  await place.getByText("3 answered").waitFor();
  await tab.main.getByText(/^1 waited since startup: median \d/).waitFor();
  for (const element of kept) assert.ok(await element.evaluate(({ isConnected }) => isConnected), "the element is kept");
  await row.getByText("0 of 2 running").waitFor();
  await row.getByText("1 request waits").waitFor({ state: "detached" });
  await waits.waitFor({ state: "detached" });
});

test("a server that is left out says since when, why, and when it is tried next", async (t) => {
  const limited = await Upstream.start();
  t.after(() => limited.stop());
  Object.assign(limited, { status: 429, retryAfter: 4 });
  const endpoint = await create([limited.target, demo()]);
  const key = await customer(endpoint);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  await server(tab, 1).getByText("Not called yet").waitFor();
  const list = await tab.again();
  await list.open("/endpoints");
  const row = list.main.getByRole("row").filter({ hasText: endpoint.slug });
  await chat(gateway, key, endpoint.slug, 1);
  for (const place of [server(tab, 1), row]) {
    await place.getByText(/^Out\b/).waitFor();
    await place.getByText(/next try/).waitFor();
    await place.getByText("0 answered, 1 rate-limited").waitFor();
  }
  await server(tab, 1).getByText(/429/).waitFor();
  await server(tab, 2).getByText("Working").waitFor();
  const { upstreams } = await gateway.admin("GET", "/v1/gateway/status");
  const { out_since: since, out_until: until } = upstreams.find(({ endpoint_id }) => endpoint_id === endpoint.id);
  const times = await server(tab, 1).locator("time").evaluateAll((all) => all.map(({ dateTime }) => dateTime));
  assert.deepEqual(times, [since, until]);
  await row.getByText(/^Failing: 1 failure in a row/).waitFor();
});

test("a server whose pause is over is on trial", async (t) => {
  const endpoint = await create([dead(), demo()], { routing: "SPREAD" });
  const key = await customer(endpoint);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/endpoints/${endpoint.id}`);
  for (let failures = 0; failures < 5; failures++) await chat(gateway, key, endpoint.slug, 1);
  await server(tab, 1).getByText("On trial", { exact: true }).waitFor();
  await server(tab, 1).getByText(/the next request tries it/).waitFor();
  await server(tab, 1).getByText(/refused/).waitFor();
  await tab.go("/settings");
  const row = tab.main.getByRole("table", { name: "Model servers" }).getByRole("row").filter({ hasText: endpoint.slug }).first();
  const [state, running, attempts] = await row.getByRole("cell").allInnerTexts();
  assert.match(state, /^On trial\s+since /);
  assert.deepEqual([running, attempts], ["0", "0 answered, 5 failed"]);
  await tab.go("/");
  const item = tab.main.getByRole("listitem").filter({ hasText: `Running on fewer servers: ${endpoint.slug}` });
  await item.getByText(/^Server 1: left out .* refused/).waitFor();
});
