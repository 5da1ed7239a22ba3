import { Timer } from "./timer.js";

/**
 * @typedef {object} Message as on the wire
 * @property {string} id
 * @property {string} conversation_id
 * @property {number} sequence
 * @property {"user" | "assistant" | "system"} role
 * @property {{id: string, username: string} | null} sender
 * @property {string} content
 * @property {object} metadata
 * @property {string | null} client_message_id
 * @property {"complete" | "streaming" | "cancelled" | "failed"} status
 * @property {string} created_at
 */

/** Messages may overtake each other on the bus by a little: only a gap that stays is asked for. */
const GAP_DELAY_MS = 200;
/** A gap that the history could not fill is looked at again, by joining anew. */
const STUCK_DELAY_MS = 2_000;
const PAGE_SIZE = 200;

/** One joined conversation: hands on every message once, in rising sequence, none left out. */
export class Conversation {
  #handlers;
  #gapTimer;
  #rejoinTimer;
  /** @type {number | null} the last sequence handed on; null until the first join */
  #position;
  /** @type {string | undefined} */
  #epoch;
  /** The newest sequence known to exist. */
  #newest = 0;
  /** @type {Map<number, Message>} by sequence: came too early, or while joining */
  #held = new Map();
  /** Between a join's catching up and the connection's end. Otherwise everything is held. */
  #live = false;
  /** Counts joins and losses: what an earlier stretch still awaited is out of date. */
  #stretch = 0;
  #filling = false;

  /**
   * @param {string} id
   * @param {object} options
   * @param {number} [options.since] the application has everything up to here, of this epoch
   * @param {string} [options.epoch]
   * @param {import("./timer.js").Clock} options.clock
   * @param {(page: {after: number, limit: number}) => Promise<{messages: Message[], has_more: boolean}>} options.history
   * @param {(message: Message) => void} options.deliver
   * @param {() => void} options.rejoin
   */
  constructor(id, { since, epoch, clock, ...handlers }) {
    this.id = id;
    this.#position = since ?? null;
    this.#epoch = epoch;
    this.#handlers = handlers;
    this.#gapTimer = new Timer(clock, () => void this.#fill());
    this.#rejoinTimer = new Timer(clock, () => handlers.rejoin());
  }

  get live() {
    return this.#live;
  }

  /** The fields of a `join` frame. */
  get joinFields() {
    return { conversation_id: this.id, since: this.#position ?? undefined, epoch: this.#epoch };
  }

  /** The connection is lost, or the conversation was left. */
  suspend() {
    this.#stretch += 1;
    this.#live = false;
    this.#filling = false;
    this.#gapTimer.stop();
    this.#rejoinTimer.stop();
  }

  /** Compares with the server by joining anew. @param {number} delayMs */
  rejoinIn(delayMs) {
    this.#rejoinTimer.start(delayMs);
  }

  /**
   * First half of a join: where does it go on?
   * @param {{sequence: number, epoch: string, recovered?: boolean}} ack
   * @returns {boolean} true: it starts anew at `ack.sequence`, and what was shown before no longer counts
   */
  begin(ack) {
    this.suspend();
    const anew = this.#position === null || !ack.recovered;
    this.#epoch = ack.epoch;
    this.#newest = ack.sequence;
    if (anew) {
      this.#position = ack.sequence;
      this.#held.clear();
    }
    return anew;
  }

  /**
   * Second half: hands on what was missed, then what is live.
   * @param {{messages?: Message[], has_more?: boolean}} ack
   */
  async catchUp({ messages = [], has_more = false }) {
    const stretch = this.#stretch;
    this.#keep(messages);
    this.#handOn();
    if (has_more) await this.#fill();
    if (stretch !== this.#stretch) return;
    this.#live = true;
    this.#advance();
  }

  /** @param {Message} message live, or an own one that was acknowledged */
  accept(message) {
    this.#keep([message]);
    this.#advance();
  }

  /** @param {number} sequence that exists, as some other frame said */
  notice(sequence) {
    this.#newest = Math.max(this.#newest, sequence);
    this.#advance();
  }

  /** @param {Message[]} messages repeats are dropped */
  #keep(messages) {
    for (const message of messages) {
      if (this.#position !== null && message.sequence <= this.#position) continue;
      this.#held.set(message.sequence, message);
      this.#newest = Math.max(this.#newest, message.sequence);
    }
  }

  #advance() {
    if (!this.#live) return;
    this.#handOn();
    if (this.#newest <= (this.#position ?? 0)) this.#gapTimer.stop();
    else if (!this.#gapTimer.running && !this.#rejoinTimer.running && !this.#filling) this.#gapTimer.start(GAP_DELAY_MS);
  }

  #handOn() {
    if (this.#position === null) return;
    for (let message; (message = this.#held.get(this.#position + 1)); ) {
      this.#held.delete(message.sequence);
      this.#position = message.sequence;
      this.#handlers.deliver(message);
    }
  }

  /** Fetches everything after the position. */
  async #fill() {
    if (this.#position === null || this.#filling) return;
    const stretch = this.#stretch;
    const from = this.#position;
    this.#filling = true;
    try {
      for (let more = true; more; ) {
        const before = this.#position;
        const page = await this.#handlers.history({ after: before, limit: PAGE_SIZE });
        if (stretch !== this.#stretch) return;
        this.#keep(page.messages);
        this.#handOn();
        more = page.has_more && this.#position > before;
      }
    } catch (error) {
      // Joining again is the way out, and it is what happens anyway when the connection was lost.
      if (stretch !== this.#stretch) return;
      this.rejoinIn(STUCK_DELAY_MS);
    }
    this.#filling = false;
    if (this.#position < this.#newest && this.#position === from) this.rejoinIn(STUCK_DELAY_MS);
    else this.#advance();
  }
}
