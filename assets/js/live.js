// What the gateway says of itself once a second, shared by whoever watches. Nobody watches: nothing is open.

import { loadSession } from "./session.js";

/** @import { LiveEvent } from "./api_types.js" */

/** @typedef {"connecting" | "live" | "lost"} LiveState */

/** @type {Set<{event?: (event: LiveEvent) => void, state?: (state: LiveState) => void}>} */
const watchers = new Set();
/** @type {EventSource | null} */
let source = null;
/** @type {LiveEvent | null} */
let latest = null;
/** @type {LiveState} */
let state = "connecting";

/** Called when the stream ended since the session did. */
let sessionEnded = () => {};

/** @param {() => void} told */
export function onSessionEnded(told) {
  sessionEnded = told;
}

/**
 * Watches until `signal` is aborted. The latest event, if there is one, comes at once.
 *
 * @param {{event?: (event: LiveEvent) => void, state?: (state: LiveState) => void}} watcher
 * @param {AbortSignal} signal
 */
export function watch(watcher, signal) {
  if (signal.aborted) return;
  watchers.add(watcher);
  signal.addEventListener("abort", () => {
    watchers.delete(watcher);
    settle();
  });
  if (latest) watcher.event?.(latest);
  watcher.state?.(state);
  settle();
}

/** Open while somebody watches a page that is in sight. */
function settle() {
  const wanted = watchers.size > 0 && !document.hidden;
  if (wanted && !source) open();
  if (!wanted && source) close();
}

document.addEventListener("visibilitychange", settle);

function close() {
  source?.close();
  source = null;
}

function open() {
  const opened = new EventSource("/v1/gateway/live");
  source = opened;
  opened.addEventListener("live", (event) => {
    latest = JSON.parse(event.data);
    become("live");
    for (const watcher of watchers) if (latest) watcher.event?.(latest);
  });
  opened.onerror = async () => {
    become("lost");
    // The browser tries again by itself after a break, but not after a refusal.
    const session = await loadSession().catch(() => undefined);
    if (session === null) {
      close();
      sessionEnded();
    } else if (opened.readyState === EventSource.CLOSED && source === opened) {
      close();
      setTimeout(settle, 5000);
    }
  };
}

/** @param {LiveState} now */
function become(now) {
  if (now === state) return;
  state = now;
  for (const watcher of watchers) watcher.state?.(state);
}
