// The tab "Why 429?": its first sentence says why a customer's requests are refused.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { chat } from "./support/seed.mjs";

const CHAT = "demo/chat";
const OTHER = "demo/other";

let browser, gateway;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start({ durability: "process" });
  for (const slug of [CHAT, OTHER]) await gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets: [{ provider: "DEMO" }] });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
});

let unique = 0;
const make = (name, models, hierarchy = {}) => {
  unique += 1;
  return gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id: `why-${unique}`, name }, models, hierarchy });
};
const mint = async ({ id }) => (await gateway.admin("POST", `/v1/gateway/groups/${id}/api_keys`, {})).api_key;
const tokensBox = (tab) => tab.page.getByRole("textbox", { name: "Tokens of the request" });

test("the first sentence names the exhausted limit and its group, and says when to try again", async (t) => {
  const acme = await make("Acme <b>", [{ slug: CHAT, rate_limits: [{ type: "REQUEST", unit: "MINUTE", threshold: 2 }] }], { limit_enforcement: "CASCADING" });
  const shop = await make("Shop", [{ slug: CHAT, usage_limits: [{ type: "TOKEN", unit: "DAY", threshold: 5000 }] }], { parent_group_id: acme.id });
  const [ofAcme, ofShop] = [await mint(acme), await mint(shop)];
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${shop.id}/why`);
  await page.getByText("A request of 500 tokens would pass now.").waitFor();
  // The parent's own requests use up the shared limit.
  for (let i = 0; i < 2; i++) assert.equal((await chat(gateway, ofAcme, CHAT, 3)).status, 200);
  assert.equal((await chat(gateway, ofShop, CHAT, 3)).status, 429);
  await page.getByText(/tokens would be refused by the limit of Acme <b> for requests per minute\./).waitFor();
  await page.getByText(/Try again in (1 min|\d+ s)/).waitFor();
  const bar = page.getByRole("listitem").filter({ hasText: "Requests per minute" });
  await bar.getByText("refuses").waitFor();
  await bar.getByText("shared").waitFor();
  await bar.getByText("0 left of 2").waitFor();
  const first = await page.getByText(/Try again in/).innerText();
  await page.waitForFunction((before) => !document.body.innerText.includes(before), first);
  await assertAccessible(tab, "why, refused");
  // The remedy: the limit's row in the editor of the group that declares it.
  await bar.getByRole("link", { name: "Raise this limit" }).click();
  await tab.ready(`/groups/${acme.id}/limits`);
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")), `Requests per minute for ${CHAT}`);
});

test("the sentence and the bars follow the number of tokens that is entered", async (t) => {
  const group = await make("What if", [
    { slug: CHAT, rate_limits: [{ type: "TOKEN", unit: "MINUTE", threshold: 1000 }] },
    { slug: OTHER, usage_limits: [{ type: "TOKEN", unit: "DAY", threshold: 0 }] },
  ]);
  await mint(group);
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${group.id}/why`);
  await tokensBox(tab).fill("1k");
  await page.getByText("A request of 1,000 tokens would pass now.").waitFor();
  assert.equal(await page.locator(".meter-asked").evaluate((one) => one.style.getPropertyValue("--part")), "100%");
  await tokensBox(tab).fill("1,001");
  await page.getByText("A request of 1,001 tokens would be refused by the limit of What if for tokens per minute.").waitFor();
  await page.getByText("It can never pass: it needs more than the whole limit.").waitFor();
  const slider = page.getByRole("slider");
  await slider.focus();
  await page.keyboard.press("Home");
  await page.getByText("A request would pass now.").waitFor();
  assert.equal(await tokensBox(tab).inputValue(), "0");
  await page.keyboard.press("End");
  await page.getByText("A request of 1,000,000 tokens would be refused", { exact: false }).waitFor();
  await tokensBox(tab).fill("lots");
  await page.getByText("Enter a whole number, such as").waitFor();
  await tokensBox(tab).fill("10");
  await page.getByLabel("Model").selectOption(OTHER);
  await page.getByText("A request of 10 tokens would be refused by the limit of What if for tokens per day.").waitFor();
  await page.getByText("The limit is 0, so it refuses every request.").waitFor();
  await page.waitForURL(/slug=demo%2Fother/);
  await page.reload();
  await tab.ready(`/groups/${group.id}/why`);
  assert.equal(await page.getByLabel("Model").inputValue(), OTHER);
});

test("the initial number of tokens is the average of the customer's requests", async (t) => {
  const group = await make("Typical", [{ slug: CHAT }]);
  const key = await mint(group);
  await chat(gateway, key, CHAT, 50, { max_tokens: 20 });
  const { items: [{ tokens }] } = await gateway.admin("GET", `/v1/gateway/events?start_time=2000-01-01T00:00:00Z&external_entity_ids=${group.metadata.external_entity_id}`);
  const tab = await browser.tab(t, gateway);
  await tab.open(`/groups/${group.id}/why`);
  await tab.page.getByText(`A request of ${tokens.inputTokens + tokens.outputTokens} tokens would pass now.`).waitFor();
});

test("other reasons for refusals are shown only if there are any", async (t) => {
  const root = await make("Root", [{ slug: CHAT }]);
  const group = await make("Quiet", [{ slug: CHAT }, { slug: OTHER }], { parent_group_id: root.id });
  const tab = await browser.tab(t, gateway);
  const { page } = tab;
  await tab.open(`/groups/${group.id}/why`);
  await page.getByRole("heading", { name: "Another reason for refusals" }).waitFor();
  await page.getByText("The group has no keys.").waitFor();
  await page.getByText("The limits would allow a request of 500 tokens.").waitFor();
  const key = await mint(group);
  await tab.page.reload();
  await tab.ready(`/groups/${group.id}/why`);
  assert.equal(await page.getByRole("heading", { name: /reason/ }).count(), 0);

  await gateway.admin("PATCH", `/v1/gateway/groups/${group.id}/api_keys/${key.split(".")[0]}`, { disabled: true });
  await gateway.admin("PATCH", `/v1/gateway/groups/${root.id}`, { disabled: true });
  const { id } = await gateway.admin("POST", "/v1/gateway/endpoints", { slug: "demo/gone", targets: [{ provider: "DEMO" }] });
  await gateway.admin("PATCH", `/v1/gateway/groups/${group.id}`, { models: [{ slug: "demo/gone" }] });
  await gateway.admin("DELETE", `/v1/gateway/endpoints/${id}`);
  await tab.page.reload();
  await tab.ready(`/groups/${group.id}/why`);
  for (const text of ["Root, a group above it, is disabled.", "Its only key is disabled or expired.", "No endpoint has the slug demo/gone."]) {
    await page.getByText(text).waitFor();
  }
  await assertAccessible(tab, "other reasons");
});
