// Keyboard navigation.

const MAX_STOPS = 400;

// Presses Tab until `locator` has the focus.
export async function tabTo(page, locator) {
  for (let presses = 0; presses < MAX_STOPS; presses++) {
    if (await locator.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab never reaches ${locator}`);
}

// Presses Tab once around the page. `missed` lists the controls that Tab does not reach; `unseen` lists those without a
// visible focus.
export async function walk(page) {
  await page.evaluate(() => {
    document.activeElement?.blur();
    window.visited = new Set();
  });
  const unseen = [];
  for (let stops = 0; stops < MAX_STOPS; stops++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(look);
    if (stop.again) break;
    if (!stop.seen) unseen.push(stop.what);
  }
  return { missed: await page.evaluate(missed), unseen };
}

// The next two functions run in the page.

function look() {
  const focused = document.activeElement;
  // Between the last stop and the first one.
  if (!focused || focused === document.body) return { seen: true };
  if (window.visited.has(focused)) return { again: true };
  window.visited.add(focused);
  const marked = (element) => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
    return (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
  };
  // A control's wrapper may show the focus instead of the control.
  const seen = marked(focused) || Boolean(focused.closest(":is(label, div, span):focus-within:has(> :focus)") && marked(focused.parentElement));
  return { seen, what: focused.outerHTML.slice(0, 160) };
}

function missed() {
  const usable = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
  const found = [...usable].filter((element) => {
    if (window.visited.has(element) || element.matches(":disabled, [tabindex='-1']")) return false;
    if (!element.checkVisibility({ visibilityProperty: true })) return false;
    // Tab reaches one radio button of each name; arrow keys reach the others.
    const { type, name } = element;
    return type !== "radio" || ![...window.visited].some((other) => other.type === "radio" && other.name === name);
  });
  return found.map((element) => element.outerHTML.slice(0, 160));
}
