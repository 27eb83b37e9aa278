// Actions on a whole group: rename, add a child, disable, delete.

import { api } from "../api.js";
import { h } from "../dom.js";
import { plural } from "../format.js";
import { go, link } from "../router.js";
import { button, linkButton } from "../ui/button.js";
import { confirmDanger, dialog } from "../ui/dialog.js";
import { field, form, textInput } from "../ui/form.js";
import { toast } from "../ui/toast.js";
import { familyOf } from "./family.js";
import { MAX_LEVELS } from "./limits.js";
import { shortName } from "./names.js";

/** @import * as T from "../api_types.js" */

/** Maximum length of a word to confirm with. A longer one would be pasted, which confirms nothing. */
const MAX_TYPED = 60;

/**
 * @param {T.Group} group
 * @param {number} level 1 for a root
 * @param {(group: T.Group) => void} changed
 */
export const groupActions = (group, level, changed) => [
  level < MAX_LEVELS &&
    linkButton({ label: "New child", icon: "plus", href: link("/groups/new", { parent: group.id }) }),
  button({
    label: "Rename", icon: "edit", press: () => void rename(group, changed), props: { data: { action: "rename" } },
  }),
  button({
    label: group.disabled ? "Enable" : "Disable", icon: group.disabled ? "play" : "pause",
    press: () => disable(group, !group.disabled, changed), props: { data: { action: "disable" } },
  }),
  button({
    label: "Delete", icon: "trash", kind: "danger-quiet", press: () => remove(group),
    props: { data: { action: "delete" } },
  }),
];

/** @param {T.Group} group @param {(group: T.Group) => void} changed */
async function rename(group, changed) {
  const input = textInput({ value: group.metadata.name ?? "", maxlength: 255 });
  const renamed = await dialog({
    heading: "Rename",
    content: (/** @type {(group?: T.Group) => void} */ close) => form({
      submit: "Rename",
      cancel: () => close(),
      send: async () => close(await api.groups.update(group.id, { metadata: { name: input.value.trim() || null } })),
    },
    field({
      label: "Name", name: "metadata.name", input, optional: true,
      hint: ["Without a name, the external id is shown: ", h("code", null, group.metadata.external_entity_id)],
    })),
  });
  if (!renamed) return;
  changed(renamed);
  toast(`Renamed to ${shortName(renamed.metadata)}.`);
}

/** @param {T.Group} group @param {boolean} disabled @param {(group: T.Group) => void} changed */
async function disable(group, disabled, changed) {
  const { hash } = location;
  const family = disabled ? await familyOf(group.id).catch(() => null) : [];
  if (location.hash !== hash) return;
  if (!family || family.length > 1) {
    const keys = family?.reduce((sum, node) => sum + node.group.keys, 0) ?? 0;
    const done = await confirmDanger({
      heading: `Disable ${shortName(group.metadata)}?`,
      text: h("p", null, "All calls from the group and from ",
        family ? h("strong", null, contents(family.length - 1, 0)) : "all groups below it",
        " are refused until it is enabled again.",
        family && [" Together they have ", h("strong", null, plural(keys, "key")), "."]),
      action: "Disable group",
      run: async () => changed(await api.groups.update(group.id, { disabled })),
    });
    if (!done) return;
  } else changed(await api.groups.update(group.id, { disabled }));
  const name = shortName(group.metadata);
  const undo = async () => {
    try {
      changed(await api.groups.update(group.id, { disabled: !disabled }));
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), { tone: "bad" });
    }
  };
  const message = disabled ? `${name} is disabled: all calls from it and the groups below it are refused.` : `${name} is enabled.`;
  toast(message, { undo });
}

/** @param {T.Group} group */
async function remove(group) {
  const { hash } = location;
  const family = await familyOf(group.id);
  if (location.hash !== hash) return;
  const below = Math.max(0, family.length - 1);
  const keys = family.reduce((all, node) => all + node.group.keys, 0);
  const name = shortName(group.metadata);
  const done = await confirmDanger({
    heading: `Delete ${name}?`,
    text: [
      h("p", null, below || keys
        ? ["This also deletes ", h("strong", null, contents(below, keys)), ", immediately and permanently."]
        : "The group has no keys and no groups below it."),
      h("p", null, "Requests with a deleted key are refused. Events and reports are kept and still show the group."),
    ],
    action: "Delete group",
    word: wordOf(group),
    run: () => api.groups.delete(group.id),
  });
  if (!done) return;
  const parent = group.hierarchy.parent_group_id;
  go(parent ? `/groups/${encodeURIComponent(parent)}` : "/groups");
  toast(`${name} was deleted.`);
}

/** @param {number} below @param {number} keys */
const contents = (below, keys) =>
  [below && plural(below, "group below it", "groups below it"), keys && plural(keys, "key")]
    .filter(Boolean).join(" and ");

/** The word to type: the name or the external id if they can be typed, else the id. @param {T.Group} group */
const wordOf = ({ id, metadata }) =>
  [metadata.name, metadata.external_entity_id].find((word) =>
    word && word.length <= MAX_TYPED && word === word.trim() && !/\s\s/.test(word)) ?? id;
