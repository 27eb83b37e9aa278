// An entry of the audit log: a line that expands to the state before and after the change.

import { all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { utc } from "../format.js";
import { badge } from "../ui/badge.js";
import { copyButton } from "../ui/copy.js";
import { icon } from "../ui/icon.js";
import { when } from "../ui/when.js";
import { changesOf } from "./diff.js";
import { actionWords, objectWords, placeOf, subjectOf, verbOf } from "./words.js";

/** @import * as T from "../api_types.js" */

/** Maximum number of objects listed for an entry; the rest are counted. A deleted tree may have thousands. */
const MAX_SHOWN = 50;

const TONES = /** @type {const} */ ({ created: "ok", registered: "ok", deleted: "bad", revoked: "bad" });

/** @param {T.AuditEntry} entry */
export function auditEntry(entry) {
  const changes = /** @type {any[]} */ (entry.event_data.changes ?? []);
  // A new endpoint comes with a new slug. The event type names the main object.
  const noun = entry.event_type.split(".")[0];
  const main = changes.find((change) => change.object === noun) ?? changes[0];
  const others = changes.filter((change) => change !== main && change.object !== "slug").length;
  const verb = entry.event_type.split(".")[1] ?? "";
  const body = h("div", { class: "audit-body" });
  const open = h("details", null,
    h("summary", null,
      icon("right"),
      h("span", { class: "audit-when" }, when(entry.created)),
      badge(TONES[/** @type {keyof typeof TONES} */ (verb)] ?? "plain", actionWords(entry.event_type)),
      h("span", { class: "audit-what" }, main && h("bdi", { class: "clip" }, subjectOf(main)),
        others > 0 && h("span", { class: "faint" }, ` and ${others} more`)),
      h("span", { class: "audit-who" }, actorName(entry.actor))),
    body);
  open.addEventListener("toggle", () => {
    if (open.open && !body.childElementCount) fill(body, details(entry, changes));
  });
  return h("li", null, open);
}

/** @param {T.AuditEntry["actor"]} actor */
const actorName = ({ type, api_key_prefix, api_key_name }) =>
  type === "SYSTEM" ? "Tollgate itself" : api_key_name || api_key_prefix || type;

/** @param {T.AuditEntry["actor"]} actor */
function actorWords({ type, api_key_prefix, api_key_name }) {
  if (type === "SYSTEM") return "Tollgate itself, at startup";
  const how = type === "SESSION" ? "in this UI" : "through the API";
  return [api_key_name && h("bdi", null, api_key_name), api_key_name && " ", h("code", null, api_key_prefix), `, ${how}`];
}

/** @param {T.AuditEntry} entry @param {any[]} changes */
function details(entry, changes) {
  return [
    h("p", { class: "hint" }, "At ", utc(entry.created), " by ", actorWords(entry.actor), ". Entry ", h("code", null, entry.id)),
    entry.event_data.before_known === false &&
      h("p", { class: "hint" }, "The state before this change was not recorded."),
    changes.length === 0 && h("p", null, "Nothing was changed."),
    changes.slice(0, MAX_SHOWN).map(thing),
    changes.length > MAX_SHOWN && h("p", { class: "faint" }, `and ${changes.length - MAX_SHOWN} more`),
    h("div", null, copyButton({ text: JSON.stringify(entry, null, 2), label: "Copy as JSON", message: "Change copied" })),
  ];
}

/** @param {any} change */
function thing(change) {
  const fields = changesOf(change.before, change.after);
  const place = h("span");
  void linkTo(change).then((href) => href && fill(place, h("a", { href }, "Open")), () => {});
  return h("div", { class: "audit-thing" },
    h("h2", null, `${objectWords(change.object)} `, h("bdi", null, subjectOf(change)), ` was ${verbOf(change)}`, " ", place),
    change.id !== subjectOf(change) && h("p", { class: "hint" }, h("code", null, change.id)),
    fields.length
      ? h("dl", { class: "diff" }, fields.map(({ field, before, after }) => h("div", null,
        h("dt", null, field),
        state("before", before), state("after", after))))
      : h("p", { class: "faint" }, "No visible value changed. Secret values are never shown."));
}

/** @param {"before" | "after"} which @param {string | null} value */
const state = (which, value) => value !== null &&
  h("dd", { class: which }, h("span", { class: "visually-hidden" }, `${which}: `), h("bdi", null, value));

/** The address of the object's page; null if it is gone. @param {any} change @returns {Promise<string | null>} */
async function linkTo(change) {
  if (change.after === null) return null;
  const href = placeOf(change.object, change);
  if (!href) return null;
  return (await existingIds(change)).some((id) => href.includes(encodeURIComponent(id))) ? href : null;
}

/**
 * Ids that exist, including the object's own unless it was deleted. Lists are read, since requesting a deleted object
 * is an error.
 *
 * @param {any} change
 * @returns {Promise<string[]>}
 */
async function existingIds(change) {
  const of = change.after ?? change.before ?? {};
  const group = change.object === "group" ? change.id : change.object === "api_key" ? of.group_id : null;
  if (group) return (await api.search(group)).items.map((/** @type {T.Found} */ found) => found.id);
  if (change.object === "endpoint") return (await all(api.endpoints.list)).map((endpoint) => endpoint.id);
  if (change.object === "webhook" || change.object === "dead_letter") {
    return (await all(api.webhooks.list)).map((webhook) => webhook.id);
  }
  return [""];
}
