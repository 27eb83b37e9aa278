// The state of a webhook in words.

import { plural } from "../format.js";
import { when } from "../ui/when.js";

/** @import * as T from "../api_types.js" */
/** @import { Child } from "../dom.js" */
/** @import { Tone } from "../ui/badge.js" */

/** The types of deliveries, as options of a form. @type {{value: T.WebhookType, label: string, text: string}[]} */
export const TYPES = [
  { value: "API_BILLING_USAGE", label: "Billing events", text: "Each request that is billed, up to 100 in a delivery." },
  { value: "ALERT", label: "Alerts", text: "A limit or budget that is nearly or fully used." },
];

/** @param {string} url */
export function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

/** @param {T.DeliveryStatus} delivery @returns {{tone: Tone, word: string}} */
export function stateOf({ state, deliveries, dead_letters }) {
  switch (state) {
    case "retrying": return { tone: "warn", word: "Retrying" };
    case "failing": return { tone: "bad", word: "Failing" };
    case "disabled": return { tone: "plain", word: "Disabled" };
    default:
      if (dead_letters > 0) return { tone: "warn", word: "Delivering, with dead letters" };
      return deliveries > 0 ? { tone: "ok", word: "Delivering" } : { tone: "plain", word: "Nothing sent yet" };
  }
}

/** The state in a sentence, with advice. @param {T.DeliveryStatus} delivery @returns {Child} */
export function sentenceOf(delivery) {
  const { state, deliveries, dead_letters, oldest_waiting_at, last_success_at, last_error } = delivery;
  const waiting = oldest_waiting_at && [" The oldest waiting event was billed ", when(oldest_waiting_at), "."];
  const letters = dead_letters > 0 &&
    ` ${plural(dead_letters, "delivery was", "deliveries were")} given up; redeliver below when the receiver works again.`;
  switch (state) {
    case "disabled":
      return ["This webhook is disabled. Its events wait, as long as events are kept, and are sent when it is enabled.", letters];
    case "retrying":
      return ["A delivery failed and is being retried: ", last_error?.message ?? "", ".", waiting, letters];
    case "failing":
      return ["The receiver does not accept deliveries: ", last_error?.message ?? "",
        ". Tollgate keeps the events and tries again every 30 seconds.", waiting, letters];
    default:
      if (deliveries === 0) {
        return ["Nothing has been sent since the gateway started. Send a test, or wait for the first billed request.", letters];
      }
      return ["Deliveries are succeeding. The last one was ", when(last_success_at), ".", waiting, letters];
  }
}
