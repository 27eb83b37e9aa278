// The OpenAI Node SDK over TLS, with an authority of one's own.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { Certificate } from "../support/certificate.mjs";
import { Gateway } from "../support/gateway.mjs";
import { GREETING, startAimock } from "./support/aimock.mjs";

// Node reads NODE_EXTRA_CA_CERTS at its start only, so the SDK runs in a process of its own.
const SCRIPT = `
  import OpenAI from "openai";
  const [baseURL, apiKey, model] = process.argv.slice(1);
  const sdk = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const asked = { model, messages: [{ role: "user", content: "hello" }] };
  const chat = await sdk.chat.completions.create(asked);
  let streamed = "";
  for await (const chunk of await sdk.chat.completions.create({ ...asked, stream: true })) {
    streamed += chunk.choices[0]?.delta.content ?? "";
  }
  console.log(JSON.stringify([chat.choices[0].message.content, streamed]));
`;

test("a chat and a stream need only the authority's certificate", async (t) => {
  const certificate = new Certificate();
  t.after(() => certificate.remove());
  const mock = await startAimock();
  t.after(() => mock.stop());
  const gateway = await Gateway.start({ tls_cert: certificate.cert, tls_key: certificate.key });
  t.after(() => gateway.stop());
  const { slug, key } = await gateway.customer(`${mock.url}/v1`);

  const run = (env) =>
    promisify(execFile)(process.execPath, ["--input-type=module", "-e", SCRIPT, gateway.baseURL, key, slug], {
      cwd: import.meta.dirname,
      env: { ...process.env, ...env },
    });
  const { stdout } = await run({ NODE_EXTRA_CA_CERTS: certificate.cert });
  assert.deepEqual(JSON.parse(stdout), [GREETING, GREETING]);
  assert.equal((await gateway.events(key)).length, 2);
  await assert.rejects(run({ NODE_EXTRA_CA_CERTS: "" }), /certificate|APIConnectionError/);
});
