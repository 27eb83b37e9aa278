// The tree of groups as rows, given the expanded groups and the text of the filter. Pure.

import { groupName } from "../format.js";

/** @import { TreeGroup } from "../api_types.js" */

/** @typedef {{group: TreeGroup, level: number, children: Node[], parent: Node | null, at: number, of: number}} Node */
/** @typedef {{node: Node, expanded: boolean | null, found: boolean}} Row `expanded` is null for one without children */

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/**
 * @param {TreeGroup[]} groups in any order
 * @returns {{roots: Node[], nodes: Map<string, Node>}} siblings by name
 */
export function buildTree(groups) {
  /** @type {Map<string, Node>} */
  const nodes = new Map();
  for (const group of groups) nodes.set(group.id, { group, level: 1, children: [], parent: null, at: 1, of: 1 });
  /** @type {Node[]} */
  const roots = [];
  for (const node of nodes.values()) {
    // The list may lack a parent that was created while it was read. Until the next read, the child is a root.
    node.parent = nodes.get(node.group.parent_group_id ?? "") ?? null;
    (node.parent?.children ?? roots).push(node);
  }
  place(roots, 1);
  return { roots, nodes };
}

/** @param {Node[]} siblings @param {number} level */
function place(siblings, level) {
  siblings.sort((a, b) => collator.compare(groupName(a.group), groupName(b.group)));
  siblings.forEach((node, index) => {
    Object.assign(node, { level, at: index + 1, of: siblings.length });
    place(node.children, level + 1);
  });
}

/**
 * The visible rows, from top to bottom.
 *
 * @param {Node[]} roots
 * @param {(node: Node) => boolean} isOpen
 * @param {string} [wanted] shows groups with this text in their name or ids, and their ancestors, even if collapsed
 * @returns {{rows: Row[], found: number}}
 */
export function rowsOf(roots, isOpen, wanted = "") {
  const text = wanted.trim().toLowerCase();
  /** @type {Row[]} */
  const rows = [];
  let found = 0;
  /** @param {Node} node @returns {boolean} whether it or a descendant is shown */
  const add = (node) => {
    const fits = !text || hasText(node.group, text);
    if (fits) found += 1;
    const at = rows.length;
    const expanded = node.children.length ? !text && isOpen(node) : null;
    const row = { node, expanded, found: Boolean(text) && fits };
    rows.push(row);
    let below = false;
    if (text) {
      for (const child of node.children) below = add(child) || below;
      if (below) row.expanded = true;
      if (!below && !fits) rows.length = at;
    } else if (row.expanded) {
      node.children.forEach(add);
    }
    return fits || below;
  };
  roots.forEach(add);
  return { rows, found };
}

/** @param {TreeGroup} group @param {string} text in lower case */
const hasText = (group, text) =>
  [group.name ?? "", group.external_entity_id, group.id].some((of) => of.toLowerCase().includes(text));

/** The nearest group above that is disabled. @param {Node} node @returns {TreeGroup | undefined} */
export const disabledBy = ({ parent }) => parent ? (parent.group.disabled ? parent.group : disabledBy(parent)) : undefined;

/** A group and everything below it. @param {Node} node @returns {Node[]} */
export const subtree = (node) => [node, ...node.children.flatMap(subtree)];
