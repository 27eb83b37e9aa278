// The tab "Why 429?": says whether a request would pass now, and shows each limit.

import { ApiError, all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { int } from "../format.js";
import { may } from "../session.js";
import { debounced, every } from "../timers.js";
import { linkButton } from "../ui/button.js";
import { field, select } from "../ui/form.js";
import { icon } from "../ui/icon.js";
import { notice } from "../ui/notice.js";
import { empty, section } from "../ui/page.js";
import { showBars } from "./limit_bars.js";
import { groupAddress, namesOf } from "./names.js";
import { tokensField } from "./tokens_field.js";
import { otherReasons, verdict } from "./why.js";

/** @import * as T from "../api_types.js" */
/** @import { Tab } from "./tab.js" */

const REFRESH_MS = 2000;
const DAY_MS = 86_400_000;
const DEFAULT_TOKENS = 500;

/** @param {Tab} tab */
export default async function whyTab({ group, ancestors, context }) {
  const { id } = group();
  const { query, signal, setQuery } = context;
  const nameOf = namesOf([group(), ...ancestors]);
  const slugs = group().models.map((model) => model.slug);
  const [keys, endpoints] = await Promise.all([
    may("keys") ? all((page) => api.keys.list(id, page)) : null,
    may("manage") ? all(api.endpoints.list) : null,
  ]);
  let slug = slugs.find((one) => one === query.get("slug")) ?? slugs[0] ?? "";
  const reasons = reasonsPanel(() => otherReasons({
    group: group(), ancestors, keys, slug, nameOf, now_ms: Date.now(), slugs: endpoints?.map((one) => one.slug) ?? null,
  }));
  if (!slug) {
    return h("div", { class: "stack" }, empty({
      heading: "This group has no models",
      text: "Every request fails with 404 model_not_found. Add a model first.",
      actions: may("manage") && linkButton({ label: "Add a model", kind: "primary", href: groupAddress(id, "limits") }),
    }), reasons.element);
  }

  const typical = await typicalOf(id, slug);
  const verdictLine = verdictPanel();
  const bars = h("ul", { class: "limit-bars" });
  const hint = h("span", null, typicalText(typical));
  let latest = 0;
  const ask = async () => {
    latest += 1;
    const mine = latest;
    const answer = await api.groups.limits(id, slug, tokens.tokens()).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      return error;
    });
    if (mine !== latest || signal.aborted) return;
    if (answer instanceof ApiError) return verdictLine.failed(answer);
    verdictLine.show(verdict(answer, nameOf, reasons.any()));
    if (answer.limits.length) showBars(bars, answer, group(), nameOf);
    else fill(bars, h("li", { class: "faint" }, "No limits apply. Only the model servers limit requests."));
    reasons.show();
  };
  const tokens = tokensField({ tokens: typical ?? DEFAULT_TOKENS, hint, changed: debounced(() => void ask(), 120) });
  const pick = slugs.length > 1 && select(slugs.map((one) => [one, one]), { value: slug });
  pick && pick.addEventListener("change", async () => {
    slug = pick.value;
    setQuery({ slug });
    reasons.show();
    void ask();
    fill(hint, typicalText(await typicalOf(id, slug)));
  });
  every(REFRESH_MS, ask, signal);
  await ask();

  return h("div", { class: "stack why" },
    reasons.element,
    verdictLine.element,
    h("div", { class: "card what-if" }, pick && field({ label: "Model", name: "slug", input: pick }), tokens.elements),
    section({
      heading: pick ? "Limits that apply" : `Limits for ${slug}`,
      lead: "A request must fit within all of them. Striped: held by running requests. Pale: needed by this request.",
    }, bars),
    h("p", { class: "hint" },
      "A refused request creates no event. The customer sees the reason in the error message, ",
      "and the time to wait in the Retry-After header."));
}

/** The sentence that says whether a request would pass, and the time until it would. */
function verdictPanel() {
  const element = h("p", { class: "verdict" });
  let shown = "";
  return {
    element,
    /** @param {ReturnType<typeof verdict>} verdict */
    show({ passes, sentence, wait }) {
      // Announced when the answer changes, not at each second of the wait.
      if (sentence !== shown) {
        fill(element, icon(passes ? "check" : "warn"),
          h("span", { class: "verdict-text" }, h("strong", { role: "status" }, sentence), h("span", { class: "wait" })));
        element.dataset.tone = passes ? "ok" : "bad";
        shown = sentence;
      }
      const waiting = element.querySelector(".wait");
      if (waiting) waiting.textContent = wait && ` ${wait}`;
    },
    /** @param {ApiError} error */
    failed(error) {
      fill(element, icon("warn"), error.sentence);
      element.dataset.tone = "bad";
      shown = "";
    },
  };
}

/**
 * The average tokens (prompt and answer) of the group's requests in the last week; null if there were none.
 *
 * @param {string} id
 * @param {string} slug
 */
async function typicalOf(id, slug) {
  const start_time = new Date(Date.now() - 7 * DAY_MS).toISOString();
  const report = await api.usageReport({ start_time, group_by: "group,model", group_ids: [id], model_slugs: [slug] });
  const own = report.items.find((/** @type {T.UsageItem} */ item) => item.group_id === id && item.model_slug === slug);
  return own?.requests ? Math.round((own.input_tokens + own.output_tokens) / own.requests) : null;
}

/** @param {number | null} typical */
const typicalText = (typical) => typical === null
  ? "Prompt plus answer. There were no requests in the last 7 days."
  : `Prompt plus answer. The average of the last 7 days is ${int(typical)}.`;

/**
 * Reasons for refusals besides limits. They are redrawn only on a change.
 *
 * @param {() => ReturnType<typeof otherReasons>} find
 */
function reasonsPanel(find) {
  const element = h("div");
  let drawn = "";
  const show = () => {
    const found = find();
    const now = JSON.stringify(found);
    if (now !== drawn) fill(element, reasonList(found));
    drawn = now;
  };
  show();
  return { element, show, any: () => drawn !== "[]" };
}

/** @param {ReturnType<typeof otherReasons>} found */
function reasonList(found) {
  if (!found.length) return null;
  return notice("bad", h("h2", null, found.length === 1 ? "Another reason for refusals" : "Other reasons for refusals"),
    h("ul", { class: "limit-list" }, found.map(({ status, sentence, tab, group }) => h("li", null,
      sentence, " ", h("code", null, status), " ",
      h("a", { href: group ? groupAddress(group, tab) : "#/endpoints" }, group ? "Open the group" : "Open the endpoints")))));
}
