import { Timer } from "./timer.js";

/** @typedef {import("./timer.js").Clock} Clock */

/** A little below what the server allows, because its clock and ours do not tick together. */
const SHARE_OF_RATE = 0.9;
/** Kept free for `ping` and `authenticate`, which do not queue. */
const RESERVED_FRAMES = 4;

/** Keeps outgoing frames below the server's limits: a token bucket with a queue, first come first served. */
export class Pacer {
  #clock;
  #timer;
  #perSecond = Infinity;
  #burst = Infinity;
  #allowance = Infinity;
  #countedAt = 0;
  #pausedUntil = 0;
  /** @type {(() => void)[]} */
  #queue = [];

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
    this.#timer = new Timer(clock, () => this.#drain());
  }

  /** @param {{frames_per_second?: number, burst?: number}} [limits] of `welcome`; starts with a full bucket */
  configure({ frames_per_second, burst } = {}) {
    this.#perSecond = (frames_per_second ?? Infinity) * SHARE_OF_RATE;
    this.#burst = Math.max(1, (burst ?? Infinity) - RESERVED_FRAMES);
    this.#allowance = this.#burst;
    this.#countedAt = this.#clock.now();
    this.#pausedUntil = 0;
  }

  /**
   * Runs `send` at once where the rate allows it, else in its turn.
   * @param {() => void} send
   */
  schedule(send) {
    this.#queue.push(send);
    if (this.#queue.length === 1) this.#drain();
  }

  /** Whether a frame would leave at once; what is not worth a wait (`typing`) asks first. */
  get free() {
    this.#refill();
    return this.#queue.length === 0 && this.#allowance >= 1 && this.#clock.now() >= this.#pausedUntil;
  }

  /** Counts a frame that went past the queue. */
  count() {
    this.#refill();
    this.#allowance = Math.max(0, this.#allowance - 1);
  }

  /** @param {number} seconds what `rate_limited` asked for */
  pause(seconds) {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#clock.now() + seconds * 1000);
  }

  clear() {
    this.#queue = [];
    this.#timer.stop();
  }

  #refill() {
    const now = this.#clock.now();
    if (this.#allowance !== Infinity) {
      const gained = ((now - this.#countedAt) / 1000) * this.#perSecond;
      this.#allowance = Math.min(this.#burst, this.#allowance + gained);
    }
    this.#countedAt = now;
  }

  #drain() {
    this.#refill();
    while (this.#queue.length > 0) {
      const pause = this.#pausedUntil - this.#clock.now();
      const wait = this.#allowance >= 1 ? pause : Math.max(pause, (1 - this.#allowance) / this.#perSecond * 1000);
      if (wait > 0) {
        this.#timer.start(Math.ceil(wait));
        return;
      }
      this.#allowance -= 1;
      this.#queue.shift()?.();
    }
  }
}
