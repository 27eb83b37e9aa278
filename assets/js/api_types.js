// Types of the admin API's answers, for the type checker alone: no module loads this file. A test compares them with
// `/v1/spec`.

export {};

/** @typedef {"WORKSPACE_MANAGE_ALL" | "WORKSPACE_MANAGE_API_KEYS" | "WORKSPACE_EXPORT_METRICS"} OperatorType */
/** @typedef {"INDEPENDENT" | "CASCADING"} Enforcement */
/** @typedef {"TOKEN" | "REQUEST"} LimitType */
/** @typedef {"SECOND" | "MINUTE" | "DAY" | "WEEK" | "MONTH" | "CONCURRENT"} Unit */
/** @typedef {"DAY" | "WEEK" | "MONTH" | "TOTAL"} BudgetUnit */
/** @typedef {Record<string, string | number | boolean | null | undefined | (string | undefined)[]>} Query */

/**
 * @template Item
 * @typedef {{items: Item[], pagination: {has_more: boolean, cursor: string | null}}} Page
 */
/**
 * @template Item
 * @typedef {Page<Item> & {incomplete?: Gap[]}} PageWithGaps
 */
/** @typedef {{detail: string}} Gap */

/** @typedef {{prefix: string, type: OperatorType, expires_at: string}} NewSession */
/** @typedef {NewSession & {name: string | null}} Session */
/** @typedef {{session: Session | null, gateway?: {version: string, inference_url: string}}} SessionAnswer */

/** @typedef {{type: LimitType, unit: Unit, threshold: number}} Limit */
/** @typedef {Limit & {source_group: string}} EffectiveLimit */
/** @typedef {{slug: string, rate_limits: Limit[], usage_limits: Limit[]}} Model */
/** @typedef {{slug: string, rate_limits: EffectiveLimit[], usage_limits: EffectiveLimit[]}} EffectiveModel */
/** @typedef {{unit: BudgetUnit, currency: string, amount: string}} Budget */
/** @typedef {Budget & {source_group: string}} EffectiveBudget */
/** @typedef {EffectiveBudget & {spent: string, held: string, left: string, reset_at: string | null}} BudgetUsage */
/**
 * @typedef {{id: string, metadata: {name: string | null, external_entity_id: string}, models: Model[],
 *   effective_models: EffectiveModel[], budgets: Budget[], effective_budgets: EffectiveBudget[],
 *   hierarchy: {limit_enforcement: Enforcement, parent_group_id: string | null}, created_at: string,
 *   disabled: boolean}} Group
 */
/**
 * @typedef {{id: string, parent_group_id: string | null, name: string | null, external_entity_id: string,
 *   limit_enforcement: Enforcement, disabled: boolean, models: string[], keys: number, today: Today | null,
 *   budget: BudgetUsage | null, alert_percent: number | null}} TreeGroup
 */
/** @typedef {EffectiveLimit & {slug: string, used: number, held: number, left: number}} Today */
/**
 * @typedef {EffectiveLimit & {kind: "rate" | "usage", used: number, held: number, left: number,
 *   reset_at: string | null}} LimitStanding
 */
/**
 * @typedef {{kind: "budget", type: "COST", unit: BudgetUnit, currency: string, threshold: string, used: string,
 *   held: string, left: string, reset_at: string | null, source_group: string}} BudgetStanding
 */
/** @typedef {LimitStanding | BudgetStanding} Standing */
/**
 * @typedef {{slug: string, tokens: number, admitted: boolean, retry_after_s: number | null, stopped_by: number | null,
 *   limits: Standing[]}} WouldPass
 */
/** @typedef {{models: Model[], budgets: Budget[], start_time: string}} Simulate */
/**
 * @typedef {{limit?: EffectiveLimit & {slug: string}, budget?: EffectiveBudget, refused: number}} StoppedBy has either a
 *   limit or a budget
 */
/**
 * @typedef {{requests: number, refused: number, first_refused_at: string | null, stopped_by: StoppedBy[],
 *   incomplete?: Gap[]}} Simulated
 */
/** @typedef {EffectiveLimit & {current_usage: number | null, reset_at: string | null}} LimitUsage */
/** @typedef {{customer_id: string, usage: Record<string, LimitUsage[]>, budgets: BudgetUsage[]}} GroupUsage */

/**
 * @typedef {{prefix: string, name: string | null, created_at: string, last_used_at: string | null, disabled: boolean,
 *   expires_at: string | null}} ApiKey
 */
/** @typedef {{api_key: string, prefix: string, name: string | null}} MintedKey */
/** @typedef {MintedKey & {replaces: string, old_expires_at: string}} RotatedKey */

/** @typedef {"OPENAI_COMPATIBLE" | "OPENAI" | "ANTHROPIC" | "BASETEN" | "DEMO"} Provider */
/**
 * @typedef {{provider: Provider, base_url: string | null, target_model: string | null, secret_id: string | null,
 *   model_id: string | null, environment_name: string | null, weight: number, max_concurrent: number | null}} Target
 */
/** @typedef {{above: number, input: string, output: string, cached?: string, cache_write?: string}} LongPrices */
/**
 * @typedef {{currency: string, input: string, output: string, cached: string, cache_write?: string, request?: string,
 *   image?: string, second?: string, characters?: string, long?: LongPrices}} Pricing
 */
/** @typedef {"PRIORITY" | "SPREAD"} Routing */
/**
 * @typedef {{id: string, slug: string, region: string, created_at: string, updated_at: string, targets: Target[],
 *   pricing: Pricing | null, routing: Routing, queue_timeout_s: number}} Endpoint
 */
/** @typedef {{name: "reachable" | "model" | "stream" | "usage", ok: boolean | null, detail: string}} Check */
/** @typedef {{targets: {index: number, checks: Check[]}[]}} Checked */
/** @typedef {{id: string, name: string, created_at: string}} Secret */

/** @typedef {{images?: number, seconds?: string, characters?: number}} Units */
/**
 * @typedef {{idempotencyKey: string, timestamp: string, requestId: string,
 *   requestMetadata: Record<string, unknown> | null, modelSlug: string, externalEntityId: string, apiKeyPrefix: string,
 *   tokens: {inputTokens: number, outputTokens: number, cachedInputTokens: number, cacheWriteInputTokens: number},
 *   usageSource: "upstream" | "counted", groupId: string, route: string, streamed: boolean, status: number,
 *   durationMs: number, ttftMs: number | null, queueMs: number, target: number | null, units: Units | null,
 *   cost: {currency: string, amount: string} | null}} BillingEvent
 */
/**
 * @typedef {{group_id?: string, external_entity_id?: string, model_slug?: string, api_key_prefix?: string, day?: string,
 *   hour?: string, requests: number, input_tokens: number, output_tokens: number, cached_input_tokens: number,
 *   cost: Record<string, string>}} UsageItem
 */
/** @typedef {{items: UsageItem[], incomplete?: Gap[]}} UsageReport */

/**
 * @typedef {{state: "ok" | "retrying" | "failing" | "disabled", records_behind: number,
 *   oldest_waiting_at: string | null, last_success_at: string | null,
 *   last_error: {at: string, status: number | null, message: string} | null, deliveries: number, events: number,
 *   failed_attempts: number, dead_letters: number}} DeliveryStatus
 */
/**
 * @typedef {{id: string, url: string, description: string | null, enabled: boolean, types: WebhookType[],
 *   created_at: string, updated_at: string, previous_secret_until: string | null, delivery: DeliveryStatus}} Webhook
 */
/** @typedef {Webhook & {secret: string}} WebhookWithSecret */
/** @typedef {"API_BILLING_USAGE" | "ALERT"} WebhookType */
/**
 * @typedef {{request_id: string, at: string, attempt: number, kind: "events" | "alerts" | "test" | "redelivery",
 *   events: number, status: number | null, error: string | null, duration_ms: number,
 *   outcome: "delivered" | "retrying" | "dead_letter" | "waiting" | "failed"}} Delivery
 */
/** @typedef {{ok: boolean, request_id: string, status: number | null, error: string | null, duration_ms: number}} Tested */
/**
 * @typedef {{id: string, failed_at: string, attempts: number, last_status: number | null, last_error: string,
 *   redelivering: boolean, events: BillingEvent[], alerts: Alert[]}} DeadLetter
 */
/**
 * @typedef {{id: string, created_at: string, group_id: string, external_entity_id: string, kind: "limit" | "budget",
 *   model_slug: string | null, type: LimitType | null, unit: "DAY" | "WEEK" | "MONTH" | "TOTAL",
 *   currency: string | null, threshold: number | string, used: number | string, percent: number,
 *   window_start: string, reset_at: string | null}} Alert
 */

/**
 * @typedef {{endpoint_id: string, slug: string, index: number, provider: Provider, origin: string | null,
 *   weight: number, max_concurrent: number | null, running: number,
 *   state: "ok" | "failing" | "out" | "probing" | "unused", out_since: string | null, out_until: string | null,
 *   out_reason: string | null, attempts: {answered: number, refused: number, failed: number, limited: number},
 *   failures_in_a_row: number, last_error: string | null, last_failure_at: string | null,
 *   last_success_at: string | null}} Upstream
 */
/**
 * @typedef {{endpoint_id: string, slug: string, waiting: number, queued: number, timed_out: number,
 *   wait_p50_ms: number, wait_p99_ms: number}} Queue
 */
/** @typedef {{message: string, about: {kind: string, id: string | null}}} Notice */
/**
 * @typedef {{version: string, started_at: string, uptime_s: number,
 *   journal: {first_at: string | null, last_sequence: number, pending_bytes: number, durability: string,
 *     segments: number, bytes: number, sync_p50_us: number, sync_p99_us: number, damage: Gap[],
 *     last_error: string | null},
 *   store: {applied_sequence: number | null, snapshots: {}[], bytes: number, rollup_days: number, rollup_bytes: number},
 *   disk: {free_bytes: number, total_bytes: number} | null,
 *   requests: {running: number, admitted: number, refused: number, billed: number, errors: number,
 *     target_failures: number, input_tokens: number, output_tokens: number},
 *   in_flight_at_last_stop: {known: boolean, count: number | null,
 *     requests: {request_id: string, group_id: string, model_slug: string | null, admitted_at: string}[]},
 *   upstreams: Upstream[], queues: Queue[],
 *   webhooks: {id: string, origin: string, enabled: boolean, delivery: DeliveryStatus}[],
 *   certificates: {listener: string, file: string, subject: string, issuer: string, not_before: string,
 *     not_after: string, loaded_at: string, fault: string | null}[],
 *   refused_keys: {address: string, admin: number, inference: number, first_at: string, last_at: string}[],
 *   notices: Notice[], attention: string[]}} Status
 */
/** @typedef {{requests: number, tokens: number, refused: number, errors: number}} Sums */
/** @typedef {{status: Status, now: Sums, minute: (Sums & {at: string}) | null}} LiveEvent */
/**
 * @typedef {{step_s: number, first_at: string, requests: (number | null)[], tokens: (number | null)[],
 *   refused: (number | null)[], errors: (number | null)[]}} Activity
 */

/**
 * @typedef {{prefix: string, name: string | null, type: OperatorType, created_at: string,
 *   last_used_at: string | null}} OperatorKey
 */
/**
 * @typedef {{id: string, created: string, event_type: string,
 *   actor: {type: string, api_key_prefix: string | null, api_key_name: string | null}, event_data: any}} AuditEntry
 */
/**
 * @typedef {{kind: "group" | "endpoint" | "api_key", id: string, group_id: string | null, title: string,
 *   detail: string}} Found
 */

/**
 * @template Item
 * @typedef {(query?: Query) => Promise<Page<Item>>} List
 */
/**
 * @template Item
 * @typedef {(query?: Query) => Promise<PageWithGaps<Item>>} ListWithGaps
 */

/**
 * @typedef {{
 *   session: {get(): Promise<SessionAnswer>, begin(key: string): Promise<NewSession>, end(): Promise<unknown>},
 *   status(): Promise<Status>,
 *   activity(): Promise<Activity>,
 *   search(q: string): Promise<{items: Found[], more: boolean}>,
 *   endpoints: {list: List<Endpoint>, get(id: string): Promise<Endpoint>, create(body: unknown): Promise<Endpoint>,
 *     update(id: string, body: unknown): Promise<Endpoint>, delete(id: string): Promise<unknown>,
 *     check(body: unknown): Promise<Checked>},
 *   groups: {tree: ListWithGaps<TreeGroup>, list: List<Group>, get(id: string): Promise<Group>,
 *     create(body: unknown): Promise<Group>, update(id: string, body: unknown): Promise<Group>,
 *     delete(id: string): Promise<unknown>, usage(id: string): Promise<GroupUsage>,
 *     limits(id: string, slug: string, tokens?: number): Promise<WouldPass>,
 *     simulate(id: string, body: Simulate): Promise<Simulated>},
 *   keys: {list(group: string, query?: Query): Promise<Page<ApiKey>>,
 *     mint(group: string, body: unknown): Promise<MintedKey>,
 *     register(group: string, text: string, signature: string): Promise<unknown>,
 *     update(group: string, key: string, body: unknown): Promise<ApiKey>,
 *     rotate(group: string, key: string, body: unknown): Promise<RotatedKey>,
 *     revoke(group: string, key: string): Promise<unknown>},
 *   signingKey: {get(): Promise<{public_key: string}>, put(key: string): Promise<unknown>,
 *     delete(): Promise<unknown>},
 *   events: ListWithGaps<BillingEvent>,
 *   usageReport(query: Query): Promise<UsageReport>,
 *   alerts: List<Alert>,
 *   webhooks: {list: List<Webhook>, get(id: string): Promise<Webhook>, create(body: unknown): Promise<WebhookWithSecret>,
 *     update(id: string, body: unknown): Promise<Webhook>, delete(id: string): Promise<unknown>,
 *     test(id: string): Promise<Tested>, rotateSecret(id: string): Promise<WebhookWithSecret>,
 *     deliveries(id: string): Promise<{items: Delivery[]}>,
 *     deadLetters(id: string, query?: Query): Promise<Page<DeadLetter>>,
 *     redeliver(id: string, ids?: string[]): Promise<{queued: number}>},
 *   backup(): Promise<Response>,
 *   operators: {list(): Promise<{keys: OperatorKey[]}>, create(body: unknown): Promise<{api_key: string}>,
 *     delete(prefix: string): Promise<unknown>},
 *   secrets: {list(): Promise<{secrets: Secret[]}>, put(name: string, value: string): Promise<Secret>,
 *     delete(name: string): Promise<unknown>},
 *   audit: ListWithGaps<AuditEntry>,
 * }} Api
 */
