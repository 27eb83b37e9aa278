// The names of groups that a page knows only by their ids, for operators who may read groups.

import { all, api } from "../api.js";
import { h } from "../dom.js";
import { may } from "../session.js";
import { groupAddress } from "./names.js";

/** @import * as T from "../api_types.js" */

/** Up to this many groups are read one by one; for more, the whole tree is read. */
const MAX_SINGLE = 20;

/** Returns a page's names of groups, at first without any. */
export function knownNames() {
  /** @type {Map<string, {id: string, name: string | null} | null>} by external id; null for a deleted group */
  const known = new Map();
  /** @type {Promise<T.TreeGroup[]> | undefined} */
  let loading;
  /** Every group, read once; none if they may not be read. After a failure, the next call reads them. */
  const tree = () => loading ??= !may("keys") ? Promise.resolve([]) : all(api.groups.tree).then((groups) => {
    for (const { external_entity_id, id, name } of groups) known.set(external_entity_id, { id, name });
    return groups;
  }, (error) => {
    loading = undefined;
    throw error;
  });
  return {
    tree,
    /** Reads the names that are not known yet. A failure leaves them out. @param {(string | undefined)[]} externalIds */
    async learn(externalIds) {
      const unknown = [...new Set(externalIds)].filter((one) => one !== undefined).filter((one) => !known.has(one));
      if (!unknown.length || !may("keys")) return;
      if (unknown.length > MAX_SINGLE) {
        await tree().then(() => {
          for (const one of unknown) if (!known.has(one)) known.set(one, null);
        }, () => {});
      } else {
        await Promise.all(unknown.map(async (external_entity_id) => {
          /** @type {T.Page<T.Group> | null} */
          const page = await api.groups.list({ external_entity_id }).catch(() => null);
          const group = page?.items[0];
          if (page) known.set(external_entity_id, group ? { id: group.id, name: group.metadata.name } : null);
        }));
      }
    },
    /**
     * A group's name; its external id if it has none, or if the name is not known.
     *
     * @param {string} externalId
     * @param {string | undefined} id its id, since a deleted group's external id can be that of another one
     */
    nameOf(externalId, id) {
      const group = known.get(externalId);
      return (group && (!id || group.id === id) && group.name) || externalId;
    },
  };
}

/** @typedef {ReturnType<typeof knownNames>} KnownNames */

/**
 * A group in a list: its name, which links to its page, and its external id below it.
 *
 * @param {KnownNames} names
 * @param {{group_id?: string, external_entity_id?: string}} group
 */
export function groupCell(names, { group_id: id = "", external_entity_id: externalId = id }) {
  const name = h("bdi", null, names.nameOf(externalId, id));
  return [
    may("keys") && id ? h("a", { href: groupAddress(id) }, name) : name,
    name.textContent !== externalId && h("div", { class: "hint" }, h("bdi", null, externalId)),
  ];
}
