// The tab of a group's models and their limits.

import { all, api } from "../api.js";
import { h } from "../dom.js";
import { button } from "../ui/button.js";
import { form } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { section } from "../ui/page.js";
import { toast } from "../ui/toast.js";
import { descendantsOf } from "./family.js";
import { modelsEditor } from "./models_editor.js";
import { namesOf, shortName } from "./names.js";
import { sameModels } from "./typed_limits.js";
import { guardUnsaved } from "./unsaved.js";

/** @import * as T from "../api_types.js" */
/** @import { Tab } from "./tab.js" */

/** @param {Tab} tab */
export default async function limitsTab({ group, ancestors, update, context }) {
  const { id, hierarchy: { limit_enforcement: mode }, models } = group();
  const endpoints = await all(api.endpoints.list);
  let saved = models;
  /** @type {T.Group[]} */
  let below = [];
  const unsaved = h("p", { class: "hint", role: "status" });
  const editor = modelsEditor({
    models, slugs: endpoints.map((endpoint) => endpoint.slug).sort(),
    place: { self: id, ancestors, mode, nameOf: (of) => namesOf([group(), ...ancestors, ...below])(of) },
    removalNotice: "will be removed when you save. The group's keys can then no longer call it.",
    changed: () => mark(),
  });
  const discard = button({ label: "Discard changes", press: () => editor.reset(saved) });
  const mark = () => {
    const dirty = editor.dirty();
    unsaved.textContent = dirty ? "Not saved yet." : "";
    discard.hidden = !dirty;
    made.classList.toggle("dirty", dirty);
  };

  /** @param {T.Model[]} now */
  const store = async (now) => {
    const changed = await api.groups.update(id, { models: now });
    const before = saved;
    saved = changed.models;
    editor.reset(saved);
    update(changed);
    return before;
  };
  const made = form({
    submit: "Save limits",
    extra: [discard, unsaved],
    send: async () => {
      const now = editor.models();
      editor.check();
      if (sameModels(now, saved)) return toast("There are no changes to save.");
      const before = await store(now);
      toast("Saved. The limits apply from the next request.", {
        undo: () => store(before).then(
          () => toast("The previous limits are restored."), (error) => toast(error.message, { tone: "bad" })),
      });
    },
  }, editor.element);
  made.classList.add("limits-form");
  guardUnsaved(() => !context.signal.aborted && editor.dirty(), context.signal);
  mark();
  if (mode === "CASCADING") {
    void descendantsOf(id).then((found) => {
      below = found;
      editor.setDescendants(found);
    }, () => {
      // Without the descendants, violations are not shown while typing. The gateway still refuses them.
    });
  }
  return h("div", { class: "stack" },
    !models.length && notice("warn", "This group has no models: its keys cannot make calls."),
    section({ heading: "Models and limits", lead: ruleOf(group(), ancestors) }, made));
}

/** @param {T.Group} group @param {T.Group[]} ancestors */
function ruleOf({ hierarchy }, ancestors) {
  const typed = "Leave a field empty to set no limit here; 0 refuses every request. You can write 1k or 2.5m.";
  if (!ancestors.length) return typed;
  const above = ancestors[0] && shortName(ancestors[0].metadata);
  return hierarchy.limit_enforcement === "CASCADING"
    ? `CASCADING: every limit up to the root applies, and a limit may not exceed an ancestor's limit of the same kind. ${typed}`
    : `INDEPENDENT: if a field is empty, the nearest ancestor's limit applies, starting with ${above}. ${typed}`;
}
