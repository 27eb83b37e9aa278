// The live event stream, one event per second, shared by all watchers. It is open only while there is a watcher.

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

/** Called when the stream has ended because the session has. */
let sessionEnded = () => {};

/** @param {() => void} listener */
export function onSessionEnded(listener) {
  sessionEnded = listener;
}

/**
 * Watches until `signal` is aborted. The latest event, if there is one, is delivered at once.
 *
 * @param {{event?: (event: LiveEvent) => void, state?: (state: LiveState) => void}} watcher
 * @param {AbortSignal} signal
 */
export function watch(watcher, signal) {
  if (signal.aborted) return;
  watchers.add(watcher);
  signal.addEventListener("abort", () => {
    watchers.delete(watcher);
    openOrClose();
  });
  if (latest) watcher.event?.(latest);
  watcher.state?.(state);
  openOrClose();
}

/** Opens or closes the stream: it is open while the tab is visible and has a watcher. */
function openOrClose() {
  const wanted = watchers.size > 0 && !document.hidden;
  if (wanted && !source) open();
  if (!wanted && source) close();
}

document.addEventListener("visibilitychange", openOrClose);

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
    // The browser reconnects after a lost connection, but not after an error status.
    const session = await loadSession().catch(() => undefined);
    if (session === null) {
      close();
      sessionEnded();
    } else if (opened.readyState === EventSource.CLOSED && source === opened) {
      close();
      setTimeout(openOrClose, 5000);
    }
  };
}

/** @param {LiveState} now */
function become(now) {
  if (now === state) return;
  state = now;
  for (const watcher of watchers) watcher.state?.(state);
}
