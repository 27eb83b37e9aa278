// The fields of a target by provider, and presets for common servers.

import { wholeNumber } from "./whole_number.js";

/** @import { Provider, Target } from "../api_types.js" */

/** @typedef {"base_url" | "target_model" | "secret_id" | "model_id" | "environment_name"} TargetField */
/** @typedef {"weight" | "max_concurrent"} LoadField of every provider */
/** @typedef {Record<TargetField | LoadField, string> & {provider: Provider}} TargetValues as they are typed */
/** @typedef {Partial<Target> & {provider: Provider}} TargetBody as the API takes it */

export const MAX_TARGETS = 16;

/** @type {TargetField[]} */
export const TARGET_FIELDS = ["base_url", "model_id", "target_model", "environment_name", "secret_id"];

/**
 * The fields that a provider takes; true if required.
 *
 * @type {Partial<Record<Provider, {label: string, takes: Partial<Record<TargetField, boolean>>}>>}
 */
export const PROVIDERS = {
  OPENAI_COMPATIBLE: {
    label: "OpenAI-compatible server",
    takes: { base_url: true, target_model: false, secret_id: false },
  },
  OPENAI: { label: "OpenAI", takes: { secret_id: true, target_model: false, base_url: false } },
  ANTHROPIC: { label: "Anthropic", takes: { secret_id: true, target_model: false, base_url: false } },
  BASETEN: {
    label: "Baseten",
    takes: { model_id: true, environment_name: false, target_model: false, secret_id: false },
  },
  DEMO: { label: "Demo (built in)", takes: { target_model: false } },
};

/** @param {Provider} provider */
export const takesOf = (provider) =>
  PROVIDERS[provider]?.takes ?? { base_url: false, target_model: false, secret_id: false };

/** @param {Provider} provider */
export const providerLabel = (provider) => PROVIDERS[provider]?.label ?? provider;

/**
 * Presets: common servers, on their default ports.
 *
 * @type {{name: string, provider: Provider, base_url?: string, model: string}[]} `model` says where to find its name
 */
export const PRESETS = [
  {
    name: "vLLM", provider: "OPENAI_COMPATIBLE", base_url: "http://127.0.0.1:8000",
    model: "The --served-model-name of vLLM, or else its --model.",
  },
  {
    name: "SGLang", provider: "OPENAI_COMPATIBLE", base_url: "http://127.0.0.1:30000",
    model: "The --served-model-name of SGLang, or else its --model-path.",
  },
  {
    name: "Ollama", provider: "OPENAI_COMPATIBLE", base_url: "http://127.0.0.1:11434",
    model: "Its name in “ollama list”, such as llama3.2:3b.",
  },
  {
    name: "llama.cpp", provider: "OPENAI_COMPATIBLE", base_url: "http://127.0.0.1:8080",
    model: "llama-server has one model: any name works, unless --alias sets one.",
  },
  {
    name: "TGI", provider: "OPENAI_COMPATIBLE", base_url: "http://127.0.0.1:8080",
    model: "The --model-id of TGI; “tgi” works too.",
  },
  { name: "OpenAI", provider: "OPENAI", model: "Its name at OpenAI, such as gpt-4o-mini." },
  { name: "Anthropic", provider: "ANTHROPIC", model: "Its name at Anthropic, such as claude-sonnet-4-5." },
  { name: "Demo", provider: "DEMO", model: "The demo accepts any name." },
];

/**
 * A target as the API takes it, with its provider's fields only.
 *
 * @param {TargetValues} values
 * @param {string} name the target's name in errors, such as `targets[0]`
 * @returns {TargetBody}
 * @throws {import("../api.js").ApiError} if a number is not in its range
 */
export function targetBody(values, name) {
  const takes = takesOf(values.provider);
  const given = TARGET_FIELDS.filter((field) => field in takes && values[field].trim());
  return {
    provider: values.provider,
    ...Object.fromEntries(given.map((field) => [field, values[field].trim()])),
    weight: wholeNumber(values.weight, { name: `${name}.weight`, least: 1, most: 100 }) ?? 1,
    max_concurrent: wholeNumber(values.max_concurrent, { name: `${name}.max_concurrent`, least: 1, most: 100_000 }),
  };
}

/** The field values of an existing target. @param {TargetBody} target @returns {TargetValues} */
export const targetValues = (target) => ({
  provider: target.provider,
  base_url: target.base_url ?? "",
  target_model: target.target_model ?? "",
  secret_id: target.secret_id ?? "",
  model_id: target.model_id ?? "",
  environment_name: target.environment_name ?? "",
  weight: String(target.weight ?? 1),
  max_concurrent: String(target.max_concurrent ?? ""),
});

/** The origin of a target's server, or its provider. @param {Target} target */
export function targetPlace(target) {
  try {
    return target.base_url ? new URL(target.base_url).origin : providerLabel(target.provider);
  } catch {
    return providerLabel(target.provider);
  }
}
