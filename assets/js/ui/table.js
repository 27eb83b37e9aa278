// Tables, and lists that load more pages.

import { filledPage } from "../api.js";
import { fill, h, update } from "../dom.js";
import { button } from "./button.js";

/** @import { Child } from "../dom.js" */
/** @import * as T from "../api_types.js" */

/**
 * @template Row
 * @typedef {{label: string, cell: (row: Row) => Child, hideLabel?: boolean,
 *   kind?: "number" | "wide-only" | "number wide-only" | "actions" | "main" | "nowrap",
 *   sort?: (row: Row) => number | string}} Column `wide-only` columns are left out on a phone; `sort` lets the reader
 *   sort by the column
 */

/**
 * @template Row
 * @param {{caption: string, columns: Column<Row>[], rows: Row[], rowKind?: (row: Row) => string | false,
 *   sorted?: string}} options the caption is for screen readers; `sorted` is the label of the column by which the rows
 *   are sorted already
 */
export function table({ caption, columns, rows, rowKind, sorted }) {
  const drawn = (some = rows) => some.map((row) => tableRow(columns, row, rowKind?.(row)));
  const body = h("tbody", null, drawn());
  const header = (/** @type {Column<Row>} */ { label, kind, hideLabel, sort }) => {
    const cell = h("th", { scope: "col", class: kind, "aria-sort": label === sorted && "descending" },
      sort ? h("button", { type: "button", class: "sort", onclick: () => sortBy(cell, sort) }, label)
        : h("span", { class: hideLabel && "visually-hidden" }, label));
    return cell;
  };
  /** @param {HTMLElement} cell @param {(row: Row) => number | string} value */
  const sortBy = (cell, value) => {
    const isText = rows.some((row) => typeof value(row) === "string");
    const now = cell.getAttribute("aria-sort") ?? (isText ? "descending" : "ascending");
    for (const other of made.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", now === "ascending" ? "descending" : "ascending");
    const up = now === "ascending" ? -1 : 1;
    rows = [...rows].sort((a, b) => up * (isText
      ? String(value(a)).localeCompare(String(value(b)), "en", { numeric: true }) : Number(value(a)) - Number(value(b))));
    fill(body, drawn());
  };
  const made = h("table", { class: "table" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", null, h("tr", null, columns.map(header))),
    body);
  const frame = h("div", { class: "table-frame", role: "region", "aria-label": caption, tabindex: "0" }, made);
  return Object.assign(frame, {
    /** @param {Row[]} more */
    add(more) {
      rows = [...rows, ...more];
      body.append(...drawn(more));
    },
    /** Like `show`, but only what differs is redrawn. The cells must have no listeners. @param {Row[]} [other] */
    update: (other = rows) => update(body, drawn(rows = other)),
    /** @param {Row[]} other */
    show: (other) => fill(body, drawn(rows = other)),
  });
}

/**
 * @template Row
 * @param {Column<Row>[]} columns
 * @param {Row} row
 * @param {string | false} [kind]
 */
const tableRow = (columns, row, kind) =>
  h("tr", { class: kind }, columns.map((column) =>
    column.kind === "main"
      ? h("th", { scope: "row", class: "main" }, column.cell(row))
      : h("td", { class: column.kind }, column.cell(row))));

/**
 * A table of one of the API's lists, which loads more pages on request.
 *
 * @template Row
 * @param {{caption: string, columns: Column<Row>[], list: (query: T.Query) => Promise<T.Page<Row>>, query?: T.Query,
 *   empty: Child, rowKind?: (row: Row) => string | false}} options
 */
export async function pagedTable({ caption, columns, list, query = {}, empty, rowKind }) {
  let page = await filledPage(list, query);
  if (!page.items.length) return Object.assign(h("div", null, empty), { redraw() {} });
  const made = table({ caption, columns, rows: page.items, rowKind });
  const more = button({
    label: "Show more",
    press: async () => {
      page = await list({ ...query, cursor: page.pagination.cursor ?? undefined });
      made.add(page.items);
      more.hidden = !page.pagination.cursor;
    },
  });
  more.hidden = !page.pagination.cursor;
  return Object.assign(h("div", { class: "paged" }, made, more), { redraw: () => made.update() });
}
