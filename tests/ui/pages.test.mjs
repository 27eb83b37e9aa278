// What holds for every page alike, on a gateway with something everywhere, and on one with nothing.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { tabTo, walk } from "./support/keyboard.mjs";
import { navigation, pages } from "./support/pages.mjs";
import { seed } from "./support/seed.mjs";
import { SIZES, THEMES, shot } from "./support/shots.mjs";

// The field's own measure of what still counts as good.
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
    test(`${name} is well made in both themes and at every width`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path(seeded), query);
      const { page } = tab;
      assert.equal(await page.locator("h1").count(), 1, "a page has one h1");
      const shifted = await tab.layoutShift();
      assert.ok(shifted < GOOD_LAYOUT_SHIFT, `what was there moved while the page loaded: ${shifted}`);
      for (const colorScheme of THEMES) {
        await page.emulateMedia({ colorScheme });
        for (const size of SIZES) {
          await page.setViewportSize(size);
          assert.equal(await tab.overflow(), 0, `it scrolls sideways at ${size.width} px`);
          await shot(page, name);
        }
        await assertAccessible(tab, `${name}, ${colorScheme}`);
      }
      await page.setViewportSize(SIZES[0]);
      await assertAccessible(tab, `${name}, on a telephone`);
    });
  }

  test("the sign-in page is well made in both themes and at every width", async (t) => {
    const tab = await browser.tab(t, gateway, { key: null });
    const { page } = tab;
    await page.goto(gateway.adminURL);
    await tab.signIn.field.waitFor();
    assert.equal(await page.locator("h1").count(), 1, "a page has one h1");
    for (const colorScheme of THEMES) {
      await page.emulateMedia({ colorScheme });
      for (const size of SIZES) {
        await page.setViewportSize(size);
        assert.equal(await tab.overflow(), 0, `it scrolls sideways at ${size.width} px`);
        await shot(page, "sign-in");
      }
      await assertAccessible(tab, `sign-in, ${colorScheme}`);
    }
  });

  test("every page has a title of its own", async (t) => {
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
    test(`the keyboard alone leads to every page, ${size.width} px wide`, async (t) => {
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
        // On a telephone the navigation has closed again.
        const current = page.locator("#nav [aria-current='page']");
        assert.deepEqual(await current.allTextContents(), [nav], "the navigation shows what is open");
      }
    });
  }

  for (const [name, path] of [["overview", "/"], ["settings", "/settings"]]) {
    test(`what has the focus on ${name} keeps it while the figures change`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path);
      const usable = await tab.main.locator("a, button, input, select, summary, [tabindex]").elementHandles();
      await tab.liveEvents(2);
      const lost = [];
      for (const element of usable) {
        if (!(await element.evaluate(({ isConnected }) => isConnected))) lost.push(await element.textContent());
      }
      assert.deepEqual(lost, [], "drawn anew, though it says what it said before");
    });
  }

  for (const { name, path, query } of pages) {
    test(`on ${name} the keyboard reaches everything and one sees where it is`, async (t) => {
      const tab = await browser.tab(t, gateway);
      await tab.open(path(seeded), query);
      const { missed, unseen } = await walk(tab.page);
      assert.deepEqual(missed, [], "what can be clicked but not reached");
      assert.deepEqual(unseen, [], "what does not show that it has the focus");
    });
  }
});

describe("with nothing yet", () => {
  let gateway;
  before(async () => (gateway = await Gateway.start()));
  after(() => gateway.stop());

  for (const { name, path } of navigation.filter((page) => page.empty)) {
    test(`${name} says what it is for, and what comes next`, async (t) => {
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
