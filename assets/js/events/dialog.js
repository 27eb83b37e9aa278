// The dialog that shows one event in full.

import { api } from "../api.js";
import { h } from "../dom.js";
import { joined } from "../filters/lists.js";
import { int, milliseconds, money, plural, serverName, utc } from "../format.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { linkButton } from "../ui/button.js";
import { copyButton } from "../ui/copy.js";
import { dialog } from "../ui/dialog.js";
import { facts } from "../ui/page.js";
import { ulidTime } from "./ulid.js";

/** @import * as T from "../api_types.js" */

/** Maximum number of pages to search. One millisecond never has more events. */
const MAX_PAGES = 5;

/**
 * The event with an id. An id begins with the event's time, so only that millisecond is read.
 *
 * @param {string} id
 * @returns {Promise<T.BillingEvent | null>}
 */
export async function findEvent(id) {
  const at = ulidTime(id);
  if (at === null) return null;
  const [start_time, end_time] = [new Date(at).toISOString(), new Date(at + 1).toISOString()];
  let cursor;
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    /** @type {T.Page<T.BillingEvent>} */
    const page = await api.events(cursor ? { cursor, limit: 1000 } : { start_time, end_time, limit: 1000 });
    const found = page.items.find((event) => event.idempotencyKey === id);
    if (found) return found;
    if (!page.pagination.cursor) return null;
    cursor = page.pagination.cursor;
  }
  return null;
}

/** @param {T.BillingEvent} event @returns {Promise<unknown>} settles when the dialog is closed */
export function showEvent(event) {
  const json = JSON.stringify(event, null, 2);
  const content = () => h("div", { class: "stack event" }, fieldsOf(event), actionsOf(event, json));
  return dialog({ heading: "Event", wide: true, content });
}

/** @param {T.BillingEvent} event */
function fieldsOf(event) {
  const { tokens } = event;
  const code = (/** @type {string} */ text) => h("code", null, text);
  const known = event.usageSource === "upstream"
    ? "reported by the model server" : "counted by Tollgate, because the model server reported none";
  const written = tokens.cacheWriteInputTokens > 0 ? `, ${int(tokens.cacheWriteInputTokens)} written to cache` : "";
  const cached = `${int(tokens.cachedInputTokens)} cached${written}`;
  return [
    facts([
      ["Billed at", h("time", { datetime: event.timestamp }, `${event.timestamp.replace("T", " ").replace("Z", "")} UTC`)],
      ["Group", [
        may("keys")
          ? h("a", { href: `#/groups/${encodeURIComponent(event.groupId)}` }, h("bdi", null, event.externalEntityId))
          : h("bdi", null, event.externalEntityId),
        h("div", { class: "hint" }, code(event.groupId)),
      ]],
      ["Key", code(event.apiKeyPrefix)],
      ["Model", code(event.modelSlug)],
      ["Route", code(event.route)],
      ["Server", event.target === null ? "unknown: an earlier version wrote this event" : serverName(event.target)],
      ["Response", `Status ${event.status}, ${event.streamed ? "streamed" : "not streamed"}`],
      ["Tokens", h("div", null, `${int(tokens.inputTokens)} in (${cached}), ${int(tokens.outputTokens)} out`,
        h("div", { class: "hint" }, known))],
      ["Units", event.units ? unitsText(event.units) : "none besides tokens"],
      ["Cost", event.cost ? money(event.cost) : "none: the endpoint has no price"],
      ["Duration", milliseconds(event.durationMs)],
      ["Waited for a target", milliseconds(event.queueMs)],
      ["First token after", event.ttftMs === null ? "unknown" : milliseconds(event.ttftMs)],
      ["Request id", h("div", null, code(event.requestId), h("div", { class: "hint" }, "The x-request-id that the customer received."))],
      ["Event id", h("div", null, code(event.idempotencyKey),
        h("div", { class: "hint" }, "The idempotencyKey, unique to this event."))],
    ]),
    h("section", { class: "section" }, h("h3", null, "Request metadata"),
      event.requestMetadata
        ? h("pre", { class: "json", tabindex: "0" }, JSON.stringify(event.requestMetadata, null, 2))
        : h("p", { class: "faint" }, "None, or larger than 16 KiB.")),
  ];
}

/** @param {T.Units} units */
function unitsText({ images, seconds, characters }) {
  if (images !== undefined) return plural(images, "image");
  if (seconds !== undefined) return `${seconds} s of audio`;
  return plural(characters ?? 0, "character");
}

/** @param {T.BillingEvent} event @param {string} json */
function actionsOf(event, json) {
  const more = (/** @type {string} */ label, /** @type {Record<string, string | null>} */ query) =>
    linkButton({ label, small: true, href: link("/events", query) });
  return h("div", { class: "form-actions" },
    copyButton({ text: json, label: "Copy as JSON", message: "Event copied" }),
    more("Events of this group", { group_ids: event.groupId }),
    more("Events of this key", { api_keys: joined([event.apiKeyPrefix]) }),
    more("Events of this model", { model_slugs: joined([event.modelSlug]) }));
}

/** Shows a dialog for an event that does not exist, or no longer exists. @param {string} id */
export function showMissing(id) {
  const at = ulidTime(id);
  return dialog({
    heading: "Event not found",
    content: () => h("p", null, "There is no event ", h("code", null, id),
      at === null
        ? ". An event's id has 26 characters."
        : `. Its id was created at ${utc(at)}. Events are deleted after the time set as events_retention.`),
  });
}
