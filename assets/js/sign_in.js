// The sign-in form. It exchanges an operator key for a cookie that scripts cannot read; the key is not kept.

import { api } from "./api.js";
import { h } from "./dom.js";
import { loadSession } from "./session.js";
import { field, form, textInput } from "./ui/form.js";
import { notice } from "./ui/notice.js";

/**
 * @param {string} why a message above the form; empty for none
 * @param {() => void} done
 */
export function signIn(why, done) {
  const key = textInput({ type: "password", name: "key", autocomplete: "current-password", spellcheck: "false", required: true });
  const made = form({
    submit: "Sign in",
    send: async () => {
      await api.session.begin(key.value.trim());
      key.value = "";
      await loadSession();
      done();
    },
  },
  field({
    label: "Operator key", name: "key", input: key,
    hint: ["The first key is in ", h("code", null, "admin.key"), " in the data directory, or is the value of ",
      h("code", null, "TOLLGATE_ADMIN_KEY"), "."],
  }));
  return h("main", { id: "main", class: "sign-in", "aria-busy": "false", data: { route: "sign-in" } },
    h("div", { class: "card" },
      h("h1", null, h("img", { src: "/assets/icon.svg", alt: "", width: 32, height: 32 }), "Tollgate"),
      h("p", { class: "page-lead" }, "API keys, exact limits and correct billing for your own models."),
      why && notice("info", why),
      made));
}
