// The names and addresses of groups on pages. Pure.

import { capital, groupName, limitName } from "../format.js";

/** @import * as T from "../api_types.js" */
/** @import { Kind } from "../format.js" */

const MAX_NAME_LENGTH = 48;

/** The address of a group's page, or of one of its tabs. @param {string} id @param {string} [tab] */
export const groupAddress = (id, tab = "") => `#/groups/${encodeURIComponent(id)}${tab && `/${tab}`}`;

/**
 * The name of a row in the limits editor: `Tokens per day for acme/chat`
 *
 * @param {Kind} rule
 * @param {string | null} slug null for a budget, which is for all models
 */
export const rowName = (rule, slug) => capital(`${limitName(rule)} for ${slug ?? "all models"}`);

/**
 * A group's name for use in a sentence; a long one is cut.
 *
 * @param {T.Group["metadata"]} metadata
 */
export function shortName(metadata) {
  const letters = [...groupName(metadata)];
  return letters.length > MAX_NAME_LENGTH ? `${letters.slice(0, MAX_NAME_LENGTH - 1).join("")}…` : letters.join("");
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
