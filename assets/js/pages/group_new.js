// A new group: its name and id, models and limits, and a first key, on one page.

import { ApiError, all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { ancestorsOf } from "../groups/family.js";
import { keepFresh } from "../groups/fresh_key.js";
import { MAX_LEVELS } from "../groups/limits.js";
import { BUDGETS, ROWS, limitsEditor } from "../groups/limits_editor.js";
import { namesOf, shortName } from "../groups/names.js";
import { parentPicker } from "../groups/parent_picker.js";
import { go } from "../router.js";
import { linkButton } from "../ui/button.js";
import { checkbox, choice, field, form, textInput } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { empty, page, section } from "../ui/page.js";
import { toast } from "../ui/toast.js";

/** @import * as T from "../api_types.js" */
/** @import { Context } from "../router.js" */

/** The group's id before the API has assigned one. */
const NEW = "";

/** @param {Context} context */
export default async function groupNew({ query, signal, setQuery }) {
  const endpoints = await all(api.endpoints.list);
  const heading = "New group";
  const crumbs = /** @type {[string, string][]} */ ([["#/groups", "Groups"]]);
  if (!endpoints.length) {
    return page({ heading, crumbs }, empty({
      heading: "Create an endpoint first",
      text: "A group lists the models that a customer may call. There are no endpoints yet, so there are no models to choose from.",
      actions: linkButton({ label: "New endpoint", icon: "plus", kind: "primary", href: "#/endpoints/new" }),
    }));
  }
  const slugs = endpoints.map((endpoint) => endpoint.slug).sort();
  const asked = query.get("parent");
  let parent = asked ? await api.groups.get(asked) : null;
  let ancestors = parent ? [parent, ...await ancestorsOf(parent)] : [];
  /** @type {T.Enforcement} */
  let mode = parent?.hierarchy.limit_enforcement ?? "INDEPENDENT";

  const names = nameFields();
  const place = () => ({ self: NEW, ancestors, mode, nameOf: namesOf(ancestors) });
  const editor = limitsEditor({ first: defaults(parent, slugs), endpoints, place: place() });
  const rule = h("div", { class: "stack" });
  const showRule = () => fill(rule, parent ? inheritedRule(parent, mode, ancestors.length) : ruleChoice(mode, (chosen) => {
    mode = chosen;
    editor.move(place());
  }));
  const picker = parentPicker({
    chosen: parent,
    changed: async (now) => {
      const above = now ? [now, ...await ancestorsOf(now)] : [];
      if (signal.aborted) return;
      const untouched = !editor.isWrong() && !Object.values(editor.differs()).some(Boolean);
      [parent, ancestors] = [now, above];
      if (now) mode = now.hierarchy.limit_enforcement;
      setQuery({ parent: now?.id ?? null }, { replace: true });
      showRule();
      editor.move(place());
      if (untouched) editor.reset(defaults(parent, slugs));
    },
  });
  showRule();

  const keyName = textInput({ name: "key", maxlength: 255, placeholder: "Web shop, production" });
  const named = field({ label: "Name of the key", name: "name", input: keyName, optional: true });
  const withKey = checkbox({
    label: "Also mint the first key", name: "mint", checked: true, onchange: () => { named.hidden = !keyWanted(); },
  });
  const keyWanted = () => withKey.querySelector("input")?.checked;
  const made = form({
    submit: "Create group",
    cancel: () => history.length > 1 ? history.back() : go("/groups"),
    send: async () => {
      const metadata = names.metadata();
      if (!metadata.external_entity_id) {
        throw new ApiError(0, "", "metadata.external_entity_id: Enter your own id for this customer.");
      }
      const edited = editor.value();
      const group = await api.groups.create({
        metadata,
        ...edited,
        hierarchy: parent ? { parent_group_id: parent.id } : { limit_enforcement: mode },
      });
      const to = `/groups/${encodeURIComponent(group.id)}`;
      if (!keyWanted()) {
        toast(`${shortName(group.metadata)} was created. It has no key yet.`);
        return signal.aborted || go(to);
      }
      try {
        keepFresh(group.id, await api.keys.mint(group.id, { name: keyName.value.trim() || null }));
      } catch (error) {
        // The group was created, so go to its page, where a key can be minted.
        const why = error instanceof Error ? error.message : "";
        toast(`The group was created, but no key was minted: ${why}`, { tone: "bad" });
      }
      go(`${to}/keys`);
    },
  },
  names.element, picker, rule,
  section({
    heading: "Models and limits",
    lead: `The models that its keys may call. ${ROWS}`,
  }, editor.models),
  section({ heading: "Budgets", lead: BUDGETS }, editor.budgets),
  withKey, named);
  made.classList.add("group-form");
  return page({ heading, crumbs, lead: "A group is a customer or a part of one. It has the models that its keys may call, and the limits on each." }, made);
}

const MODES = /** @type {const} */ (["INDEPENDENT", "CASCADING"]);
const RULES = {
  INDEPENDENT: "A child without a limit of its own inherits its parent's limit. Usage is counted for each group separately.",
  CASCADING: "All limits up to the root apply, and siblings share their parent's limits. "
    + "A limit may not exceed the parent's limit.",
};

/** The fields of a group's name and external id. The id is suggested from the name. */
function nameFields() {
  const name = textInput({ name: "name", maxlength: 255, autofocus: true });
  const externalId = textInput({ name: "external_entity_id", maxlength: 255, spellcheck: "false" });
  let suggested = "";
  name.addEventListener("input", () => {
    if (externalId.value !== suggested) return;
    suggested = suggestion(name.value);
    externalId.value = suggested;
  });
  return {
    element: h("div", { class: "pair" },
      field({
        label: "Name", name: "metadata.name", input: name, optional: true, hint: "A display name. It can be changed later.",
      }),
      field({
        label: "External id", name: "metadata.external_entity_id", input: externalId,
        hint: "Your own id for this customer. It appears in events and on bills, and cannot be changed later.",
      })),
    metadata: () => ({ external_entity_id: externalId.value.trim(), name: name.value.trim() || null }),
  };
}

/** The mode of a group without a parent. @param {T.Enforcement} mode @param {(mode: T.Enforcement) => void} changed */
const ruleChoice = (mode, changed) => choice({
  legend: "Limits of child groups", name: "hierarchy.limit_enforcement", value: mode,
  options: MODES.map((value) => ({ value, label: value, text: RULES[value] })),
  onchange: (value) => changed(/** @type {T.Enforcement} */ (value)),
});

/** The mode of a child, which is its tree's. @param {T.Group} parent @param {T.Enforcement} mode @param {number} level */
const inheritedRule = (parent, mode, level) => [
  notice("info", h("p", null, h("strong", null, mode), ", like the whole tree. ", RULES[mode])),
  level >= MAX_LEVELS && notice("bad",
    `${shortName(parent.metadata)} is on level 5, and a tree has at most 5 levels. Choose another parent.`),
];

/**
 * The initial models: the parent's, or the only one there is.
 *
 * @param {T.Group | null} parent
 * @param {string[]} slugs
 */
function defaults(parent, slugs) {
  const own = parent ? parent.models.map((model) => model.slug).filter((slug) => slugs.includes(slug)) : [];
  const chosen = own.length ? own : slugs.length === 1 ? slugs : [];
  return { models: chosen.map((slug) => ({ slug, rate_limits: [], usage_limits: [] })), budgets: [] };
}

/** `Acme prod (EU)` as `acme-prod-eu` @param {string} name */
const suggestion = (name) =>
  name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 64);
