// Finds the billing event of a call.

import { api } from "../api.js";
import { h } from "../dom.js";
import { link } from "../router.js";

/** @import { BillingEvent } from "../api_types.js" */
/** @import { OutcomePanel } from "./outcome.js" */
/** @import { Outcome } from "./try_call.js" */

/** Pauses between the attempts. An event is readable when its answer ends; a stopped call's event a little later. */
const WAITS_MS = [0, 150, 300, 600, 1000, 2000, 3000, 5000];

/**
 * Looks for the event, and shows it or says why there is none.
 *
 * @param {{outcome: OutcomePanel, ended: Outcome, group: string, signal: AbortSignal, isOver: () => boolean}} call
 *   `isOver` says whether the result is no longer wanted
 */
export async function showMadeEvent({ outcome, ended, group, signal, isOver }) {
  const { head } = ended;
  const requestId = head?.headers.get("x-request-id");
  if (!head || !requestId) return outcome.tell("The call ended before an answer began, so its request id is unknown.");
  if (head.status >= 400) return outcome.tell("None: refused and failed requests are not billed.");
  outcome.tell("Looking for the event…");
  const made = await madeEvent({ requestId, group, date: head.headers.get("date"), signal }).catch(() => null);
  if (isOver()) return;
  if (made) outcome.event(made, ended);
  else {
    const all = link("/events", { api_keys: "playground" });
    outcome.tell(["The event was not found. ", h("a", { href: all }, "All events of the playground")]);
  }
}

/**
 * @param {{requestId: string, group: string, date: string | null, signal: AbortSignal}} call `date` is the answer's,
 *   by the gateway's clock
 * @returns {Promise<BillingEvent | null>}
 */
async function madeEvent({ requestId, group, date, signal }) {
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
