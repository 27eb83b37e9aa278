// The type of a tab of a group's page, for the type checker alone: no module loads this file.

export {};

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

/**
 * The arguments of a tab of a group's page. `group()` is the current group; `update` redraws the rest of the page after
 * a change of the group.
 *
 * @typedef {{group: () => T.Group, ancestors: T.Group[], update: (group: T.Group) => void, context: Context}} Tab
 */
