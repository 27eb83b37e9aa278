// Billing events, newest first.

import { api, filledPage, queryString } from "../api.js";
import { fill, h } from "../dom.js";
import { findEvent, showEvent, showMissing } from "../events/dialog.js";
import { addressQuery, filterBar } from "../filters/bar.js";
import { withSubtrees } from "../filters/groups.js";
import { filtersOf, isFiltered } from "../filters/lists.js";
import { MOMENT_RANGES, rangeOf, timesOf } from "../filters/range.js";
import { int, milliseconds } from "../format.js";
import { knownNames } from "../groups/known_names.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { every } from "../timers.js";
import { button, linkButton } from "../ui/button.js";
import { costLines } from "../ui/cost.js";
import { checkbox } from "../ui/form.js";
import { icon } from "../ui/icon.js";
import { notice } from "../ui/notice.js";
import { empty, page } from "../ui/page.js";
import { table } from "../ui/table.js";

/** @import * as T from "../api_types.js" */
/** @import { KnownNames } from "../groups/known_names.js" */
/** @import { Context } from "../router.js" */

const PAGE = 50;
const FOLLOW_MS = 3000;
/** Maximum number of rows while new events are added on top. */
const MAX_FOLLOWED_ROWS = 500;

/** The API's parameters of the current address. @param {KnownNames} names */
async function asked(names) {
  const query = addressQuery();
  return { ...timesOf(rangeOf(query, "all", Date.now())), ...await withSubtrees(filtersOf(query), query, names) };
}

/** @param {Context} context */
export default async function events({ query: first, signal, setQuery }) {
  const results = h("div", { class: "stack results" });
  /** @type {T.BillingEvent[]} */
  let rows = [];
  let turn = 0;

  const open = async (/** @type {string} */ id) => {
    setQuery({ event: id }, { replace: true });
    const event = rows.find((one) => one.idempotencyKey === id) ?? await findEvent(id);
    if (signal.aborted) return;
    await (event ? showEvent(event) : showMissing(id));
    if (!signal.aborted && addressQuery().get("event") === id) setQuery({ event: null }, { replace: true });
  };

  const names = knownNames();
  const learn = (/** @type {T.BillingEvent[]} */ items) => names.learn(items.map((event) => event.externalEntityId));
  const shown = eventTable(names, (id) => void open(id));
  const more = button({ label: "Show more", press: () => next() });
  const incomplete = h("div");
  const file = h("a", { class: "button", download: "" }, icon("download"), h("span", null, "Download CSV"));
  let cursor = /** @type {string | null} */ (null);

  /** @param {T.PageWithGaps<T.BillingEvent>} page */
  const take = (page) => {
    cursor = page.pagination.cursor;
    more.hidden = !cursor;
    if (page.incomplete?.length) fill(incomplete, gapsNotice(page.incomplete));
  };
  const next = async () => {
    const now = turn;
    const page = await api.events({ cursor: cursor ?? undefined, limit: PAGE });
    await learn(page.items);
    if (now !== turn) return;
    take(page);
    rows.push(...page.items);
    shown.add(page.items);
  };
  const load = async () => {
    const now = ++turn;
    results.setAttribute("aria-busy", "true");
    const query = await asked(names);
    file.href = `/v1/gateway/events${queryString({ ...query, order: "desc", format: "csv" })}`;
    /** @type {T.PageWithGaps<T.BillingEvent>} */
    const page = await filledPage(api.events, { ...query, order: "desc", limit: PAGE }, { limit: PAGE });
    await learn(page.items);
    if (now !== turn || signal.aborted) return;
    fill(incomplete);
    take(page);
    rows = [...page.items];
    shown.show(rows);
    fill(results, incomplete, rows.length ? [shown, h("div", { class: "more" }, more)] : nothing());
    results.setAttribute("aria-busy", "false");
  };
  const changed = () => {
    load().catch((error) => {
      results.setAttribute("aria-busy", "false");
      fill(results, notice("bad", error.message));
    });
  };

  let isFollowing = false;
  const follow = async () => {
    const newest = rows[0];
    const query = await asked(names);
    const isElsewhere = scrollY > 80 || document.querySelector("dialog[open]");
    if (!isFollowing || isElsewhere || query.end_time) return;
    if (!newest) return load();
    const now = turn;
    /** @type {T.Page<T.BillingEvent>} */
    const page = await api.events({ ...query, start_time: newest.timestamp, order: "desc", limit: 200 });
    const known = new Set(rows.slice(0, 200).map((event) => event.idempotencyKey));
    const fresh = page.items.filter((event) => !known.has(event.idempotencyKey));
    await learn(fresh);
    if (now !== turn || signal.aborted || !fresh.length) return;
    // More new events than one page or the list holds would leave a gap: reload.
    if (page.pagination.has_more || fresh.length + rows.length > MAX_FOLLOWED_ROWS) return load();
    rows = [...fresh, ...rows];
    // Keep the focus on its row.
    const at = document.activeElement?.getAttribute("data-event");
    shown.show(rows);
    const again = at && shown.querySelector(`[data-event="${CSS.escape(at)}"]`);
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
  };
  every(FOLLOW_MS, () => follow().catch(() => {}), signal);

  await load();
  const opened = first.get("event");
  if (opened) queueMicrotask(() => void open(opened));
  return page({
    heading: "Events",
    lead: "Each answered request is one billing event. Newest first.",
    actions: file,
  },
  filterBar({
    ranges: MOMENT_RANGES, otherwise: "all", ends: "datetime-local", names, setQuery, changed,
  }),
  h("div", { class: "follow" }, checkbox({
    label: "Follow", name: "follow", hint: "New events are added on top automatically.",
    onchange: (event) => {
      isFollowing = event.target instanceof HTMLInputElement && event.target.checked;
      void follow().catch(() => {});
    },
  })),
  results);
}

/** @param {KnownNames} names @param {(id: string) => void} open */
function eventTable(names, open) {
  const address = (/** @type {T.BillingEvent} */ event) =>
    link("/events", { ...Object.fromEntries(addressQuery()), event: event.idempotencyKey });
  const made = table({
    caption: "Events",
    columns: [
      {
        label: "Time (UTC)", kind: "nowrap",
        cell: (event) => {
          const [day, time] = [event.timestamp.slice(0, 10), event.timestamp.slice(11, 23)];
          return [
            h("a", { href: address(event), data: { event: event.idempotencyKey }, title: event.timestamp },
              time, h("span", { class: "visually-hidden" }, ` on ${day}`)),
            h("div", { class: "hint", "aria-hidden": "true" }, day),
          ];
        },
      },
      {
        label: "Group and key", kind: "main",
        cell: (event) => [
          h("bdi", { class: "clip", title: event.externalEntityId }, names.nameOf(event.externalEntityId, event.groupId)),
          h("div", { class: "hint mono" }, event.apiKeyPrefix),
        ],
      },
      {
        label: "Model and route",
        cell: (event) => [h("bdi", { class: "clip", title: event.modelSlug }, event.modelSlug),
          h("div", { class: "hint mono" }, event.route)],
      },
      {
        label: "Tokens in", kind: "number",
        cell: ({ tokens: { inputTokens, cachedInputTokens } }) => [int(inputTokens),
          h("div", { class: "hint" }, cachedInputTokens > 0 && `${int(cachedInputTokens)} cached`)],
      },
      {
        label: "Out", kind: "number",
        cell: ({ tokens, usageSource }) => [int(tokens.outputTokens),
          h("div", { class: "hint" }, usageSource === "counted" && "counted")],
      },
      {
        label: "Duration", kind: "number",
        cell: ({ durationMs, streamed, ttftMs }) => [milliseconds(durationMs),
          h("div", { class: "hint" }, streamed && ttftMs !== null && `first token after ${milliseconds(ttftMs)}`)],
      },
      {
        label: "Status", kind: "nowrap",
        cell: ({ status, streamed }) => [status, h("div", { class: "hint" }, streamed && "streamed")],
      },
      { label: "Cost", kind: "number", cell: ({ cost }) => costLines(cost ? { [cost.currency]: cost.amount } : {}) },
    ],
    rows: /** @type {T.BillingEvent[]} */ ([]),
  });
  made.classList.add("event-rows");
  made.addEventListener("click", (event) => {
    if (!(event.target instanceof Element) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const id = event.target.closest("tr")?.querySelector("a")?.dataset.event;
    // A click that ends a text selection does not open the dialog.
    if (!id || getSelection()?.toString()) return;
    event.preventDefault();
    open(id);
  });
  return made;
}

/** @param {T.Gap[]} gaps */
const gapsNotice = (gaps) => notice("warn",
  h("p", null, "Some events in this period can no longer be read and are missing here."),
  h("ul", { class: "plain-list" }, gaps.map((gap) => h("li", null, gap.detail))));

function nothing() {
  const query = addressQuery();
  if (isFiltered(filtersOf(query)) || query.get("range") || query.get("from") || query.get("to")) {
    return empty({
      heading: "No matching events", text: "Remove a filter, or choose a longer period.",
      actions: linkButton({ label: "All events", href: "#/events" }),
    });
  }
  return empty({
    heading: "No events yet",
    text: "Every request that a model server answers creates one event. Refused requests create none.",
    actions: may("manage") &&
      linkButton({ label: "Send a request", href: "#/playground", kind: "primary", icon: "play" }),
  });
}
