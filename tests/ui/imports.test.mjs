// The modules of the UI import each other in one direction: without a browser.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { posix, resolve } from "node:path";
import { test } from "node:test";

const MODULES = resolve(import.meta.dirname, "../../assets/js");

/** Imports of code, of code that is loaded later (`import("…")`), and of types. */
const IMPORT = /\b(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;

const importsOf = (module, source) =>
  [...source.matchAll(IMPORT)].map(([, address]) => posix.join(posix.dirname(module), address));

/** A circle of imports as a path whose last module is its first one, or null. */
function circleIn(graph) {
  const done = new Set();
  const walk = (module, path) => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module];
    if (done.has(module)) return null;
    for (const next of graph.get(module)) {
      const circle = walk(next, [...path, module]);
      if (circle) return circle;
    }
    done.add(module);
    return null;
  };
  for (const module of graph.keys()) {
    const circle = walk(module, []);
    if (circle) return circle;
  }
  return null;
}

test("imports of every kind are found, and circles of them", () => {
  const source = 'import { a } from "./a.js";\nimport "../b.js";\n/** @import * as T from "./t.js" */\nconst load = () => import("./c/d.js");';
  assert.deepEqual(importsOf("pages/page.js", source), ["pages/a.js", "b.js", "pages/t.js", "pages/c/d.js"]);
  const graph = { main: ["a", "b"], a: ["c"], b: ["c"], c: ["d"], d: [] };
  assert.equal(circleIn(new Map(Object.entries(graph))), null);
  assert.deepEqual(circleIn(new Map(Object.entries({ ...graph, d: ["a"] }))), ["a", "c", "d", "a"]);
  assert.deepEqual(circleIn(new Map(Object.entries({ ...graph, d: ["d"] }))), ["d", "d"]);
});

test("no module imports itself through others", async () => {
  const modules = (await readdir(MODULES, { recursive: true })).filter((name) => name.endsWith(".js"));
  const graph = new Map(await Promise.all(modules.map(async (module) =>
    [module, importsOf(module, await readFile(resolve(MODULES, module), "utf8"))])));
  for (const [module, imported] of graph) {
    for (const other of imported) assert.ok(graph.has(other), `${module} imports ${other}, which is not there`);
  }
  assert.equal(circleIn(graph)?.join(" > ") ?? null, null);
});
