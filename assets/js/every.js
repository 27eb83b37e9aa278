// Runs a page's periodic work until the page is left.

/**
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
