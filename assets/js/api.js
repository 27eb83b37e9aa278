// A client of the admin API. The session cookie authenticates each request; no code here sees an operator key.

/** @import * as T from "./api_types.js" */

/** A failed request. `message` is the API's sentence without the name of the field that it may begin with. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status; 0 if there was no answer
   * @param {string} code
   * @param {string} sentence as the API wrote it
   */
  constructor(status, code, sentence) {
    const [, field, rest] = /^`?([a-z_]\w*(?:\.\w+|\[\d+\])*)`?: (.+)$/s.exec(sentence) ?? [];
    super(rest ?? sentence);
    this.status = status;
    this.code = code;
    /** The field at fault, such as `models[0].slug`; empty if there is none. */
    this.field = field ?? "";
    this.sentence = sentence;
  }
}

const noAnswer = () => new ApiError(0, "no_answer", "The gateway is not responding. Is it running?");

/**
 * Loads a module of the UI on demand. A failed download becomes an `ApiError`.
 *
 * @template Part
 * @param {() => Promise<Part>} load
 */
export const loaded = (load) => load().catch((cause) => {
  // A failed download is a TypeError; an error within the module is not.
  throw cause instanceof TypeError ? noAnswer() : cause;
});

/** Called when the API answers that the session has ended. */
let signedOut = () => {};

/** @param {() => void} listener */
export function onSignedOut(listener) {
  signedOut = listener;
}

/**
 * A tagged template for paths: encodes each value.
 *
 * @param {TemplateStringsArray} parts
 * @param {...string} values
 */
function path(parts, ...values) {
  return parts.reduce((made, part, at) => made + encodeURIComponent(values[at - 1] ?? "") + part);
}

/**
 * A query string. A list repeats its parameter; empty values are left out.
 *
 * @param {T.Query} [query]
 */
export function queryString(query = {}) {
  const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  const given = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [String(name), String(value)])).toString();
  return text && `?${text}`;
}

/**
 * Sends a request and returns a successful answer. Everything else is thrown as an `ApiError`.
 *
 * @param {string} method
 * @param {string} url
 * @param {unknown} [body] a string is sent as it is, anything else as JSON
 * @param {Record<string, string>} [more] headers
 */
export async function send(method, url, body, more) {
  const headers = { "Content-Type": "application/json", "X-Tollgate-CSRF": "1", ...more };
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const own = method === "GET" ? {} : { headers, body: text };
  const answer = await fetch(url, { method, ...own }).catch(() => {
    throw noAnswer();
  });
  if (answer.ok) return answer;
  const failure = await answer.json().catch(() => ({}));
  const isSignIn = method === "POST" && url === "/v1/session";
  if (answer.status === 401 && !isSignIn) signedOut();
  const sentence = failure.error ?? `The gateway returned status ${answer.status}.`;
  throw new ApiError(answer.status, failure.code ?? "", String(sentence));
}

/**
 * @param {string} method
 * @param {string} url
 * @param {unknown} [body]
 */
async function json(method, url, body) {
  const answer = await send(method, url, body);
  return answer.json().catch(() => {
    throw new ApiError(0, "broken_answer", "The gateway's response was cut off. Try again.");
  });
}

/** @type {(url: string, query?: T.Query) => Promise<any>} */
const get = (url, query) => json("GET", url + queryString(query));

/**
 * Every item of a list, read page by page.
 *
 * @template Item
 * @param {(query: T.Query) => Promise<T.Page<Item>>} list
 * @param {T.Query} [query]
 * @returns {Promise<Item[]>}
 */
export async function all(list, query = {}) {
  const items = [];
  let cursor;
  do {
    const page = await list({ limit: 1000, ...query, cursor });
    items.push(...page.items);
    cursor = page.pagination.cursor ?? undefined;
  } while (cursor);
  return items;
}

/**
 * A page of a list. A page may be empty without being the last: then the next ones are read.
 *
 * @template {T.Page<any>} Page
 * @param {(query: T.Query) => Promise<Page>} list
 * @param {T.Query} query
 * @param {T.Query} [next] the query of the next pages, besides the cursor
 */
export async function filledPage(list, query, next = query) {
  let page = await list(query);
  while (!page.items.length && page.pagination.cursor) page = await list({ ...next, cursor: page.pagination.cursor });
  return page;
}

const GATEWAY = "/v1/gateway";

/** @satisfies {T.Api} */
export const api = {
  session: {
    get: () => get("/v1/session"),
    begin: (key) => json("POST", "/v1/session", { key }),
    end: () => json("DELETE", "/v1/session"),
  },
  status: () => get(`${GATEWAY}/status`),
  activity: () => get(`${GATEWAY}/activity`),
  search: (q) => get(`${GATEWAY}/search`, { q }),
  endpoints: {
    list: (query) => get(`${GATEWAY}/endpoints`, query),
    get: (id) => get(path`/v1/gateway/endpoints/${id}`),
    create: (body) => json("POST", `${GATEWAY}/endpoints`, body),
    update: (id, body) => json("PATCH", path`/v1/gateway/endpoints/${id}`, body),
    delete: (id) => json("DELETE", path`/v1/gateway/endpoints/${id}`),
    check: (body) => json("POST", `${GATEWAY}/endpoints/check`, body),
  },
  groups: {
    tree: (query) => get(`${GATEWAY}/group_tree`, query),
    list: (query) => get(`${GATEWAY}/groups`, query),
    get: (id) => get(path`/v1/gateway/groups/${id}`),
    create: (body) => json("POST", `${GATEWAY}/groups`, body),
    update: (id, body) => json("PATCH", path`/v1/gateway/groups/${id}`, body),
    delete: (id) => json("DELETE", path`/v1/gateway/groups/${id}`),
    usage: (id) => get(path`/v1/gateway/groups/${id}/usage`),
    limits: (id, slug, tokens) => get(path`/v1/gateway/groups/${id}/limits`, { slug, tokens }),
    simulate: (id, body) => json("POST", path`/v1/gateway/groups/${id}/simulate`, body),
  },
  keys: {
    list: (group, query) => get(path`/v1/gateway/groups/${group}/api_keys`, query),
    mint: (group, body) => json("POST", path`/v1/gateway/groups/${group}/api_keys`, body),
    register: (group, text, signature) =>
      send("POST", path`/v1/gateway/groups/${group}/api_keys/register`, text, { "X-Tollgate-Signature": signature }),
    update: (group, key, body) => json("PATCH", path`/v1/gateway/groups/${group}/api_keys/${key}`, body),
    rotate: (group, key, body) => json("POST", path`/v1/gateway/groups/${group}/api_keys/${key}/rotate`, body),
    revoke: (group, key) => json("DELETE", path`/v1/gateway/groups/${group}/api_keys/${key}`),
  },
  signingKey: {
    get: () => get(`${GATEWAY}/signing_key`),
    put: (key) => json("PUT", `${GATEWAY}/signing_key`, { public_key: key }),
    delete: () => json("DELETE", `${GATEWAY}/signing_key`),
  },
  events: (query) => get(`${GATEWAY}/events`, query),
  usageReport: (query) => get(`${GATEWAY}/usage_report`, query),
  alerts: (query) => get(`${GATEWAY}/alerts`, query),
  webhooks: {
    list: (query) => get(`${GATEWAY}/webhooks`, query),
    get: (id) => get(path`/v1/gateway/webhooks/${id}`),
    create: (body) => json("POST", `${GATEWAY}/webhooks`, body),
    update: (id, body) => json("PATCH", path`/v1/gateway/webhooks/${id}`, body),
    delete: (id) => json("DELETE", path`/v1/gateway/webhooks/${id}`),
    test: (id) => json("POST", path`/v1/gateway/webhooks/${id}/test`),
    rotateSecret: (id) => json("POST", path`/v1/gateway/webhooks/${id}/rotate_secret`),
    deliveries: (id) => get(path`/v1/gateway/webhooks/${id}/deliveries`),
    deadLetters: (id, query) => get(path`/v1/gateway/webhooks/${id}/dead_letters`, query),
    redeliver: (id, ids) => json("POST", path`/v1/gateway/webhooks/${id}/dead_letters/redeliver`, ids && { ids }),
  },
  backup: () => send("POST", `${GATEWAY}/backup`),
  operators: {
    list: () => get("/v1/api_keys"),
    create: (body) => json("POST", "/v1/api_keys", body),
    delete: (prefix) => json("DELETE", path`/v1/api_keys/${prefix}`),
  },
  secrets: {
    list: () => get("/v1/secrets"),
    put: (name, value) => json("POST", "/v1/secrets", { name, value }),
    delete: (name) => json("DELETE", path`/v1/secrets/${name}`),
  },
  audit: (query) => get("/v1/audit_logs", query),
};
