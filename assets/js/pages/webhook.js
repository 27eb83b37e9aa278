// One webhook: its state, recent deliveries, dead letters.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { int, milliseconds, plural, utc } from "../format.js";
import { every } from "../timers.js";
import { state } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { notice } from "../ui/notice.js";
import { card, facts, page, section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { when } from "../ui/when.js";
import { deadLetters } from "../webhooks/dead_letters.js";
import { deleteWebhook, editWebhook, rotateSecret } from "../webhooks/dialogs.js";
import { TYPES, hostOf, sentenceOf, stateOf } from "../webhooks/words.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

const REFRESH_MS = 3000;
const FIRST_DELIVERIES = 10;

/** @param {Context} context */
export default async function webhook({ params, signal }) {
  const id = params.id ?? "";
  let [now, { items: sent }] = await Promise.all([api.webhooks.get(id), api.webhooks.deliveries(id)]);
  const letters = await deadLetters(now, () => refresh());
  const host = hostOf(now.url);

  const badges = h("div", { class: "badges" });
  const summary = h("div", { class: "webhook-state", role: "status" });
  const details = h("div");
  const tested = h("div", { "aria-live": "polite" });
  /** Whether `tested` shows a failed test. */
  let hasFailed = false;
  const sentTable = deliveryTable();
  const noneSent = h("p", { class: "faint" }, "None since the gateway started.");
  const title = h("span");
  const address = h("span", { class: "anywhere" });
  const toggle = button({ label: "Disable", press: () => setEnabled(!now.enabled) });

  let most = FIRST_DELIVERIES;
  const moreSent = button({
    label: "Show more",
    press: () => {
      most = Infinity;
      show();
    },
  });
  let drawn = "";
  let drawnSent = "";
  const show = () => {
    const is = JSON.stringify(now);
    if (is !== drawn) {
      const { tone, word } = stateOf(now.delivery);
      fill(badges, state(tone, word));
      fill(summary, sentenceOf(now.delivery));
      fill(details, factsOf(now));
      fill(title, now.description ?? host);
      fill(address, now.url);
      fill(toggle, h("span", null, now.enabled ? "Disable" : "Enable"));
    }
    drawn = is;
    const sentNow = JSON.stringify([sent, most]);
    if (sentNow !== drawnSent) {
      sentTable.show(sent.slice(0, most));
      moreSent.hidden = sent.length <= most;
      sentTable.hidden = sent.length === 0;
      noneSent.hidden = sent.length > 0;
    }
    drawnSent = sentNow;
  };
  let turn = 0;
  const refresh = async () => {
    const mine = ++turn;
    const [is, of] = await Promise.all([api.webhooks.get(id), api.webhooks.deliveries(id)]);
    // Ignore an answer to a request that was sent before a change.
    if (signal.aborted || mine !== turn) return;
    // A failed test has been overtaken by a later success.
    if (is.delivery.last_success_at !== now.delivery.last_success_at && hasFailed) fill(tested);
    now = is;
    sent = of.items;
    show();
    await letters.refresh(now);
  };
  every(REFRESH_MS, () => refresh().catch(() => {}), signal);

  const setEnabled = async (/** @type {boolean} */ enabled, isUndo = false) => {
    now = await api.webhooks.update(id, { enabled });
    turn += 1;
    show();
    const undo = () => void setEnabled(!enabled, true).catch((error) => toast(error.message, { tone: "bad" }));
    toast(enabled ? "Webhook enabled." : "Webhook disabled. Its events wait until it is enabled.", { undo: isUndo ? undefined : undo });
  };
  const test = async () => {
    fill(tested);
    const result = await api.webhooks.test(id);
    await refresh();
    fill(tested, testResult(result));
    hasFailed = !result.ok;
  };
  show();

  const made = page({
    heading: now.description || host,
    crumbs: [["#/webhooks", "Webhooks"]],
    badges,
    lead: address,
    actions: [
      button({ label: "Send a test", icon: "send", kind: "primary", press: test }),
      button({ label: "Edit", icon: "edit", press: async () => { if (await editWebhook(now)) await refresh(); } }),
      toggle,
    ],
  },
  card(summary, tested, details),
  letters.element,
  section({
    heading: "Recent deliveries", lead: "The latest 100 attempts since the gateway started.",
  }, noneSent, sentTable, moreSent),
  section({
    heading: "Signing secret",
    lead: "It signs every delivery. It was shown when the webhook was created, and can be rotated.",
    actions: button({
      label: "Rotate secret", icon: "refresh", small: true,
      press: async () => { if (await rotateSecret(now)) await refresh(); },
    }),
  }),
  section({
    heading: "Delete this webhook", lead: "Deliveries stop, and its dead letters are deleted.",
    actions: button({
      label: "Delete webhook", icon: "trash", kind: "danger-quiet", small: true, press: () => deleteWebhook(now),
    }),
  }));
  const heading = made.element.querySelector("h1");
  if (heading) fill(heading, title);
  return made;
}

/** @param {T.Webhook} webhook */
function factsOf({ delivery, types, created_at, previous_secret_until, id }) {
  const error = delivery.last_error;
  const delivered = `${plural(delivery.deliveries, "delivery", "deliveries")} with ${plural(delivery.events, "event")}`;
  return facts([
    ["Receives", TYPES.filter(({ value }) => types.includes(value)).map(({ label }) => label).join(", ")],
    ["Since startup", `${delivered}; ${plural(delivery.failed_attempts, "attempt")} failed`],
    ["Last success", when(delivery.last_success_at, "none since startup")],
    ["Last error", error ? [error.message, " ", h("span", { class: "hint" }, when(error.at))] : "none since startup"],
    ["Backlog (log records)", int(delivery.records_behind)],
    ...(previous_secret_until
      ? [/** @type {[string, string]} */ (["Previous secret", `also signs until ${utc(previous_secret_until)}`])] : []),
    ["Created", when(created_at)],
    ["Id", h("code", null, id)],
  ]);
}

/** @param {T.Tested} result */
function testResult({ ok, status, error, duration_ms, request_id }) {
  const took = `${milliseconds(duration_ms)}, request id `;
  return notice(ok ? "ok" : "bad",
    h("p", null, ok
      ? `The receiver accepted the test and answered ${status}.`
      : `The test failed: ${error ?? `answered ${status}`}.`),
    h("p", { class: "hint" }, took, h("code", null, request_id)));
}

const KINDS = { events: "Events", alerts: "Alerts", test: "Test", redelivery: "Redelivery" };

const OUTCOMES = /** @type {const} */ ({
  delivered: ["ok", "Delivered"],
  retrying: ["warn", "Retrying"],
  waiting: ["warn", "Waiting"],
  dead_letter: ["bad", "Dead letter"],
  failed: ["bad", "Failed"],
});

function deliveryTable() {
  return table({
    caption: "Recent deliveries",
    columns: [
      {
        label: "Time (UTC)", kind: "nowrap",
        cell: ({ at }) => h("time", { datetime: at, title: utc(at) }, at.slice(5, 19).replace("T", " ")),
      },
      {
        label: "Content", kind: "main",
        cell: ({ kind, events, attempt }) => [
          KINDS[kind], kind !== "test" && h("span", { class: "faint" }, ` (${events})`),
          attempt > 1 && h("div", { class: "hint" }, `attempt ${attempt}`),
        ],
      },
      { label: "Outcome", cell: ({ outcome }) => state(OUTCOMES[outcome][0], OUTCOMES[outcome][1]) },
      { label: "Response", cell: ({ status, error }) => h("span", { class: "anywhere" }, error ?? status) },
      { label: "Duration", kind: "number", cell: ({ duration_ms }) => milliseconds(duration_ms) },
      {
        label: "Request id", kind: "wide-only",
        cell: ({ request_id }) => h("code", { class: "small-text" }, request_id),
      },
    ],
    rows: /** @type {T.Delivery[]} */ ([]),
  });
}
