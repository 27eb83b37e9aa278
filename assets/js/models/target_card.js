// The form of one target of an endpoint: its fields, its health, and the results of its check.

import { fill, freshId, h, update } from "../dom.js";
import { serverName } from "../format.js";
import { button } from "../ui/button.js";
import { checkLines, checkRunning } from "./check_view.js";
import { healthLines } from "./health.js";
import { PRESETS, targetBody } from "./providers.js";
import { targetFields } from "./target_fields.js";

/** @import { Check, Secret, Upstream } from "../api_types.js" */
/** @import { TargetValues } from "./providers.js" */

/** @typedef {ReturnType<typeof targetCard>} TargetCard */

/**
 * @param {{values: TargetValues, secrets: Secret[], isNew: boolean, changed: () => void,
 *   newSecret: (chosen: (id: string) => void) => Promise<void>,
 *   move: (card: TargetCard, by: -1 | 1) => void, remove: (card: TargetCard) => void}} options `isNew` offers presets
 */
export function targetCard({ values, secrets, isNew, changed, newSecret, move, remove }) {
  const heading = h("h3", { id: freshId("target") });
  const order = h("span", { class: "hint" });
  const small = /** @type {const} */ ({ kind: "quiet", small: true, iconOnly: true });
  const up = button({ ...small, label: "Move up", icon: "up-arrow", press: () => move(card, -1) });
  const down = button({ ...small, label: "Move down", icon: "down-arrow", press: () => move(card, 1) });
  const removeButton = button({ ...small, label: "Remove", icon: "trash", kind: "danger-quiet", press: () => remove(card) });

  const health = h("div", { class: "stack-tight" });
  const found = h("div", { class: "found-out", "aria-live": "polite" });
  const fields = targetFields({
    values, secrets, newSecret,
    changed: () => {
      // A change makes the results of the last check invalid.
      fill(found);
      changed();
    },
  });
  const presets = isNew && h("div", { class: "presets", role: "group", "aria-label": "Presets" },
    h("span", { class: "hint", "aria-hidden": "true" }, "Presets"),
    PRESETS.map((preset) => button({ label: preset.name, small: true, press: () => fields.apply(preset) })));
  const element = h("div", { class: "card target", role: "group", "aria-labelledby": heading.id },
    h("header", { class: "target-head" }, heading, order, h("div", { class: "target-actions" }, up, down, removeButton)),
    health, presets, fields.element, found);

  const card = {
    element,
    body: () => targetBody(fields.values(), element.dataset.field ?? ""),
    /** Sets the position. @param {number} index @param {number} count @param {boolean} isSpread */
    place(index, count, isSpread) {
      fill(heading, serverName(index));
      fill(order, count === 1 || isSpread ? "" : index === 0 ? "tried first" : "tried if those above fail");
      fields.spread(isSpread);
      up.disabled = index === 0;
      down.disabled = index === count - 1;
      removeButton.disabled = count === 1;
      element.dataset.field = `targets[${index}]`;
      fields.place(`targets[${index}]`);
    },
    secrets: fields.secrets,
    /** @param {Upstream | undefined} upstream */
    health: (upstream) => update(health, healthLines(upstream)),
    checking: () => fill(found, checkRunning()),
    /** @param {Check[]} checks */
    found: (checks) => fill(found, checks.length > 0 && checkLines(checks)),
    /** Focuses the button of a move, or the other one if that is disabled. @param {-1 | 1} by */
    focusMove(by) {
      const [wanted, other] = by < 0 ? [up, down] : [down, up];
      (wanted.disabled ? other : wanted).focus();
    },
    focus: fields.focus,
  };
  return card;
}
