// The tab of a group's models, their limits, and its budgets.

import { all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { button } from "../ui/button.js";
import { form } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { section } from "../ui/page.js";
import { toast } from "../ui/toast.js";
import { dayTime } from "../ui/when.js";
import { descendantsOf } from "./family.js";
import { BUDGETS, ROWS, limitsEditor } from "./limits_editor.js";
import { namesOf, shortName } from "./names.js";
import { guardUnsaved } from "./unsaved.js";
import { simulation } from "./why.js";

/** @import * as T from "../api_types.js" */
/** @import { Edited } from "./limits_editor.js" */
/** @import { Tab } from "./tab.js" */

const WEEK_MS = 7 * 86_400_000;

/** @param {Tab} tab */
export default async function limitsTab({ group, ancestors, update, context }) {
  const { id, hierarchy: { limit_enforcement: mode }, models, budgets } = group();
  const endpoints = await all(api.endpoints.list);
  /** @type {Edited} */
  let saved = { models, budgets };
  /** @type {T.Group[]} */
  let below = [];
  const unsaved = h("p", { class: "hint", role: "status" });
  const family = () => [group(), ...ancestors, ...below];
  const nameOf = (/** @type {string} */ of) => namesOf(family())(of);
  const editor = limitsEditor({
    first: saved, endpoints,
    place: { self: id, ancestors, mode, nameOf },
    removalNotice: "will be removed when you save. The group's keys can then no longer call it.",
    changed: () => {
      trial.forget();
      mark();
    },
  });
  const isDirty = () => editor.isWrong() || Object.values(editor.differs()).some(Boolean);
  const discard = button({ label: "Discard changes", press: () => editor.reset(saved) });
  const mark = () => {
    const dirty = isDirty();
    unsaved.textContent = dirty ? "Not saved yet." : "";
    discard.hidden = !dirty;
    made.classList.toggle("dirty", dirty);
  };

  /** Stores what differs: what another operator changed meanwhile stays. @param {Partial<Edited>} now */
  const store = async (now) => {
    const changed = await api.groups.update(id, now);
    const before = saved;
    saved = { models: changed.models, budgets: changed.budgets };
    editor.reset(saved);
    update(changed);
    return { ...(now.models && { models: before.models }), ...(now.budgets && { budgets: before.budgets }) };
  };
  const trial = tryOut({
    id,
    typed: editor.value,
    attempt: (work) => made.attempt(work),
    namesFor: async (sources) => {
      // INDEPENDENT groups load their descendants only if one of them is to be named.
      if (sources.some((source) => !family().some((one) => one.id === source))) below = await descendantsOf(id);
      return nameOf;
    },
  });
  const made = form({
    submit: "Save limits",
    extra: [discard, unsaved],
    send: async () => {
      const now = editor.value();
      const differs = editor.differs();
      if (!isDirty()) return toast("There are no changes to save.");
      const before = await store({
        ...(differs.models && { models: now.models }), ...(differs.budgets && { budgets: now.budgets }),
      });
      toast("Saved. The limits apply from the next request.", {
        undo: () => store(before).then(
          () => toast("The previous limits are restored."), (error) => toast(error.message, { tone: "bad" })),
      });
    },
  },
  section({ heading: "Models and limits", lead: ruleOf(group(), ancestors) }, editor.models),
  section({ heading: "Budgets", lead: BUDGETS }, editor.budgets),
  trial.element);
  made.classList.add("limits-form");
  // A link from "Why 429?" names the row to edit.
  const edit = context.query.get("edit");
  const row = edit && made.querySelector(`[aria-label="${CSS.escape(edit)}"] > input, input[aria-label="${CSS.escape(edit)}"]`);
  if (row) row.setAttribute("autofocus", "");
  guardUnsaved(() => !context.signal.aborted && isDirty(), context.signal);
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
    made);
}

/**
 * A button that replays the last requests with the limits as they are typed, and its result.
 *
 * @param {{id: string, typed: () => Edited, attempt: (work: () => Promise<void>) => Promise<void>,
 *   namesFor: (sources: string[]) => Promise<(id: string) => string>}} options `typed` throws if a row has an error, which
 *   `attempt` shows; `namesFor` returns a function that names the groups with these ids
 */
function tryOut({ id, typed, attempt, namesFor }) {
  const result = h("p", { class: "anywhere", role: "status" });
  let edits = 0;
  /** Clears the result, also that of a running simulation: it does not describe the rows as they are now. */
  const forget = () => {
    edits += 1;
    fill(result);
  };
  const press = () => attempt(async () => {
    forget();
    const before = edits;
    const limits = typed();
    const start_time = new Date(Date.now() - WEEK_MS).toISOString();
    /** @type {T.Simulated} */
    const answer = await api.groups.simulate(id, { ...limits, start_time });
    const sources = answer.stopped_by.flatMap(({ limit, budget }) => (limit ?? budget)?.source_group ?? []);
    const nameOf = await namesFor(sources);
    if (before !== edits) return;
    fill(result, simulation(answer, { id, models: limits.models }, nameOf, dayTime));
    result.scrollIntoView({ block: "nearest" });
  });
  const element = h("div", { class: "stack" }, h("div", null, button({ label: "Try on the last 7 days", press })), result);
  return { element, forget };
}

/** @param {T.Group} group @param {T.Group[]} ancestors */
function ruleOf({ hierarchy }, ancestors) {
  if (!ancestors.length) return ROWS;
  const above = ancestors[0] && shortName(ancestors[0].metadata);
  return hierarchy.limit_enforcement === "CASCADING"
    ? `CASCADING: every limit and budget up to the root applies, and none may exceed an ancestor's of the same kind. ${ROWS}`
    : `INDEPENDENT: where this group sets none of a kind, the nearest ancestor's applies, starting with ${above}. ${ROWS}`;
}
