// Registers a key that a customer already has. It is signed elsewhere, since a browser should not have the signing key.

import { ApiError, api } from "../api.js";
import { h } from "../dom.js";
import { may } from "../session.js";
import { snippet } from "../ui/copy.js";
import { field, form, textArea, textInput } from "../ui/form.js";
import { toast } from "../ui/toast.js";

const SHELL = `printf %s '{"key": "CUSTOMER-KEY", "name": "Imported"}' > key.json
openssl pkeyutl -sign -rawin -inkey signing-key.pem -in key.json | base64 -w0`;

/**
 * @param {string} group
 * @param {() => Promise<void>} again redraws the list of keys
 */
export function register(group, again) {
  const body = textArea({ rows: 3, name: "key", spellcheck: "false", autocomplete: "off" });
  const signature = textInput({ name: "signature", spellcheck: "false", autocomplete: "off" });
  const made = form({
    submit: "Register key",
    send: async () => {
      const signed = signature.value.trim();
      if (!/^[A-Za-z0-9+/]{86}==$/.test(signed)) {
        throw new ApiError(0, "", "signature: Enter 64 bytes in base64: 88 characters, ending with ==.");
      }
      await api.keys.register(group, body.value, signed);
      body.value = signature.value = "";
      await again();
      toast("The key is registered and can be used now.");
    },
  },
  field({
    label: "Signed body", name: "key", input: body,
    hint: ["The exact bytes that were signed: ", h("code", null, "key.json"), ", without a newline at the end."],
  }),
  field({ label: "Signature", name: "signature", input: signature, hint: "The output of the second command." }));
  return h("details", { class: "register" },
    h("summary", null, "Register a key that the customer already has"),
    h("div", { class: "stack" },
      h("p", { class: "hint" }, "Each key is signed with your Ed25519 private key, so that an operator key alone cannot register one. ",
        "Sign it on the machine that has the private key. The public key is set in ",
        may("manage") ? h("a", { href: "#/settings?tab=registration" }, "Settings") : "Settings", "."),
      snippet({ label: "Shell", text: SHELL }),
      made));
}
