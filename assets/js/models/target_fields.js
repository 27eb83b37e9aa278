// The fields of a target. The provider decides which of them are shown.

import { fill, h } from "../dom.js";
import { button } from "../ui/button.js";
import { field, numberInput, select, textInput } from "../ui/form.js";
import { PRESETS, PROVIDERS, TARGET_FIELDS, providerLabel, takesOf } from "./providers.js";

/** @import { Provider, Secret } from "../api_types.js" */
/** @import { LoadField, TargetField, TargetValues } from "./providers.js" */

/** @type {LoadField[]} */
const LOAD_FIELDS = ["weight", "max_concurrent"];

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

/** @type {Record<string, string>} by provider */
const DEFAULT_URLS = { OPENAI: "https://api.openai.com/v1", ANTHROPIC: "https://api.anthropic.com/v1" };

/**
 * @param {{values: TargetValues, secrets: Secret[], changed: () => void,
 *   newSecret: (chosen: (id: string) => void) => Promise<void>}} options
 */
export function targetFields({ values, secrets: first, changed, newSecret }) {
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
    weight: numberInput({ value: values.weight, placeholder: "1", pattern: "[1-9]\\d?|100" }),
    max_concurrent: numberInput({ value: values.max_concurrent, placeholder: "no limit" }),
  };
  const newSecretButton = button({
    label: "New secret", icon: "plus", small: true, kind: "quiet",
    press: () => newSecret((id) => {
      secret.value = id;
      showAndReport();
    }),
  });
  const providerField = field({ label: "Provider", name: "", input: provider });
  const fieldFor = (/** @type {TargetField} */ name) => field({
    label: LABELS[name], name: "", input: inputs[name], optional: true, hint: HINTS[name],
    after: name === "secret_id" && newSecretButton,
  });
  const fields = {
    base_url: fieldFor("base_url"),
    model_id: fieldFor("model_id"),
    target_model: fieldFor("target_model"),
    environment_name: fieldFor("environment_name"),
    secret_id: fieldFor("secret_id"),
    weight: field({
      label: "Weight", name: "", input: inputs.weight,
      hint: "Its share of the requests: a server with weight 2 gets twice as many as one with weight 1.",
    }),
    max_concurrent: field({
      label: "Capacity", name: "", input: inputs.max_concurrent, optional: true,
      hint: "The most requests that it runs at the same time. Leave empty for no limit.",
    }),
  };

  /** Shows the fields of the provider. */
  const show = () => {
    const takes = takesOf(/** @type {Provider} */ (provider.value));
    for (const name of TARGET_FIELDS) {
      fields[name].hidden = !(name in takes);
      const optional = fields[name].querySelector(".optional");
      if (optional instanceof HTMLElement) optional.hidden = takes[name] === true;
      inputs[name].toggleAttribute("required", takes[name] === true);
    }
    inputs.base_url.placeholder = DEFAULT_URLS[provider.value] ?? "http://10.0.0.5:8000";
  };
  const showAndReport = () => {
    show();
    changed();
  };
  const showSecrets = (/** @type {Secret[]} */ all) => {
    const { value } = secret;
    fill(secret, h("option", { value: "" }, "None"), all.map(({ id, name }) => h("option", { value: id }, name)));
    secret.value = value;
  };
  provider.addEventListener("change", showAndReport);
  for (const name of TARGET_FIELDS) inputs[name].addEventListener("input", showAndReport);
  showSecrets(first);
  secret.value = values.secret_id;
  show();

  return {
    element: h("div", { class: "target-fields" },
      providerField, [...TARGET_FIELDS, ...LOAD_FIELDS].map((name) => fields[name])),
    /** @returns {TargetValues} */
    values: () => ({
      provider: /** @type {Provider} */ (provider.value),
      base_url: inputs.base_url.value, target_model: inputs.target_model.value, secret_id: secret.value,
      model_id: inputs.model_id.value, environment_name: inputs.environment_name.value,
      weight: inputs.weight.value, max_concurrent: inputs.max_concurrent.value,
    }),
    /** Fills in a preset, and focuses the field to complete next. @param {typeof PRESETS[number]} preset */
    apply(preset) {
      provider.value = preset.provider;
      inputs.base_url.value = preset.base_url ?? "";
      const hint = fields.target_model.querySelector(".hint");
      if (hint) fill(hint, preset.model);
      showAndReport();
      const next = preset.base_url ? inputs.base_url : takesOf(preset.provider).secret_id ? secret : inputs.target_model;
      next.focus();
      if (next === inputs.base_url) inputs.base_url.select();
    },
    /** Sets the fields' names in the API's errors. @param {string} target such as `targets[0]` */
    place(target) {
      providerField.dataset.field = `${target}.provider`;
      for (const name of [...TARGET_FIELDS, ...LOAD_FIELDS]) fields[name].dataset.field = `${target}.${name}`;
    },
    /** Shows the weight if it has an effect or must be corrected. @param {boolean} isSpread */
    spread(isSpread) {
      fields.weight.hidden = !isSpread && inputs.weight.validity.valid;
    },
    secrets: showSecrets,
    focus: () => provider.focus(),
  };
}
