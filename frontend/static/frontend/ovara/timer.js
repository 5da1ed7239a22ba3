/**
 * @typedef {object} Clock what the library knows of time; tests give one that they turn by hand
 * @property {() => number} now milliseconds since 1970
 * @property {(callback: () => void, delayMs: number) => any} setTimeout
 * @property {(handle: any) => void} clearTimeout
 */

/** @type {Clock} */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (handle) => clearTimeout(handle),
};

/** One callback, at most one appointment: starting again moves it. */
export class Timer {
  #clock;
  #callback;
  /** @type {any} */
  #handle = null;

  /**
   * @param {Clock} clock
   * @param {() => void} callback
   */
  constructor(clock, callback) {
    this.#clock = clock;
    this.#callback = callback;
  }

  get running() {
    return this.#handle !== null;
  }

  /** @param {number} delayMs */
  start(delayMs) {
    this.stop();
    this.#handle = this.#clock.setTimeout(() => {
      this.#handle = null;
      this.#callback();
    }, Math.max(0, delayMs));
  }

  stop() {
    if (this.#handle === null) return;
    this.#clock.clearTimeout(this.#handle);
    this.#handle = null;
  }
}
