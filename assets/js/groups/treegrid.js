// The tree as an accessible grid. Only the visible rows are in the document, at fixed heights, so that ten thousand
// groups are as fast as ten. The focused row stays in the document even when it is scrolled out of view.

import { h, set } from "../dom.js";
import { disabledBy } from "./tree.js";

/** @import { Child } from "../dom.js" */
/** @import { Row } from "./tree.js" */

const ROWS_BEYOND = 8;

/**
 * @param {{label: string, columns: {label: string, kind?: string, cell: (row: Row) => Child}[],
 *   toggle: (row: Row, open: boolean) => void, open: (row: Row) => void, signal: AbortSignal}} options
 */
export function treegrid({ label, columns, toggle, open, signal }) {
  const body = h("div", { class: "tree-body", role: "rowgroup" });
  const head = h("div", { class: "tree-row tree-head", role: "row", "aria-rowindex": 1 }, columns.map((column) =>
    h("div", { class: ["tree-cell", column.kind], role: "columnheader" }, column.label)));
  const element = h("div", { class: "tree", role: "treegrid", "aria-label": label },
    h("div", { role: "rowgroup", class: "tree-top" }, head), body);
  /** @type {Row[]} */
  let rows = [];
  /** @type {Map<string, {element: HTMLElement, row: Row, drawnState: string}>} */
  const drawn = new Map();
  let active = "";
  let rowHeight = 44;

  /** @param {Row} row @param {number} index */
  const draw = (row, index) => {
    const { group, level, at, of } = row.node;
    const known = drawn.get(group.id);
    const above = disabledBy(row.node);
    const state = JSON.stringify([group, level, row.expanded, row.found, above?.id, above?.name]);
    const shown = known?.element ?? h("div", { role: "row", data: { id: group.id } });
    if (known?.drawnState !== state) {
      shown.replaceChildren(...columns.map((column) =>
        h("div", { class: ["tree-cell", column.kind], role: "gridcell" }, column.cell(row))));
    }
    set(shown, {
      class: ["tree-row", (group.disabled || above) && "off", row.found && "found"],
      "aria-level": level, "aria-posinset": at, "aria-setsize": of,
      "aria-expanded": row.expanded === null ? null : String(row.expanded), "aria-rowindex": index + 2,
      tabindex: group.id === active ? 0 : -1, style: { "--top": `${index * rowHeight}px`, "--level": level - 1 },
    });
    drawn.set(group.id, { element: shown, row, drawnState: state });
    return shown;
  };

  const render = () => {
    const { top } = body.getBoundingClientRect();
    const first = Math.max(0, Math.floor(-top / rowHeight) - ROWS_BEYOND);
    const last = Math.min(rows.length, Math.ceil((innerHeight - top) / rowHeight) + ROWS_BEYOND);
    const wanted = Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
    const at = activeAt();
    if (at >= 0 && at < first) wanted.unshift(at);
    if (at >= last) wanted.push(at);
    const elements = wanted.map((index) => draw(/** @type {Row} */ (rows[index]), index));
    const kept = new Set(elements);
    for (const [id, { element: old }] of drawn) {
      if (kept.has(old)) continue;
      old.remove();
      drawn.delete(id);
    }
    // Rows that are in place are not moved, since moving an element removes its focus.
    elements.forEach((one, index) => {
      const there = body.children[index] ?? null;
      if (there !== one) body.insertBefore(one, there);
    });
  };

  const activeAt = () => rows.findIndex((row) => row.node.group.id === active);

  /** @param {number} to */
  const moveTo = (to) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
    if (!row) return;
    active = row.node.group.id;
    const index = rows.indexOf(row);
    const top = body.getBoundingClientRect().top + index * rowHeight;
    const above = head.getBoundingClientRect().bottom;
    if (top < above) scrollBy(0, top - above);
    else if (top + rowHeight > innerHeight) scrollBy(0, top + 2 * rowHeight - innerHeight);
    render();
    drawn.get(active)?.element.focus({ preventScroll: true });
  };

  body.addEventListener("keydown", (event) => {
    const at = activeAt();
    const row = rows[at];
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(innerHeight / rowHeight) - 3);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (step) moveTo(at + step);
    else if (event.key === "ArrowRight" && row.expanded === false) toggle(row, true);
    else if (event.key === "ArrowRight" && row.expanded) moveTo(at + 1);
    else if (event.key === "ArrowLeft" && row.expanded) toggle(row, false);
    else if (event.key === "ArrowLeft" && row.node.parent) {
      const { id } = row.node.parent.group;
      moveTo(rows.findIndex((one) => one.node.group.id === id));
    } else if (event.key === " " && row.expanded !== null) toggle(row, !row.expanded);
    else if (event.key === "Enter") open(row);
    else if (!["ArrowRight", "ArrowLeft"].includes(event.key)) return;
    event.preventDefault();
  });
  const rowOf = (/** @type {EventTarget | null} */ target) => {
    const shown = target instanceof Element ? target.closest("[data-id]") : null;
    return shown instanceof HTMLElement ? drawn.get(shown.dataset.id ?? "")?.row : undefined;
  };
  body.addEventListener("click", (event) => {
    const { target } = event;
    const row = rowOf(target);
    if (!row || row.expanded === null || !(target instanceof Element) || !target.closest(".tree-toggle")) return;
    toggle(row, !row.expanded);
  });
  body.addEventListener("focusin", (event) => {
    const row = rowOf(event.target);
    if (!row || row.node.group.id === active) return;
    drawn.get(active)?.element.setAttribute("tabindex", "-1");
    active = row.node.group.id;
    drawn.get(active)?.element.setAttribute("tabindex", "0");
  });
  let waiting = 0;
  const soon = () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      measure();
      render();
    });
  };
  const measure = () => {
    const is = parseFloat(getComputedStyle(element).getPropertyValue("--tree-row-px")) || head.offsetHeight;
    const wanted = is * (parseFloat(getComputedStyle(document.documentElement).fontSize) / 16);
    if (wanted > 0) rowHeight = wanted;
    body.style.setProperty("--height", `${rows.length * rowHeight}px`);
    body.style.setProperty("--tall", `${rowHeight}px`);
  };
  addEventListener("scroll", soon, { signal, passive: true });
  addEventListener("resize", soon, { signal });

  return {
    element,
    /** @param {Row[]} now */
    show(now) {
      rows = now;
      if (activeAt() < 0) active = rows[0]?.node.group.id ?? "";
      element.setAttribute("aria-rowcount", String(rows.length + 1));
      measure();
      render();
      if (!element.isConnected) soon();
    },
  };
}
