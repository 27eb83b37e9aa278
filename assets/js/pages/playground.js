// A call as a customer of a group makes it, on the real path: limited, metered and billed like any other.

import { ApiError, api } from "../api.js";
import { fill, h } from "../dom.js";
import { groupName } from "../format.js";
import { groupPicker } from "../playground/group_picker.js";
import { madeEvent } from "../playground/made_event.js";
import { outcomePanel } from "../playground/outcome.js";
import { refusalView, transcript } from "../playground/transcript.js";
import { ROUTES, bodyOf, curl } from "../playground/try_body.js";
import { tryCall } from "../playground/try_call.js";
import { link } from "../router.js";
import { about } from "../session.js";
import { button, linkButton } from "../ui/button.js";
import { snippet } from "../ui/copy.js";
import { checkbox, field, form, numberInput, select, settled, textArea } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { card, empty, page, section } from "../ui/page.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */
/** @import { Message, Route } from "../playground/try_body.js" */
/** @import { Outcome } from "../playground/try_call.js" */

/** @typedef {{id: string, name: string, models: string[]}} Chosen */

const WORDS = /** @type {const} */ ({
  "/v1/chat/completions": "Message",
  "/v1/completions": "Prompt",
  "/v1/embeddings": "Text",
});

const HEAD = { heading: "Playground", lead: "Call a model as one of your groups would, and see what it takes." };

/** @param {Context} context */
export default async function playground({ query, signal, setQuery }) {
  /** @type {T.Page<T.TreeGroup>} */
  const tree = await api.groups.tree({ limit: 1000 });
  if (!tree.items.length) return withoutGroup(await api.endpoints.list({ limit: 1 }));
  const slugWanted = query.get("slug") ?? "";
  let chosen = await firstGroup(tree.items, query.get("group"), slugWanted);

  /** What was said before. @type {Message[]} */
  let messages = [];
  /** @type {AbortController | null} */
  let running = null;

  const model = select([]);
  const route = select(ROUTES, { value: ROUTES.find(([of]) => of === query.get("route"))?.[0] ?? ROUTES[0]?.[0] });
  const system = textArea({ rows: 1 });
  const text = textArea({ rows: 3 });
  const raw = textArea({ rows: 12, class: "input code", spellcheck: "false" });
  const temperature = numberInput({ inputmode: "decimal", placeholder: "default" });
  const max = numberInput({ placeholder: "default" });
  const stream = checkbox({ label: "Stream", name: "stream", checked: true, onchange: () => changed() });
  const asJson = checkbox({ label: "Edit the body as JSON", name: "raw", onchange: () => toggleRaw() });
  const box = (/** @type {HTMLElement} */ of) => /** @type {HTMLInputElement} */ (of.querySelector("input"));

  const log = transcript();
  const outcome = outcomePanel();
  const billed = h("bdi");
  const code = h("div");
  const textField = field({ label: "Message", name: "text", input: text });
  const rawField = field({
    label: "Body", name: "body", input: raw, hint: "Group and route are those above; the model is the body's own.",
  });
  const systemField = field({ label: "System prompt", name: "system", input: system, optional: true });
  const stop = button({ label: "Stop", icon: "stop", props: { disabled: true }, press: () => running?.abort() });
  const fresh = button({
    label: "New conversation", kind: "quiet",
    press: () => {
      forget();
      changed();
      text.focus();
    },
  });
  const options = h("div", { class: "try-options" },
    field({ label: "Temperature", name: "temperature", input: temperature }),
    field({ label: "Maximum tokens", name: "max_tokens", input: max }), stream);

  const routeNow = () => /** @type {Route} */ (route.value);
  const isRaw = () => box(asJson).checked;
  /** @param {string} name @param {HTMLInputElement} input */
  const figure = (name, input) => {
    const typed = input.value.trim().replace(",", ".");
    const value = Number(typed);
    if (typed && !Number.isFinite(value)) {
      throw new ApiError(0, "", `${name}: It must be a number, or empty for the server's own.`);
    }
    return typed ? value : null;
  };
  const formBody = () => bodyOf({
    route: routeNow(), model: model.value, system: system.value, messages, text: text.value,
    temperature: figure("temperature", temperature), max_tokens: figure("max_tokens", max), stream: box(stream).checked,
  });
  const rawBody = () => {
    try {
      return JSON.parse(raw.value);
    } catch (error) {
      throw new ApiError(0, "", `body: It is no JSON: ${error instanceof Error ? error.message : error}`);
    }
  };

  /** What was sent last, shown until something else is typed. @type {unknown} */
  let sent = null;
  const showCode = settled(() => {
    try {
      const body = isRaw() ? rawBody() : !text.value && sent ? sent : formBody();
      fill(code, snippet({ label: "As curl", text: curl({ url: about().inference_url, route: route.value, body }) }));
    } catch {
      // It is shown again once it can be read.
    }
  }, 150);
  /** A call that still runs belongs to what was said before. */
  const forget = () => {
    running?.abort();
    messages = [];
    sent = null;
    log.clear();
  };
  const changed = () => {
    const isChat = routeNow() === "/v1/chat/completions";
    fill(textField.querySelector("label") ?? textField, WORDS[routeNow()]);
    systemField.hidden = !isChat || isRaw();
    textField.hidden = isRaw();
    rawField.hidden = !isRaw();
    options.hidden = isRaw() || routeNow() === "/v1/embeddings";
    fresh.hidden = messages.length === 0;
    fill(billed, h("strong", null, chosen ? short(chosen.name) : "the group that you pick"));
    log.hint(chosen
      ? ["What ", model.value || "the model", " answers to ", h("bdi", null, short(chosen.name)), " is shown here."]
      : "Pick a group.");
    const other = route.value === ROUTES[0]?.[0] ? null : route.value;
    setQuery({ group: chosen?.id, slug: model.value, route: other }, { replace: true });
    showCode();
  };
  const toggleRaw = () => {
    if (isRaw()) raw.value = JSON.stringify(formBody(), null, 2);
    changed();
    (isRaw() ? raw : text).focus();
  };
  const showModels = (/** @type {string} */ wanted) => {
    const models = chosen?.models ?? [];
    fill(model, models.map((slug) => h("option", { value: slug }, slug)),
      models.length === 0 && h("option", { value: "" }, chosen ? "This group has no model" : "–"));
    model.value = models.includes(wanted) ? wanted : models[0] ?? "";
    changed();
  };
  const picker = groupPicker({
    groups: tree.items, isWhole: !tree.pagination.has_more, value: chosen?.name ?? "",
    pick: async (id) => {
      const picked = await groupOf(tree.items, id);
      if (signal.aborted) return;
      chosen = picked;
      forget();
      showModels(model.value);
    },
  });

  const run = async () => {
    if (!chosen) throw new ApiError(0, "", "group: Pick a group: it is billed for the call.");
    if (!model.value && !isRaw()) throw new ApiError(0, "", "slug: This group has no model. Give it one first.");
    if (!isRaw() && !text.value.trim()) throw new ApiError(0, "", "text: Write something first.");
    const body = isRaw() ? rawBody() : formBody();
    const { id: group } = chosen;
    sent = body;
    const said = messages;
    const asked = isRaw() ? raw.value : text.value;
    const isChat = routeNow() === "/v1/chat/completions" && !isRaw();
    const stopping = new AbortController();
    running = stopping;
    stop.disabled = false;
    log.ask(isRaw() ? "Body" : WORDS[routeNow()], asked);
    const answer = log.answer();
    if (isChat) text.value = "";
    outcome.start();
    const ended = await tryCall({
      group, route: route.value, body, signal: AbortSignal.any([signal, stopping.signal]),
      head: outcome.head, piece: answer.add,
    });
    running = null;
    if (signal.aborted) return;
    if (document.activeElement === stop) (isRaw() ? raw : text).focus();
    stop.disabled = true;
    answer.end(endOf(ended, group, model.value));
    outcome.ended(ended);
    const told = answer.text();
    if (isChat && told) said.push({ role: "user", content: asked }, { role: "assistant", content: told });
    // What was refused can be sent again.
    else if (isChat && said === messages && !text.value) text.value = asked;
    changed();
    void showEvent(ended, group);
  };

  const showEvent = async (/** @type {Outcome} */ ended, /** @type {string} */ group) => {
    const { head } = ended;
    const requestId = head?.headers.get("x-request-id");
    if (!head || !requestId) return outcome.tell("It ended before an answer began: its request id is not known here.");
    if (head.status >= 400) return outcome.tell("None: what is refused or fails is not billed.");
    outcome.tell("Looking for it…");
    const made = await madeEvent({ requestId, group, date: head.headers.get("date"), signal }).catch(() => null);
    if (signal.aborted || running) return;
    if (made) outcome.event(made, ended);
    else {
      const all = link("/events", { api_keys: "playground" });
      outcome.tell(["It was not found. ", h("a", { href: all }, "All events of the playground")]);
    }
  };

  const keys = h("span", { class: "hint" }, h("kbd", null, "Ctrl"), " ", h("kbd", null, "Enter"), " sends");
  const made = form({ submit: "Send", send: run, extra: [stop, fresh, keys] },
    systemField, log.element, textField, rawField, options, asJson);
  made.prepend(h("div", { class: "try-target" }, picker,
    field({ label: "Model", name: "slug", input: model }), field({ label: "Route", name: "route", input: route })),
  notice("info", "This is a real call: it is metered and billed to ", billed, "."));
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const isMeant = event.ctrlKey || event.metaKey;
    // A call costs: an Enter in a small field is none.
    if (isMeant || event.target instanceof HTMLInputElement) event.preventDefault();
    if (isMeant) made.requestSubmit();
  });
  for (const input of [model, route]) {
    input.addEventListener("change", () => {
      sent = null;
      changed();
    });
  }
  for (const input of [system, text, raw, temperature, max]) input.addEventListener("input", showCode);

  showModels(slugWanted);
  return page(HEAD, h("div", { class: "playground" },
    card(made), card(outcome.element), section({ heading: "The same call by a customer" }, code)));
}

/** A name may be longer than what stands around it. @param {string} name */
const short = (name) => ([...name].length > 60 ? `${[...name].slice(0, 59).join("")}…` : name);

/** How it ended, if there is something to say. @param {Outcome} ended @param {string} group @param {string} slug */
function endOf({ head, error, stopped }, group, slug) {
  if (stopped) return h("p", { class: "hint" }, "Stopped.");
  if (!error) return null;
  const status = head?.status ?? 0;
  const of = encodeURIComponent(group);
  return refusalView({
    ...error, status: status >= 400 ? status : 0, retryAfter: head?.headers.get("retry-after") ?? null,
    more: status === 429
      ? h("a", { href: link(`/groups/${of}/why`, { slug }) }, "Why was this refused?")
      : status === 403 && h("a", { href: `#/groups/${of}` }, "Look at the group"),
  });
}

/** @param {T.TreeGroup[]} groups @param {string} id @returns {Promise<Chosen>} */
async function groupOf(groups, id) {
  const known = groups.find((group) => group.id === id);
  if (known) return { id, name: groupName(known), models: known.models };
  /** @type {T.Group} */
  const { metadata, models } = await api.groups.get(id);
  return { id, name: groupName(metadata), models: models.map(({ slug }) => slug) };
}

/**
 * The one in the address, else the first that carries the model, else the first that has any.
 *
 * @param {T.TreeGroup[]} groups
 * @param {string | null} id
 * @param {string} slug
 * @returns {Promise<Chosen | null>}
 */
async function firstGroup(groups, id, slug) {
  if (id) return groupOf(groups, id).catch(() => null);
  const able = groups.filter((group) => !group.disabled && group.models.length > 0);
  const found = slug ? able.find(({ models }) => models.includes(slug)) : able[0];
  return found ? groupOf(groups, found.id) : null;
}

/** @param {T.Page<T.Endpoint>} endpoints */
const withoutGroup = (endpoints) => page(HEAD, endpoints.items.length > 0
  ? empty({
    heading: "No group yet",
    text: "A call is made as a group, with its models and its limits. Describe your first customer.",
    actions: linkButton({ label: "New group", icon: "plus", kind: "primary", href: "#/groups/new" }),
  })
  : empty({
    heading: "No model yet",
    text: "Say first where a model runs; the demo is built in and needs no server. Then make a group that may call it.",
    actions: linkButton({ label: "New endpoint", icon: "plus", kind: "primary", href: "#/endpoints/new" }),
  }));
