// The fields of an endpoint: slug, region, routing, targets and prices.

import { fill, h } from "../dom.js";
import { plural } from "../format.js";
import { field, select, textInput } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { card, section } from "../ui/page.js";
import { carriersOf } from "./carriers.js";
import { priceFields } from "./price_fields.js";
import { routingFields } from "./routing_fields.js";
import { targetList } from "./target_list.js";

/** @import * as T from "../api_types.js" */
/** @import { EndpointBody } from "./endpoint_body.js" */

/** @typedef {ReturnType<typeof endpointFields>} EndpointFields */

/**
 * @param {{endpoint: T.Endpoint | null, slug: string, secrets: T.Secret[], targetsChanged: () => void}} options
 *   `endpoint` is null for a new one, whose first slug is `slug`
 */
export function endpointFields({ endpoint, slug: first, secrets, targetsChanged }) {
  const slug = textInput({
    value: endpoint?.slug ?? first, placeholder: "acme/chat", maxlength: 255,
    autocomplete: "off", autocapitalize: "off", spellcheck: "false",
  });
  const region = select([["UNRESTRICTED", "Unrestricted"], ["EU", "EU"]],
    { value: endpoint?.region, disabled: endpoint !== null });
  const prices = priceFields(endpoint?.pricing);
  const targets = targetList({
    targets: endpoint?.targets ?? [{ provider: "OPENAI_COMPATIBLE" }], secrets, isNew: !endpoint,
    isSpread: endpoint?.routing === "SPREAD", changed: targetsChanged,
  });
  const routing = routingFields(endpoint, targets.spread);
  const renaming = renameNotice(endpoint);
  slug.addEventListener("input", () => renaming.show(slug.value.trim()));

  return {
    targets,
    routing,
    elements: [
      card(h("div", { class: "columns" },
        h("div", { class: "stack" },
          field({
            label: "Slug", name: "slug", input: slug,
            hint: "The name that customers send as “model”, in the form org/name.",
          }), renaming.element),
        field({
          label: "Region", name: "region", input: region,
          hint: endpoint ? "It cannot be changed." : "The location of the servers. It cannot be changed later.",
        }))),
      section({
        heading: "Servers",
        lead: "The servers that run the model. If one fails, the next one gets the request.",
      }, routing.element, targets.element),
      section({
        heading: "Price",
        lead: "Prices per million tokens, for the costs in events and reports. Leave all empty for no price.",
      }, prices.element),
    ],
    /** @returns {EndpointBody} */
    body: () => ({
      slug: slug.value.trim(), region: region.value, ...routing.body(), targets: targets.body(), pricing: prices.body(),
    }),
    /** Called when the form has been saved. @param {T.Endpoint} now */
    saved(now) {
      targets.saved();
      renaming.saved(now);
    },
  };
}

/** Warns about customers who use the stored slug while another one is typed. @param {T.Endpoint | null} first */
function renameNotice(first) {
  let stored = first;
  const element = h("div", { "aria-live": "polite" });
  return {
    element,
    /** @param {string} slug */
    show(slug) {
      if (!stored) return;
      if (slug === stored.slug) return fill(element);
      if (element.childElementCount) return;
      const count = h("span");
      fill(element, notice("warn", "Customers use this name. After you save, calls to ", stored.slug,
        " fail until customers switch to the new name. ", count));
      void carriersOf(stored.slug).then((groups) =>
        fill(count, groups.length
          ? `${plural(groups.length, "group")} will switch to the new name. Usage is kept.`
          : "No group uses it."));
    },
    /** @param {T.Endpoint} now */
    saved(now) {
      stored = now;
      fill(element);
    },
  };
}
