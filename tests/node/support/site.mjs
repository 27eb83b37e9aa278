// The place that a client library sends its requests to: the gateway, or aimock itself. The same tests run against both.
// Those that go straight to aimock show that it answers as the client expects, so that failures of the others are the
// gateway's.

import { strict as assert } from "node:assert";
import { after, before, beforeEach, describe } from "node:test";
import { startAimock } from "./aimock.mjs";
import { Gateway } from "../../support/gateway.mjs";

/**
 * Defines the same tests for both places. The object given to `define` has, in each test, the place's `origin` and
 * `baseURL` (with `/v1`), a `key`, the `model` to ask for, and `billed`, which asserts the routes and token counts of all
 * events of the key, in order.
 */
export function describeSites(define) {
  const mock = {};
  before(async () => (mock.running = await startAimock()));
  after(() => mock.running?.stop());

  describe("directly", () => {
    const site = { model: "mock-model", key: "any", billed: async () => {} };
    before(() => {
      site.mock = mock.running;
      site.origin = site.mock.url;
      site.baseURL = `${site.origin}/v1`;
    });
    beforeEach(() => site.mock.clearRequests());
    define(site);
  });

  describe("through the gateway", () => {
    const site = {};
    let gateway;
    before(async () => {
      site.mock = mock.running;
      gateway = await Gateway.start();
      site.baseURL = gateway.baseURL;
      site.origin = new URL(gateway.baseURL).origin;
    });
    after(() => gateway?.stop());
    beforeEach(async () => {
      site.mock.clearRequests();
      const { slug, key } = await gateway.customer(`${site.mock.url}/v1`);
      Object.assign(site, { model: slug, key });
    });
    site.billed = async (...expected) => {
      const events = await gateway.events(site.key);
      const seen = events.map(({ route, tokens }) => [route, tokens.inputTokens, tokens.outputTokens]);
      assert.deepEqual(seen, expected);
    };
    define(site);
  });
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
