/** The few things the page does with elements. */

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found;
}

/**
 * The element, if it is of the kind that is expected.
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {{ new (): Kind }} kind
 * @returns {Kind}
 */
export function elementOf(id, kind) {
  const found = element(id);
  if (!(found instanceof kind)) throw new Error(`${id} is no ${kind.name}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.append(...children);
  return made;
}

/**
 * Changes the text only where it differs: most figures of most pools stay as they are from second to second.
 * @param {Element} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * @param {HTMLElement} target
 * @param {string} className
 */
export function setClass(target, className) {
  if (target.className !== className) target.className = className;
}

/**
 * @param {HTMLElement} target
 * @param {string} title
 */
export function setTitle(target, title) {
  if (target.title !== title) target.title = title;
}

/**
 * The child of a cell at a place, made where it is missing.
 * @param {HTMLElement} cell
 * @param {number} index
 * @param {string} className
 */
export function part(cell, index, className) {
  let child = cell.children[index];
  while (child === undefined) {
    cell.append(make("span", ""));
    child = cell.children[index];
  }
  if (child instanceof HTMLElement) {
    setClass(child, className);
    return child;
  }
  throw new Error("a cell holds HTML alone");
}
