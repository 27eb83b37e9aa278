// The values of a filter in an address, separated by commas. A comma within a value is written as `%2C`.

/** @param {URLSearchParams} query @param {string} name @returns {string[]} */
export function listOf(query, name) {
  const all = query.getAll(name).flatMap((text) => text.split(","));
  return [...new Set(all.map((one) => one.replace(/%2C/gi, ",").replace(/%25/g, "%").trim()).filter(Boolean))];
}

/** @param {string[]} values */
export const joined = (values) =>
  values.map((one) => one.replaceAll("%", "%25").replaceAll(",", "%2C")).join(",") || null;

/** The filters that usage and events share, by their name in the API and in the address. */
export const FILTERS = /** @type {const} */ ([
  { name: "external_entity_ids", label: "Group", hint: "name or id", by: "group", of: "external_entity_id" },
  { name: "model_slugs", label: "Model", hint: "slug", by: "model", of: "model_slug" },
  { name: "api_keys", label: "Key", hint: "prefix", by: "key", of: "api_key_prefix" },
]);

/**
 * @param {URLSearchParams} query
 * @returns {Record<string, string[]>}
 */
export const filtersOf = (query) =>
  Object.fromEntries(["group_ids", ...FILTERS.map(({ name }) => name)].map((name) => [name, listOf(query, name)]));

/** @param {Record<string, string[]>} filters */
export const isFiltered = (filters) => Object.values(filters).some((values) => values.length > 0);
