// The status tab: the full status, updated live.

import { api } from "../api.js";
import { fill, h, update } from "../dom.js";
import { bytes, int, microseconds, milliseconds, percent, plural, seconds, serverName, utc } from "../format.js";
import { watch } from "../live.js";
import { attempts, healthState, load } from "../models/health.js";
import { problems } from "../models/problems.js";
import { state } from "../ui/badge.js";
import { facts, section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { when } from "../ui/when.js";

/** @import * as T from "../api_types.js" */
/** @import { Child } from "../dom.js" */

/** @type {[string, [string, (status: T.Status) => Child][]][]} */
const PARTS = [
  ["Process", [
    ["Version", ({ version }) => version],
    ["Started", ({ started_at }) => when(started_at)],
    ["Uptime", ({ uptime_s }) => seconds(uptime_s)],
    ["Last stop", lastStop],
  ]],
  ["Requests since startup", [
    ["Running now", ({ requests }) => int(requests.running)],
    ["Admitted", ({ requests }) => int(requests.admitted)],
    ["Refused by limits", ({ requests }) => int(requests.refused)],
    ["Billed", ({ requests }) => int(requests.billed)],
    ["Errors returned to customers", ({ requests }) => int(requests.errors)],
    ["Failures of model servers", ({ requests }) => int(requests.target_failures)],
    ["Tokens", ({ requests }) => `${int(requests.input_tokens)} in, ${int(requests.output_tokens)} out`],
  ]],
  ["Log", [
    ["Durability", ({ journal: { durability } }) =>
      durability === "disk" ? "disk: events survive a power loss" : durability],
    ["Size", ({ journal }) => `${bytes(journal.bytes)} in ${plural(journal.segments, "file")}`],
    ["Records", ({ journal }) => int(journal.last_sequence)],
    ["Oldest", ({ journal }) => when(journal.first_at, "none yet")],
    ["Time to disk", ({ journal }) => `median ${microseconds(journal.sync_p50_us)}, 99th percentile ${microseconds(journal.sync_p99_us)}`],
    ["Not yet on disk", ({ journal }) => bytes(journal.pending_bytes)],
    ["Damage", ({ journal }) => journal.damage.length
      ? h("ul", { class: "plain-list" }, journal.damage.map((gap) => h("li", null, gap.detail)))
      : "none"],
    ["Last error", ({ journal }) => journal.last_error ? state("bad", journal.last_error) : "none"],
  ]],
  ["Store and disk", [
    ["Applied up to record", ({ store }) => store.applied_sequence === null ? "unknown" : int(store.applied_sequence)],
    ["Snapshots", ({ store }) => `${store.snapshots.length}, ${bytes(store.bytes)}`],
    ["Usage totals", ({ store }) => `${plural(store.rollup_days, "day")}, ${bytes(store.rollup_bytes)}`],
    ["Disk", ({ disk }) => disk
      ? `${bytes(disk.free_bytes)} free of ${bytes(disk.total_bytes)} (${percent(disk.free_bytes, disk.total_bytes)})`
      : "unknown"],
  ]],
];

/** @param {T.Status} status */
function lastStop({ in_flight_at_last_stop: { known, count, requests } }) {
  if (!known) return "unknown whether requests were running";
  if (!count) return "no requests were running";
  return h("details", null, h("summary", null, `${plural(count, "request was", "requests were")} cut off and not billed`),
    h("ul", { class: "plain-list" }, requests.map((one) =>
      h("li", null, h("code", null, one.request_id), ` ${one.model_slug ?? ""} at ${utc(one.admitted_at)}`))));
}

/** @param {AbortSignal} signal */
export async function statusPart(signal) {
  const first = await api.status();
  const cells = PARTS.map(([heading, rows]) =>
    ({ heading, rows: rows.map(([name, of]) => ({ name, of, cell: h("div") })) }));
  const notices = h("div");
  const upstreams = part("Model servers", upstreamColumns, "There are no endpoints yet.");
  const queues = part("Queues", queueColumns, "No server has a capacity, so no request waits.");
  const refused = part("Refused keys", refusedColumns, "No wrong keys were used since startup.");

  const show = (/** @type {T.Status} */ status) => {
    for (const row of cells.flatMap(({ rows }) => rows)) {
      const now = h("div", null, row.of(status));
      // Keep unchanged content: it may be open or have the focus.
      if (!row.cell.isEqualNode(now)) fill(row.cell, ...now.childNodes);
    }
    update(notices, problems(status, []));
    upstreams.show(status.upstreams);
    queues.show(status.queues);
    refused.show(status.refused_keys);
  };
  show(first);
  watch({ event: ({ status }) => show(status) }, signal);

  return [
    notices,
    h("div", { class: "columns" }, cells.map(({ heading, rows }) =>
      section({ heading }, h("div", { class: "card" }, facts(rows.map(({ name, cell }) => [name, cell])))))),
    upstreams.element,
    queues.element,
    refused.element,
  ];
}

/**
 * A table in which only what differs is redrawn.
 *
 * @template Row
 * @param {string} heading
 * @param {import("../ui/table.js").Column<Row>[]} columns
 * @param {string} none
 */
function part(heading, columns, none) {
  const rows = table({ caption: heading, columns, rows: /** @type {Row[]} */ ([]) });
  const nothing = h("p", { class: "faint" }, none);
  return {
    element: section({ heading }, rows, nothing),
    /** @param {Row[]} items */
    show(items) {
      rows.update(items);
      rows.hidden = items.length === 0;
      nothing.hidden = items.length > 0;
    },
  };
}

/** @type {import("../ui/table.js").Column<T.Upstream>[]} */
const upstreamColumns = [
  {
    label: "Model", kind: "main",
    cell: ({ slug, index, origin, provider }) =>
      [slug, h("div", { class: "hint anywhere" }, `${serverName(index)}, ${origin ?? provider}`)],
  },
  {
    label: "State", kind: "nowrap",
    cell: (one) => [
      healthState(one),
      one.out_since && h("div", { class: "hint" }, "since ", when(one.out_since)),
      one.state === "out" && h("div", { class: "hint" }, "next try ", when(one.out_until)),
    ],
  },
  { label: "Running", kind: "wide-only", cell: (one) => load(one, "") },
  { label: "Attempts", kind: "wide-only", cell: attempts },
  {
    label: "Last failure", kind: "wide-only",
    cell: (one) => one.last_failure_at
      ? [when(one.last_failure_at), h("div", { class: "hint anywhere" },
        one.failures_in_a_row > 0 && `${int(one.failures_in_a_row)} in a row: `, one.last_error)]
      : "none",
  },
  { label: "Last success", kind: "wide-only", cell: (one) => when(one.last_success_at) },
];

/** @type {import("../ui/table.js").Column<T.Queue>[]} */
const queueColumns = [
  { label: "Model", kind: "main", cell: ({ slug }) => slug },
  { label: "Waiting", kind: "number", cell: ({ waiting }) => int(waiting) },
  { label: "Waited", kind: "number wide-only", cell: ({ queued }) => int(queued) },
  { label: "No place in time", kind: "number", cell: ({ timed_out }) => int(timed_out) },
  {
    label: "Median", kind: "number wide-only",
    cell: ({ queued, wait_p50_ms }) => queued ? milliseconds(wait_p50_ms) : "–",
  },
  {
    label: "99th percentile", kind: "number wide-only",
    cell: ({ queued, wait_p99_ms }) => queued ? milliseconds(wait_p99_ms) : "–",
  },
];

/** @type {import("../ui/table.js").Column<T.Status["refused_keys"][number]>[]} */
const refusedColumns = [
  { label: "Address", kind: "main", cell: ({ address }) => h("code", null, address) },
  { label: "Attempts as operator", kind: "number", cell: ({ admin }) => int(admin) },
  { label: "Attempts as customer", kind: "number", cell: ({ inference }) => int(inference) },
  { label: "First", kind: "wide-only", cell: ({ first_at }) => when(first_at) },
  { label: "Last", cell: ({ last_at }) => when(last_at) },
];
