import { Backoff } from "./backoff.js";
import { OvaraError, errorFromFrame } from "./errors.js";
import { Pacer } from "./pacer.js";
import { Timer } from "./timer.js";

/** @typedef {{resolve: (answer: any) => void, reject: (error: Error) => void, timer: Timer}} Pending */

const ANSWER_TIMEOUT_MS = 10_000;
/** Refusals that a later try can turn into a success; every request of the protocol may be repeated. */
const PASSING = new Set(["rate_limited", "overloaded", "timeout", "internal"]);
const DEFAULT_RETRY_AFTER_SECONDS = 1;

/**
 * What goes out over one connection: paced below the server's limits, and, where an answer is awaited,
 * kept under an id until it comes. Ids are never used twice, so a late answer meets no wrong request.
 */
export class Requests {
  #clock;
  #random;
  #write;
  #pacer;
  #nextId = 1;
  #maxFrameBytes = Infinity;
  #open = false;
  /** @type {Map<string, Pending>} by request id */
  #pending = new Map();

  /**
   * @param {import("./timer.js").Clock} clock
   * @param {() => number} random 0 to 1
   * @param {(text: string) => void} write
   */
  constructor(clock, random, write) {
    this.#clock = clock;
    this.#random = random;
    this.#write = write;
    this.#pacer = new Pacer(clock);
  }

  /** A connection stands. @param {{max_frame_bytes?: number, frames_per_second?: number, burst?: number}} [limits] */
  start(limits = {}) {
    this.#open = true;
    this.#pacer.configure(limits);
    this.#maxFrameBytes = limits.max_frame_bytes ?? Infinity;
  }

  /** The connection is lost: whatever still waits for it is told so. */
  stop() {
    this.#open = false;
    this.#pacer.clear();
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(disconnected());
  }

  /**
   * Sends a request, again where the server could not take it just now, and awaits its answer.
   *
   * @param {string} type
   * @param {object} [fields]
   * @param {{tries?: number, urgent?: boolean}} [options] urgent: past the pacer's queue.
   *   Waiting for the rate limit is not counted as a try
   * @returns {Promise<any>} the `ack` or `pong`; rejects with an `OvaraError`
   */
  async ask(type, fields = {}, { tries = 1, urgent = false } = {}) {
    const backoff = new Backoff(this.#random);
    for (let tried = 0; ; ) {
      if (!this.#open) throw disconnected();
      try {
        return await this.#askOnce(type, fields, urgent);
      } catch (error) {
        if (!(error instanceof OvaraError) || !PASSING.has(error.code)) throw error;
        if (error.code === "rate_limited") {
          const seconds = error.retryAfter ?? DEFAULT_RETRY_AFTER_SECONDS;
          this.#pacer.pause(seconds);
          if (urgent) await this.#wait(seconds * 1000);
        } else if (++tried >= tries) throw error;
        else await this.#wait(backoff.next(error.retryAfter));
      }
    }
  }

  /**
   * Sends what needs no answer; dropped where it could not leave at once.
   * @param {string} type
   * @param {object} fields
   */
  post(type, fields) {
    if (this.#open && this.#pacer.free) this.#pacer.schedule(() => this.#write(JSON.stringify({ type, ...fields })));
  }

  /** @param {any} frame `ack`, `pong` or `error`; one that nobody awaits any more is dropped */
  answer(frame) {
    const entry = this.#take(frame.id);
    if (frame.type === "error") entry?.reject(errorFromFrame(frame));
    else entry?.resolve(frame);
  }

  /**
   * @param {string} type
   * @param {object} fields
   * @param {boolean} urgent
   */
  #askOnce(type, fields, urgent) {
    const id = String(this.#nextId++);
    const text = JSON.stringify({ ...fields, type, id });
    if (new TextEncoder().encode(text).length > this.#maxFrameBytes) {
      // Sent, it would end the connection for good.
      throw new OvaraError("too_large", "This is too large to be sent; shorten it.");
    }
    const timedOut = new OvaraError("timeout", "The server has not answered in time; try again.");
    return this.#await(id, (entry) => entry.reject(timedOut), (timer) => {
      const send = () => {
        timer.start(ANSWER_TIMEOUT_MS);
        this.#write(text);
      };
      if (!urgent) return this.#pacer.schedule(send);
      this.#pacer.count();
      send();
    });
  }

  /** A pause that ends early, as a failure, when the connection is lost. @param {number} delayMs */
  #wait(delayMs) {
    const id = String(this.#nextId++);
    return this.#await(id, (entry) => entry.resolve(undefined), (timer) => timer.start(delayMs));
  }

  /**
   * @param {string} id
   * @param {(entry: Pending) => void} onTime
   * @param {(timer: Timer) => void} start
   * @returns {Promise<any>}
   */
  #await(id, onTime, start) {
    return new Promise((resolve, reject) => {
      const timer = new Timer(this.#clock, () => {
        const entry = this.#take(id);
        if (entry) onTime(entry);
      });
      this.#pending.set(id, { resolve, reject, timer });
      start(timer);
    });
  }

  /** @param {string} id */
  #take(id) {
    const entry = this.#pending.get(id);
    this.#pending.delete(id);
    entry?.timer.stop();
    return entry;
  }
}

function disconnected() {
  return new OvaraError("disconnected", "The connection was lost before the answer came.");
}
