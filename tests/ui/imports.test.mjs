// The imports of the UI's modules form no cycles. Runs without a browser.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { posix, resolve } from "node:path";
import { test } from "node:test";

const MODULES = resolve(import.meta.dirname, "../../assets/js");

/** Static imports, dynamic imports (`import("…")`) and imports of types. */
const IMPORT = /\b(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;

const importsOf = (module, source) =>
  [...source.matchAll(IMPORT)].map(([, address]) => posix.join(posix.dirname(module), address));

/** A cycle of imports, as a path that begins and ends with the same module, or null. */
function cycleIn(graph) {
  const done = new Set();
  const walk = (module, path) => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module];
    if (done.has(module)) return null;
    for (const next of graph.get(module)) {
      const cycle = walk(next, [...path, module]);
      if (cycle) return cycle;
    }
    done.add(module);
    return null;
  };
  for (const module of graph.keys()) {
    const cycle = walk(module, []);
    if (cycle) return cycle;
  }
  return null;
}

test("all kinds of imports are found, and cycles of them", () => {
  const source = 'import { a } from "./a.js";\nimport "../b.js";\n/** @import * as T from "./t.js" */\nconst load = () => import("./c/d.js");';
  assert.deepEqual(importsOf("pages/page.js", source), ["pages/a.js", "b.js", "pages/t.js", "pages/c/d.js"]);
  const graph = { main: ["a", "b"], a: ["c"], b: ["c"], c: ["d"], d: [] };
  assert.equal(cycleIn(new Map(Object.entries(graph))), null);
  assert.deepEqual(cycleIn(new Map(Object.entries({ ...graph, d: ["a"] }))), ["a", "c", "d", "a"]);
  assert.deepEqual(cycleIn(new Map(Object.entries({ ...graph, d: ["d"] }))), ["d", "d"]);
});

test("no module imports itself through others", async () => {
  const modules = (await readdir(MODULES, { recursive: true })).filter((name) => name.endsWith(".js"));
  const graph = new Map(await Promise.all(modules.map(async (module) =>
    [module, importsOf(module, await readFile(resolve(MODULES, module), "utf8"))])));
  for (const [module, imported] of graph) {
    for (const other of imported) assert.ok(graph.has(other), `${module} imports ${other}, which does not exist`);
  }
  assert.equal(cycleIn(graph)?.join(" > ") ?? null, null);
});
