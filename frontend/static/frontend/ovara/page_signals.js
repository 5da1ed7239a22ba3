/**
 * @typedef {object} PageSignalHandlers
 * @property {() => void} onOnline the browser has a network again
 * @property {() => void} onOffline it has none
 * @property {() => void} onShown the tab is visible again, or came back from the back/forward cache
 * @property {() => void} onHidden it is not, and stays loaded
 */

/** What the page learns from the browser. Outside of one (Node) nothing ever happens. */
export class PageSignals {
  #window;
  #document;
  /** A page that unloads becomes hidden, too; nobody is away because of a reload. */
  #leaving = false;

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
      [window, "offline", handlers.onOffline],
      [window, "pagehide", () => (this.#leaving = true)],
      [window, "pageshow", (/** @type {PageTransitionEvent} */ event) => this.#returned(event, handlers)],
      [document, "visibilitychange", () => this.#turned(handlers)],
    ];
  }

  /** @type {[any, string, (event: any) => void][]} */
  #listeners;

  get hidden() {
    return this.#document?.visibilityState === "hidden";
  }

  /** @param {PageTransitionEvent} event @param {PageSignalHandlers} handlers */
  #returned({ persisted }, handlers) {
    this.#leaving = false;
    if (persisted) handlers.onShown();
  }

  /** @param {PageSignalHandlers} handlers */
  #turned(handlers) {
    if (!this.hidden) handlers.onShown();
    else if (!this.#leaving) handlers.onHidden();
  }

  start() {
    for (const [target, event, listener] of this.#listeners) target?.addEventListener(event, listener);
  }

  stop() {
    for (const [target, event, listener] of this.#listeners) target?.removeEventListener(event, listener);
  }
}
