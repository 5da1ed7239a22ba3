import { avatar, byId, element, setText } from "./dom.js";
import { day, errorWords, timeOfDay } from "./words.js";

/** @typedef {import("./thread.js").Item} Item */

/** Messages of one person within this time stand together under one name. */
const TOGETHER_MS = 5 * 60_000;
/** So near to the end counts as there. */
const END_PIXELS = 60;

/** Shows the messages; keeps the reader's place while others come, at the end or above. */
export class MessageList {
  #list = byId("messages");
  #scroll = byId("scroll");
  #jump = byId("jump");
  #handlers;
  /** @type {Map<string, HTMLElement>} by key */
  #nodes = new Map();
  #atEnd = true;

  /**
   * @param {object} handlers
   * @param {(clientMessageId: string) => void} handlers.onRetry
   * @param {(clientMessageId: string, content: string) => void} handlers.onEdit
   * @param {(clientMessageId: string) => void} handlers.onDiscard
   * @param {() => void} handlers.onEnd the newest message is in view
   * @param {() => void} handlers.onTop the oldest one is
   */
  constructor(handlers) {
    this.#handlers = handlers;
    this.#scroll.addEventListener("scroll", () => this.#scrolled());
    this.#jump.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.#atEnd && this.toEnd()).observe(this.#scroll);
  }

  /** Whether the newest message is in view. */
  get atEnd() {
    return this.#atEnd && this.#scroll.offsetParent !== null;
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#atEnd = true;
    this.#jump.hidden = true;
  }

  /** Another conversation: nothing of the last one stays. */
  clear() {
    this.#nodes.clear();
    this.#list.replaceChildren();
    this.#atEnd = true;
  }

  /**
   * @param {Item[]} items
   * @param {{newAfter: number | null, olderAdded?: boolean}} options olderAdded: the place is kept from below
   */
  render(items, { newAfter, olderAdded = false }) {
    const fromEnd = this.#scroll.scrollHeight - this.#scroll.scrollTop;
    const wanted = this.#rows(items, newAfter);
    this.#arrange(wanted);
    if (olderAdded) this.#scroll.scrollTop = this.#scroll.scrollHeight - fromEnd;
    else if (this.#atEnd) this.toEnd();
    else this.#jump.hidden = false;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < END_PIXELS;
    this.#jump.hidden = this.#atEnd;
    if (this.#atEnd) this.#handlers.onEnd();
    if (scrollTop < END_PIXELS) this.#handlers.onTop();
  }

  /** @param {Item[]} items @param {number | null} newAfter @returns {HTMLElement[]} */
  #rows(items, newAfter) {
    const firstNew = items.find(({ mine, sequence }) => newAfter !== null && !mine && (sequence ?? 0) > newAfter);
    return items.flatMap((item, index) => {
      const previous = index === 0 ? null : items[index - 1];
      const today = day(item.created_at);
      const dividers = [];
      if (!previous || day(previous.created_at) !== today) dividers.push(this.#divider(`day-${today}`, today, "divider"));
      if (item === firstNew) dividers.push(this.#divider("new", "New", "divider divider--new"));
      return [...dividers, this.#row(item, dividers.length === 0 && isTogether(previous, item))];
    });
  }

  /** Puts the rows in order, and moves only those that are not. @param {HTMLElement[]} wanted */
  #arrange(wanted) {
    let next = this.#list.firstChild;
    for (const row of wanted) {
      if (row === next) next = next.nextSibling;
      else this.#list.insertBefore(row, next);
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
    const kept = new Set(wanted);
    for (const [key, node] of this.#nodes) if (!kept.has(node)) this.#nodes.delete(key);
  }

  /** @param {string} key @param {string} words @param {string} className */
  #divider(key, words, className) {
    const node = this.#nodes.get(key) ?? element("li", { class: className }, words);
    this.#nodes.set(key, node);
    return node;
  }

  /** @param {Item} item @param {boolean} continued @returns {HTMLElement} */
  #row(item, continued) {
    let row = this.#nodes.get(item.key);
    if (!row) {
      row = this.#build(item);
      this.#nodes.set(item.key, row);
    }
    row.dataset.continued = String(continued);
    row.dataset.state = item.state;
    if (item.sequence !== null) row.dataset.sequence = String(item.sequence);
    const meta = /** @type {HTMLElement} */ (row.querySelector(".bubble__meta"));
    setText(meta, [timeOfDay(item.created_at), stateWords(item)].filter(Boolean).join(" · "));
    if (item.readBy.length > 0) meta.title = `Read by ${item.readBy.join(", ")}`;
    this.#renderFailure(row, item);
    return row;
  }

  /** @param {Item} item */
  #build(item) {
    return element(
      "li",
      { class: "message", dataset: { role: item.role, mine: String(item.mine) } },
      element("span", { class: "message__face" }, avatar(item.role === "assistant" ? "AI" : item.author)),
      element("span", { class: "message__author" }, item.author),
      element(
        "div",
        { class: "bubble" },
        element("p", { class: "bubble__text", dir: "auto" }, item.content),
        element("small", { class: "bubble__meta" }),
      ),
    );
  }

  /** @param {HTMLElement} row @param {Item} item */
  #renderFailure(row, item) {
    row.querySelector(".message__failure")?.remove();
    if (item.state !== "failed") return;
    const button = (/** @type {string} */ words, /** @type {() => void} */ onclick) =>
      element("button", { type: "button", class: "button button--quiet button--small", onclick }, words);
    row.append(
      element(
        "div",
        { class: "message__failure" },
        element("span", { role: "alert" }, errorWords(item.entry?.error ?? {})),
        button("Retry", () => this.#handlers.onRetry(item.key)),
        button("Edit", () => this.#handlers.onEdit(item.key, item.content)),
        button("Discard", () => this.#handlers.onDiscard(item.key)),
      ),
    );
  }
}

/** @param {Item | null} previous @param {Item} item */
function isTogether(previous, item) {
  if (!previous || previous.author !== item.author || previous.role !== item.role || item.role === "system") return false;
  return Date.parse(item.created_at) - Date.parse(previous.created_at) < TOGETHER_MS;
}

/** @param {Item} item */
function stateWords({ mine, state, readBy }) {
  if (!mine) return "";
  if (state === "sending") return "Sending…";
  if (state === "failed") return "Not sent";
  return readBy.length > 0 ? "Read" : "Sent";
}
