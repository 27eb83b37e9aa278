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
