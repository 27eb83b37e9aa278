// Tables for spreadsheets (RFC 4180). A text that a spreadsheet would take for a formula gets an apostrophe before it.

/** @import { BillingEvent } from "../api_types.js" */

/** @param {string | number | boolean | null | undefined} value */
export function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {(string | number | boolean | null | undefined)[]} values */
const line = (values) => `${values.map(cell).join(",")}\r\n`;

/** The columns that `tollgate export` writes. @type {[string, (event: BillingEvent) => string | number | boolean | null][]} */
const EVENT_COLUMNS = [
  ["idempotencyKey", (event) => event.idempotencyKey],
  ["timestamp", (event) => event.timestamp],
  ["requestId", (event) => event.requestId],
  ["requestMetadata", (event) => event.requestMetadata && JSON.stringify(event.requestMetadata)],
  ["modelSlug", (event) => event.modelSlug],
  ["externalEntityId", (event) => event.externalEntityId],
  ["apiKeyPrefix", (event) => event.apiKeyPrefix],
  ["inputTokens", (event) => event.tokens.inputTokens],
  ["outputTokens", (event) => event.tokens.outputTokens],
  ["cachedInputTokens", (event) => event.tokens.cachedInputTokens],
  ["usageSource", (event) => event.usageSource],
  ["groupId", (event) => event.groupId],
  ["route", (event) => event.route],
  ["streamed", (event) => event.streamed],
  ["status", (event) => event.status],
  ["durationMs", (event) => event.durationMs],
  ["ttftMs", (event) => event.ttftMs],
  ["costCurrency", (event) => event.cost && event.cost.currency],
  ["costAmount", (event) => event.cost && event.cost.amount],
];

export const eventHeader = () => line(EVENT_COLUMNS.map(([name]) => name));

/** @param {BillingEvent} event */
export const eventLine = (event) => line(EVENT_COLUMNS.map(([, of]) => of(event)));
