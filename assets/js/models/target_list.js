// The list of an endpoint's targets, with buttons to add, remove and reorder them.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { serverName } from "../format.js";
import { button } from "../ui/button.js";
import { MAX_TARGETS, targetValues } from "./providers.js";
import { secretDialog } from "./secret_dialog.js";
import { targetCard } from "./target_card.js";

/** @import { Checked, Secret, Upstream } from "../api_types.js" */
/** @import { TargetBody } from "./providers.js" */
/** @import { TargetCard } from "./target_card.js" */

/**
 * @param {{targets: TargetBody[], secrets: Secret[], isNew: boolean, isSpread: boolean, changed: () => void}} options
 */
export function targetList({ targets, secrets: first, isNew, isSpread: spreadAtFirst, changed }) {
  let secrets = first;
  let isSpread = spreadAtFirst;
  /** @type {TargetCard[]} */
  let cards = [];
  /** Each card's index in the stored endpoint, by which its health is found. @type {Map<TargetCard, number>} */
  const stored = new Map();

  const list = h("div", { class: "stack" });
  const status = h("p", { class: "visually-hidden", role: "status" });
  const more = button({
    label: "Add a server", icon: "plus",
    press: () => {
      add({ provider: "OPENAI_COMPATIBLE" }, true);
      changed();
      cards.at(-1)?.focus();
    },
  });
  const arrange = () => {
    cards.forEach((card, index) => card.place(index, cards.length, isSpread));
    more.hidden = cards.length >= MAX_TARGETS;
  };
  const move = (/** @type {TargetCard} */ card, /** @type {-1 | 1} */ by) => {
    const from = cards.indexOf(card);
    const other = cards[from + by];
    if (!other) return;
    [cards[from], cards[from + by]] = [other, card];
    if (by < 0) other.element.before(card.element);
    else other.element.after(card.element);
    arrange();
    changed();
    card.focusMove(by);
    fill(status, `Moved to position ${from + by + 1} of ${cards.length}.`);
  };
  const remove = (/** @type {TargetCard} */ card) => {
    const at = cards.indexOf(card);
    cards = cards.filter((one) => one !== card);
    card.element.remove();
    arrange();
    changed();
    cards[Math.min(at, cards.length - 1)]?.focus();
    fill(status, `${serverName(at)} was removed.`);
  };
  const newSecret = async (/** @type {(id: string) => void} */ chosen) => {
    const made = await secretDialog({ names: secrets.map(({ name }) => name) });
    if (!made) return;
    secrets = (await api.secrets.list()).secrets;
    for (const card of cards) card.secrets(secrets);
    chosen(made.id);
  };
  const add = (/** @type {TargetBody} */ target, /** @type {boolean} */ isFresh) => {
    const values = targetValues(target);
    const card = targetCard({ values, secrets, isNew: isFresh, changed, newSecret, move, remove });
    cards.push(card);
    list.append(card.element);
    arrange();
    return card;
  };

  targets.forEach((target, index) => {
    const card = add(target, isNew);
    if (!isNew) stored.set(card, index);
  });

  return {
    element: h("div", { class: "stack" }, list, h("div", null, more), status),
    body: () => cards.map((card) => card.body()),
    /** Called when another routing is chosen. @param {boolean} now */
    spread(now) {
      isSpread = now;
      arrange();
    },
    /** @param {Upstream[]} upstreams of this endpoint */
    health(upstreams) {
      for (const [card, at] of stored) card.health(upstreams.find(({ index }) => index === at));
    },
    checking: () => cards.forEach((card) => card.checking()),
    /** @param {Checked} checked */
    found: ({ targets: found }) =>
      cards.forEach((card, at) => card.found(found.find(({ index }) => index === at)?.checks ?? [])),
    /** Called when the form has been saved. */
    saved() {
      stored.clear();
      cards.forEach((card, index) => stored.set(card, index));
    },
  };
}
