// Debian's Chromium. A test fails if, while it has a tab open, the browser reports an error on the console, a failed
// request or a violation of the policy.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";

const READY_MS = 10_000;

export class Browser {
  // Starts the browser that all tests of a file share. `args` are further arguments of Chromium.
  static async start(args = []) {
    const browser = new Browser();
    const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
    browser.chromium = await chromium.launch({ executablePath, args });
    return browser;
  }

  async stop() {
    await this.chromium.close();
  }

  // A tab with cookies and storage of its own, closed when the test ends. Options:
  //   key         the operator key to sign in with beforehand; `null` for none
  //   statuses    error statuses (400 and above) that the test expects; each must occur at least once
  //   colorScheme, viewport, … as Playwright takes them for a context
  async tab(t, gateway, { key = gateway.adminKey, statuses = [], ...settings } = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...settings });
    const watch = new Watch(context, gateway.adminURL, statuses);
    t.after(async () => {
      watch.end();
      await context.close();
      watch.verdict();
    });
    await context.addInitScript(reportViolations);
    await context.addInitScript(observeLayout);
    if (key !== null) await signInWithoutForm(context, gateway, key);
    context.setDefaultTimeout(READY_MS);
    return new Tab(await context.newPage(), gateway, watch);
  }
}

class Tab {
  constructor(page, gateway, watch) {
    this.page = page;
    this.gateway = gateway;
    this.watch = watch;
  }

  // Loads the UI with the page at `path`, and waits until the page is ready.
  async open(path, query) {
    // From a page of the UI, only the fragment would change.
    await this.page.goto("about:blank");
    await this.page.goto(this.gateway.adminURL + "/" + hash(path, query));
    await this.ready(path);
  }

  // Navigates from the open page to another one, as a link would.
  async go(path, query) {
    await this.page.evaluate(async (to) => {
      const changed = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
      location.hash = to;
      await changed;
    }, hash(path, query));
    await this.ready(path);
  }

  // Waits until the page at `path` is open and ready.
  async ready(path) {
    const main = this.page.locator(`main#main[data-route="${path}"][aria-busy="false"]`);
    await main.waitFor().catch(async () => {
      const now = await this.page.evaluate(() => document.querySelector("main")?.cloneNode().outerHTML);
      throw new Error(`${path} did not become ready; main is ${now}; reported until then:\n${this.watch.complaints.join("\n")}`);
    });
  }

  // A second tab with the same cookies and storage.
  async again() {
    return new Tab(await this.page.context().newPage(), this.gateway, this.watch);
  }

  // Waits until the page has received at least `count` live events: a second stream waits for one more.
  async liveEvents(count) {
    await this.page.evaluate(async (wanted) => {
      const source = new EventSource("/v1/gateway/live");
      for (let seen = 0; seen <= wanted; seen++) await new Promise((resolve) => source.addEventListener("live", resolve, { once: true }));
      source.close();
    }, count);
  }

  // Counts, from now on, the bytes on the wire of answers to `/` and `/assets/**`, heads included, by path.
  async countBytes() {
    const files = new Map();
    const paths = new Map();
    const devtools = await this.page.context().newCDPSession(this.page);
    await devtools.send("Network.enable");
    devtools.on("Network.requestWillBeSent", ({ requestId, request }) => paths.set(requestId, new URL(request.url).pathname));
    devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      const path = paths.get(requestId);
      if (path === "/" || path?.startsWith("/assets/")) files.set(path, (files.get(path) ?? 0) + encodedDataLength);
    });
    return files;
  }

  get navigation() {
    return this.page.getByRole("navigation", { name: "Main" });
  }

  get main() {
    return this.page.locator("main#main");
  }

  // The width by which the page exceeds the window, in px.
  async overflow() {
    return this.page.evaluate(async () => {
      await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
      return Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth);
    });
  }

  // The layout shift since the document was loaded, as the Layout Instability API measures it.
  async layoutShift() {
    return this.page.evaluate(async () => {
      await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
      return window.layoutShift();
    });
  }

  // The sign-in form.
  get signIn() {
    const page = this.page;
    return {
      field: page.getByLabel("Operator key"),
      button: page.getByRole("button", { name: "Sign in" }),
      async as(key) {
        await this.field.fill(key);
        await this.button.click();
      },
    };
  }
}

const hash = (path, query) => `#${path}${query ? `?${query}` : ""}`;

class Watch {
  constructor(context, origin, statuses) {
    this.complaints = [];
    this.missing = new Set(statuses);
    this.ended = false;
    const complain = (text) => this.ended || this.complaints.push(text);
    context.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      // Failed loads are reported below, with their status.
      if (message.text().startsWith("Failed to load resource")) return;
      complain(`console: ${message.text()} (${message.location().url})`);
    });
    context.on("weberror", (error) => complain(`uncaught: ${error.error().stack ?? error.error()}`));
    context.on("dialog", (dialog) => {
      complain(`dialog: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (url.origin !== origin && !["data:", "blob:", "about:"].includes(url.protocol)) complain(`request elsewhere: ${url}`);
    });
    context.on("requestfailed", (request) => {
      const reason = request.failure()?.errorText;
      // A page that is left aborts its requests.
      if (reason !== "net::ERR_ABORTED") complain(`${request.method()} ${request.url()}: ${reason}`);
    });
    context.on("response", (response) => {
      const status = response.status();
      if (status < 400) return;
      if (statuses.includes(status)) this.missing.delete(status);
      else complain(`${response.request().method()} ${response.url()}: HTTP ${status}`);
    });
  }

  end() {
    this.ended = true;
  }

  verdict() {
    const never = [...this.missing].map((status) => `HTTP ${status} was expected but never occurred`);
    const all = [...this.complaints, ...never];
    assert.equal(all.length, 0, `while the tab was open:\n  ${all.join("\n  ")}`);
  }
}

// The next two functions run in the page, before its own scripts.

function reportViolations() {
  addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile, lineNumber }) =>
    console.error(`CSP: ${violatedDirective} forbids ${blockedURI} (${sourceFile}:${lineNumber})`),
  );
}

function observeLayout() {
  let sum = 0;
  const add = (entries) => entries.forEach(({ value, hadRecentInput }) => (sum += hadRecentInput ? 0 : value));
  const observer = new PerformanceObserver((list) => add(list.getEntries()));
  observer.observe({ type: "layout-shift", buffered: true });
  window.layoutShift = () => {
    add(observer.takeRecords());
    return sum;
  };
}

// Starts a session without the form.
async function signInWithoutForm(context, gateway, key) {
  const answer = await context.request.post(`${gateway.adminURL}/v1/session`, {
    data: { key },
    headers: { origin: gateway.adminURL, "x-tollgate-csrf": "1" },
  });
  assert.equal(answer.status(), 200, await answer.text());
}
