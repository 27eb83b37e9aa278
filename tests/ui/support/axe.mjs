// Asserts that axe-core finds no problem on a page: WCAG 2.0 to 2.2, A and AA, and its best practices.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const SOURCE = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

export async function assertAccessible(tab, what) {
  // Evaluated by the debugger, since the policy forbids a script element. Once for each document.
  if (!(await tab.page.evaluate(() => "axe" in window))) await tab.page.evaluate(SOURCE);
  // `preload` would copy our style sheets into a style element, which the policy also forbids.
  const { violations } = await tab.page.evaluate((values) => axe.run({ runOnly: { type: "tag", values }, preload: false }), TAGS);
  const findings = violations.map(({ id, impact, help, helpUrl, nodes }) => {
    const where = nodes.map(({ target, html, failureSummary }) => {
      const why = failureSummary.split("\n").slice(1).map((line) => line.trim()).join("; ");
      return `    ${target.join(" ")}\n      ${html.slice(0, 160)}\n      ${why}`;
    });
    return `  ${id} (${impact}): ${help}, ${helpUrl}\n${where.join("\n")}`;
  });
  assert.equal(findings.length, 0, `axe on ${what}:\n${findings.join("\n")}`);
}
