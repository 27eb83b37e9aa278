// The size of the UI on the wire. The test's output has the figures.

import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { get } from "node:http";
import { relative, resolve } from "node:path";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";
import { pages } from "./support/pages.mjs";
import { seed } from "./support/seed.mjs";

const MAX_BYTES = 150_000;
const MAX_HEAD_BYTES = 1_000;
const ASSETS = resolve(import.meta.dirname, "../../assets");

let browser, gateway, seeded;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  seeded = await seed(gateway);
});
after(async () => {
  await browser.stop();
  await seeded.stop();
  await gateway.stop();
});

test("the first page loads less than 150 kB", async (t) => {
  const tab = await browser.tab(t, gateway);
  const files = await tab.countBytes();
  await tab.open("/");
  t.diagnostic(`the first page: ${describe(files)}`);
  assert.ok(total(files) < MAX_BYTES, describe(files));
  for (const { path, query } of pages.slice(1)) await tab.go(path(seeded), query);
  t.diagnostic(`every page: ${describe(files)}`);
});

test("the whole UI has less than 150 kB, compressed as it is served", async (t) => {
  const files = new Map();
  for (const path of ["/", ...(await assets())]) files.set(path, await bytesOnTheWire(path));
  t.diagnostic(`the whole UI, without response heads: ${describe(files)}`);
  assert.ok(total(files) < MAX_BYTES, describe(files));
});

test("cached files are not sent again", async (t) => {
  const tab = await browser.tab(t, gateway);
  await tab.open("/");
  const files = await tab.countBytes();
  await tab.page.reload();
  await tab.ready("/");
  t.diagnostic(`a second visit: ${describe(files)}`);
  for (const [path, bytes] of files) assert.ok(bytes < MAX_HEAD_BYTES, `${path}: ${bytes} bytes`);
});

const total = (files) => [...files.values()].reduce((sum, bytes) => sum + bytes, 0);
const describe = (files) => `${total(files)} bytes in ${files.size} files`;

async function assets() {
  const entries = await readdir(ASSETS, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => `/assets/${relative(ASSETS, resolve(entry.parentPath, entry.name))}`)
    .filter((path) => path !== "/assets/index.html");
}

// The size of a file's body, compressed as for a browser.
function bytesOnTheWire(path) {
  return new Promise((resolve, reject) => {
    get(gateway.adminURL + path, { headers: { "accept-encoding": "gzip, deflate, br, zstd" } }, (answer) => {
      let bytes = 0;
      answer.on("data", (piece) => (bytes += piece.length));
      answer.on("end", () => (answer.statusCode === 200 ? resolve(bytes) : reject(new Error(`${path}: HTTP ${answer.statusCode}`))));
    }).on("error", reject);
  });
}
