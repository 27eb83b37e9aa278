// Fills a gateway with the data of a small company: content for every page of the UI, and most kinds of problems that
// an operator must see. Everything is created through the API. Token counts are exact, since the demo provider counts
// one token per word.

import { generateKeyPairSync, sign } from "node:crypto";
import { Receiver } from "./receiver.mjs";

// Nothing listens on this port.
const DEAD_URL = "http://127.0.0.1:1";

const CHAT = "acme/chat";
const EMBED = "acme/embed";
const CODER = "local/coder";
const DOWN = "local/down";

// Returns the created objects by kind and name, and `stop()`, which stops the webhook receivers.
export async function seed(gateway) {
  const secrets = await seedSecrets(gateway);
  const endpoints = await seedEndpoints(gateway, secrets);
  const groups = await seedGroups(gateway);
  const keys = await seedKeys(gateway, groups);
  await seedOperators(gateway);
  const receivers = [await Receiver.start(200), await Receiver.start(400)];
  const webhooks = await seedWebhooks(gateway, receivers);
  await seedEvents(gateway, keys);
  await eventually("dead letters", async () => {
    const { items } = await gateway.admin("GET", `/v1/gateway/webhooks/${webhooks.failing.id}/dead_letters`);
    return items.length > 0;
  });
  const stop = () => Promise.all(receivers.map((receiver) => receiver.stop()));
  return { secrets, endpoints, groups, keys, webhooks, receivers, stop };
}

async function seedSecrets(gateway) {
  const made = {};
  for (const [name, value] of [["openai-production", "sk-not-a-real-key-1"], ["vllm-rack-2", "not-a-real-token-2"]]) {
    made[name] = await gateway.admin("POST", "/v1/secrets", { name, value });
  }
  return made;
}

async function seedEndpoints(gateway, secrets) {
  const demo = { provider: "DEMO" };
  const openai = { provider: "OPENAI", base_url: DEAD_URL, target_model: "gpt-5", secret_id: secrets["openai-production"].id };
  const vllm = { provider: "OPENAI_COMPATIBLE", base_url: DEAD_URL, target_model: "coder-30b", secret_id: secrets["vllm-rack-2"].id };
  const pricing = { currency: "EUR", input: "1.50", output: "6", cached: "0.15" };
  const make = (slug, targets, more = {}) => gateway.admin("POST", "/v1/gateway/endpoints", { slug, targets, ...more });
  return {
    chat: await make(CHAT, [demo], { pricing }),
    embed: await make(EMBED, [demo], { pricing: { currency: "EUR", input: "0.02", output: "0", cached: "0" } }),
    // Its first target fails, so the second one answers.
    coder: await make(CODER, [vllm, demo], { region: "EU" }),
    down: await make(DOWN, [openai, vllm]),
  };
}

const model = (slug, rate_limits = [], usage_limits = []) => ({ slug, rate_limits, usage_limits });
const requests = (unit, threshold) => ({ type: "REQUEST", unit, threshold });
const tokens = (unit, threshold) => ({ type: "TOKEN", unit, threshold });
const budget = (unit, amount) => ({ unit, currency: "EUR", amount });

async function seedGroups(gateway) {
  const make = (external_entity_id, name, models, hierarchy = {}, budgets = []) =>
    gateway.admin("POST", "/v1/gateway/groups", { metadata: { external_entity_id, name }, models, hierarchy, budgets });
  const below = (parent) => ({ parent_group_id: parent.id });

  const acme = await make(
    "cust_acme",
    "Acme Corp",
    [
      model(CHAT, [requests("MINUTE", 600), tokens("MINUTE", 200_000)], [tokens("DAY", 20_000)]),
      model(EMBED, [], [requests("DAY", 5_000)]),
    ],
    { limit_enforcement: "CASCADING" },
    [budget("MONTH", "500.00"), budget("TOTAL", "2500.00")],
  );
  const production = await make("cust_acme_prod", "Acme production", [model(CHAT, [], [tokens("DAY", 10_000)])], below(acme));
  const shop = await make("cust_acme_shop", "Shop assistant", [model(CHAT, [], [tokens("DAY", 1_000), requests("WEEK", 50)]), model(EMBED)], below(production),
    [budget("MONTH", "0.01")]);
  const support = await make("cust_acme_support", "Support desk", [model(CHAT, [requests("MINUTE", 60), requests("CONCURRENT", 8)])], below(production));
  const staging = await make("cust_acme_staging", "Acme staging", [model(CHAT, [], [requests("DAY", 100)])], below(acme));

  const globex = await make("cust_globex", "Globex", [
    model(CODER, [requests("SECOND", 50)], [tokens("DAY", 50_000)]),
    model(DOWN),
  ]);
  const research = await make("cust_globex_research", "Research", [model(CODER, [], [requests("DAY", 40)])], below(globex));
  const nightly = await make("cust_globex_nightly", "Nightly jobs", [model(CODER, [], [requests("DAY", 5)])], below(research));

  const initech = await make("cust_initech", "Initech (left us)", [model(CHAT)]);
  await gateway.admin("PATCH", `/v1/gateway/groups/${initech.id}`, { disabled: true });
  const nameless = await make("cust_7f3a9c", undefined, [model(CHAT), model(CODER)]);
  return { acme, production, shop, support, staging, globex, research, nightly, initech, nameless };
}

async function seedKeys(gateway, groups) {
  const mint = async (group, body) => (await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, body)).api_key;
  const keys = {
    acme: await mint(groups.acme, { name: "Head office" }),
    shop: await mint(groups.shop, { name: "Shop, web" }),
    support: await mint(groups.support, { name: "Support desk" }),
    staging: await mint(groups.staging, { name: "CI", expires_at: "2099-12-31T23:00:00Z" }),
    globex: await mint(groups.globex, { name: "Globex" }),
    research: await mint(groups.research, { name: "Notebooks" }),
    nightly: await mint(groups.nightly, { name: "cron" }),
    nameless: await mint(groups.nameless, {}),
  };
  const old = await mint(groups.shop, { name: "Shop, old" });
  await gateway.admin("PATCH", `/v1/gateway/groups/${groups.shop.id}/api_keys/${old.split(".")[0]}`, { disabled: true });
  await register(gateway, groups.shop, { key: "shop-LEGACY-9vQ2xL7bN4mK8rT1pW6zC3", name: "From the old gateway" });
  return keys;
}

// Registers a customer's own key, signed as the operator's own systems would sign it.
export async function register(gateway, group, fields) {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const public_key = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
  await gateway.admin("PUT", "/v1/gateway/signing_key", { public_key });
  const signature = sign(null, JSON.stringify(fields), privateKey).toString("base64");
  await gateway.admin("POST", `/v1/gateway/groups/${group.id}/api_keys/register`, fields, { "x-tollgate-signature": signature });
}

async function seedOperators(gateway) {
  await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_ALL", name: "Terraform" });
  await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_MANAGE_API_KEYS", name: "Help desk" });
  await gateway.admin("POST", "/v1/api_keys", { type: "WORKSPACE_EXPORT_METRICS", name: "Grafana" });
}

async function seedWebhooks(gateway, [well, failing]) {
  const make = (url, description, enabled = true) =>
    gateway.admin("POST", "/v1/gateway/webhooks", { url, description, enabled });
  return {
    well: await make(well.url, "Billing"),
    failing: await make(failing.url, "CRM, its test system"),
    paused: await make("https://billing.example/usage", "The next billing system", false),
  };
}

async function seedEvents(gateway, keys) {
  const ask = (key, slug, words, more = {}) => chat(gateway, key, slug, words, more);
  // One after another: each request is settled before the next, so that what is left today is always the same.
  for (let i = 0; i < 12; i++) await ask(keys.support, CHAT, 40 + (i % 5) * 60, { max_tokens: 60 });
  for (let i = 0; i < 6; i++) await ask(keys.shop, CHAT, 100, { max_tokens: 50 });
  for (let i = 0; i < 8; i++) await ask(keys.acme, CHAT, 500, { max_tokens: 400, metadata: { ticket: `T-${1000 + i}` } });
  for (let i = 0; i < 4; i++) await ask(keys.staging, CHAT, 12);
  for (let i = 0; i < 9; i++) await ask(keys.research, CODER, 200, { max_tokens: 120 });
  for (let i = 0; i < 6; i++) await ask(keys.nameless, i % 2 ? CHAT : CODER, 30);
  await Promise.all([keys.support, keys.globex, keys.nameless].map((key) => ask(key, key === keys.globex ? CODER : CHAT, 25, { stream: true })));
  // The nightly jobs exceed their daily limit by two requests; the shop's requests do not fit in what it has left.
  for (let i = 0; i < 7; i++) await ask(keys.nightly, CODER, 20);
  for (let i = 0; i < 3; i++) await ask(keys.shop, CHAT, 1_500);
  for (let i = 0; i < 2; i++) await ask(keys.globex, DOWN, 10);
}

// Sends a customer's request and reads the answer to its end, whatever its status.
export async function chat(gateway, key, slug, words, more = {}) {
  const content = Array.from({ length: words }, (_, i) => ["please", "count", "me"][i % 3]).join(" ");
  const answer = await fetch(`${gateway.baseURL}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: slug, messages: [{ role: "user", content }], ...more }),
  });
  await answer.text();
  return answer;
}

// Polls until `holds` returns true, for at most 20 s.
export async function eventually(what, holds) {
  const limit = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > limit) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
