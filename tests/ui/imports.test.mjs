// The imports of the UI's modules form no cycles. Runs without a browser.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { posix, resolve } from "node:path";
import { test } from "node:test";

const MODULES = resolve(import.meta.dirname, "../../assets/js");

/** Static imports, dynamic imports (`import("…")`) and imports of types, relative or from the root. */
const IMPORT = /\b(?:from|import)\s*\(?\s*["'`]((?:\.{1,2}|\/assets\/js)\/[^"'`]+)["'`]/g;

const importsOf = (module, source) => [...source.matchAll(IMPORT)].map(([, address]) =>
  address.startsWith("/") ? address.slice("/assets/js/".length) : posix.join(posix.dirname(module), address));

/**
 * All cycles: each largest set of modules that import each other, directly or through others, and each module that
 * imports itself. These are the strongly connected components of the graph (Tarjan, 1972).
 */
function cyclesIn(graph) {
  const [cycles, stack, index, low] = [[], [], new Map(), new Map()];
  const visit = (module) => {
    index.set(module, index.size);
    low.set(module, index.get(module));
    stack.push(module);
    for (const next of graph.get(module)) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(module, Math.min(low.get(module), low.get(next)));
    }
    if (low.get(module) !== index.get(module)) return;
    const members = stack.splice(stack.indexOf(module));
    if (members.length > 1 || graph.get(module).includes(module)) cycles.push(members.sort());
  };
  for (const module of graph.keys()) if (!index.has(module)) visit(module);
  return cycles;
}

test("all kinds of imports are found, and all cycles of them", () => {
  const source = `import { a } from "./a.js";\nimport "../b.js";\n/** @import * as T from "./t.js" */
const load = () => import("./c/d.js");\nexport * from './e.js';\nimport {\n  f,\n} from "/assets/js/f.js";
/** @type {import("../g.js").G} */\nimport(\n  \`./h.js\`\n);`;
  assert.deepEqual(importsOf("pages/page.js", source),
    ["pages/a.js", "b.js", "pages/t.js", "pages/c/d.js", "pages/e.js", "f.js", "g.js", "pages/h.js"]);
  const graph = { main: ["a", "b"], a: ["c"], b: ["c"], c: ["d"], d: [], e: ["main"] };
  const cyclesWith = (more) => cyclesIn(new Map(Object.entries({ ...graph, ...more })));
  assert.deepEqual(cyclesWith({}), []);
  assert.deepEqual(cyclesWith({ d: ["a"] }), [["a", "c", "d"]]);
  assert.deepEqual(cyclesWith({ d: ["a", "b"] }), [["a", "b", "c", "d"]]);
  assert.deepEqual(cyclesWith({ d: ["c"], b: ["e"] }), [["c", "d"], ["b", "e", "main"]]);
  assert.deepEqual(cyclesWith({ d: ["d"] }), [["d"]]);
});

test("no module imports itself through others", async () => {
  const modules = (await readdir(MODULES, { recursive: true })).filter((name) => name.endsWith(".js"));
  const graph = new Map(await Promise.all(modules.map(async (module) =>
    [module, importsOf(module, await readFile(resolve(MODULES, module), "utf8"))])));
  for (const [module, imported] of graph) {
    for (const other of imported) assert.ok(graph.has(other), `${module} imports ${other}, which does not exist`);
  }
  assert.deepEqual(cyclesIn(graph), []);
});
