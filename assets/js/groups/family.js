// A group's ancestors and descendants, read from the API.

import { all, api } from "../api.js";
import { buildTree, subtree } from "./tree.js";

/** @import * as T from "../api_types.js" */

const MAX_PARALLEL = 6;

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
