// The operators tab: operator keys and their permissions.

import { api } from "../api.js";
import { h } from "../dom.js";
import { session } from "../session.js";
import { badge } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { confirmDanger, dialog, showSecret } from "../ui/dialog.js";
import { choice, field, form, textInput } from "../ui/form.js";
import { section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { when } from "../ui/when.js";

/** @import * as T from "../api_types.js" */

const TYPES = [
  {
    value: "WORKSPACE_MANAGE_ALL", label: "Manage everything", of: "everything",
    text: "Endpoints, groups, keys, webhooks, operators, backups. For administrators.",
  },
  {
    value: "WORKSPACE_MANAGE_API_KEYS", label: "Manage customers' keys", of: "customers' keys",
    text: "Reads groups, and mints, registers, rotates and revokes keys. For a help desk or a sign-up page.",
  },
  {
    value: "WORKSPACE_EXPORT_METRICS", label: "Read metrics", of: "metrics, read only",
    text: "Usage, events and status. For billing and monitoring. It can change nothing.",
  },
];

export async function operatorsPart() {
  const { keys } = await api.operators.list();
  const list = keysTable(keys, async () => list.show((await api.operators.list()).keys));
  return section({
    heading: "Operators",
    lead: ["Give each person and each system its own key, ",
      "so that the audit log names them and one key can be revoked alone."],
    actions: button({
      label: "New operator key", icon: "plus", kind: "primary",
      press: async () => {
        if (await createKey()) list.show((await api.operators.list()).keys);
      },
    }),
  }, list);
}

/** @param {T.OperatorKey[]} keys @param {() => Promise<unknown>} changed */
function keysTable(keys, changed) {
  const own = session()?.prefix;
  return table({
    caption: "Operator keys",
    columns: [
      {
        label: "Name", kind: "main",
        cell: ({ name, prefix }) => [h("bdi", { class: "anywhere" }, name || prefix), " ", prefix === own && badge("accent", "you"),
          h("div", { class: "hint mono" }, prefix === "env" ? "from the environment" : prefix)],
      },
      { label: "Permission", cell: ({ type }) => h("span", { title: type }, TYPES.find(({ value }) => value === type)?.of ?? type) },
      {
        label: "Created", kind: "wide-only",
        cell: ({ created_at, prefix }) =>
          prefix === "env" ? h("span", { class: "faint" }, "at each start") : when(created_at),
      },
      { label: "Last used", kind: "wide-only", cell: ({ last_used_at }) => when(last_used_at) },
      {
        label: "Delete", hideLabel: true, kind: "actions",
        cell: (key) => key.prefix === "env"
          ? h("span", { class: "hint" }, "unset TOLLGATE_ADMIN_KEY")
          : button({
            label: `Delete ${key.name || key.prefix}`, icon: "trash", kind: "quiet", small: true, iconOnly: true,
            press: () => deleteKey(key, changed),
          }),
      },
    ],
    rows: keys,
  });
}

async function createKey() {
  const made = await dialog({
    heading: "New operator key",
    content: (/** @type {(made?: {key: string, name: string}) => void} */ close) => {
      const name = textInput({ name: "name", maxlength: 255, placeholder: "Billing system" });
      const options = { legend: "Permission", name: "type", value: "WORKSPACE_MANAGE_ALL", options: TYPES };
      const type = choice(options);
      return form({
        submit: "Create key", cancel: () => close(),
        send: async () => {
          const chosen = type.querySelector("input:checked");
          const { api_key } = await api.operators.create({
            type: chosen instanceof HTMLInputElement ? chosen.value : options.value,
            name: name.value.trim() || undefined,
          });
          close({ key: api_key, name: name.value.trim() });
        },
      }, field({ label: "Name", name: "name", input: name, optional: true, hint: "The person or system that uses the key. The audit log shows this name." }), type);
    },
  });
  if (!made) return false;
  await showSecret({
    heading: "Operator key created",
    text: "The key is shown only once. Use it to sign in here, or send it to the admin API as Authorization: Bearer.",
    label: "Operator key",
    secret: made.key,
  });
  return true;
}

/** @param {T.OperatorKey} key @param {() => Promise<unknown>} changed */
async function deleteKey(key, changed) {
  const name = key.name || key.prefix;
  const isOwn = key.prefix === session()?.prefix;
  const done = await confirmDanger({
    heading: `Delete ${name}?`,
    text: h("p", null, isOwn && h("strong", null, "This is the key that you are signed in with: you will be signed out. "),
      "Requests with this key are refused from now on. It cannot be restored."),
    action: "Delete key",
    run: () => api.operators.delete(key.prefix),
  });
  if (!done) return;
  toast("Operator key deleted.");
  await changed();
}
