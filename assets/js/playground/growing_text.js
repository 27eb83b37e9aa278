// Text that grows: what comes is put at its end once a frame, and what is there is never drawn again.

/** A text node is not made longer than this: then only its end is laid out anew. */
const NODE = 8192;

/** More is not kept: an answer that never ends must not fill the browser. */
const MOST = 500_000;

/**
 * @param {HTMLElement} element
 * @param {() => void} [grown]
 */
export function growingText(element, grown = () => {}) {
  let node = new Text();
  let waiting = "";
  let length = 0;
  let frame = 0;
  element.append(node);
  const flush = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    if (!waiting) return;
    if (node.length > NODE) element.append((node = new Text()));
    node.appendData(waiting);
    waiting = "";
    grown();
  };
  return {
    flush,
    text: () => element.textContent ?? "",
    /** @param {string} text */
    add(text) {
      if (length >= MOST) return;
      length += text.length;
      waiting += length >= MOST ? `${text}\n… The rest is not shown.` : text;
      frame ||= requestAnimationFrame(flush);
    },
  };
}
