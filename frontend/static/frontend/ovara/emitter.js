/** Events by name. A listener that throws stops neither the others nor the library. */
export class Emitter {
  /** @type {Map<string, Set<(detail: any) => void>>} event → listeners */
  #listeners = new Map();

  /**
   * @param {string} event
   * @param {(detail: any) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event)?.add(listener);
    return () => this.off(event, listener);
  }

  /**
   * @param {string} event
   * @param {(detail: any) => void} listener
   */
  off(event, listener) {
    const listeners = this.#listeners.get(event);
    listeners?.delete(listener);
    if (listeners?.size === 0) this.#listeners.delete(event);
  }

  /**
   * @param {string} event
   * @param {any} [detail]
   */
  emit(event, detail) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        // Thrown again outside, where the browser reports it as any uncaught error.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
