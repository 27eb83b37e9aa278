// Dead letters: their events, and redelivery. The list refreshes itself without touching items that are open or have
// the focus.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { int, plural } from "../format.js";
import { link } from "../router.js";
import { badge } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { when } from "../ui/when.js";
import { redeliverAll } from "./dialogs.js";

/** @import * as T from "../api_types.js" */

const PAGE = 20;

/**
 * @param {T.Webhook} webhook
 * @param {() => Promise<unknown>} changed
 */
export async function deadLetters(webhook, changed) {
  const list = h("ul", { class: "letters" });
  const none = h("p", { class: "faint" }, "No dead letters.");
  const more = button({ label: "Show more", press: () => { limit = Math.min(1000, limit + 100); return load(); } });
  const all = button({
    label: "Redeliver all", small: true, icon: "refresh",
    press: async () => {
      if (!(await redeliverAll(latest, latest.delivery.dead_letters))) return;
      toast("The dead letters are being redelivered.");
      loaded = "";
      await changed();
    },
  });
  let limit = PAGE;
  let latest = webhook;
  let loaded = "";
  /** @type {Map<string, ReturnType<typeof letterItem>>} */
  const shown = new Map();

  const load = async () => {
    /** @type {T.Page<T.DeadLetter>} */
    const { items, pagination } = await api.webhooks.deadLetters(webhook.id, { limit });
    const there = new Set(items.map((letter) => letter.id));
    for (const [id, { element }] of shown) {
      if (there.has(id)) continue;
      // Move the focus, so that it is not lost.
      if (element.contains(document.activeElement)) (all.hidden ? list : all).focus();
      element.remove();
      shown.delete(id);
    }
    for (const letter of items) {
      const known = shown.get(letter.id);
      if (known) {
        known.show(letter);
        continue;
      }
      const made = letterItem(letter, async () => {
        await api.webhooks.redeliver(webhook.id, [letter.id]);
        toast("The dead letter is being redelivered.");
        loaded = "";
        await changed();
      });
      shown.set(letter.id, made);
      list.append(made.element);
    }
    none.hidden = items.length > 0;
    list.hidden = all.hidden = items.length === 0;
    more.hidden = !pagination.has_more;
    isQueued = items.some((letter) => letter.redelivering);
  };
  let isQueued = false;
  await load();

  return {
    element: section({
      heading: "Dead letters", actions: all,
      lead: ["Deliveries that the receiver refused, or that failed on every attempt. ",
        "Their events and alerts are kept until they are redelivered."],
    }, none, list, h("div", { class: "more" }, more)),
    /** Reloads the list only if something has changed. @param {T.Webhook} now */
    async refresh(now) {
      latest = now;
      const { dead_letters, deliveries, failed_attempts } = now.delivery;
      const is = JSON.stringify([dead_letters, deliveries, failed_attempts]);
      if (is === loaded && !isQueued) return;
      loaded = is;
      await load();
    },
  };
}

/**
 * @param {T.DeadLetter} first
 * @param {() => Promise<unknown>} redeliver
 */
function letterItem(first, redeliver) {
  const { events, alerts } = first;
  const contents = alerts.length > 0 ? plural(alerts.length, "alert") : plural(events.length, "event");
  const about = h("span", { class: "letter-about" });
  const again = button({ label: "Redeliver", small: true, press: redeliver });
  again.append(h("span", { class: "visually-hidden" }, `: ${contents} given up ${first.failed_at}`));
  const open = h("details", null, h("summary", null, contents, " given up ", when(first.failed_at)), about);
  open.addEventListener("toggle", () => {
    if (open.open && !open.querySelector(".table-frame")) {
      open.append(alerts.length > 0 ? alertList(alerts) : eventList(events));
    }
  });
  let drawn = "";
  const show = (/** @type {T.DeadLetter} */ { attempts, last_error, redelivering }) => {
    const is = JSON.stringify([attempts, last_error, redelivering]);
    if (is === drawn) return;
    drawn = is;
    fill(about, `${last_error} (${plural(attempts, "attempt")})`, " ", redelivering && badge("accent", "redelivering"));
    again.hidden = redelivering;
  };
  show(first);
  return { element: h("li", null, open, again), show };
}

/** @param {T.Alert[]} alerts */
const alertList = (alerts) => table({
  caption: "Alerts of this dead letter",
  columns: [
    { label: "Time (UTC)", kind: "nowrap", cell: (alert) => alert.created_at.slice(0, 19).replace("T", " ") },
    { label: "Group", kind: "main", cell: (alert) => h("bdi", { class: "clip" }, alert.external_entity_id) },
    { label: "Of", cell: (alert) => `${alert.model_slug ?? alert.currency} ${alert.unit}` },
    { label: "Share", kind: "number", cell: (alert) => `${alert.percent} %` },
  ],
  rows: alerts,
});

/** @param {T.BillingEvent[]} events */
const eventList = (events) => table({
  caption: "Events of this dead letter",
  columns: [
    {
      label: "Time (UTC)", kind: "nowrap",
      cell: (event) => h("a", { href: link("/events", { event: event.idempotencyKey }) },
        event.timestamp.slice(0, 19).replace("T", " ")),
    },
    { label: "Group", kind: "main", cell: (event) => h("bdi", { class: "clip" }, event.externalEntityId) },
    { label: "Model", cell: (event) => event.modelSlug },
    { label: "Tokens", kind: "number", cell: ({ tokens }) => int(tokens.inputTokens + tokens.outputTokens) },
  ],
  rows: events,
});
