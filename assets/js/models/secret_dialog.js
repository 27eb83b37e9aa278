// The dialog that stores a secret. The value is sent and never shown again.

import { ApiError, api } from "../api.js";
import { h } from "../dom.js";
import { dialog } from "../ui/dialog.js";
import { field, form, textInput } from "../ui/form.js";

/** @import { Secret } from "../api_types.js" */

/**
 * @param {{names: string[], replace?: string}} options `names` are taken; `replace` is the secret that gets a new value
 * @returns {Promise<Secret | undefined>} the stored secret
 */
export function secretDialog({ names, replace }) {
  return dialog({
    heading: replace ? "Replace the value" : "New secret",
    content: (/** @type {(secret?: Secret) => void} */ close) => {
      const name = textInput({
        name: "name", autocomplete: "off", spellcheck: "false", maxlength: 64, placeholder: "vllm-rack-2",
      });
      const value = textInput({ type: "password", name: "value", autocomplete: "new-password", spellcheck: "false" });
      return form({
        submit: replace ? "Replace" : "Store",
        cancel: () => close(),
        send: async () => {
          const named = replace ?? name.value.trim();
          if (!replace && names.includes(named)) {
            throw new ApiError(0, "", "name: A secret with this name already exists. Replace its value in the list.");
          }
          const given = value.value.trim();
          if (!given) throw new ApiError(0, "", "value: Paste the credential that the model server requires.");
          const stored = await api.secrets.put(named, given);
          value.value = "";
          close(stored);
        },
      },
      replace
        ? h("p", null, h("strong", null, replace),
          " gets a new value. Every target that uses it sends the new value from the next request.")
        : field({
          label: "Name", name: "name", input: name, hint: "Letters, digits, “.”, “_” and “-”.",
        }),
      field({
        label: replace ? "New value" : "Value", name: "value", input: value,
        hint: "The value that is sent after “Bearer”. It is stored encrypted and never shown again.",
      }));
    },
  });
}
