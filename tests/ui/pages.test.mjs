// Tests of every page, on a gateway with data for every page and on an empty one.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { tabTo, walk } from "./support/keyboard.mjs";
import { navigation, pages } from "./support/pages.mjs";
import { seed } from "./support/seed.mjs";
import { SIZES, THEMES, shot } from "./support/shots.mjs";

// The Web Vitals threshold of a good layout shift.
const GOOD_LAYOUT_SHIFT = 0.1;

let browser;
before(async () => (browser = await Browser.start()));
after(() => browser.stop());

describe("with customers", () => {
  let gateway, seeded;
  before(async () => {
    gateway = await Gateway.start();
    seeded = await seed(gateway);
  });
  after(async () => {
    await seeded.stop();
    await gateway.stop();
  });

  for (const { name, path, query } of pages) {
    test(`${name} is accessible and fits every width in both themes`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path(seeded), query);
      const { page } = tab;
      assert.equal(await page.locator("h1").count(), 1, "a page has one h1");
      const shifted = await tab.layoutShift();
      assert.ok(shifted < GOOD_LAYOUT_SHIFT, `the layout shifted by ${shifted} while the page loaded`);
      for (const colorScheme of THEMES) {
        await page.emulateMedia({ colorScheme });
        for (const size of SIZES) {
          await page.setViewportSize(size);
          assert.equal(await tab.overflow(), 0, `the page scrolls horizontally at ${size.width} px`);
          await shot(page, name);
        }
        await assertAccessible(tab, `${name}, ${colorScheme}`);
      }
      await page.setViewportSize(SIZES[0]);
      await assertAccessible(tab, `${name}, on a phone`);
    });
  }

  test("the sign-in page is accessible and fits every width in both themes", async (t) => {
    const tab = await browser.tab(t, gateway, { key: null });
    const { page } = tab;
    await page.goto(gateway.adminURL);
    await tab.signIn.field.waitFor();
    assert.equal(await page.locator("h1").count(), 1, "a page has one h1");
    for (const colorScheme of THEMES) {
      await page.emulateMedia({ colorScheme });
      for (const size of SIZES) {
        await page.setViewportSize(size);
        assert.equal(await tab.overflow(), 0, `the page scrolls horizontally at ${size.width} px`);
        await shot(page, "sign-in");
      }
      await assertAccessible(tab, `sign-in, ${colorScheme}`);
    }
  });

  test("every page has a unique title", async (t) => {
    const tab = await browser.tab(t, gateway);
    const titles = new Map();
    await tab.open("/");
    for (const { name, path, isTab } of pages) {
      if (isTab) continue;
      if (name !== "overview") await tab.go(path(seeded));
      const title = await tab.page.title();
      assert.match(title, /Tollgate/);
      assert.ok(!titles.has(title), `${name} and ${titles.get(title)} are both called "${title}"`);
      titles.set(title, name);
    }
  });

  for (const size of [SIZES[0], SIZES[1]]) {
    test(`every page can be reached by keyboard alone, ${size.width} px wide`, async (t) => {
      const tab = await browser.tab(t, gateway, { viewport: size });
      const { page } = tab;
      await tab.open("/");
      for (const { nav, path } of navigation) {
        const link = tab.navigation.getByRole("link", { name: nav });
        if (!(await link.isVisible())) {
          await tabTo(page, page.getByRole("button", { name: "Menu" }));
          await page.keyboard.press("Enter");
        }
        await tabTo(page, link);
        await page.keyboard.press("Enter");
        await tab.ready(path());
        // On a phone the navigation has closed again.
        const current = page.locator("#nav [aria-current='page']");
        assert.deepEqual(await current.allTextContents(), [nav], "the navigation marks the open page");
      }
    });
  }

  for (const [name, path] of [["overview", "/"], ["settings", "/settings"]]) {
    test(`live updates of ${name} do not replace elements that may have the focus`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path);
      const usable = await tab.main.locator("a, button, input, select, summary, [tabindex]").elementHandles();
      await tab.liveEvents(2);
      const lost = [];
      for (const element of usable) {
        if (!(await element.evaluate(({ isConnected }) => isConnected))) lost.push(await element.textContent());
      }
      assert.deepEqual(lost, [], "elements that were replaced");
    });
  }

  for (const { name, path, query } of pages) {
    test(`on ${name} the keyboard reaches every control, and the focus is visible`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path(seeded), query);
      const { missed, unseen } = await walk(tab.page);
      assert.deepEqual(missed, [], "controls that Tab does not reach");
      assert.deepEqual(unseen, [], "controls without a visible focus");
    });
  }
});

describe("with nothing yet", () => {
  let gateway;
  before(async () => (gateway = await Gateway.start()));
  after(() => gateway.stop());

  for (const { name, path } of navigation.filter((page) => page.empty)) {
    test(`${name} has an accessible empty state`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path());
      await tab.main.locator(".empty").first().waitFor();
      for (const colorScheme of THEMES) {
        await tab.page.emulateMedia({ colorScheme });
        await shot(tab.page, `empty-${name}`);
        await assertAccessible(tab, `${name} with nothing, ${colorScheme}`);
      }
    });
  }
});
