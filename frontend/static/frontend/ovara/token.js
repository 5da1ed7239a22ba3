import { Timer } from "./timer.js";

/**
 * @typedef {string | (() => string | Promise<string>)} TokenSource
 * A function is called for every connection, and before a token ends. It may reject with
 * `code: "unauthenticated"` when there is no token to be had (signed out): the client then stays away.
 */

/** A token is renewed this long before its end, or when a fifth of its life is left, if that is less. */
const LEAD_MS = 60_000;
const LEAD_SHARE = 0.2;
const RENEW_AGAIN_MS = 5_000;

/** Takes access tokens from the application, and renews the live connection's in time. */
export class Token {
  #source;
  #clock;
  #handlers;
  #due;
  /** @type {Promise<string> | null} */
  #taking = null;
  #renewing = false;

  /**
   * @param {TokenSource} source
   * @param {import("./timer.js").Clock} clock
   * @param {object} handlers
   * @param {(token: string) => Promise<void>} handlers.authenticate gives a token to the live connection
   * @param {(error: Error) => void} handlers.onForbidden the new token is another user's
   */
  constructor(source, clock, handlers) {
    this.#source = source;
    this.#clock = clock;
    this.#handlers = handlers;
    this.#due = new Timer(clock, () => void this.renew());
  }

  /** Whether the source can give another token than the one it gave. */
  get renewable() {
    return typeof this.#source === "function";
  }

  /** Takes a fresh token; callers at the same time share one. @returns {Promise<string>} */
  take() {
    if (this.#taking) return this.#taking;
    const taking = this.#ask().finally(() => {
      if (this.#taking === taking) this.#taking = null;
    });
    this.#taking = taking;
    return taking;
  }

  async #ask() {
    return typeof this.#source === "function" ? this.#source() : this.#source;
  }

  /** @param {number} endsAt milliseconds since 1970, by this machine's clock */
  renewBefore(endsAt) {
    if (!this.renewable) return;
    const remaining = endsAt - this.#clock.now();
    this.#due.start(remaining - Math.min(LEAD_MS, remaining * LEAD_SHARE));
  }

  async renew() {
    if (this.#renewing || !this.renewable) return;
    this.#renewing = true;
    try {
      await this.#handlers.authenticate(await this.take());
    } catch (error) {
      this.#renewalFailed(/** @type {Error & {code?: string}} */ (error));
    } finally {
      this.#renewing = false;
    }
  }

  /** @param {Error & {code?: string}} error */
  #renewalFailed(error) {
    if (error.code === "forbidden") this.#handlers.onForbidden(error);
    // A lost connection takes a new token by itself when it returns. Otherwise try on, also where the
    // person has signed out: the server ends such a connection, and its close code says why.
    else if (error.code !== "disconnected") this.#due.start(RENEW_AGAIN_MS);
  }

  /** The connection is gone; a source that hangs does not hold up the next one. */
  stop() {
    this.#due.stop();
    this.#taking = null;
  }
}
