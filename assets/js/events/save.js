// Events as a file, page by page, made in the browser.

import { api } from "../api.js";
import { int } from "../format.js";
import { toast } from "../ui/toast.js";
import { eventHeader, eventLine } from "./csv.js";

/** @import { Query } from "../api_types.js" */

/** More than a spreadsheet is pleasant with. */
export const CSV_MOST = 50_000;

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // The browser has begun to read by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * Saves the newest events of a query.
 *
 * @param {Query} query
 * @param {AbortSignal} signal
 * @param {(count: number) => void} told how far it is
 */
export async function saveEvents(query, signal, told) {
  const pieces = [eventHeader()];
  let count = 0;
  let page = await api.events({ ...query, order: "desc", limit: 1000 });
  for (;;) {
    if (signal.aborted) return;
    const items = page.items.slice(0, CSV_MOST - count);
    pieces.push(items.map(eventLine).join(""));
    count += items.length;
    told(count);
    if (!page.pagination.cursor || count >= CSV_MOST) break;
    page = await api.events({ cursor: page.pagination.cursor, limit: 1000 });
  }
  save(new Blob(pieces, { type: "text/csv" }), `events-${new Date().toISOString().slice(0, 10)}.csv`);
  toast(page.pagination.cursor
    ? `The newest ${int(count)} events were saved. Choose a shorter time for the rest.`
    : `${int(count)} events were saved.`);
}
