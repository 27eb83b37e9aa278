// A group's ancestors and descendants, and how pages name and link groups.

import { all, api } from "../api.js";
import { groupName } from "../format.js";
import { buildTree, subtree } from "./tree.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

/**
 * The arguments of a tab of a group's page. `group()` is the current group; `update` redraws the rest of the page after
 * a change of the group.
 *
 * @typedef {{group: () => T.Group, ancestors: T.Group[], update: (group: T.Group) => void, context: Context}} Tab
 */

const MAX_PARALLEL = 6;

const MAX_NAME_LENGTH = 48;

/** The address of a group's page, or of one of its tabs. @param {string} id @param {string} [tab] */
export const groupAddress = (id, tab = "") => `#/groups/${encodeURIComponent(id)}${tab && `/${tab}`}`;

/**
 * A group's name for use in a sentence; a long one is cut.
 *
 * @param {T.Group["metadata"]} metadata
 */
export function shortName(metadata) {
  const letters = [...groupName(metadata)];
  return letters.length > MAX_NAME_LENGTH ? `${letters.slice(0, MAX_NAME_LENGTH - 1).join("")}…` : letters.join("");
}

/** A group's ancestors, nearest first. @param {T.Group} group */
export async function ancestorsOf(group) {
  /** @type {T.Group[]} */
  const path = [];
  for (let id = group.hierarchy.parent_group_id; id;) {
    const parent = await api.groups.get(id);
    path.push(parent);
    id = parent.hierarchy.parent_group_id;
  }
  return path;
}

/** A group and its descendants as nodes of the tree, the group first. @param {string} id */
export async function familyOf(id) {
  const node = buildTree(await all(api.groups.tree)).nodes.get(id);
  return node ? subtree(node) : [];
}

/** Every descendant of a group, in full. They are read by parent, a few parents at a time. @param {string} id */
export async function descendantsOf(id) {
  const parents = (await familyOf(id)).filter((node) => node.children.length > 0).map((node) => node.group.id);
  /** @type {T.Group[]} */
  const found = [];
  for (let at = 0; at < parents.length; at += MAX_PARALLEL) {
    const lists = parents.slice(at, at + MAX_PARALLEL).map((parent_group_id) => all(api.groups.list, { parent_group_id }));
    found.push(...(await Promise.all(lists)).flat());
  }
  return found;
}

/**
 * Returns a function that names the groups of a path by id.
 *
 * @param {{id: string, metadata: T.Group["metadata"]}[]} groups
 * @returns {(id: string) => string}
 */
export function namesOf(groups) {
  const names = new Map(groups.map((group) => [group.id, shortName(group.metadata)]));
  return (id) => names.get(id) ?? id;
}
