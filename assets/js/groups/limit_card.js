// One model in the limits editor: the group's own limits as rows, and the limits that it inherits.

import { h } from "../dom.js";
import { badge } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { declared } from "./limits.js";
import { ruleRows } from "./rule_rows.js";
import { modelOf } from "./typed_rules.js";

/** @import * as T from "../api_types.js" */
/** @import { Violation } from "./limits.js" */
/** @import { Place } from "./rule_rows.js" */

/** @typedef {ReturnType<typeof limitCard>} LimitCard */

/**
 * @param {{model: T.Model, known: boolean, remove: () => void, changed: () => void}} options `known`: has an endpoint
 */
export function limitCard({ model, known, remove, changed }) {
  const { slug } = model;
  const rows = ruleRows({ scope: slug, rules: declared({ models: [model], budgets: [] }, slug), changed });
  const head = h("div", { class: "limit-head" },
    h("h3", null, slug), !known && badge("bad", "no endpoint"),
    button({ label: `Remove ${slug}`, icon: "trash", kind: "quiet", small: true, iconOnly: true, press: remove }),
    h("p", { class: "field-error" }));
  return {
    slug,
    element: h("div", { class: "limit-card" }, head, rows.element),
    value: () => modelOf(slug, rows.value()),
    focus: rows.focus,
    check: rows.check,
    isWrong: rows.isWrong,
    /**
     * Shows the limits that apply.
     *
     * @param {number} index among the models that will be sent
     * @param {Place} place
     * @param {Violation[]} broken
     */
    show(index, place, broken) {
      head.dataset.field = `models[${index}].slug`;
      rows.show(`models[${index}].`, place, broken);
    },
  };
}
