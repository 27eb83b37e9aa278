// Why requests are, or would have been, refused, in sentences. Pure.

import { figure, int, kindName, limitName, plural, seconds, windowEnd } from "../format.js";
import { budgetRule } from "./limits.js";

/** @import * as T from "../api_types.js" */
/** @import { Child } from "../dom.js" */

/** @param {number} tokens */
const request = (tokens) => (tokens > 0 ? `request of ${int(tokens)} token${tokens === 1 ? "" : "s"}` : "request");

/**
 * The answer in a sentence, and the time until a request would pass.
 *
 * @param {T.WouldPass} answer
 * @param {(id: string) => string} nameOf
 * @param {boolean} blocked whether something other than a limit refuses the request
 * @returns {{passes: boolean, sentence: string, wait: string}}
 */
export function verdict({ tokens, admitted, stopped_by, retry_after_s, limits }, nameOf, blocked) {
  if (admitted) {
    const what = request(tokens);
    const sentence = blocked ? `The limits would allow a ${what}.` : `A ${what} would pass now.`;
    return { passes: true, sentence, wait: "" };
  }
  const limit = stopped_by === null ? undefined : limits[stopped_by];
  const what = limit ? ` by the ${kindName(limit)} of ${nameOf(limit.source_group)} for ${limitName(limit)}` : "";
  const sentence = `A ${request(tokens)} would be refused${what}.`;
  return { passes: false, sentence, wait: waitOf(limit, retry_after_s) };
}

/** @param {T.Standing | undefined} limit @param {number | null} retry_after_s */
function waitOf(limit, retry_after_s) {
  if (Number(limit?.threshold) === 0) return `The ${limit && kindName(limit)} is 0, so it refuses every request.`;
  if (limit?.unit === "CONCURRENT") return "Try again when a running request has ended.";
  if (retry_after_s !== null) {
    const end = limit && isCalendar(limit) && limit.reset_at;
    return `Try again ${end ? windowEnd(end) : `in ${seconds(retry_after_s)}`}.`;
  }
  if (limit?.unit === "TOTAL") return "This budget never resets. A larger amount lets requests pass again.";
  return `It can never pass: it needs more than the whole ${limit ? kindName(limit) : "limit"}.`;
}

/** Whether a limit counts over a day, week or month, at whose end it resets. @param {{unit: string}} limit */
export const isCalendar = ({ unit }) => ["DAY", "WEEK", "MONTH"].includes(unit);

/** What a request takes from a limit; 0 if that depends on prices. @param {T.Standing} limit @param {number} tokens */
export const askedOf = ({ type }, tokens) => ({ TOKEN: tokens, REQUEST: 1, COST: 0 })[type];

/** The limits and budgets that a simulation names; the rest is counted. */
const MAX_NAMED = 3;

/**
 * Which requests of the last 7 days other limits would have refused.
 *
 * @param {T.Simulated} answer
 * @param {{id: string, models: T.Model[]}} group with the limits that were tried
 * @param {(id: string) => string} nameOf
 * @param {(at: string) => Child} timeOf
 * @returns {Child[]}
 */
export function simulation({ requests, refused, first_refused_at, stopped_by, incomplete = [] }, group, nameOf, timeOf) {
  const missing = incomplete.map(({ detail }) => ` ${detail}`);
  if (!requests) return ["There were no requests in the last 7 days.", missing];
  const what = `of ${plural(requests, "request")} of the last 7 days would have been refused`;
  if (!first_refused_at) return [`With these limits, none ${what}.`, missing];
  const stops = stopped_by.slice(0, MAX_NAMED).map((one) => `${int(one.refused)} by ${stopName(one, group, nameOf)}`);
  const others = stopped_by.slice(MAX_NAMED);
  if (others.length) stops.push(`${int(others.reduce((sum, one) => sum + one.refused, 0))} by ${plural(others.length, "other")}`);
  return [
    `With these limits, ${int(refused)} ${what}, ${refused > 1 ? "the first " : ""}on `, timeOf(first_refused_at),
    `: ${stops.join(", ")}.`, missing,
  ];
}

/**
 * `5,000 requests per day`, `200.00 EUR per month of Acme`; with the model if it is not the group's only one
 *
 * @param {T.StoppedBy} stop
 * @param {{id: string, models: T.Model[]}} group
 * @param {(id: string) => string} nameOf
 */
function stopName({ limit, budget }, { id, models }, nameOf) {
  const rule = limit ?? (budget && budgetRule(budget));
  const source = (limit ?? budget)?.source_group ?? id;
  const slug = limit && models.some((model) => model.slug !== limit.slug) && limit.slug;
  return `${rule && `${figure(rule.threshold)} ${limitName(rule)}`}${source === id ? "" : ` of ${nameOf(source)}`}`
    + (slug ? ` for ${slug}` : "");
}

/**
 * @typedef {{status: string, sentence: string, group: string, tab: "" | "keys"}} Reason `group` is the id of the group
 *   to fix; empty if an endpoint is missing
 */

/**
 * Reasons for refusals besides limits.
 *
 * @param {{group: T.Group, ancestors: T.Group[], keys: T.ApiKey[] | null, slug: string, slugs: string[] | null,
 *   now_ms: number, nameOf: (id: string) => string}} known `keys` or `slugs` is null if the operator may not read them
 * @returns {Reason[]}
 */
export function otherReasons({ group, ancestors, keys, slug, slugs, now_ms, nameOf }) {
  /** @type {Reason[]} */
  const found = [];
  for (const one of [group, ...ancestors]) {
    if (!one.disabled) continue;
    const sentence = one === group ? "The group is disabled." : `${nameOf(one.id)}, a group above it, is disabled.`;
    found.push({ status: "403 access_disabled", sentence, group: one.id, tab: "" });
  }
  const usable = keys?.filter((key) => !key.disabled && !(key.expires_at && Date.parse(key.expires_at) <= now_ms));
  if (keys && usable && !usable.length) {
    const which = keys.length === 1 ? "Its only key is" : "All its keys are";
    const sentence = keys.length === 0 ? "The group has no keys." : `${which} disabled or expired.`;
    found.push({ status: "401 invalid_api_key", sentence, group: group.id, tab: "keys" });
  }
  if (slug && slugs && !slugs.includes(slug)) {
    found.push({ status: "404 model_not_found", sentence: `No endpoint has the slug ${slug}.`, group: "", tab: "" });
  }
  return found;
}

const STEPS = 100;

/**
 * The number of tokens at a slider position; small numbers have finer steps.
 *
 * @param {number} place 0 to 100
 * @param {number} most
 */
export function tokensAt(place, most) {
  if (place <= 0) return 0;
  const exact = Math.exp((Math.log(most + 1) * Math.min(place, STEPS)) / STEPS) - 1;
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, exact))) - 1);
  return place >= STEPS ? most : Math.max(1, Math.round(exact / unit) * unit);
}

/** The slider position of a number of tokens. @param {number} tokens @param {number} most */
export const placeOf = (tokens, most) =>
  Math.min(STEPS, Math.round((STEPS * Math.log(Math.max(0, tokens) + 1)) / Math.log(most + 1)));
