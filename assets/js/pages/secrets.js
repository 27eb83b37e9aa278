// Credentials of model servers. Stored values are never shown.

import { all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { secretDialog } from "../models/secret_dialog.js";
import { button } from "../ui/button.js";
import { confirmDanger } from "../ui/dialog.js";
import { empty, page } from "../ui/page.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { when } from "../ui/when.js";

/** @import * as T from "../api_types.js" */

export default async function secretsPage() {
  const list = h("div");
  /** @type {string[]} */
  let names = [];
  const add = button({
    label: "New secret", icon: "plus", kind: "primary",
    press: async () => {
      const made = await secretDialog({ names });
      if (!made) return;
      await show();
      toast(`${made.name} is stored. Targets can now use it.`);
    },
  });
  const first = button({ label: "New secret", icon: "plus", kind: "primary", press: () => add.click() });

  const show = async () => {
    /** @type {[{secrets: T.Secret[]}, T.Endpoint[]]} */
    const [{ secrets }, endpoints] = await Promise.all([api.secrets.list(), all(api.endpoints.list)]);
    names = secrets.map(({ name }) => name);
    add.hidden = secrets.length === 0;
    fill(list, secrets.length === 0 ? none(first) : secretTable(secrets, endpoints));
  };

  /** @param {T.Secret[]} secrets @param {T.Endpoint[]} endpoints */
  const secretTable = (secrets, endpoints) => table({
    caption: "Secrets",
    rows: secrets,
    columns: [
      { label: "Name", kind: "main", cell: ({ name }) => name },
      {
        label: "Used by",
        cell: ({ id }) => {
          const users = endpoints.filter(({ targets }) => targets.some(({ secret_id: of }) => of === id));
          return users.length
            ? h("ul", { class: "cell-lines" }, users.map((endpoint) =>
              h("li", null, h("a", { href: `#/endpoints/${encodeURIComponent(endpoint.id)}` }, endpoint.slug))))
            : h("span", { class: "faint" }, "no endpoint");
        },
      },
      { label: "Created", kind: "wide-only", cell: ({ created_at: at }) => when(at) },
      {
        label: "Actions", hideLabel: true, kind: "actions",
        cell: ({ name }) => h("div", { class: "row-actions" },
          button({
            label: "Replace", small: true, props: { "aria-label": `Replace ${name}` }, press: () => replace(name),
          }),
          button({
            label: `Delete ${name}`, icon: "trash", kind: "danger-quiet", small: true, iconOnly: true,
            press: () => remove(name),
          })),
      },
    ],
  });

  const replace = async (/** @type {string} */ name) => {
    if (!(await secretDialog({ names: [], replace: name }))) return;
    await show();
    focusOn(name);
    toast(`${name} was replaced. The new value applies from the next request.`);
  };

  const remove = async (/** @type {string} */ name) => {
    const done = await confirmDanger({
      heading: "Delete this secret?",
      text: h("p", null, h("strong", null, name), " cannot be restored: Tollgate has no other copy of its value. ",
        "A secret that a target uses cannot be deleted."),
      action: "Delete secret",
      run: () => api.secrets.delete(name),
    });
    if (!done) return;
    await show();
    (add.hidden ? first : add).focus();
    toast(`${name} was deleted.`);
  };

  const focusOn = (/** @type {string} */ name) => {
    for (const made of list.querySelectorAll("button")) {
      if (made.getAttribute("aria-label") === `Replace ${name}`) made.focus();
    }
  };

  await show();
  return page({
    heading: "Secrets",
    lead: "Credentials that model servers require. They are stored encrypted; values are never shown again.",
    actions: add,
  }, list);
}

/** @param {HTMLElement} action */
const none = (action) => empty({
  heading: "No secrets yet",
  text: "Your own model servers may not need one. OpenAI, and servers that were started with an API key, do.",
  actions: action,
});
