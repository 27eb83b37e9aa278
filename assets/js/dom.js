// Functions that create elements. Data becomes only text and attributes: nothing here parses HTML.

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */
/** @typedef {Record<string, unknown>} Props */

/** Props that are set as properties, since their attributes are only initial values. */
const PROPERTIES = new Set(["value", "checked", "indeterminate", "selected", "open"]);

/**
 * Creates an element.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props] attributes; `class` may be a list, `onclick` and the like are listeners, `style` is an
 *   object of custom properties, `data` of data attributes; false, null and undefined are left out
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  set(element, props ?? {});
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, props ?? {});
  append(element, children);
  return element;
}

/**
 * Sets attributes and listeners of an existing element.
 *
 * @param {HTMLElement | SVGElement} element
 * @param {Props} props
 */
export function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") {
      const names = [value].flat(2).filter(Boolean).join(" ");
      if (names) element.setAttribute("class", names);
    } else if (name === "style" && value) {
      for (const [property, of] of Object.entries(value)) element.style.setProperty(property, String(of));
    } else if (name === "data" && value) {
      for (const [key, of] of Object.entries(value)) if (of != null) element.dataset[key] = String(of);
    } else if (typeof value === "function" && name.startsWith("on")) {
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (PROPERTIES.has(name)) {
      if (value != null) /** @type {any} */ (element)[name] = value;
    } else if (value === false || value == null) {
      element.removeAttribute(name);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/**
 * @param {Node} parent
 * @param {Child} child
 */
function append(parent, child) {
  if (Array.isArray(child)) for (const one of child) append(parent, one);
  else if (child instanceof Node) parent.appendChild(child);
  else if (child !== null && child !== undefined && child !== false) parent.appendChild(new Text(String(child)));
}

/**
 * Replaces the children of an element.
 *
 * @param {Element | DocumentFragment} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/**
 * Like `fill`, but changes only what differs, so that the focus, a selection and scroll positions are kept. The children
 * must have no listeners, since those of new elements may be lost.
 *
 * @param {Element} parent
 * @param {...Child} children
 */
export function update(parent, ...children) {
  const wanted = new DocumentFragment();
  append(wanted, children);
  merge(parent, wanted);
}

/** @param {Node} parent @param {Node} wanted */
function merge(parent, wanted) {
  const [old, now] = [[...parent.childNodes], [...wanted.childNodes]];
  for (const rest of old.slice(now.length)) rest.remove();
  now.forEach((node, at) => {
    const before = old[at];
    if (!before) {
      parent.appendChild(node);
    } else if (before.nodeName !== node.nodeName) {
      before.replaceWith(node);
    } else if (!before.isEqualNode(node)) {
      if (before instanceof Text) before.data = node.nodeValue ?? "";
      else mergeAttributes(/** @type {HTMLElement} */ (before), /** @type {HTMLElement} */ (node));
      merge(before, node);
    }
  });
}

/** @param {HTMLElement} before @param {HTMLElement} node */
function mergeAttributes(before, node) {
  for (const name of before.getAttributeNames()) if (!node.hasAttribute(name)) before.removeAttribute(name);
  for (const name of node.getAttributeNames()) {
    const value = node.getAttribute(name) ?? "";
    // The policy forbids setting styles as an attribute.
    if (name === "style") before.style.cssText = node.style.cssText;
    else if (before.getAttribute(name) !== value) before.setAttribute(name, value);
  }
}

let ids = 0;

/**
 * An id that is unique on the page, to associate labels and descriptions with their elements.
 *
 * @param {string} prefix
 */
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}
