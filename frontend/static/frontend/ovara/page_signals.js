/**
 * @typedef {object} PageSignalHandlers
 * @property {() => void} onOnline the browser has a network again
 * @property {() => void} onShown the tab is visible again, or came back from the back/forward cache
 * @property {() => void} onHidden
 */

/** What the page learns from the browser. Outside of one (Node) nothing ever happens. */
export class PageSignals {
  #window;
  #document;

  /**
   * @param {PageSignalHandlers} handlers
   * @param {any} [window] an EventTarget
   * @param {any} [document] an EventTarget with `visibilityState`
   */
  constructor(handlers, window = globalThis.window, document = globalThis.document) {
    this.#window = window;
    this.#document = document;
    this.#listeners = [
      [window, "online", handlers.onOnline],
      [window, "pageshow", (/** @type {PageTransitionEvent} */ event) => event.persisted && handlers.onShown()],
      [document, "visibilitychange", () => (this.hidden ? handlers.onHidden() : handlers.onShown())],
    ];
  }

  /** @type {[any, string, (event: any) => void][]} */
  #listeners;

  get hidden() {
    return this.#document?.visibilityState === "hidden";
  }

  start() {
    for (const [target, event, listener] of this.#listeners) target?.addEventListener(event, listener);
  }

  stop() {
    for (const [target, event, listener] of this.#listeners) target?.removeEventListener(event, listener);
  }
}
