// The current session and its permissions. The server enforces them; the UI only decides what to offer.

import { api } from "./api.js";

/** @import { Session } from "./api_types.js" */

/** The permission that a page needs: `manage` everything, `keys` of customers (and reading groups), read `metrics`. */
/** @typedef {"manage" | "keys" | "metrics" | "any"} Scope */

/** @type {Session | null} */
let current = null;
let gateway = { version: "", inference_url: "" };

/** Loads the current session; null if nobody is signed in. */
export async function loadSession() {
  const answer = await api.session.get();
  current = answer.session;
  if (answer.gateway) gateway = answer.gateway;
  return current;
}

/** @returns {Session | null} */
export const session = () => current;

/** The gateway's version, and the address that customers call, without `/v1`. */
export const about = () => gateway;

/** @param {Scope} scope */
export function may(scope) {
  switch (current?.type) {
    case "WORKSPACE_MANAGE_ALL":
      return true;
    case "WORKSPACE_MANAGE_API_KEYS":
      return scope === "keys" || scope === "any";
    case "WORKSPACE_EXPORT_METRICS":
      return scope === "metrics" || scope === "any";
    default:
      return false;
  }
}

/** What each type of operator key may do, in words. */
export const ROLES = {
  WORKSPACE_MANAGE_ALL: "manage everything",
  WORKSPACE_MANAGE_API_KEYS: "manage customers' keys",
  WORKSPACE_EXPORT_METRICS: "read metrics",
};

export function forgetSession() {
  current = null;
}
