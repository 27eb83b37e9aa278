// The body of an endpoint: what a change sends, and what a check depends on. Pure.

import { samePrice } from "./prices.js";

/** @import { Endpoint, Routing } from "../api_types.js" */
/** @import { PricingBody } from "./prices.js" */
/** @import { TargetBody } from "./providers.js" */

/**
 * @typedef {{slug: string, region: string, targets: TargetBody[], pricing: PricingBody | null, routing: Routing,
 *   queue_timeout_s: number}} EndpointBody
 */

/** Targets in a form in which equal ones are equal, typed or stored. @param {TargetBody[]} targets */
const normal = (targets) => JSON.stringify(targets.map((target) =>
  Object.entries(target).filter(([, value]) => value != null).sort()));

/** The servers of targets, without their shares of the requests. @param {TargetBody[]} targets */
const servers = (targets) => normal(targets.map(({ weight: _, max_concurrent: __, ...server }) => server));

/** The parts that a check depends on, in a form in which equal ones are equal. @param {EndpointBody} body */
export const checkedParts = ({ slug, targets }) => JSON.stringify([slug, servers(targets)]);

/**
 * Whether the servers must be checked before a body is stored.
 *
 * @param {EndpointBody} body
 * @param {Endpoint | null} stored null for a new endpoint
 */
export const needsCheck = (body, stored) => !stored ||
  servers(body.targets) !== servers(stored.targets) ||
  // A target without a model name is sent the slug.
  (body.slug !== stored.slug && body.targets.some((target) => !target.target_model));

/**
 * Whether a target of a body is stored already, with the same server and model.
 *
 * @param {EndpointBody} body
 * @param {number} index
 * @param {Endpoint | null} stored
 */
export function isStored({ slug, targets }, index, stored) {
  const target = targets[index];
  if (!target || !stored || (slug !== stored.slug && !target.target_model)) return false;
  return stored.targets.some((one) => servers([one]) === servers([target]));
}

/** The fields that differ from the stored endpoint. @param {EndpointBody} body @param {Endpoint} stored */
export const patchOf = (body, stored) => ({
  ...(body.slug !== stored.slug && { slug: body.slug }),
  ...(normal(body.targets) !== normal(stored.targets) && { targets: body.targets }),
  ...(samePrice(body.pricing) !== samePrice(stored.pricing) && { pricing: body.pricing }),
  ...(body.routing !== stored.routing && { routing: body.routing }),
  ...(body.queue_timeout_s !== stored.queue_timeout_s && { queue_timeout_s: body.queue_timeout_s }),
});
