// The check of an endpoint's servers. It remembers the last body that passed, so that saving does not repeat it.

import { api } from "../api.js";
import { failedTargets } from "./check_view.js";
import { checkedParts, isStored, needsCheck } from "./endpoint_body.js";

/** @import { Endpoint } from "../api_types.js" */
/** @import { EndpointBody } from "./endpoint_body.js" */
/** @import { EndpointFields } from "./endpoint_fields.js" */

/**
 * @param {EndpointFields} fields the body to check, and where its results are shown
 * @param {AbortSignal} signal
 */
export function serverCheck({ body: typed, targets }, signal) {
  let passed = "";
  /**
   * Checks the servers. True if one works, and none has a problem apart from those that are stored already.
   *
   * @param {Endpoint | null} [stored]
   * @returns {Promise<boolean>}
   */
  const run = async (stored = null) => {
    const body = typed();
    targets.checking();
    try {
      const checked = await api.endpoints.check(body);
      if (signal.aborted) return false;
      // The form was edited during the check: check again.
      if (checkedParts(typed()) !== checkedParts(body)) return run(stored);
      targets.found(checked);
      const failed = failedTargets(checked);
      const isGood = failed.length < checked.targets.length && failed.every((index) => isStored(body, index, stored));
      passed = isGood ? checkedParts(body) : "";
      return isGood;
    } catch (error) {
      targets.found({ targets: [] });
      throw error;
    }
  };
  return {
    run,
    /** Whether a body must be checked before it is stored. @param {EndpointBody} body @param {Endpoint | null} stored */
    isNeeded: (body, stored) => needsCheck(body, stored) && passed !== checkedParts(body),
  };
}
