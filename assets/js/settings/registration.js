// The key registration tab: the public key that verifies registrations of customers' existing keys.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { button } from "../ui/button.js";
import { copyButton, snippet } from "../ui/copy.js";
import { confirmDanger } from "../ui/dialog.js";
import { field, form, textInput } from "../ui/form.js";
import { section } from "../ui/page.js";
import { toast } from "../ui/toast.js";

const GENERATE = `openssl genpkey -algorithm ed25519 -out registration.pem
openssl pkey -in registration.pem -pubout -outform DER | tail -c 32 | base64`;

export async function registrationPart() {
  const place = h("div", { class: "stack" });
  const draw = async () => {
    const { public_key } = await api.signingKey.get().catch((error) => {
      if (error.status === 404) return { public_key: null };
      throw error;
    });
    fill(place, public_key ? present(public_key, draw) : absent(), keyForm(public_key, draw));
  };
  await draw();
  return section({
    heading: "Registration of customers' keys",
    lead: ["Customers can keep their keys from another gateway. Your own systems register each key here, ",
      "signed with a private key that only you have. Tollgate verifies the signature with this public key."],
  }, place);
}

/** @param {string} key @param {() => Promise<unknown>} changed */
const present = (key, changed) => h("div", { class: "card row" },
  h("div", { class: "grow" }, h("div", { class: "hint" }, "Public key, Ed25519"), h("code", null, key)),
  copyButton({ text: key, message: "Public key copied" }),
  button({
    label: "Delete", icon: "trash", kind: "danger-quiet",
    press: async () => {
      const done = await confirmDanger({
        heading: "Delete the public key?",
        text: h("p", null, "No keys can be registered without one. Keys that are already registered keep working."),
        action: "Delete public key",
        run: () => api.signingKey.delete(),
      });
      if (!done) return;
      toast("Public key deleted.");
      await changed();
    },
  }));

const absent = () => h("div", { class: "stack" },
  h("p", { class: "prose" }, "There is no public key, so no key can be registered. Minting keys does not need one."),
  snippet({ label: "Generate a key pair", text: GENERATE }));

/** @param {string | null} present @param {() => Promise<unknown>} changed */
function keyForm(present, changed) {
  const input = textInput({ name: "public_key", spellcheck: "false", placeholder: "base64 of 32 bytes" });
  return form({
    submit: present ? "Replace public key" : "Save public key",
    send: async () => {
      await api.signingKey.put(input.value.trim());
      toast("Public key saved.");
      await changed();
    },
  }, field({
    label: present ? "New public key" : "Public key", name: "public_key", input,
    hint: present ? "Registrations signed with the previous key are then refused." : "The 32 bytes of an Ed25519 public key, in base64.",
  }));
}
