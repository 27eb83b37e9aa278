// The fields of a call: the model, the route, and the body as fields or as JSON.

import { ApiError } from "../api.js";
import { fill, h } from "../dom.js";
import { checkbox, field, numberInput, select, textArea } from "../ui/form.js";
import { ROUTES, bodyOf } from "./try_body.js";

/** @import { Message, Route } from "./try_body.js" */

const WORDS = /** @type {const} */ ({
  "/v1/chat/completions": "Message",
  "/v1/responses": "Message",
  "/v1/messages": "Message",
  "/v1/completions": "Prompt",
  "/v1/embeddings": "Text",
});

/** @typedef {ReturnType<typeof callFields>} CallFields */

/**
 * @param {{route: string | null, history: () => Message[], retargeted: () => void, changed: () => void,
 *   typed: () => void}} options `route` is from the address; `history` returns the messages so far; `retargeted` is
 *   called when another model or route is chosen, `changed` when an option changes, `typed` on input
 */
export function callFields({ route: wanted, history, retargeted, changed, typed }) {
  const model = select([]);
  const route = select(ROUTES, { value: ROUTES.find(([of]) => of === wanted)?.[0] ?? ROUTES[0]?.[0] });
  const system = textArea({ rows: 1 });
  const text = textArea({ rows: 3 });
  const raw = textArea({ rows: 12, class: "input code", spellcheck: "false" });
  const temperature = numberInput({ inputmode: "decimal", placeholder: "default" });
  const max = numberInput({ placeholder: "default" });
  const stream = checkbox({ label: "Stream", name: "stream", checked: true, onchange: changed });
  const asJson = checkbox({ label: "Edit the body as JSON", name: "raw", onchange: () => toggleRaw() });
  const isOn = (/** @type {HTMLElement} */ of) => of.querySelector("input")?.checked === true;

  const textField = field({ label: "Message", name: "text", input: text });
  const rawField = field({
    label: "Body", name: "body", input: raw, hint: "The call uses the group and route above, and the model named in the body.",
  });
  const systemField = field({ label: "System prompt", name: "system", input: system, optional: true });
  const options = h("div", { class: "try-options" },
    field({ label: "Temperature", name: "temperature", input: temperature }),
    field({ label: "Maximum tokens", name: "max_tokens", input: max }), stream);

  const routeNow = () => /** @type {Route} */ (route.value);
  const isRaw = () => isOn(asJson);
  const isChat = () => WORDS[routeNow()] === "Message" && !isRaw();
  const focus = () => (isRaw() ? raw : text).focus();
  const formBody = () => bodyOf({
    route: routeNow(), model: model.value, system: system.value, messages: history(), text: text.value,
    temperature: figure("temperature", temperature), max_tokens: figure("max_tokens", max), stream: isOn(stream),
  });
  const toggleRaw = () => {
    if (isRaw()) raw.value = JSON.stringify(formBody(), null, 2);
    changed();
    focus();
  };

  for (const input of [model, route]) input.addEventListener("change", retargeted);
  for (const input of [system, text, raw, temperature, max]) input.addEventListener("input", typed);

  return {
    elements: {
      target: [
        field({ label: "Model", name: "slug", input: model }), field({ label: "Route", name: "route", input: route }),
      ],
      system: systemField,
      body: [textField, rawField, options, asJson],
    },
    model: () => model.value,
    route: routeNow,
    text: () => text.value,
    isRaw,
    isChat,
    focus,
    /** The text that was written, and its label. */
    asked: () => (isRaw() ? { label: "Body", text: raw.value } : { label: WORDS[routeNow()], text: text.value }),
    /** The body of the call. Throws an `ApiError` that names the field if one cannot be read. */
    body: () => (isRaw() ? jsonOf(raw.value) : formBody()),
    /** Throws an `ApiError` if a required field is empty. */
    check() {
      if (!model.value && !isRaw()) throw new ApiError(0, "", "slug: This group has no models. Add one first.");
      if (!isRaw() && !text.value.trim()) throw new ApiError(0, "", "text: Enter some text first.");
    },
    /** @param {string} value the text */
    write(value) {
      text.value = value;
    },
    /** @param {string[]} models @param {string} wanted the one to select @param {string} none shown if there are none */
    offer(models, wanted, none) {
      fill(model, models.map((slug) => h("option", { value: slug }, slug)),
        models.length === 0 && h("option", { value: "" }, none));
      model.value = models.includes(wanted) ? wanted : models[0] ?? "";
    },
    /** Shows the fields of the current route. */
    arrange() {
      fill(textField.querySelector("label") ?? textField, WORDS[routeNow()]);
      systemField.hidden = !isChat();
      textField.hidden = isRaw();
      rawField.hidden = !isRaw();
      options.hidden = isRaw() || routeNow() === "/v1/embeddings";
    },
  };
}

/** @param {string} name @param {HTMLInputElement} input */
function figure(name, input) {
  const typed = input.value.trim().replace(",", ".");
  const value = Number(typed);
  if (typed && !Number.isFinite(value)) {
    throw new ApiError(0, "", `${name}: It must be a number, or empty for the server's default.`);
  }
  return typed ? value : null;
}

/** @param {string} text */
function jsonOf(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(0, "", `body: Invalid JSON: ${error instanceof Error ? error.message : error}`);
  }
}
