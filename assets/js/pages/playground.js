// The playground: real calls on behalf of a group, limited, metered and billed like any other.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { groupName } from "../format.js";
import { conversation } from "../playground/conversation.js";
import { callFields } from "../playground/fields.js";
import { groupPicker } from "../playground/group_picker.js";
import { outcomePanel } from "../playground/outcome.js";
import { ROUTES, curl } from "../playground/try_body.js";
import { about } from "../session.js";
import { debounced } from "../timers.js";
import { linkButton } from "../ui/button.js";
import { snippet } from "../ui/copy.js";
import { field, form } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { card, empty, page, section } from "../ui/page.js";

/** @import * as T from "../api_types.js" */
/** @import { CallFields } from "../playground/fields.js" */
/** @import { Context } from "../router.js" */

/** @typedef {{id: string, name: string, models: string[]}} Chosen */
/** @typedef {ReturnType<typeof conversation>} Conversation */

const HEAD = { heading: "Playground", lead: "Call a model as one of your groups would, and see what it costs." };

/** @param {Context} context */
export default async function playground({ query, signal, setQuery }) {
  /** @type {T.Page<T.TreeGroup>} */
  const tree = await api.groups.tree({ limit: 1000 });
  if (!tree.items.length) return withoutGroup(await api.endpoints.list({ limit: 1 }));
  const slugWanted = query.get("slug") ?? "";
  let chosen = await firstGroup(tree.items, query.get("group"), slugWanted);

  const fields = callFields({
    route: query.get("route"),
    history: () => call.messages(),
    retargeted: () => {
      call.retarget();
      changed();
    },
    changed: () => changed(),
    typed: () => code.show(),
  });
  const outcome = outcomePanel();
  const call = conversation({ fields, outcome, signal, changed: () => changed() });
  const code = sameCall(fields, call);
  const billed = h("bdi");

  const changed = () => {
    fields.arrange();
    call.arrange();
    fill(billed, h("strong", null, chosen ? short(chosen.name) : "the group that you pick"));
    call.log.hint(chosen
      ? ["Answers of ", fields.model() || "the model", " to ", h("bdi", null, short(chosen.name)), " appear here."]
      : "Pick a group.");
    const other = fields.route() === ROUTES[0]?.[0] ? null : fields.route();
    setQuery({ group: chosen?.id, slug: fields.model(), route: other }, { replace: true });
    code.show();
  };
  const showModels = (/** @type {string} */ wanted) => {
    fields.offer(chosen?.models ?? [], wanted, chosen ? "This group has no models" : "–");
    changed();
  };
  const picker = groupPicker({
    groups: tree.items, isWhole: !tree.pagination.has_more, value: chosen?.name ?? "",
    pick: async (id) => {
      const picked = await groupOf(tree.items, id);
      if (signal.aborted) return;
      chosen = picked;
      call.forget();
      showModels(fields.model());
    },
  });

  const made = callForm({ picker, billed, fields, call, send: () => call.run(chosen?.id) });
  showModels(slugWanted);
  return page(HEAD, h("div", { class: "playground" },
    card(made), card(outcome.element), section({ heading: "The same call as a customer" }, code.element)));
}

/**
 * @param {{picker: HTMLElement, billed: HTMLElement, fields: CallFields, call: Conversation,
 *   send: () => Promise<unknown>}} parts
 */
function callForm({ picker, billed, fields: { elements }, call, send }) {
  const keys = h("span", { class: "hint" }, h("kbd", null, "Ctrl"), " ", h("kbd", null, "Enter"), " sends");
  const made = form({ submit: "Send", send, extra: [call.stop, call.fresh, keys] },
    elements.system, call.log.element, elements.body);
  made.prepend(h("div", { class: "try-target" }, picker, elements.target),
    notice("info", "This is a real call: it is metered and billed to ", billed, "."));
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const isShortcut = event.ctrlKey || event.metaKey;
    // Calls cost money, so Enter in a single-line field does not send one.
    if (isShortcut || event.target instanceof HTMLInputElement) event.preventDefault();
    if (isShortcut) made.requestSubmit();
  });
  return made;
}

/**
 * The call as curl, with the body in the form, or else the last one sent.
 *
 * @param {CallFields} fields
 * @param {Conversation} call
 */
function sameCall(fields, call) {
  const element = h("div");
  const show = debounced(() => {
    try {
      const body = fields.isRaw() || fields.text() || !call.sent() ? fields.body() : call.sent();
      const text = curl({ url: about().inference_url, route: fields.route(), body });
      fill(element, snippet({ label: "As curl", text }));
    } catch {
      // The body is not valid yet: keep the last call.
    }
  }, 150);
  return { element, show };
}

/** A name, cut if it is long. @param {string} name */
const short = (name) => ([...name].length > 60 ? `${[...name].slice(0, 59).join("")}…` : name);

/** @param {T.TreeGroup[]} groups @param {string} id @returns {Promise<Chosen>} */
async function groupOf(groups, id) {
  const known = groups.find((group) => group.id === id);
  if (known) return { id, name: groupName(known), models: known.models };
  /** @type {T.Group} */
  const { metadata, models } = await api.groups.get(id);
  return { id, name: groupName(metadata), models: models.map(({ slug }) => slug) };
}

/**
 * The group in the address, else the first that carries the model, else the first with any model.
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
    heading: "No groups yet",
    text: "A call is made as a group, with its models and limits. Create your first group.",
    actions: linkButton({ label: "New group", icon: "plus", kind: "primary", href: "#/groups/new" }),
  })
  : empty({
    heading: "No models yet",
    text: "Create an endpoint first; the demo provider is built in and needs no server. Then create a group that may call it.",
    actions: linkButton({ label: "New endpoint", icon: "plus", kind: "primary", href: "#/endpoints/new" }),
  }));
