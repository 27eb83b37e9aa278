// The groups of a filter: what is typed becomes an external id, and a group stands for its subtree.

import { groupName } from "../format.js";
import { buildTree, subtree } from "../groups/tree.js";

/** @import { TreeGroup } from "../api_types.js" */
/** @import { KnownNames } from "../groups/known_names.js" */

/**
 * The external id of the group that a text means: an external id, a name, or a part of the only name that has it.
 *
 * @param {TreeGroup[]} groups
 * @param {string} text
 */
export function externalIdOf(groups, text) {
  const wanted = text.toLowerCase();
  const is = (/** @type {(group: TreeGroup) => boolean} */ fits) => groups.filter(fits);
  const [exact] = [...is((group) => group.external_entity_id === text), ...is(({ name }) => name?.toLowerCase() === wanted)];
  const parts = is(({ name }) => Boolean(name?.toLowerCase().includes(wanted)));
  return (exact ?? (parts.length === 1 ? parts[0] : undefined))?.external_entity_id ?? text;
}

/**
 * Filters with the groups below each of `group_ids`, unless the address excludes them. Fails if those cannot be read.
 *
 * @param {Record<string, string[]>} filters
 * @param {URLSearchParams} query
 * @param {KnownNames} names
 * @returns {Promise<Record<string, string[]>>}
 */
export async function withSubtrees(filters, query, names) {
  const { group_ids = [] } = filters;
  if (!group_ids.length || query.get("only")) return filters;
  const { nodes } = buildTree(await names.tree());
  const below = group_ids.flatMap((id) => {
    const node = nodes.get(id);
    return node ? subtree(node).map(({ group }) => group.id) : [id];
  });
  return { ...filters, group_ids: [...new Set(below)] };
}

/**
 * The groups of the filters in words, such as `Acme Corp`, by their value in the address. None if they cannot be read.
 *
 * @param {KnownNames} names
 * @returns {Promise<Map<string, string>>}
 */
export const groupWords = async (names) =>
  new Map((await names.tree().catch(() => [])).flatMap((group) => [[group.id, groupName(group)], [group.external_entity_id, groupName(group)]]));
