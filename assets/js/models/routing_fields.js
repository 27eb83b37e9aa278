// The fields of an endpoint that say which server gets a request, and how long it may wait for one.

import { h, update } from "../dom.js";
import { choice, field, numberInput } from "../ui/form.js";
import { queueLine } from "./health.js";
import { wholeNumber } from "./whole_number.js";

/** @import { Endpoint, Queue, Routing } from "../api_types.js" */

/** @type {Record<Routing, {words: string, text: string}>} */
export const ROUTINGS = {
  PRIORITY: { words: "In order", text: "The first server that works. The others are its backups." },
  SPREAD: {
    words: "Spread over all",
    text: "The server with the fewest running requests for its weight. A session stays on its server, " +
      "so that the prompt cache stays warm.",
  },
};

/**
 * @param {Endpoint | null} endpoint null for a new one
 * @param {(isSpread: boolean) => void} changed
 */
export function routingFields(endpoint, changed) {
  let routing = endpoint?.routing ?? "PRIORITY";
  const queueTime = numberInput({ value: String(endpoint?.queue_timeout_s ?? 0), placeholder: "0" });
  const queue = h("div", { class: "stack-tight" });
  return {
    element: h("div", { class: "card stack" }, h("div", { class: "columns" },
      choice({
        legend: "Requests go to", name: "routing", value: routing,
        options: Object.entries(ROUTINGS).map(([value, { words, text }]) => ({
          value, label: [words, " ", h("code", null, value)], text,
        })),
        onchange: (value) => {
          routing = /** @type {Routing} */ (value);
          changed(routing === "SPREAD");
        },
      }),
      field({
        label: "Queue time", name: "queue_timeout_s", input: queueTime, unit: "seconds",
        hint: "The longest time that a request waits while all servers are at their capacity. " +
          "Without a capacity no request waits.",
      })), queue),
    /** Shows the queue. @param {Queue | undefined} now undefined if no server has a capacity */
    queue: (now) => update(queue, now && queueLine(now)),
    body: () => ({
      routing,
      queue_timeout_s: wholeNumber(queueTime.value, { name: "queue_timeout_s", least: 0, most: 600 }) ?? 0,
    }),
  };
}
