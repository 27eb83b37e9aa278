// The groups that carry a slug.

import { all, api } from "../api.js";
import { h } from "../dom.js";
import { groupName, plural } from "../format.js";

/** @import { TreeGroup } from "../api_types.js" */

const MAX_NAMED = 8;

/** @param {string} slug */
export const carriersOf = async (slug) => (await all(api.groups.tree)).filter(({ models }) => models.includes(slug));

/** The names of the first groups, and the number of the rest. @param {TreeGroup[]} groups */
export const carrierList = (groups) =>
  h("ul", { class: "carriers" }, groups.slice(0, MAX_NAMED).map((group) => h("li", null, groupName(group))),
    groups.length > MAX_NAMED && h("li", null, `and ${plural(groups.length - MAX_NAMED, "more", "more")}`));
