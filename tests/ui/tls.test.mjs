// The UI on an admin listener with TLS.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Certificate } from "../support/certificate.mjs";
import { ADMIN_KEY, Gateway } from "../support/gateway.mjs";
import { Browser } from "./support/browser.mjs";

let browser, certificate, gateway;
before(async () => {
  certificate = new Certificate();
  browser = await Browser.start([`--ignore-certificate-errors-spki-list=${certificate.spki}`]);
  gateway = await Gateway.start({
    tls_cert: certificate.cert,
    tls_key: certificate.key,
    admin_tls_cert: certificate.cert,
    admin_tls_key: certificate.key,
  });
});
after(async () => {
  await browser.stop();
  await gateway.stop();
  certificate.remove();
});

test("an operator signs in over TLS, with a cookie that is never sent without it, and signs out", async (t) => {
  const tab = await browser.tab(t, gateway, { key: null });
  await tab.page.goto(gateway.adminURL);
  await tab.signIn.as(ADMIN_KEY);
  await tab.ready("/");
  const [cookie] = await tab.page.context().cookies();
  assert.ok(cookie.secure && cookie.httpOnly, JSON.stringify(cookie));
  await tab.liveEvents(1);
  await tab.open("/settings");
  await tab.page.getByRole("button", { name: "Sign out" }).click();
  await tab.signIn.field.waitFor();
});

test("the snippets for customers have the address with https", async (t) => {
  const context = await browser.chromium.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(gateway.adminURL);
  const url = await page.evaluate(async (key) => {
    await fetch("/v1/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key }) });
    return (await (await fetch("/v1/session")).json()).gateway.inference_url;
  }, ADMIN_KEY);
  assert.equal(`${url}/v1`, gateway.baseURL);
});
