// The API tab: addresses and sample calls.

import { h } from "../dom.js";
import { about, may } from "../session.js";
import { linkButton } from "../ui/button.js";
import { copyButton, snippet } from "../ui/copy.js";
import { facts, section } from "../ui/page.js";

export function apiPart() {
  const { version, inference_url } = about();
  const address = (/** @type {string} */ url) =>
    h("span", { class: "row" }, h("code", null, url), copyButton({ text: url, message: "Address copied" }));
  const path = may("manage") || may("keys") ? "/v1/gateway/groups" : "/v1/gateway/status";
  return section({
    heading: "API",
    lead: "Everything in this UI can be done through the admin API, with an operator key.",
    actions: linkButton({ label: "OpenAPI specification", href: "/v1/spec", icon: "external" }),
  },
  h("div", { class: "card" }, facts([
    ["Customers call", address(`${inference_url}/v1`)],
    ["Operators call", address(location.origin)],
    ["Version", version],
  ])),
  snippet({ label: "Admin API with curl", text: `curl ${location.origin}${path} -H "Authorization: Bearer $TOLLGATE_OPERATOR_KEY"` }),
  snippet({
    label: "A customer's request",
    text: `curl ${inference_url}/v1/chat/completions -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}'`,
  }));
}
