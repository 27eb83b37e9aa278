// Moving about without a mouse.

const MOST_STOPS = 400;

// Presses Tab until `locator` has the focus.
export async function tabTo(page, locator) {
  for (let presses = 0; presses < MOST_STOPS; presses++) {
    if (await locator.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab never comes to ${locator}`);
}

// Goes once around the page. `missed` is what a mouse could use and Tab did not come to; `unseen` is where Tab came to
// and nothing showed it.
export async function walk(page) {
  await page.evaluate(() => {
    document.activeElement?.blur();
    window.visited = new Set();
  });
  const unseen = [];
  for (let stops = 0; stops < MOST_STOPS; stops++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(look);
    if (stop.again) break;
    if (!stop.seen) unseen.push(stop.what);
  }
  return { missed: await page.evaluate(missed), unseen };
}

// These two run in the page.

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
  // What stands for a control may be drawn around it.
  const seen = marked(focused) || Boolean(focused.closest(":is(label, div, span):focus-within:has(> :focus)") && marked(focused.parentElement));
  return { seen, what: focused.outerHTML.slice(0, 160) };
}

function missed() {
  const usable = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
  const found = [...usable].filter((element) => {
    if (window.visited.has(element) || element.matches(":disabled, [tabindex='-1']")) return false;
    if (!element.checkVisibility({ visibilityProperty: true })) return false;
    // Of radio buttons of one name, arrows lead to the others.
    const { type, name } = element;
    return type !== "radio" || ![...window.visited].some((other) => other.type === "radio" && other.name === name);
  });
  return found.map((element) => element.outerHTML.slice(0, 160));
}
