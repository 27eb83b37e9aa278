// The tab of a group's keys: mint, edit, rotate, disable, revoke.

import { all, api } from "../api.js";
import { fill, h } from "../dom.js";
import { utc } from "../format.js";
import { may } from "../session.js";
import { state } from "../ui/badge.js";
import { button } from "../ui/button.js";
import { confirmDanger } from "../ui/dialog.js";
import { empty, section } from "../ui/page.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { when } from "../ui/when.js";
import { showKey, takeFresh } from "./fresh_key.js";
import { editKey, mintKey, rotateKey } from "./key_dialogs.js";
import { register } from "./register.js";

/** @import * as T from "../api_types.js" */
/** @import { Tab } from "./tab.js" */

/** @param {Tab} tab */
export default async function keysTab({ group }) {
  const { id } = group();
  const model = () => group().models[0]?.slug;
  const list = h("div");
  const show = async () => {
    const keys = await all((page) => api.keys.list(id, page));
    keys.sort((a, b) => b.created_at.localeCompare(a.created_at));
    fill(list, keys.length ? keyTable(id, keys, model, show) : empty({
      heading: "No keys yet",
      text: "The customer sends a key with each request. A new key is shown once, with a sample call.",
      actions: button({ label: "Mint the first key", icon: "plus", kind: "primary", press: () => void mint() }),
    }));
    mintButton.hidden = !keys.length;
  };
  const mint = async () => {
    const minted = await mintKey(id);
    if (!minted) return;
    await showKey(minted, model());
    await show();
    mintButton.focus();
  };
  const mintButton = button({ label: "Mint key", icon: "plus", kind: "primary", press: () => void mint() });
  await show();
  const fresh = takeFresh(id);
  // Open the dialog once the page is drawn.
  if (fresh) setTimeout(() => void showKey(fresh, model()), 0);
  return h("div", { class: "stack" },
    section({ heading: "Keys", actions: mintButton, kind: "keys" }, list),
    register(id, show));
}

/** @param {T.ApiKey} key */
const isExpired = (key) => key.expires_at !== null && Date.parse(key.expires_at) <= Date.now();

/** @param {T.ApiKey} key */
function stateOf(key) {
  const expired = isExpired(key);
  if (expired && !key.disabled) return state("bad", h("span", null, "Expired ", when(key.expires_at)));
  const expiry = key.expires_at && [expired ? ", expired " : ", expires ", when(key.expires_at)];
  return state(key.disabled ? "warn" : "ok", h("span", null, key.disabled ? "Disabled" : "Active", expiry));
}

/** A key's name for use in a sentence. @param {T.ApiKey} key */
const keyName = (key) => (key.name ? `${key.name} (${key.prefix})` : key.prefix);

/**
 * @param {string} group
 * @param {T.ApiKey[]} keys
 * @param {() => string | undefined} model that the group may call
 * @param {() => Promise<void>} again redraws the list
 */
function keyTable(group, keys, model, again) {
  const change = async (/** @type {T.ApiKey} */ key, /** @type {boolean} */ disabled) => {
    const set = async (/** @type {boolean} */ to) => {
      await api.keys.update(group, key.prefix, { disabled: to });
      await again();
      focusKey(key.prefix, "disable");
    };
    await set(disabled);
    toast(disabled ? `${keyName(key)} is disabled: its next request fails.` : `${keyName(key)} is enabled.`,
      { undo: () => set(!disabled).catch((error) => toast(error.message, { tone: "bad" })) });
  };
  const edit = async (/** @type {T.ApiKey} */ key) => {
    if (!await editKey(group, key)) return;
    await again();
    focusKey(key.prefix, "edit");
    toast("The key was changed.");
  };
  const rotate = async (/** @type {T.ApiKey} */ key) => {
    const rotated = await rotateKey(group, key);
    if (!rotated) return;
    const { replaces, old_expires_at: end } = rotated;
    await showKey(rotated, model(), ["The new key replaces ", h("code", null, replaces),
      Date.parse(end) > Date.now() ? `, which works until ${utc(end)}.` : ", which no longer works."]);
    await again();
    focusKey(rotated.prefix, "rotate");
  };
  const revoke = async (/** @type {T.ApiKey} */ key) => {
    const done = await confirmDanger({
      heading: "Revoke this key?",
      text: [
        h("p", null, h("strong", null, key.name ?? key.prefix), key.name && [" ", h("code", null, key.prefix)],
          " stops working with its next request."),
        h("p", null, "Running streams end normally. Unlike disabling, this cannot be undone."),
      ],
      action: "Revoke key",
      run: () => api.keys.revoke(group, key.prefix),
    });
    if (!done) return;
    await again();
    document.querySelector("h1")?.focus();
    toast(`${keyName(key)} is revoked.`);
  };
  /**
   * @param {T.ApiKey} key
   * @param {string} action
   * @param {string} label
   * @param {string} sign
   * @param {() => unknown} press
   */
  const act = (key, action, label, sign, press) => button({
    label: `${label} ${key.name ?? key.prefix}`, icon: sign, kind: "quiet", small: true, iconOnly: true, press,
    props: { data: { key: key.prefix, action } },
  });
  return table({
    caption: "Keys",
    columns: [
      {
        label: "Key", kind: "main",
        cell: (key) => h("div", { class: "key-name" },
          h("span", { class: !key.name && "faint" }, key.name ?? "no name"), h("code", null, key.prefix)),
      },
      { label: "Created", kind: "wide-only", cell: (key) => when(key.created_at) },
      { label: "Last used", kind: "wide-only", cell: (key) => when(key.last_used_at) },
      { label: "State", cell: stateOf },
      {
        label: "Actions", kind: "actions", hideLabel: true,
        cell: (key) => may("keys") && [
          act(key, "edit", "Edit", "edit", () => void edit(key)),
          !key.disabled && !isExpired(key) && act(key, "rotate", "Rotate", "refresh", () => void rotate(key)),
          key.disabled
            ? act(key, "disable", "Enable", "play", () => change(key, false))
            : act(key, "disable", "Disable", "pause", () => change(key, true)),
          act(key, "revoke", "Revoke", "trash", () => void revoke(key)),
        ],
      },
    ],
    rows: keys,
    rowKind: (key) => (key.disabled || isExpired(key)) && "off",
  });
}

/** Moves the focus to a key's button in the redrawn table. @param {string} prefix @param {string} action */
function focusKey(prefix, action) {
  const again = document.querySelector(`[data-key="${CSS.escape(prefix)}"][data-action="${action}"]`);
  if (again instanceof HTMLElement) again.focus();
}
