import { byId, setText } from "./dom.js";

/** The protocol's limit, in code points. */
const MAX_LENGTH = 32_768;
const COUNT_FROM = 30_000;
/** The server says that somebody stopped typing after 5 s without news. */
const TYPING_AGAIN_MS = 3_000;
const BUSY_MS = 3_000;

/** Where a message is written. */
export class Composer {
  #form = byId("composer");
  #input = byId("composer-input");
  #count = byId("composer-count");
  #handlers;
  #typingSaidAt = 0;
  #writtenAt = 0;

  /**
   * @param {object} handlers
   * @param {(content: string) => void} handlers.onSend
   * @param {(isTyping: boolean) => void} handlers.onTyping
   * @param {(draft: string) => void} handlers.onDraft
   */
  constructor(handlers) {
    this.#handlers = handlers;
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // While an input method composes, Enter belongs to it.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener("input", () => {
      this.#fit();
      this.#writtenAt = Date.now();
      handlers.onDraft(this.#input.value);
      this.#sayTyping();
    });
    this.#input.addEventListener("blur", () => this.stopTyping());
  }

  /** Whether somebody is writing here at this moment: then a draft from another tab would disturb. */
  get busy() {
    return Date.now() - this.#writtenAt < BUSY_MS;
  }

  focus() {
    this.#input.focus();
  }

  /** @param {string} draft */
  setDraft(draft) {
    if (this.#input.value === draft) return;
    this.#input.value = draft;
    this.#fit();
  }

  /** Puts a failed message back to be changed, before what is being written. @param {string} content */
  edit(content) {
    this.setDraft([content, this.#input.value].filter(Boolean).join("\n"));
    this.#handlers.onDraft(this.#input.value);
    this.focus();
  }

  stopTyping() {
    if (this.#typingSaidAt > 0) this.#handlers.onTyping(false);
    this.#typingSaidAt = 0;
  }

  #send() {
    const content = this.#input.value;
    if (content.trim() === "" || [...content].length > MAX_LENGTH) return this.focus();
    this.#input.value = "";
    this.#fit();
    // A message says by itself that its writer has stopped typing.
    this.#typingSaidAt = 0;
    this.#handlers.onDraft("");
    this.#handlers.onSend(content);
    this.focus();
  }

  #sayTyping() {
    if (this.#input.value === "") return this.stopTyping();
    if (Date.now() - this.#typingSaidAt < TYPING_AGAIN_MS) return;
    this.#typingSaidAt = Date.now();
    this.#handlers.onTyping(true);
  }

  /** As high as the text, up to what the style allows. */
  #fit() {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
    const { value } = this.#input;
    const length = value.length > COUNT_FROM ? [...value].length : 0;
    this.#count.dataset.over = String(length > MAX_LENGTH);
    setText(this.#count, length === 0 ? "" : `${length} of ${MAX_LENGTH} characters${length > MAX_LENGTH ? ": shorten it to send it" : ""}`);
  }
}
