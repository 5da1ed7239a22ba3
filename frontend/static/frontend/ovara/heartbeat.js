import { Timer } from "./timer.js";

/** @typedef {import("./timer.js").Clock} Clock */

/** How long a server may be silent after a ping before the connection counts as dead. */
const SILENCE_MS = 10_000;
/** The same after the machine slept or the network changed, when death is likely and a person waits. */
const SILENCE_AFTER_WAKE_MS = 4_000;

/** Pings at the interval that `welcome` gives, and notices a connection that died without a close. */
export class Heartbeat {
  #beat;
  #deadline;
  #ping;
  #intervalMs = 0;

  /**
   * @param {Clock} clock
   * @param {{ping: () => void, onDead: () => void}} handlers
   */
  constructor(clock, { ping, onDead }) {
    this.#ping = ping;
    this.#beat = new Timer(clock, () => this.check(SILENCE_MS));
    this.#deadline = new Timer(clock, () => {
      this.stop();
      onDead();
    });
  }

  /** @param {number} intervalSeconds */
  start(intervalSeconds) {
    this.#intervalMs = intervalSeconds * 1000;
    this.check(SILENCE_MS);
  }

  stop() {
    this.#beat.stop();
    this.#deadline.stop();
  }

  /** Something came from the server, so it lives. */
  alive() {
    this.#deadline.stop();
  }

  /** Asks now whether the server is still there. @param {number} [silenceMs] */
  check(silenceMs = SILENCE_AFTER_WAKE_MS) {
    this.#beat.start(this.#intervalMs);
    this.#deadline.start(silenceMs);
    this.#ping();
  }
}
