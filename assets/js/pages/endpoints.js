// All endpoints, with the health of their servers.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { int, plural } from "../format.js";
import { watch } from "../live.js";
import { toneOf } from "../models/health.js";
import { priceText } from "../models/prices.js";
import { targetPlace } from "../models/providers.js";
import { state } from "../ui/badge.js";
import { linkButton } from "../ui/button.js";
import { empty, page } from "../ui/page.js";
import { pagedTable } from "../ui/table.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

/** @param {Context} context */
export default async function endpointsPage({ signal }) {
  const [status, tree] = await Promise.all([api.status(), api.groups.tree({ limit: 1000 })]);
  /** @type {T.Upstream[]} */
  let upstreams = status.upstreams;
  /** @type {Map<T.Endpoint, {place: HTMLElement, drawn: string}>} */
  const shown = new Map();

  const draw = (/** @type {T.Endpoint} */ endpoint) => {
    const cell = shown.get(endpoint);
    if (!cell) return;
    const all = upstreams.filter(({ endpoint_id: of }) => of === endpoint.id);
    const own = endpoint.targets.map((_, at) => all.find(({ index }) => index === at));
    const health = JSON.stringify(own.map((one) => [one?.state, one?.failures_in_a_row]));
    if (health === cell.drawn) return;
    cell.drawn = health;
    fill(cell.place, endpoint.targets.map((target, at) => targetLine(target, own[at])));
  };
  watch({
    event: (event) => {
      upstreams = event.status.upstreams;
      for (const endpoint of shown.keys()) draw(endpoint);
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
        label: "Targets, in order",
        cell: (endpoint) => {
          const place = h("ol", { class: "target-lines" });
          shown.set(endpoint, { place, drawn: "" });
          draw(endpoint);
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
  const failing = upstream?.state === "failing";
  return h("li", { title: upstream?.last_error },
    state(tone, h("span", { class: "target-place" }, targetPlace(target))),
    failing
      ? h("span", { class: "hint" }, `${plural(upstream.failures_in_a_row, "failure")} in a row`)
      : h("span", { class: upstream?.state === "ok" ? "visually-hidden" : "hint" }, words.toLowerCase()));
}
