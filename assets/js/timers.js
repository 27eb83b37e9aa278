// Timers of pages: periodic work, and work after a pause.

/**
 * Runs work periodically until the page is left.
 *
 * @param {number} ms
 * @param {() => unknown} work skipped while the tab is hidden
 * @param {AbortSignal} signal the page's; it may already be aborted
 */
export function every(ms, work, signal) {
  if (signal.aborted) return;
  const timer = setInterval(() => {
    if (!document.hidden) work();
  }, ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/**
 * Returns a function that calls `then` once after a pause without further calls.
 *
 * @param {() => void} then
 * @param {number} [pause_ms]
 */
export function debounced(then, pause_ms = 250) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(then, pause_ms);
  };
}
