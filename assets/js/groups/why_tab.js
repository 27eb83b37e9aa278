// The tab "Why 429?": says whether a request would pass now, and shows each limit.

import { ApiError, all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { int, limitName } from "../format.js";
import { may } from "../session.js";
import { debounced, every } from "../timers.js";
import { badge } from "../ui/badge.js";
import { linkButton } from "../ui/button.js";
import { field, fieldError, numberInput, select } from "../ui/form.js";
import { icon } from "../ui/icon.js";
import { meter } from "../ui/meter.js";
import { notice } from "../ui/notice.js";
import { empty, section } from "../ui/page.js";
import { when } from "../ui/when.js";
import { groupAddress, namesOf } from "./names.js";
import { amount } from "./typed_limits.js";
import { askedOf, otherReasons, placeOf, tokensAt, verdict } from "./why.js";

/** @import * as T from "../api_types.js" */
/** @import { Tab } from "./tab.js" */

const REFRESH_MS = 2000;
const DAY_MS = 86_400_000;
const DEFAULT_TOKENS = 500;
const MAX_TOKENS = 1_000_000;

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
  const reasons = h("div");
  let reasonsShown = "";
  const showReasons = () => {
    const found = otherReasons({
      group: group(), ancestors, keys, slug, nameOf, now_ms: Date.now(),
      slugs: endpoints && endpoints.map((one) => one.slug),
    });
    const now = JSON.stringify(found);
    if (now !== reasonsShown) fill(reasons, reasonList(found));
    reasonsShown = now;
  };
  showReasons();
  if (!slug) {
    return h("div", { class: "stack" }, empty({
      heading: "This group has no models",
      text: "Every request fails with 404 model_not_found. Add a model first.",
      actions: may("manage") && linkButton({ label: "Add a model", kind: "primary", href: groupAddress(id, "limits") }),
    }), reasons);
  }

  let typical = await typicalOf(id, slug);
  let tokens = typical ?? DEFAULT_TOKENS;
  const verdictLine = h("p", { class: "verdict" });
  const bars = h("ul", { class: "limit-bars" });
  const number = numberInput({ value: int(tokens) });
  const slider = h("input", {
    type: "range", min: 0, max: 100, value: placeOf(tokens, MAX_TOKENS), class: "slider",
    "aria-label": "Tokens of the request (slider)",
  });
  const hint = h("span");
  const tokensField = field({ label: "Tokens of the request", name: "tokens", input: number, hint });

  let latest = 0;
  let verdictShown = "";
  const ask = async () => {
    latest += 1;
    const mine = latest;
    const answer = await api.groups.limits(id, slug, tokens).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      return error;
    });
    if (mine !== latest || signal.aborted) return;
    if (answer instanceof ApiError) {
      fill(verdictLine, icon("warn"), answer.sentence);
      verdictLine.dataset.tone = "bad";
      verdictShown = "";
      return;
    }
    const { passes, sentence, wait } = verdict(answer, nameOf, reasonsShown !== "[]");
    // Announced when the answer changes, not at each second of the wait.
    if (sentence !== verdictShown) {
      fill(verdictLine, icon(passes ? "check" : "warn"),
        h("span", { class: "verdict-text" }, h("strong", { role: "status" }, sentence), h("span", { class: "wait" })));
      verdictLine.dataset.tone = passes ? "ok" : "bad";
      verdictShown = sentence;
    }
    const waiting = verdictLine.querySelector(".wait");
    if (waiting) waiting.textContent = wait && ` ${wait}`;
    showBars(bars, answer, group(), nameOf);
    showReasons();
  };
  const askSoon = debounced(() => void ask(), 120);
  number.addEventListener("input", () => {
    const typed = amount(number.value);
    fieldError(tokensField, typeof typed === "string" ? typed : "");
    if (typeof typed === "string") return;
    tokens = typed ?? 0;
    slider.value = String(placeOf(tokens, MAX_TOKENS));
    askSoon();
  });
  slider.addEventListener("input", () => {
    tokens = tokensAt(Number(slider.value), MAX_TOKENS);
    number.value = int(tokens);
    slider.setAttribute("aria-valuetext", `${int(tokens)} tokens`);
    fieldError(tokensField, "");
    askSoon();
  });
  const showTypical = () => fill(hint, typical === null
    ? "Prompt plus answer. There were no requests in the last 7 days."
    : `Prompt plus answer. The average of the last 7 days is ${int(typical)}.`);
  showTypical();
  slider.setAttribute("aria-valuetext", `${int(tokens)} tokens`);

  const pick = slugs.length > 1 && select(slugs.map((one) => [one, one]), { value: slug });
  if (pick) {
    pick.addEventListener("change", async () => {
      slug = pick.value;
      setQuery({ slug });
      showReasons();
      void ask();
      typical = await typicalOf(id, slug);
      showTypical();
    });
  }
  every(REFRESH_MS, ask, signal);
  await ask();

  return h("div", { class: "stack why" },
    reasons,
    verdictLine,
    h("div", { class: "card what-if" }, pick && field({ label: "Model", name: "slug", input: pick }), tokensField, slider),
    section({
      heading: pick ? "Limits that apply" : `Limits for ${slug}`,
      lead: "A request must fit within all of them. Striped: held by running requests. Pale: needed by this request.",
    }, bars),
    h("p", { class: "hint" },
      "A refused request creates no event. The customer sees the reason in the error message, ",
      "and the time to wait in the Retry-After header."));
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

/**
 * @param {HTMLElement} bars
 * @param {T.WouldPass} answer
 * @param {T.Group} group
 * @param {(id: string) => string} nameOf
 */
function showBars(bars, answer, { id: self, hierarchy }, nameOf) {
  const cascading = hierarchy.limit_enforcement === "CASCADING";
  if (!answer.limits.length) {
    fill(bars, h("li", { class: "faint" }, "No limits apply. Only the model servers limit requests."));
    return;
  }
  const keys = answer.limits.map((limit) => `${limit.source_group} ${limit.type} ${limit.unit}`).join();
  // Rows are kept, since a link in one may have the focus.
  if (bars.dataset.keys !== keys) {
    fill(bars, answer.limits.map((limit) => h("li", null,
      h("div", { class: "bar-name" }, h("strong", null, capital(limitName(limit))),
        limit.source_group === self
          ? h("span", { class: "hint" }, "its own")
          : h("a", { class: "hint", href: groupAddress(limit.source_group, "limits") }, nameOf(limit.source_group)),
        h("span", { class: "bar-badges" })),
      h("div", { class: "bar-meter" }), h("p", { class: "bar-figures number" }), h("p", { class: "bar-reset hint" }))));
    bars.dataset.keys = keys;
  }
  answer.limits.forEach((limit, index) => {
    const row = bars.children[index];
    if (!row) return;
    const asked = askedOf(limit, answer.tokens);
    const stops = !answer.admitted && (index === answer.stopped_by || asked > limit.left);
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
    const shared = cascading && limit.source_group !== self;
    fill(part(".bar-badges"), stops && badge("bad", "refuses"), shared && badge("plain", "shared"));
    const { used, held, threshold } = limit;
    fill(part(".bar-meter"), meter({
      label: `${limitName(limit)} of ${nameOf(limit.source_group)}`, used, held, threshold, asked,
    }));
    fill(part(".bar-figures"), h("strong", null, int(limit.left)), ` left of ${int(limit.threshold)}`);
    fill(part(".bar-reset"), `${int(limit.used)} used${limit.held ? `, ${int(limit.held)} held` : ""}`,
      limit.unit === "DAY" ? " · resets at midnight UTC" : limit.reset_at && [" · fully free ", when(limit.reset_at)]);
  });
}

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {ReturnType<typeof otherReasons>} found */
function reasonList(found) {
  if (!found.length) return null;
  return notice("bad", h("h2", null, found.length === 1 ? "Another reason for refusals" : "Other reasons for refusals"),
    h("ul", { class: "limit-list" }, found.map(({ status, sentence, tab, group }) => h("li", null,
      sentence, " ", h("code", null, status), " ",
      h("a", { href: group ? groupAddress(group, tab) : "#/endpoints" }, group ? "Open the group" : "Open the endpoints")))));
}
