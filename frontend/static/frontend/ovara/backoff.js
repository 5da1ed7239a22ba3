/**
 * @typedef {object} ReconnectAdvice `reconnect` of `welcome`; delays in seconds
 * @property {number} min_delay
 * @property {number} max_delay
 * @property {number} factor
 * @property {number} jitter share of a delay that is left to chance, 0 to 1
 */

/** Used until the first `welcome` says otherwise: the server's own defaults. */
const DEFAULT_ADVICE = Object.freeze({ min_delay: 0.5, max_delay: 20, factor: 2, jitter: 0.5 });

/** Growing delays between attempts, spread by chance so that a crowd does not return at one moment. */
export class Backoff {
  /** @type {ReconnectAdvice} */
  #advice = DEFAULT_ADVICE;
  #random;
  #attempt = 0;

  /** @param {() => number} random 0 to 1 */
  constructor(random) {
    this.#random = random;
  }

  /** Attempts since the last reset. */
  get attempt() {
    return this.#attempt;
  }

  /** @param {Partial<ReconnectAdvice>} [advice] */
  configure(advice) {
    this.#advice = { ...DEFAULT_ADVICE, ...advice };
  }

  reset() {
    this.#attempt = 0;
  }

  /**
   * The delay before the next attempt. What the server asked for is a least: chance only adds to it.
   *
   * @param {number} [retryAfter] seconds
   * @returns {number} milliseconds
   */
  next(retryAfter) {
    const { min_delay, max_delay, factor, jitter } = this.#advice;
    const ceiling = Math.min(max_delay, min_delay * factor ** this.#attempt);
    this.#attempt += 1;
    const own = ceiling * (1 - jitter * this.#random());
    if (retryAfter === undefined) return own * 1000;
    return Math.max(own, retryAfter * (1 + jitter * this.#random())) * 1000;
  }
}
