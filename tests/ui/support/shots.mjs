// Screenshots for people to look at, in the sizes of a phone, a laptop and a large screen, in both themes. They are
// written to tests/.cache/screenshots, outside of git, and no test compares them.

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

const DIRECTORY = resolve(import.meta.dirname, "../../.cache/screenshots");

export const THEMES = ["light", "dark"];

export const SIZES = [
  { width: 360, height: 800 },
  { width: 1280, height: 800 },
  { width: 1920, height: 1080 },
];

// Saves the page as it is now, at its full height, as NAME-WIDTH-THEME.png.
export async function shot(page, name) {
  await mkdir(DIRECTORY, { recursive: true });
  const dark = await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches);
  const path = join(DIRECTORY, `${name}-${page.viewportSize().width}-${dark ? "dark" : "light"}.png`);
  await page.screenshot({ path, fullPage: true, animations: "disabled" });
}
