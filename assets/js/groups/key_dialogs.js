// Dialogs that mint, edit and rotate a key.

import { api } from "../api.js";
import { h } from "../dom.js";
import { utc } from "../format.js";
import { dialog } from "../ui/dialog.js";
import { field, form, select, textInput } from "../ui/form.js";

/** @import * as T from "../api_types.js" */

const DAY_MS = 86_400_000;

/** @type {[string, string][]} */
const EXPIRIES = [
  ["never", "Never"], ["30", "In 30 days"], ["90", "In 90 days"], ["date", "At the end of a date (UTC)"],
];

/** How long a rotated key keeps working, in seconds. @type {[string, string][]} */
const GRACES = [
  ["0", "Now"], ["3600", "In 1 hour"], ["86400", "In 1 day"], ["604800", "In 7 days"], ["2592000", "In 30 days"],
];

/** @param {number} ms */
const day = (ms) => new Date(ms).toISOString().slice(0, 10);

/**
 * The expiry of a key: never, after some days, or on a date.
 *
 * @param {string | null} now RFC 3339
 */
function expiryField(now) {
  const date = h("input", {
    type: "date", class: "input", "aria-label": "Last day (UTC)", min: day(Date.now()),
    value: now?.slice(0, 10) ?? day(Date.now() + 30 * DAY_MS),
  });
  const pick = select(EXPIRIES, { value: now ? "date" : "never" });
  const show = () => {
    date.hidden = pick.value !== "date";
  };
  pick.addEventListener("change", show);
  show();
  return {
    element: field({ label: "Expires", name: "expires_at", input: pick, after: date }),
    value() {
      if (pick.value === "never") return null;
      if (pick.value !== "date") return new Date(Date.now() + Number(pick.value) * DAY_MS).toISOString();
      // Keep the exact time unless another day is chosen.
      return now && date.value === now.slice(0, 10) ? now : `${date.value}T23:59:59Z`;
    },
  };
}

/** @param {string} group @returns {Promise<T.MintedKey | undefined>} */
export function mintKey(group) {
  const name = textInput({ maxlength: 255, placeholder: "Web shop, production" });
  const expiry = expiryField(null);
  return dialog({
    heading: "Mint a key",
    content: (/** @type {(key?: T.MintedKey) => void} */ close) => form({
      submit: "Mint key",
      cancel: () => close(),
      send: async () => {
        const expires_at = expiry.value();
        close(await api.keys.mint(group, { name: name.value.trim() || null, ...(expires_at ? { expires_at } : {}) }));
      },
    },
    field({
      label: "Name", name: "name", input: name, optional: true,
      hint: "The purpose of the key, so that you know which one to revoke.",
    }),
    expiry.element),
  });
}

/** @param {string} group @param {T.ApiKey} key @returns {Promise<T.ApiKey | undefined>} */
export function editKey(group, key) {
  const name = textInput({ maxlength: 255, value: key.name ?? "" });
  const expiry = expiryField(key.expires_at);
  return dialog({
    heading: "Edit key",
    content: (/** @type {(key?: T.ApiKey) => void} */ close) => form({
      submit: "Save",
      cancel: () => close(),
      send: async () => {
        const changes = { name: name.value.trim() || null, expires_at: expiry.value() };
        close(await api.keys.update(group, key.prefix, changes));
      },
    },
    field({ label: "Name", name: "name", input: name, optional: true }),
    expiry.element),
  });
}

/** @param {string} group @param {T.ApiKey} key @returns {Promise<T.RotatedKey | undefined>} */
export function rotateKey(group, key) {
  const grace = select(GRACES, { value: "86400" });
  return dialog({
    heading: "Rotate this key?",
    content: (/** @type {(key?: T.RotatedKey) => void} */ close) => form({
      submit: "Rotate key",
      cancel: () => close(),
      send: async () => close(await api.keys.rotate(group, key.prefix, { grace_s: Number(grace.value) })),
    },
    h("p", null, "A new key with the same name replaces ", h("strong", null, key.name ?? key.prefix),
      key.name && [" ", h("code", null, key.prefix)], ". Both work until the old one expires."),
    field({
      label: "The old key expires", name: "grace_s", input: grace,
      hint: key.expires_at && `This key already expires at ${utc(key.expires_at)}, and keeps that time if it is sooner. ` +
        "The new key does not expire; edit it to set a date.",
    })),
  });
}
