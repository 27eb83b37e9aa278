// A program that an operator could write with openapi-fetch. Every path, parameter, body and answer is checked against
// the types that openapi-typescript makes from /v1/spec; admin.test.mjs writes them before it compiles this file.

import createClient from "openapi-fetch";

/** @typedef {import("../../.cache/generated/admin").paths} paths */
/** @typedef {import("../../.cache/generated/admin").components["schemas"]} Schemas */

const EPOCH = "2000-01-01T00:00:00Z";

/** @type {typeof createClient<paths, "application/json">} Answers are JSON unless `parseAs` says otherwise. */
const connect = createClient;

/**
 * Returns the data of an answer. Throws if the call failed.
 *
 * @template T
 * @param {{ data?: T, error?: unknown, response: Response }} answer
 * @returns {T}
 */
function good({ data, error, response }) {
  if (data === undefined) throw new Error(`${response.url}: ${response.status} ${JSON.stringify(error)}`);
  return data;
}

/**
 * Creates an endpoint for the model at `upstream` and one that cannot be reached, calls both and reads the results.
 *
 * @param {string} baseUrl
 * @param {string} key
 * @param {string} upstream
 */
export async function operate(baseUrl, key, upstream) {
  const api = connect({ baseUrl, headers: { authorization: `Bearer ${key}` } });
  /** @type {(slug: string, base_url: string, pricing: Schemas["NewPricing"] | null) => Promise<Schemas["Endpoint"]>} */
  const serve = async (slug, base_url, pricing) => {
    const targets = [{ provider: /** @type {const} */ ("OPENAI_COMPATIBLE"), base_url, target_model: "mock-model" }];
    return good(await api.POST("/v1/gateway/endpoints", { body: { slug, targets, pricing } }));
  };
  const long = { above: 100_000, input: "5", output: "20" };
  const priced = await serve("typed/good", upstream, { currency: "EUR", input: "2.5", output: "10", cache_write: "3", long });
  // The port of the discard service, where nothing listens.
  const bad = await serve("typed/bad", "http://127.0.0.1:9/v1", null);
  const checked = good(await api.POST("/v1/gateway/endpoints/check", { body: { slug: "typed/new", targets: [{ provider: "DEMO" }] } }));
  /** @type {("reachable" | "model" | "stream" | "usage")[]} */
  const checks = checked.targets.flatMap((target) => target.checks.map((check) => check.name));

  const group = good(
    await api.POST("/v1/gateway/groups", {
      body: {
        metadata: { external_entity_id: "typed", name: null },
        models: [
          {
            slug: "typed/good",
            rate_limits: [{ type: "REQUEST", unit: "CONCURRENT", threshold: 5 }],
            usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 50 }],
          },
          { slug: "typed/bad" },
        ],
        budgets: [{ unit: "MONTH", currency: "EUR", amount: "500.00" }],
      },
    }),
  );
  const path = { group_id: group.id };
  const minted = good(await api.POST("/v1/gateway/groups/{group_id}/api_keys", { params: { path }, body: { name: "laptop" } }));
  const prefix = { path: { ...path, api_key_prefix: minted.prefix } };
  const rotated = good(await api.POST("/v1/gateway/groups/{group_id}/api_keys/{api_key_prefix}/rotate", { params: prefix, body: { grace_s: 0 } }));
  const updated = good(await api.PATCH("/v1/gateway/groups/{group_id}/api_keys/{api_key_prefix}", { params: prefix, body: { name: null } }));

  /** @type {(model: string, stream: boolean) => Schemas["Try"]} */
  const chat = (model, stream) => ({ route: "/v1/chat/completions", body: { model, stream, messages: [{ role: "user", content: "hello" }] } });
  const tried = good(await api.POST("/v1/gateway/groups/{group_id}/try", { params: { path }, body: chat("typed/good", false) }));
  const streamed = await api.POST("/v1/gateway/groups/{group_id}/try", { params: { path }, body: chat("typed/good", true), parseAs: "text" });
  const failed = await api.POST("/v1/gateway/groups/{group_id}/try", { params: { path }, body: chat("typed/bad", false) });

  const status = good(await api.GET("/v1/gateway/status"));
  /** @type {"ok" | "failing" | "out" | "probing" | "unused" | undefined} */
  const state = status.upstreams.find((one) => one.endpoint_id === bad.id)?.state;
  const live = await api.GET("/v1/gateway/live", { parseAs: "stream" });
  const events = good(await api.GET("/v1/gateway/events", { params: { query: { start_time: EPOCH, order: "desc", limit: 10 } } }));
  const query = { start_time: EPOCH, group_by: "group" };
  const report = good(await api.GET("/v1/gateway/usage_report", { params: { query } }));
  const csv = await api.GET("/v1/gateway/usage_report", { params: { query: { ...query, format: "csv" } }, parseAs: "text" });
  const usage = good(await api.GET("/v1/gateway/groups/{group_id}/usage", { params: { path } }));
  const limits = good(await api.GET("/v1/gateway/groups/{group_id}/limits", { params: { path, query: { slug: "typed/good", tokens: 1 } } }));
  // `kind` says whether the figures are numbers or decimal strings.
  const thresholds = limits.limits.map((one) => (one.kind === "budget" ? `${one.threshold} ${one.currency}` : one.threshold + 0));
  const tree = good(await api.GET("/v1/gateway/group_tree"));
  const audit = good(await api.GET("/v1/audit_logs", { params: { query: { event_type: "group.created" } } }));
  const backup = await api.POST("/v1/gateway/backup", { parseAs: "arrayBuffer" });
  const unknown = await api.GET("/v1/gateway/groups/{group_id}", { params: { path: { group_id: "nothing" } } });
  /** @type {string | undefined} */
  const code = unknown.error?.code;

  return {
    checks,
    cacheWrite: priced.pricing?.cache_write,
    above: priced.pricing?.long?.above,
    name: updated.name,
    replacement: rotated.name,
    replaced: rotated.replaces === minted.prefix && updated.expires_at === rotated.old_expires_at,
    tried,
    streamed: good(streamed),
    failed: failed.response.status,
    state,
    live: await firstEvent(good(live)),
    slugs: events.items.map((event) => event.modelSlug),
    requests: report.items.map((row) => row.requests),
    csv: good(csv).split("\n")[0],
    used: usage.usage["typed/good"]?.map((limit) => limit.current_usage),
    spent: usage.budgets.map((budget) => budget.spent),
    thresholds,
    today: tree.items[0]?.today?.used,
    budget: tree.items[0]?.budget?.left,
    actor: audit.items[0]?.actor.type,
    backup: new TextDecoder().decode(good(backup)).split("\0")[0],
    code,
  };
}

/** @param {ReadableStream<Uint8Array> | null} stream */
async function firstEvent(stream) {
  const reader = stream?.getReader();
  let text = "";
  while (reader && !text.includes("\n\n")) text += new TextDecoder().decode((await reader.read()).value);
  await reader?.cancel();
  return text;
}

/** @param {ReturnType<typeof connect>} api */
export async function wrong(api) {
  // @ts-expect-error The parameter is required.
  await api.GET("/v1/gateway/usage_report", { params: { query: {} } });
  // @ts-expect-error There is no such format.
  await api.GET("/v1/gateway/usage_report", { params: { query: { start_time: EPOCH, format: "xml" } } });
  // @ts-expect-error A field is missing.
  await api.POST("/v1/secrets", { body: { name: "a" } });
  // @ts-expect-error There is no such path.
  await api.GET("/v1/gateway/nothing");
}
