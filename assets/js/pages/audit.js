// The audit log, newest first.

import { api, filledPage } from "../api.js";
import { auditEntry } from "../audit/entry.js";
import { ACTIONS, actionWords } from "../audit/words.js";
import { fill, h } from "../dom.js";
import { addressQuery, filterBar } from "../filters/bar.js";
import { MOMENT_RANGES, rangeOf, timesOf } from "../filters/range.js";
import { button, linkButton } from "../ui/button.js";
import { field, select } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { empty, page } from "../ui/page.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

const PAGE = 50;

/** @param {Context} context */
export default async function audit({ signal, setQuery }) {
  const results = h("div", { class: "stack results" });
  const list = h("ul", { class: "audit" });
  const gaps = h("div");
  const event_type = select(
    [["", "All changes"], ...ACTIONS.map((action) => /** @type {[string, string]} */ ([action, actionWords(action)]))],
    { value: addressQuery().get("event_type") ?? "" });
  event_type.addEventListener("change", () => {
    setQuery({ event_type: event_type.value });
    changed();
  });

  let cursor = /** @type {string | null} */ (null);
  let turn = 0;
  const more = button({ label: "Show more", press: () => next(turn, { cursor: cursor ?? undefined }) });
  /** @param {number} now @param {T.Query} query */
  const next = async (now, query) => {
    /** @type {T.PageWithGaps<T.AuditEntry>} */
    const page = await filledPage(api.audit, { ...query, limit: PAGE }, { limit: PAGE });
    if (now !== turn || signal.aborted) return;
    if (!query.cursor) fill(list);
    cursor = page.pagination.cursor;
    more.hidden = !cursor;
    list.append(...page.items.map(auditEntry));
    if (page.incomplete?.length) {
      fill(gaps, notice("warn", "Some changes in this period can no longer be read and are missing here."));
    }
  };
  const load = async () => {
    const query = addressQuery();
    results.setAttribute("aria-busy", "true");
    fill(gaps);
    const event_type = query.get("event_type") ?? undefined;
    const now = ++turn;
    await next(now, { ...timesOf(rangeOf(query, "all", Date.now())), event_type });
    if (now !== turn || signal.aborted) return;
    fill(results, gaps, list.childElementCount ? [list, h("div", { class: "more" }, more)] : empty({
      heading: "No matching changes",
      text: "The audit log lists every change made through the API, this UI or the command line, and who made it.",
      actions: linkButton({ label: "All changes", href: "#/audit" }),
    }));
    results.setAttribute("aria-busy", "false");
  };
  const changed = () => {
    load().catch((error) => {
      results.setAttribute("aria-busy", "false");
      fill(results, notice("bad", error.message));
    });
  };
  await load();
  return page({ heading: "Audit log", lead: "Every change, who made it, and the state before and after it. Entries are kept as long as events." },
    filterBar({
      ranges: MOMENT_RANGES, otherwise: "all", ends: "datetime-local", setQuery, changed,
      extra: field({ label: "Change", name: "event_type", input: event_type }),
    }),
    results);
}
