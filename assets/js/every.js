// Work that a page does again and again, for as long as it is shown.

/**
 * @param {number} ms
 * @param {() => unknown} work left out while the window is out of sight
 * @param {AbortSignal} signal the page's: it may have been left before it came this far
 */
export function every(ms, work, signal) {
  if (signal.aborted) return;
  const timer = setInterval(() => {
    if (!document.hidden) work();
  }, ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}
