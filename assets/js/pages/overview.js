// The overview: activity, problems, the groups with the most usage, model servers and the gateway's health.

import { all, api } from "../api.js";
import { h, update } from "../dom.js";
import { bytes, compact, int, microseconds, percent, plural, serverName } from "../format.js";
import { groupCell, knownNames } from "../groups/known_names.js";
import { nearlyUsed } from "../groups/nearly_used.js";
import { watch } from "../live.js";
import { healthState, healthTimes, isDown, load } from "../models/health.js";
import { problems } from "../models/problems.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { store, stored } from "../stored.js";
import { every } from "../timers.js";
import { state } from "../ui/badge.js";
import { button, linkButton } from "../ui/button.js";
import { chart } from "../ui/chart.js";
import { costLines } from "../ui/cost.js";
import { icon } from "../ui/icon.js";
import { card, page, section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { when } from "../ui/when.js";

/** @import * as T from "../api_types.js" */
/** @import { Child } from "../dom.js" */
/** @import { Context } from "../router.js" */

const MINUTE = 60_000;
const REACHED_MS = 30_000;
const DISMISSED = "first-steps";
const DAY_MINUTES = 1440;
/** Minutes per point of a chart: a day has more minutes than a chart has pixels. */
const MINUTES_A_POINT = 5;

const FIGURES = /** @type {const} */ ([
  ["requests", "Requests"],
  ["tokens", "Tokens"],
  ["refused", "Refused by limits"],
  ["errors", "Errors"],
]);

/** @param {Context} context */
export default async function overview({ signal }) {
  const midnight = `${new Date().toISOString().slice(0, 10)}T00:00:00Z`;
  const names = knownNames();
  const [status, activity, top, reached] = await Promise.all([
    api.status(), api.activity(), api.usageReport({ start_time: midnight, group_by: "group", top: 8 }), nearlyUsed(),
  ]);
  await names.learn(top.items.map((/** @type {T.UsageItem} */ item) => item.external_entity_id));
  const [endpoints, groups] = may("manage")
    ? await Promise.all([api.endpoints.list({ limit: 1000 }), api.groups.tree({ limit: 1 })])
    : [null, null];

  const attention = h("div", { class: "attention", "aria-live": "polite" });
  const tiles = FIGURES.map(([name, label]) => tile(name, label, activity));
  const upstreams = h("div");
  const health = h("div", { class: "tiles" });
  const begin = endpoints && groups && await firstSteps(endpoints, groups, status);

  const show = (/** @type {T.Status} */ now) => {
    update(attention, problems(now, endpoints?.items ?? []));
    update(upstreams, upstreamTable(now.upstreams));
    update(health, healthTiles(now));
  };
  show(status);
  every(REACHED_MS, () => reached.refresh().catch(() => {}), signal);
  watch({
    event: (event) => {
      show(event.status);
      for (const one of tiles) one.update(event);
    },
  }, signal);

  return page({
    heading: "Overview",
    lead: "Times and days are in UTC.",
    actions: may("manage") && linkButton({ label: "New group", icon: "plus", kind: "primary", href: "#/groups/new" }),
  },
  begin,
  attention,
  reached.element,
  h("div", { class: "tiles figures" }, tiles.map((one) => one.element)),
  h("div", { class: "columns" },
    section({ heading: "Top groups today", actions: h("a", { href: "#/usage" }, "All usage") }, topGroups(top, names)),
    section({
      heading: "Model servers",
      actions: may("manage") && h("a", { href: "#/endpoints" }, "Endpoints"),
    }, upstreams)),
  section({ heading: "Gateway", actions: h("a", { href: "#/settings" }, "Full status") }, health));
}

/**
 * A figure of the last minute above a chart of the last day.
 *
 * @param {typeof FIGURES[number][0]} name
 * @param {string} label
 * @param {T.Activity} activity
 */
function tile(name, label, activity) {
  const figure = h("strong", { class: "figure" }, "–");
  const values = [...activity[name]];
  let first_ms = Date.parse(activity.first_at);
  const drawn = () => {
    const { times, values: means } = pointsOf(values, first_ms);
    return { times, series: [{ name: `${label} per minute`, values: means }] };
  };
  const course = chart({ label: `${label} over the last day`, step_ms: MINUTES_A_POINT * MINUTE, height: 112, ...drawn() });
  let latest = first_ms + (values.length - 1) * MINUTE;
  return {
    element: card(h("div", { class: "tile-head" }, h("h2", null, label), figure, h("span", { class: "hint" }, "in the last minute")), course),
    /** @param {T.LiveEvent} event */
    update({ now, minute }) {
      figure.textContent = compact(now[name]);
      figure.title = int(now[name]);
      const at = minute ? Date.parse(minute.at) : latest;
      if (!minute || at <= latest) return;
      // Minutes without an event are a gap here. The server has them, so the next visit shows them.
      for (let missed = latest + MINUTE; missed < at; missed += MINUTE) values.push(null);
      values.push(minute[name]);
      latest = at;
      // The chart keeps the length of a day.
      const dropped = values.splice(0, Math.max(0, values.length - DAY_MINUTES)).length;
      first_ms += dropped * MINUTE;
      course.update(drawn());
    },
  };
}

/**
 * Means over a few minutes each, aligned to the clock.
 *
 * @param {(number | null)[]} values
 * @param {number} first_ms
 */
function pointsOf(values, first_ms) {
  /** @type {Map<number, number[]>} */
  const points = new Map();
  const width = MINUTES_A_POINT * MINUTE;
  values.forEach((value, index) => {
    const time = Math.floor((first_ms + index * MINUTE) / width) * width;
    const known = points.get(time) ?? [];
    if (value !== null) known.push(value);
    points.set(time, known);
  });
  const mean = (/** @type {number[]} */ known) =>
    known.length ? Math.round((10 * known.reduce((sum, one) => sum + one, 0)) / known.length) / 10 : null;
  return { times: [...points.keys()], values: [...points.values()].map(mean) };
}

/** @param {T.UsageReport} report @param {ReturnType<typeof knownNames>} names */
function topGroups({ items }, names) {
  if (!items.length) {
    return card(h("p", { class: "faint" }, "Nothing was billed today."));
  }
  const most = Math.max(...items.map((item) => item.input_tokens + item.output_tokens), 1);
  return table({
    caption: "Top groups today",
    columns: [
      { label: "Group", kind: "main", cell: (item) => groupCell(names, item) },
      {
        label: "Tokens", kind: "number",
        cell: (item) => h("div", { class: "share" },
          h("span", { class: "share-bar", style: { "--part": `${(100 * (item.input_tokens + item.output_tokens)) / most}%` } }),
          h("span", null, int(item.input_tokens + item.output_tokens))),
      },
      { label: "Requests", kind: "number wide-only", cell: (item) => int(item.requests) },
      { label: "Cost", kind: "number", cell: (item) => costLines(item.cost) },
    ],
    rows: items,
  });
}

/** @param {T.Upstream[]} upstreams */
function upstreamTable(upstreams) {
  if (!upstreams.length) return card(h("p", { class: "faint" }, "There are no endpoints yet, so there are no model servers."));
  const worst = [...upstreams].sort((a, b) => Number(isDown(b)) - Number(isDown(a))).slice(0, 8);
  return table({
    caption: "Model servers",
    columns: [
      {
        label: "Model", kind: "main",
        cell: (one) => [
          may("manage") ? h("a", { href: `#/endpoints/${encodeURIComponent(one.endpoint_id)}` }, one.slug) : one.slug,
          h("div", { class: "hint anywhere" }, `${serverName(one.index)}, ${one.origin ?? one.provider}`),
        ],
      },
      {
        label: "State",
        cell: (one) => [
          healthState(one),
          isDown(one) && h("div", { class: "hint" }, healthTimes(one)),
        ],
      },
      { label: "Running", kind: "wide-only", cell: (one) => load(one, "") },
    ],
    rows: worst,
  });
}

/** @param {T.Status} status */
function healthTiles({ disk, webhooks, requests, journal, started_at }) {
  const low = disk !== null && disk.free_bytes < 0.1 * disk.total_bytes;
  return [
    small("Running requests", int(requests.running), [int(requests.billed), " billed since the gateway started ", when(started_at)]),
    small("Disk", disk ? `${bytes(disk.free_bytes)} free` : "unknown",
      disk ? [low ? state("warn", "Low") : "", ` of ${bytes(disk.total_bytes)} (${percent(disk.free_bytes, disk.total_bytes)})`] : ""),
    small("Log", bytes(journal.bytes), journal.last_error ? state("bad", journal.last_error) : `median write time ${microseconds(journal.sync_p50_us)}`),
    small("Webhooks", ...webhooksTile(webhooks)),
  ];
}

/** The worst state of the webhooks, and more about it. @param {T.Status["webhooks"]} webhooks @returns {[string, Child]} */
function webhooksTile(webhooks) {
  if (!webhooks.length) return ["None", "events can be read from the API"];
  const failing = webhooks.filter(({ delivery }) => delivery.state === "failing").length;
  const letters = webhooks.reduce((sum, { delivery }) => sum + delivery.dead_letters, 0);
  const [oldest] = webhooks.filter(({ enabled }) => enabled).flatMap(({ delivery }) => delivery.oldest_waiting_at ?? []).sort();
  const more = [
    failing > 0 && letters > 0 && `${plural(letters, "dead letter")}, `,
    oldest ? ["oldest waiting event: ", when(oldest)] : plural(webhooks.length, "webhook"),
  ];
  if (failing) return [`${int(failing)} failing`, more];
  return [letters ? plural(letters, "dead letter") : oldest ? "Behind" : "Up to date", more];
}

/** @param {string} name @param {string} value @param {Child} more */
const small = (name, value, more) =>
  card(h("h3", { class: "tile-name" }, name), h("strong", { class: "figure small-figure" }, value), h("p", { class: "hint" }, more));

/**
 * The first steps, until they are done or dismissed.
 *
 * @param {T.Page<T.Endpoint>} endpoints
 * @param {T.Page<T.TreeGroup>} groups
 * @param {T.Status} status
 */
async function firstSteps(endpoints, groups, status) {
  const group = groups.items[0];
  const done = [endpoints.items.length > 0, Boolean(group), (group?.keys ?? 0) > 0 || groups.pagination.has_more, status.requests.billed > 0];
  if (done.every(Boolean) || stored(DISMISSED)) return null;
  if (done.slice(0, 3).every(Boolean)) {
    // The status counts since startup.
    const { items, pagination } = await api.events({ order: "desc", limit: 1 });
    if (items.length || pagination.cursor) return null;
  }
  const of = group ? encodeURIComponent(group.id) : "";
  /** @type {[string, string, string, string][]} */
  const steps = [
    ["Add a model", "An endpoint is a name under which customers call a model, and the servers that run it.", "#/endpoints/new", "New endpoint"],
    ["Add a customer", "A group has the models that its keys may call, and the limits on each.", "#/groups/new", "New group"],
    ["Mint a key", "The customer uses it with the OpenAI SDK; it is shown once.", group ? `#/groups/${of}/keys` : "", "Mint a key"],
    ["Send the first request", "Try the model yourself, as that customer.", group ? link("/playground", { group: group.id }) : "", "Playground"],
  ];
  const next = done.indexOf(false);
  const shown = section({
    heading: "First steps", lead: "From an empty gateway to a customer's first request in about two minutes.",
    actions: button({
      label: "Dismiss", kind: "quiet", small: true,
      press: () => {
        store(DISMISSED, "1");
        shown.remove();
        document.querySelector("h1")?.focus();
      },
    }),
  },
    h("ol", { class: "steps" }, steps.map(([name, text, href, label], index) =>
      h("li", { class: ["card", done[index] && "done"], "aria-current": index === next ? "step" : null },
        h("h3", null, name, done[index] && h("span", { class: "visually-hidden" }, " (done)")),
        h("p", { class: "hint" }, text),
        done[index] ? icon("check") : href && linkButton({ label, href, small: true, kind: index === next ? "primary" : "" })))));
  return shown;
}
