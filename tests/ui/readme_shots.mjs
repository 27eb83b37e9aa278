// Makes the README's screenshots: `node tests/ui/readme_shots.mjs`, after `tests/run ui`. They show the gateway that
// the tests seed, with fewer problems and with a simulated day of activity.

import { mkdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";
import { seed } from "./support/seed.mjs";

const DIRECTORY = resolve(import.meta.dirname, "../../packaging/screenshots");
const MAX_BYTES = 60_000;
const SAMPLES = 1440;
const MINUTE_MS = 60_000;

const cleanup = [];
try {
  const browser = await Browser.start();
  cleanup.unshift(() => browser.stop());
  const gateway = await Gateway.start();
  cleanup.unshift(() => gateway.stop());
  const seeded = await seed(gateway);
  cleanup.unshift(() => seeded.stop());
  await repair(gateway, seeded);

  const tab = await browser.tab({ after: (close) => cleanup.unshift(close) }, gateway, { colorScheme: "light" });
  await tab.page.route("**/v1/gateway/activity", (route) => route.fulfill({ json: simulatedDay() }));

  await tab.open("/");
  await take(tab.page, "overview");

  const { groups, endpoints } = seeded;
  await tab.open(`/groups/${groups.shop.id}/why`, `slug=${endpoints.chat.slug}`);
  await take(tab.page, "why-429");

  await tab.open("/playground", `group=${groups.support.id}&slug=${endpoints.chat.slug}`);
  await tab.page.getByLabel("Message").fill("What happens to a token at the gate?");
  await tab.page.getByRole("button", { name: "Send" }).click();
  await tab.main.getByText("every token passes the gate once is counted once and billed once", { exact: true }).waitFor();
  await tab.main.getByText("The whole event").waitFor();
  await tab.page.evaluate(() => {
    document.activeElement?.blur();
    scrollTo(0, 0);
  });
  await take(tab.page, "playground");
} finally {
  for (const run of cleanup) await run();
}

// Fixes all problems but one, which is enough to show what a notice looks like.
async function repair(gateway, { endpoints, webhooks }) {
  await gateway.admin("PATCH", `/v1/gateway/endpoints/${endpoints.down.id}`, { targets: [{ provider: "DEMO" }] });
  await gateway.admin("DELETE", `/v1/gateway/webhooks/${webhooks.failing.id}`);
}

// The activity of a working day, the same in each run. It always ends at 16:00, whatever the time is now.
function simulatedDay() {
  const hourAt = (minute) => (16 + 24 - (SAMPLES - minute) / 60) % 24;
  const peak = (hour, at, width) => Math.exp(-(((hour - at) / width) ** 2));
  const busy = (minute) => 0.04 + 0.7 * peak(hourAt(minute), 10, 1.7) + peak(hourAt(minute), 14, 3.6);
  const rough = (minute) => 1 + 0.12 * Math.sin(minute * 0.37) * Math.sin(minute * 0.071);
  const series = (of) => Array.from({ length: SAMPLES }, (_, minute) => Math.max(0, Math.round(of(minute))));
  return {
    step_s: MINUTE_MS / 1000,
    first_at: new Date((Math.floor(Date.now() / MINUTE_MS) - SAMPLES) * MINUTE_MS).toISOString(),
    requests: series((minute) => 55 * busy(minute) * rough(minute)),
    tokens: series((minute) => 15_000 * busy(minute) * rough(minute)),
    refused: series((minute) => 30 * Math.max(0, busy(minute) - 0.95) * rough(minute)),
    errors: series((minute) => (minute % 397 < 6 ? 2 : 0)),
  };
}

async function take(page, name) {
  await page.evaluate(() => document.fonts.ready);
  const devtools = await page.context().newCDPSession(page);
  const { data } = await devtools.send("Page.captureScreenshot", { format: "webp", quality: 80 });
  const picture = Buffer.from(data, "base64");
  if (picture.length > MAX_BYTES) throw new Error(`${name} has ${picture.length} bytes, more than ${MAX_BYTES}`);
  await mkdir(DIRECTORY, { recursive: true });
  await writeFile(resolve(DIRECTORY, `${name}.webp`), picture);
  console.log(`${name}.webp: ${picture.length} bytes`);
}
