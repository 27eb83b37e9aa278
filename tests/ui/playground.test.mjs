// The playground: a real call, shown as it streams, and its billing event.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.mjs";
import { assertAccessible } from "./support/axe.mjs";
import { Browser } from "./support/browser.mjs";
import { Upstream } from "./support/upstream.mjs";

const HOSTILE = `<img src=x onerror=alert(1)> <script>alert(2)</script> & "quoted" \u202egnp.exe`;

let browser, gateway, upstream;
before(async () => {
  browser = await Browser.start();
  gateway = await Gateway.start();
  upstream = await Upstream.start();
});
after(async () => {
  await browser.stop();
  await gateway.stop();
  await upstream.stop();
});

let unique = 0;
async function customer(target, limits = {}, name) {
  const slug = `play/model-${++unique}`;
  await gateway.admin("POST", "/v1/gateway/endpoints", {
    slug, targets: [target], pricing: { currency: "EUR", input: "1", output: "2" },
  });
  const group = await gateway.admin("POST", "/v1/gateway/groups", {
    metadata: { external_entity_id: `play-${unique}`, name: name ?? `Player ${unique}` }, models: [{ slug, ...limits }], hierarchy: {},
  });
  return { slug, group, path: `/playground?group=${group.id}` };
}

async function open(t, { path }, settings) {
  const tab = await browser.tab(t, gateway, settings);
  await tab.page.goto(`${gateway.adminURL}/#${path}`);
  await tab.ready("/playground");
  const { page } = tab;
  const log = page.getByRole("log", { name: "Conversation" });
  return {
    tab, page, log,
    message: page.getByLabel("Message"),
    send: page.getByRole("button", { name: "Send", exact: true }),
    stop: page.getByRole("button", { name: "Stop", exact: true }),
    fact: (name) => page.getByRole("definition").and(page.locator(`dt:text-is("${name}") + dd`)),
    ended: () => page.locator('[role="log"]:not([aria-busy])').waitFor(),
    event: async () => JSON.parse(await page.getByLabel("The whole event").innerText()),
  };
}

const gate = () => {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { open, opened };
};

test("an answer streams in, and the event shown is the one that the API lists", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { tab, page, log, message, fact, event } = await open(t, made);
  await page.getByText(`metered and billed to Player`).waitFor();
  await message.fill("Hello to you");
  await page.keyboard.press("Control+Enter");
  await log.getByText(/^every token passes the gate once/).waitFor();
  const shown = await event();
  const { items } = await gateway.admin("GET", `/v1/gateway/events?start_time=2000-01-01T00:00:00Z&api_keys=playground`);
  assert.deepEqual(shown, items.find(({ modelSlug }) => modelSlug === made.slug));
  assert.equal(shown.groupId, made.group.id);
  assert.deepEqual(shown.tokens, { inputTokens: 3, outputTokens: 12, cachedInputTokens: 0, cacheWriteInputTokens: 0 });
  assert.equal(await fact("Tokens").innerText(), "3 in, 12 out");
  assert.equal(await fact("Request id").innerText(), shown.requestId);
  assert.match(await fact("First token").innerText(), /ms|s/);
  assert.match(await fact("Speed").innerText(), /tokens\/s/);
  assert.equal(await fact("Cost").innerText(), "0.000027 EUR");
  await assertAccessible(tab, "the playground after a call");
});

test("a new conversation ends the running call and sends no earlier messages", async (t) => {
  const made = await customer(upstream.target);
  const { page, log, message, send, ended } = await open(t, made);
  upstream.text = "First answer.";
  await message.fill("First question");
  await send.click();
  await log.getByText("First answer.").waitFor();
  await ended();
  const { open: release, opened } = gate();
  upstream.hold = opened;
  await message.fill("Second question");
  await send.click();
  await log.getByText("First", { exact: true }).or(log.getByText(/^First $/)).waitFor();
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByText("Stopped.").or(page.locator('[role="log"]:not([aria-busy])')).first().waitFor();
  release();
  upstream.hold = undefined;
  await message.fill("Third question");
  await page.locator('button:not([aria-disabled="true"])', { hasText: /^Send$/ }).click();
  await log.getByText("First answer.").waitFor();
  const { messages } = upstream.asked.at(-1);
  assert.deepEqual(messages, [{ role: "user", content: "Third question" }]);
});

test("text is shown as it arrives, and earlier messages are sent again", async (t) => {
  const made = await customer(upstream.target);
  const wait = gate();
  t.after(wait.open);
  Object.assign(upstream, { text: "One two three", hold: wait.opened });
  const { page, log, message, send, stop, ended } = await open(t, made);
  await page.getByLabel("System prompt").fill("Be brief.");
  await message.fill("Count.");
  await send.click();
  await log.getByText("One two", { exact: false }).waitFor();
  assert.ok(!(await log.innerText()).includes("three"), "it is shown before it is complete");
  assert.ok(await stop.isEnabled());
  wait.open();
  await log.getByText("One two three").waitFor();
  await ended();
  upstream.hold = undefined;
  await message.fill("Again.");
  await send.click();
  await log.getByText("Again.").waitFor();
  await ended();
  assert.deepEqual(upstream.asked.at(-1).messages, [
    { role: "system", content: "Be brief." }, { role: "user", content: "Count." },
    { role: "assistant", content: "One two three" }, { role: "user", content: "Again." },
  ]);
});

test("Stop hangs up and keeps the text so far, which is billed", async (t) => {
  const made = await customer(upstream.target);
  const wait = gate();
  t.after(wait.open);
  Object.assign(upstream, { text: "Some words and then nothing", hold: wait.opened });
  const { page, log, message, send, stop, event } = await open(t, made);
  await message.fill("Go on and on.");
  await send.click();
  await log.getByText("Some words", { exact: false }).waitFor();
  await stop.click();
  await log.getByText("Stopped.").waitFor();
  assert.ok(await stop.isDisabled());
  assert.ok(await message.evaluate((field) => field === document.activeElement), "the message field has the focus");
  assert.equal((await event()).usageSource, "counted");
  await page.getByText("counted by Tollgate").waitFor();
  upstream.hold = undefined;
});

test("markup in an answer is shown as text", async (t) => {
  const made = await customer(upstream.target, {}, HOSTILE);
  upstream.text = HOSTILE;
  const { page, log, message, send, ended } = await open(t, made);
  await message.fill(HOSTILE);
  await send.click();
  await ended();
  assert.equal(await log.getByText(HOSTILE, { exact: true }).count(), 2);
  assert.equal(await page.locator("main img, main script").count(), 0);
  upstream.text = "All is well.";
});

test("without streaming the answer arrives in one piece", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, log, message, send, event } = await open(t, made);
  await page.getByLabel("Stream").uncheck();
  await page.getByLabel("Maximum tokens").fill("5");
  await message.fill("Hello");
  await send.click();
  await log.getByText("every token passes the gate", { exact: true }).waitFor();
  assert.equal((await event()).streamed, false);
});

test("embeddings are shown as vectors", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, log, send, event } = await open(t, made);
  await page.getByLabel("Route").selectOption("/v1/embeddings");
  await page.getByLabel("Text", { exact: true }).fill("one two three four");
  await send.click();
  await log.getByText(/Vector 0: \d+ dimensions/).waitFor();
  const { route, tokens } = await event();
  assert.equal(route, "/v1/embeddings");
  assert.equal(tokens.inputTokens, 4);
  assert.match(page.url(), /route=/);
});

test("a refusal is shown as the customer sees it, with a link to its cause", async (t) => {
  const made = await customer({ provider: "DEMO" }, { usage_limits: [{ type: "REQUEST", unit: "DAY", threshold: 0 }] });
  const { page, log, message, send } = await open(t, made, { statuses: [429] });
  await message.fill("May I?");
  await send.click();
  const refusal = log.getByRole("alert");
  await refusal.getByText("429").waitFor();
  await refusal.getByText(/requests? per day/i).waitFor();
  await page.getByText("refused and failed requests are not billed").waitFor();
  assert.equal(await message.inputValue(), "May I?", "it can be sent again");
  const href = await refusal.getByRole("link", { name: "Why was this refused?" }).getAttribute("href");
  assert.ok(href.startsWith(`#/groups/${made.group.id}/why`), href);
});

test("calls of a disabled group are refused like its customers' requests", async (t) => {
  const made = await customer({ provider: "DEMO" });
  await gateway.admin("PATCH", `/v1/gateway/groups/${made.group.id}`, { disabled: true });
  const { log, message, send } = await open(t, made, { statuses: [403] });
  await message.fill("Hello?");
  await send.click();
  await log.getByRole("alert").getByText("access_disabled").waitFor();
});

test("a stream that breaks off shows an error", async (t) => {
  const made = await customer(upstream.target);
  let breakOff;
  const broken = new Promise((_, reject) => (breakOff = reject));
  Object.assign(upstream, { text: "One two three", hold: broken });
  t.after(() => Object.assign(upstream, { hold: undefined, text: "All is well." }));
  const { tab, log, message, send, event } = await open(t, made);
  await message.fill("Count.");
  await send.click();
  await log.getByText("One two", { exact: false }).waitFor();
  breakOff(new Error("It breaks off."));
  await log.getByRole("alert").waitFor();
  assert.equal((await event()).usageSource, "counted");
  // The response ends properly, so the browser reports no error.
  assert.deepEqual(tab.watch.complaints, []);
});

test("reasoning is separate from the answer, and an error within the stream is shown", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, log, message, send, ended } = await open(t, made);
  const chunks = [
    { choices: [{ delta: { reasoning_content: "Let me think." } }] },
    { choices: [{ delta: { content: "Well" } }] },
    { error: { message: "Out of memory.", code: "server_error" } },
  ];
  const body = `: hello\r\n\r\n${chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\r\n\r\n`).join("")}`;
  await page.route("**/try", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await message.fill("Think.");
  await send.click();
  await ended();
  await log.getByRole("group").filter({ hasText: "Reasoning" }).getByText("Let me think.").waitFor();
  await log.getByText("Well", { exact: true }).waitFor();
  await log.getByRole("alert").getByText("Out of memory.").waitFor();
});

test("a very long answer is shown up to a limit, in few text nodes", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, log, message, send, ended } = await open(t, made);
  const words = "0123456789 ".repeat(10);
  const chunk = `data: ${JSON.stringify({ choices: [{ delta: { content: words } }] })}\n\n`;
  await page.route("**/try", (route) => route.fulfill({ contentType: "text/event-stream", body: chunk.repeat(6_000) }));
  await message.fill("Write a book.");
  await send.click();
  await log.getByText("The rest is not shown.").waitFor();
  await ended();
  const { length, nodes } = await log.evaluate((element) => {
    const answer = element.querySelector("[data-kind=text]");
    return { length: answer.textContent.length, nodes: answer.childNodes.length };
  });
  assert.ok(length < 600_000, `${length} characters are kept`);
  assert.ok(nodes < 1000, `in ${nodes} nodes`);
});

for (const [route, written] of [["Responses", "input"], ["Messages", "messages"]]) {
  test(`${route} stream in, and earlier messages are sent again`, async (t) => {
    const made = await customer({ provider: "DEMO" });
    const { page, log, message, send, ended, fact, event } = await open(t, made);
    await page.getByLabel("Route").selectOption(route);
    await page.getByLabel("System prompt").fill("Be brief.");
    await page.getByLabel("Maximum tokens").fill("3");
    await message.fill("Hello to you");
    await send.click();
    await log.getByText("every token passes", { exact: true }).waitFor();
    await ended();
    assert.equal(await fact("Tokens").innerText(), "5 in, 3 out");
    assert.equal((await event()).route, `/v1/${route.toLowerCase()}`);
    await page.getByLabel("Stream").uncheck();
    await message.fill("Again");
    await send.click();
    await page.getByText("9 in, 3 out").waitFor();
    assert.equal(await log.getByText("every token passes", { exact: true }).count(), 2);
    await page.getByLabel("Edit the body as JSON").check();
    const body = JSON.parse(await page.getByRole("textbox", { name: "Body" }).inputValue());
    assert.deepEqual(body[written].map(({ role }) => role), ["user", "assistant", "user", "assistant", "user"]);
  });
}

test("the body can be written as JSON, and invalid JSON is not sent", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, log, message, send, event } = await open(t, made);
  await message.fill("From the form");
  await page.getByLabel("Edit the body as JSON").check();
  const body = page.getByRole("textbox", { name: "Body" });
  const written = JSON.parse(await body.inputValue());
  assert.equal(written.messages[0].content, "From the form");
  await body.fill("{");
  await send.click();
  await page.getByText("Invalid JSON").waitFor();
  await body.fill(JSON.stringify({ ...written, metadata: { ticket: "T-1" } }));
  await send.click();
  await log.getByText(/every token/).waitFor();
  assert.deepEqual((await event()).requestMetadata, { ticket: "T-1" });
});

test("Enter in a single-line field does not send a call", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, log, message, send } = await open(t, made);
  await message.fill("Not yet");
  const max = page.getByLabel("Maximum tokens");
  await max.fill("many");
  await max.press("Enter");
  await send.click();
  await page.getByText("It must be a number").waitFor();
  await max.fill("3");
  await max.press("Enter");
  await max.press("Control+Enter");
  await log.getByText("every token passes", { exact: true }).waitFor();
  assert.equal(await log.getByText("Not yet").count(), 1, "one call was made");
});

test("the same call as curl has this gateway's address and no key", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page, message } = await open(t, made);
  await message.fill("It's $HOME");
  const code = page.getByLabel("As curl");
  await code.getByText("$HOME").waitFor();
  const text = await code.innerText();
  assert.ok(text.includes(`${gateway.baseURL}/chat/completions`), text);
  assert.ok(text.includes("$KEY") && text.includes(made.slug), text);
  assert.ok(text.includes(`It'\\''s $HOME`), "the text is quoted for a shell");
});

test("a group is found by its name, with the keyboard", async (t) => {
  const other = await customer({ provider: "DEMO" }, {}, "Findable by name");
  const first = await customer({ provider: "DEMO" });
  const { page } = await open(t, first);
  const group = page.getByRole("combobox", { name: "Group" });
  await group.fill("findable");
  await page.getByRole("option", { name: /Findable by name/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.getByText("billed to Findable by name").waitFor();
  assert.equal(await page.getByLabel("Model").inputValue(), other.slug);
  assert.ok(page.url().includes(other.group.id), "the address names the group");
});

test("a link from an endpoint selects the first group that carries its slug", async (t) => {
  const made = await customer({ provider: "DEMO" });
  const { page } = await open(t, { path: `/playground?slug=${encodeURIComponent(made.slug)}` });
  assert.equal(await page.getByLabel("Model").inputValue(), made.slug);
  assert.ok(page.url().includes(made.group.id));
});
