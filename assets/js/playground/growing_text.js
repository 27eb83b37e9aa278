// Text that grows: pieces are appended once per frame, and earlier text is never redrawn.

/** Maximum length of a text node, so that only the end of the text is laid out again. */
const MAX_NODE_LENGTH = 8192;

/** Maximum number of characters kept: an endless answer must not fill the browser's memory. */
const MAX_LENGTH = 500_000;

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
    if (node.length > MAX_NODE_LENGTH) element.append((node = new Text()));
    node.appendData(waiting);
    waiting = "";
    grown();
  };
  return {
    flush,
    text: () => element.textContent ?? "",
    /** @param {string} text */
    add(text) {
      if (length >= MAX_LENGTH) return;
      length += text.length;
      waiting += length >= MAX_LENGTH ? `${text}\n… The rest is not shown.` : text;
      frame ||= requestAnimationFrame(flush);
    },
  };
}
