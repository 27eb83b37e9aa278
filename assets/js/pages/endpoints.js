// All endpoints, with the health of their servers.

import { api } from "../api.js";
import { h, update } from "../dom.js";
import { int } from "../format.js";
import { watch } from "../live.js";
import { attempts, healthReason, healthTimes, load, queueLine, toneOf } from "../models/health.js";
import { priceText } from "../models/prices.js";
import { targetPlace } from "../models/providers.js";
import { ROUTINGS } from "../models/routing_fields.js";
import { state } from "../ui/badge.js";
import { linkButton } from "../ui/button.js";
import { empty, page } from "../ui/page.js";
import { pagedTable } from "../ui/table.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

/** @param {Context} context */
export default async function endpointsPage({ signal }) {
  const [status, tree] = await Promise.all([api.status(), api.groups.tree({ limit: 1000 })]);
  /** @type {Pick<T.Status, "upstreams" | "queues">} */
  let { upstreams, queues } = status;
  /** The place of each endpoint's servers. @type {Map<T.Endpoint, HTMLElement>} */
  const shown = new Map();

  const draw = (/** @type {T.Endpoint} */ endpoint, /** @type {HTMLElement} */ place) => {
    const { id, routing, targets } = endpoint;
    const all = upstreams.filter(({ endpoint_id: of }) => of === id);
    const queue = queues.find(({ endpoint_id: of, waiting }) => of === id && waiting > 0);
    update(place,
      targets.length > 1 && h("p", { class: "hint" }, ROUTINGS[routing].words),
      h("ol", { class: "target-lines" }, targets.map((target, at) =>
        targetLine(target, all.find(({ index }) => index === at)))),
      queue && queueLine(queue));
  };
  watch({
    event: (event) => {
      ({ upstreams, queues } = event.status);
      for (const [endpoint, place] of shown) draw(endpoint, place);
    },
  }, signal);

  // The groups are counted only if one page holds them all: more requests are not worth the figure.
  /** @type {T.TreeGroup[] | null} */
  const groups = tree.pagination.has_more ? null : tree.items;
  const list = await pagedTable({
    caption: "Endpoints",
    list: api.endpoints.list,
    columns: [
      {
        label: "Slug", kind: "main",
        cell: ({ id, slug }) => h("a", { class: "slug", href: `#/endpoints/${encodeURIComponent(id)}` }, slug),
      },
      {
        label: "Servers",
        cell: (endpoint) => {
          const place = h("div", { class: "stack-tight" });
          shown.set(endpoint, place);
          draw(endpoint, place);
          return place;
        },
      },
      {
        label: "Price per million, in / out", kind: "number",
        cell: ({ pricing }) => pricing ? priceText(pricing) : h("span", { class: "faint" }, "not priced"),
      },
      ...(groups ? [{
        label: "Groups", kind: /** @type {const} */ ("number"),
        cell: (/** @type {T.Endpoint} */ { slug }) => int(groups.filter(({ models }) => models.includes(slug)).length),
      }] : []),
    ],
    empty: empty({
      heading: "No endpoints yet",
      text: ["An endpoint is a name under which customers call a model, such as acme/chat, and the servers that run it: ",
        "your own vLLM, Ollama or llama.cpp, or OpenAI."],
      actions: linkButton({ label: "New endpoint", icon: "plus", kind: "primary", href: "#/endpoints/new" }),
    }),
  });

  return page({
    heading: "Endpoints",
    lead: "The models that customers may call, and the servers that run them.",
    actions: shown.size > 0 &&
      linkButton({ label: "New endpoint", icon: "plus", kind: "primary", href: "#/endpoints/new" }),
  }, h("div", { class: "endpoints" }, list));
}

/** @param {T.Target} target @param {T.Upstream | undefined} upstream */
function targetLine(target, upstream) {
  const [tone, words] = toneOf(upstream);
  const isWell = upstream?.state === "ok";
  const isUsed = upstream && upstream.state !== "unused";
  return h("li", { title: healthReason(upstream) },
    state(tone, h("span", { class: "target-place" }, targetPlace(target))),
    h("span", { class: isWell ? "visually-hidden" : "hint" }, words, isUsed && !isWell && [": ", healthTimes(upstream)]),
    isUsed && h("span", { class: "target-health hint" }, load(upstream), h("span", null, attempts(upstream))));
}
