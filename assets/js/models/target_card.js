// The form of one target of an endpoint. Its fields depend on the provider.

import { fill, freshId, h } from "../dom.js";
import { button } from "../ui/button.js";
import { field, select, textInput } from "../ui/form.js";
import { checkLines, checkRunning } from "./check_view.js";
import { healthLine } from "./health.js";
import { PRESETS, PROVIDERS, TARGET_FIELDS, providerLabel, takesOf, targetBody } from "./providers.js";

/** @import { Check, Provider, Secret, Upstream } from "../api_types.js" */
/** @import { TargetField, TargetValues } from "./providers.js" */

/** @typedef {ReturnType<typeof targetCard>} TargetCard */

/** @type {Record<TargetField, string>} */
const LABELS = {
  base_url: "Base URL",
  model_id: "Model id",
  target_model: "Model name",
  environment_name: "Environment",
  secret_id: "Secret",
};

/** @type {Record<TargetField, string>} */
const HINTS = {
  base_url: "The same URL as for an OpenAI SDK. /v1 is added if it has no path.",
  target_model: "The server's name for the model. If empty, the slug is sent.",
  secret_id: "The credential that the server requires.",
  model_id: "The model's id, as in its URL.",
  environment_name: "For example production.",
};

/**
 * @param {{values: TargetValues, secrets: Secret[], isNew: boolean, changed: () => void,
 *   newSecret: (chosen: (id: string) => void) => Promise<void>,
 *   move: (card: TargetCard, by: -1 | 1) => void, remove: (card: TargetCard) => void}} options
 */
export function targetCard({ values, secrets, isNew, changed, newSecret, move, remove }) {
  const heading = h("h3", { id: freshId("target") });
  const order = h("span", { class: "hint" });
  const small = /** @type {const} */ ({ kind: "quiet", small: true, iconOnly: true });
  const up = button({ ...small, label: "Move up", icon: "up-arrow", press: () => move(card, -1) });
  const down = button({ ...small, label: "Move down", icon: "down-arrow", press: () => move(card, 1) });
  const removeButton = button({ ...small, label: "Remove", icon: "trash", kind: "danger-quiet", press: () => remove(card) });

  const known = /** @type {Provider[]} */ (Object.keys(PROVIDERS));
  const offered = known.includes(values.provider) ? known : [...known, values.provider];
  const provider = select(offered.map((one) => [one, providerLabel(one)]), { value: values.provider });
  const secret = select([]);
  const plain = (/** @type {string} */ value, /** @type {string} */ placeholder = "") =>
    textInput({ value, placeholder, autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const inputs = {
    base_url: plain(values.base_url, "http://10.0.0.5:8000"),
    target_model: plain(values.target_model),
    secret_id: secret,
    model_id: plain(values.model_id),
    environment_name: plain(values.environment_name),
  };
  const newSecretButton = button({
    label: "New secret", icon: "plus", small: true, kind: "quiet",
    press: () => newSecret((id) => {
      secret.value = id;
      changedHere();
    }),
  });
  const providerField = field({ label: "Provider", name: "", input: provider });
  const fields = Object.fromEntries(TARGET_FIELDS.map((name) => [name, field({
    label: LABELS[name], name: "", input: inputs[name], optional: true, hint: HINTS[name],
    after: name === "secret_id" && newSecretButton,
  })]));

  const health = h("div", { class: "stack-tight" });
  const found = h("div", { class: "found-out", "aria-live": "polite" });
  const presets = isNew && h("div", { class: "presets", role: "group", "aria-label": "Presets" },
    h("span", { class: "hint", "aria-hidden": "true" }, "Presets"),
    PRESETS.map((preset) => button({
      label: preset.name, small: true,
      press: () => {
        provider.value = preset.provider;
        inputs.base_url.value = preset.base_url ?? "";
        fill(fields.target_model?.querySelector(".hint") ?? found, preset.model);
        changedHere();
        const next = preset.base_url ? inputs.base_url : preset.provider === "OPENAI" ? secret : inputs.target_model;
        next.focus();
        if (next === inputs.base_url) inputs.base_url.select();
      },
    })));

  const show = () => {
    const takes = takesOf(/** @type {Provider} */ (provider.value));
    for (const name of TARGET_FIELDS) {
      const place = fields[name];
      if (!place) continue;
      place.hidden = !(name in takes);
      const optional = place.querySelector(".optional");
      if (optional instanceof HTMLElement) optional.hidden = takes[name] === true;
      inputs[name].toggleAttribute("required", takes[name] === true);
    }
    inputs.base_url.placeholder = provider.value === "OPENAI" ? "https://api.openai.com/v1" : "http://10.0.0.5:8000";
  };
  // A change makes the results of the last check invalid.
  const changedHere = () => {
    show();
    fill(found);
    changed();
  };
  provider.addEventListener("change", changedHere);
  for (const name of TARGET_FIELDS) inputs[name].addEventListener("input", changedHere);

  const element = h("div", { class: "card target", role: "group", "aria-labelledby": heading.id },
    h("header", { class: "target-head" }, heading, order, h("div", { class: "target-actions" }, up, down, removeButton)),
    health, presets,
    h("div", { class: "target-fields" }, providerField, TARGET_FIELDS.map((name) => fields[name] ?? null)),
    found);

  const card = {
    element,
    /** @returns {TargetValues} */
    values: () => ({
      provider: /** @type {Provider} */ (provider.value),
      base_url: inputs.base_url.value, target_model: inputs.target_model.value, secret_id: secret.value,
      model_id: inputs.model_id.value, environment_name: inputs.environment_name.value,
    }),
    body: () => targetBody(card.values()),
    /** Sets the position, and the fields' names in the API's errors. @param {number} index @param {number} count */
    place(index, count) {
      fill(heading, `Target ${index}`);
      fill(order, count === 1 ? "" : index === 0 ? "tried first" : "tried if those above fail");
      up.disabled = index === 0;
      down.disabled = index === count - 1;
      removeButton.disabled = count === 1;
      element.dataset.field = `targets[${index}]`;
      providerField.dataset.field = `targets[${index}].provider`;
      for (const name of TARGET_FIELDS) {
        const place = fields[name];
        if (place) place.dataset.field = `targets[${index}].${name}`;
      }
    },
    /** @param {Secret[]} all */
    secrets(all) {
      const { value } = secret;
      fill(secret, h("option", { value: "" }, "None"), all.map(({ id, name }) => h("option", { value: id }, name)));
      secret.value = value;
    },
    /** @param {Upstream | undefined} upstream */
    health: (upstream) => fill(health, healthLine(upstream)),
    checking: () => fill(found, checkRunning()),
    /** @param {Check[]} checks */
    found: (checks) => fill(found, checks.length > 0 && checkLines(checks)),
    /** Focuses the button of a move, or the other one if that is disabled. @param {-1 | 1} by */
    focusMove(by) {
      const [wanted, other] = by < 0 ? [up, down] : [down, up];
      (wanted.disabled ? other : wanted).focus();
    },
    focus: () => provider.focus(),
  };
  card.secrets(secrets);
  secret.value = values.secret_id;
  show();
  return card;
}
