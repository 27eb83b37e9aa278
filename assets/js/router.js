// Maps addresses to pages. The page is in the fragment (`#`), which is not sent to the server, so any link works.

/** @import { Scope } from "./session.js" */

/**
 * The arguments of a page.
 *
 * @typedef {{
 *   params: Record<string, string>, query: URLSearchParams,
 *   signal: AbortSignal,
 *   setQuery: (changes: Record<string, string | null | undefined>, how?: {replace?: boolean}) => void
 * }} Context `signal` is aborted when the page is left; `setQuery` changes the address without redrawing
 */

/**
 * A page: `heading` is shown in the window's title; `element` is its content.
 *
 * @typedef {{heading: string, element: HTMLElement}} Page
 */

/** @typedef {(context: Context) => Promise<Page> | Page} MakePage */

/**
 * The address of a page, its section in the navigation, and the permission that it needs. `path` may have parts such
 * as `:id`.
 *
 * @typedef {{path: string, section: string, scope: Scope, load: () => Promise<{default: MakePage}>}} Route
 */

/** @param {string} hash */
export function parse(hash) {
  const [path, query] = hash.replace(/^#/, "").split(/\?(.*)/s);
  return { path: path?.startsWith("/") ? path : "/", query: new URLSearchParams(query ?? "") };
}

/**
 * An address within the UI.
 *
 * @param {string} path its values must be encoded by `encodeURIComponent`
 * @param {Record<string, string | number | null | undefined>} [query]
 */
export function link(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `#${path}${text && `?${text}`}`;
}

/**
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} [query]
 */
export function go(path, query) {
  location.hash = link(path, query);
}

/**
 * The first route that fits a path, with the values of its parts.
 *
 * @param {Route[]} routes
 * @param {string} path
 */
export function match(routes, path) {
  const parts = path.split("/").filter(Boolean);
  for (const route of routes) {
    const wanted = route.path.split("/").filter(Boolean);
    if (wanted.length !== parts.length) continue;
    /** @type {Record<string, string>} */
    const params = {};
    const fits = wanted.every((want, at) => {
      const part = parts[at] ?? "";
      if (!want.startsWith(":")) return want === part;
      try {
        params[want.slice(1)] = decodeURIComponent(part);
      } catch {
        return false;
      }
      return true;
    });
    if (fits) return { route, params };
  }
  return null;
}

/** @type {Context["setQuery"]} */
export function setQuery(changes, how) {
  const { path, query } = parse(location.hash);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const address = link(path, Object.fromEntries(query));
  if (address === location.hash) return;
  if (how?.replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}
