// The problems that need an operator: servers that do not work, requests that wait, and the gateway's own notices.

import { h } from "../dom.js";
import { plural, serverName } from "../format.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { icon } from "../ui/icon.js";
import { healthReason, healthTimes, isDown, queueTimes } from "./health.js";

/** @import { Endpoint, Notice, Queue, Status, Upstream } from "../api_types.js" */

/**
 * A list of all problems, the worst first.
 *
 * @param {Status} status
 * @param {Endpoint[]} endpoints those that are known
 */
export function problems({ upstreams, queues, notices }, endpoints) {
  const outages = [...new Set(upstreams.filter(isDown).map(({ endpoint_id: id }) => id))].map((id) =>
    outageOf(upstreams.filter(({ endpoint_id: of }) => of === id),
      endpoints.some(({ id: of, routing }) => of === id && routing === "SPREAD")));
  const waiting = queues.filter((queue) => queue.waiting > 0);
  // An outage says all that the notices about its servers say.
  const others = notices.filter(({ about: { kind, id } }) =>
    kind !== "endpoint" || !outages.some((outage) => outage.id === id));
  const count = outages.length + waiting.length + others.length;
  if (!count) return h("p", { class: "all-well" }, icon("check"), "Nothing needs your attention.");
  return h("div", { class: "card notices" },
    h("h2", null, plural(count, "thing needs", "things need"), " your attention"),
    h("ul", null,
      outages.sort((a, b) => Number(b.isTotal) - Number(a.isTotal)).map(outageItem),
      waiting.map(queueItem),
      others.map(({ message, about }) => h("li", null, icon("warn"), h("p", null, message), pageLink(about)))));
}

/**
 * @param {Upstream[]} servers all of an endpoint, at least one of which is down
 * @param {boolean} isSpread
 */
function outageOf(servers, isSpread) {
  const isTotal = servers.every(isDown);
  const [first] = servers;
  const words = isTotal ? "Customers get errors"
    : isSpread ? "Running on fewer servers"
      : first && isDown(first) ? "Running on the backup" : "A backup does not work";
  return { id: first?.endpoint_id ?? null, slug: first?.slug ?? "", down: servers.filter(isDown), isTotal, words };
}

/** @param {ReturnType<typeof outageOf>} outage */
const outageItem = ({ id, slug, down, isTotal, words }) =>
  h("li", { class: isTotal && "bad" }, icon("warn"),
    h("div", null,
      h("p", null, h("strong", null, words), `: ${slug}`),
      // The times change all the time.
      h("ul", { "aria-live": "off" }, down.map((one) => h("li", { class: "hint" },
        h("p", null, `${serverName(one.index)}: `, healthTimes(one), ". ", healthReason(one)))))),
    pageLink({ kind: "endpoint", id }));

/** @param {Queue} queue */
const queueItem = (queue) =>
  h("li", { "aria-live": "off" }, icon("warn"),
    h("div", null,
      h("p", null, h("strong", null, plural(queue.waiting, "request waits", "requests wait")), `: ${queue.slug}`),
      h("p", { class: "hint" }, queueTimes(queue))),
    pageLink({ kind: "endpoint", id: queue.endpoint_id }));

/** A link to the page where something can be done. @param {Notice["about"]} about */
function pageLink({ kind, id }) {
  const [href, label] = kind === "endpoint" && may("manage") ? [link(`/endpoints/${id}`), "Open the endpoint"]
    : kind === "webhook" && may("manage") ? [link(`/webhooks/${id}`), "Open the webhook"]
      : kind === "group" && may("keys") ? [link(`/groups/${id}`), "Open the group"]
        : ["#/settings", "Open the status"];
  return h("a", { href }, label);
}
