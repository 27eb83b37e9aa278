// All webhooks, with their state.

import { all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { watch } from "../live.js";
import { state } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { empty, page } from "../ui/page.js";
import { table } from "../ui/table.js";
import { when } from "../ui/when.js";
import { newWebhook } from "../webhooks/dialogs.js";
import { hostOf, stateOf } from "../webhooks/words.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

/** @param {Context} context */
export default async function webhooks({ signal }) {
  const items = await all(api.webhooks.list);
  const create = () => button({ label: "New webhook", icon: "plus", kind: "primary", press: newWebhook });
  const cells = new Map(items.map((webhook) => [webhook.id, liveCells(webhook.delivery)]));
  watch({
    event: ({ status }) => {
      for (const { id, delivery } of status.webhooks) cells.get(id)?.show(delivery);
    },
  }, signal);

  const lead = [
    "A webhook receives billing events, alerts or both, about a second after they were made, at least once, in signed ",
    "requests. ",
    "Events can also be ",
    h("a", { href: "#/events" }, "viewed here"), " and read from ", h("code", null, "/v1/gateway/events"), ".",
  ];
  if (!items.length) {
    return page({ heading: "Webhooks" }, empty({
      heading: "No webhooks yet",
      text: lead,
      actions: create(),
    }));
  }
  return page({ heading: "Webhooks", lead, actions: create() }, table({
    caption: "Webhooks",
    columns: [
      {
        label: "Receiver", kind: "main",
        cell: ({ id, url, description }) => h("div", { class: "receiver anywhere" },
          h("a", { href: `#/webhooks/${encodeURIComponent(id)}` }, h("bdi", null, description || hostOf(url))),
          h("div", { class: "hint" }, url)),
      },
      { label: "State", cell: ({ id }) => cells.get(id)?.state },
      { label: "Oldest waiting event", kind: "wide-only", cell: ({ id }) => cells.get(id)?.waiting },
      { label: "Dead letters", kind: "number", cell: ({ id }) => cells.get(id)?.dead },
      { label: "Last error", kind: "wide-only", cell: ({ id }) => cells.get(id)?.error },
    ],
    rows: items,
  }));
}

/**
 * The cells that change over time. They are redrawn only on a change.
 *
 * @param {T.DeliveryStatus} first
 */
function liveCells(first) {
  const cells = { state: h("div"), waiting: h("div"), dead: h("div"), error: h("div", { class: "anywhere" }) };
  let drawn = "";
  const show = (/** @type {T.DeliveryStatus} */ delivery) => {
    const now = JSON.stringify(delivery);
    if (now === drawn) return;
    drawn = now;
    const { tone, word } = stateOf(delivery);
    fill(cells.state, state(tone, word));
    fill(cells.waiting, when(delivery.oldest_waiting_at, "none"));
    fill(cells.dead, delivery.dead_letters || "–");
    const error = delivery.last_error;
    fill(cells.error, error
      ? [error.message, " ", h("span", { class: "hint" }, when(error.at))]
      : h("span", { class: "faint" }, "none"));
  };
  show(first);
  return { ...cells, show };
}
