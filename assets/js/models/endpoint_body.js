// The body of an endpoint: what a change sends, and what a check depends on. Pure.

import { samePrice } from "./prices.js";

/** @import { Endpoint } from "../api_types.js" */
/** @import { PricingBody } from "./prices.js" */
/** @import { TargetBody } from "./providers.js" */

/** @typedef {{slug: string, region: string, targets: TargetBody[], pricing: PricingBody | null}} EndpointBody */

/** The parts that a check depends on, in a form in which equal ones are equal. @param {EndpointBody} body */
export const checkedParts = ({ slug, targets }) => JSON.stringify([slug, targets]);

/** Targets in a form in which equal ones are equal, typed or stored. @param {TargetBody[]} targets */
const normal = (targets) => JSON.stringify(targets.map((target) =>
  Object.entries(target).filter(([, value]) => value != null).sort()));

/**
 * Whether the servers must be checked before a body is stored.
 *
 * @param {EndpointBody} body
 * @param {Endpoint | null} stored null for a new endpoint
 */
export const needsCheck = (body, stored) => !stored ||
  normal(body.targets) !== normal(stored.targets) ||
  // A target without a model name is sent the slug.
  (body.slug !== stored.slug && body.targets.some((target) => !target.target_model));

/** The fields that differ from the stored endpoint. @param {EndpointBody} body @param {Endpoint} stored */
export const patchOf = (body, stored) => ({
  ...(body.slug !== stored.slug && { slug: body.slug }),
  ...(normal(body.targets) !== normal(stored.targets) && { targets: body.targets }),
  ...(samePrice(body.pricing) !== samePrice(stored.pricing) && { pricing: body.pricing }),
});
