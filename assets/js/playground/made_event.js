// The billing event that a call made.

import { api } from "../api.js";

/** @import { BillingEvent } from "../api_types.js" */

/** It is there the moment the answer ended; a call that was stopped takes a little longer. */
const WAITS_MS = [0, 150, 300, 600, 1000, 2000, 3000, 5000];

/**
 * @param {{requestId: string, group: string, date: string | null, signal: AbortSignal}} call `date` is the answer's,
 *   by the gateway's clock
 * @returns {Promise<BillingEvent | null>}
 */
export async function madeEvent({ requestId, group, date, signal }) {
  const answered = date ? Date.parse(date) : NaN;
  const since = Number.isNaN(answered) ? Date.now() - 3_600_000 : answered - 5000;
  for (const wait of WAITS_MS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (signal.aborted) return null;
    /** @type {{items: BillingEvent[]}} */
    const { items } = await api.events({
      start_time: new Date(since).toISOString(), order: "desc", limit: 100, api_keys: "playground", group_ids: group,
    });
    const found = items.find((event) => event.requestId === requestId);
    if (found) return found;
  }
  return null;
}
