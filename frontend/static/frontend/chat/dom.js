/**
 * Makes an element. Children that are strings become text, never markup.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `class`, `dataset`, `onclick` and the like, or any attribute;
 *   those that are null or false are left out
 * @param {...(Node | string | null | false)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "dataset") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== false) node.append(child);
  return node;
}

/** @param {string} id @returns {any} the element, which the page's template has */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`The page has no element #${id}.`);
  return node;
}

/** Sets a text only where it changed: a live region would say it again. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows words in a notice, or hides it. @param {HTMLElement} notice @param {string} [words] */
export function setNotice(notice, words = "") {
  setText(notice, words);
  notice.hidden = words === "";
}

const HUES = 360;

/** @param {string} name @returns {HTMLElement} a coloured disc with the first letters */
export function avatar(name) {
  const node = element("span", { class: "avatar", "aria-hidden": "true" });
  dressAvatar(node, name);
  return node;
}

/** @param {HTMLElement} node @param {string} name */
export function dressAvatar(node, name) {
  let hue = 7;
  for (const character of name) hue = (hue * 31 + (character.codePointAt(0) ?? 0)) % HUES;
  node.style.setProperty("--hue", String(hue));
  setText(node, [...name].slice(0, 2).join(""));
}
