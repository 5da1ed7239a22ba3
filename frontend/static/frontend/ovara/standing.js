import { OvaraError } from "./errors.js";

const TRIES = 3;
/** No answer to what was said: it is said again on the next connection. Everything else is a refusal. */
const UNANSWERED = new Set(["disconnected", "timeout", "overloaded", "internal"]);

/**
 * What the client wants the server to know whatever happens to the connection: that the tab is away,
 * how far the person has read, the session's state. Said at once, or as soon as there is a connection.
 */
export class Standing {
  #ask;
  #isAway = false;
  /** @type {Map<string, number>} conversation → read position that the server does not know yet */
  #reads = new Map();
  /** @type {object | null} session state that the server does not know yet */
  #state = null;

  /** @param {(type: string, fields: object, options: {tries: number}) => Promise<any>} ask */
  constructor(ask) {
    this.#ask = ask;
  }

  /** @returns {object | null} */
  get unsaidState() {
    return this.#state;
  }

  /** Says everything on a new connection, which begins as not away. */
  async sayAll() {
    if (this.#isAway) await this.away(true);
    if (this.#state) await this.setState(this.#state);
    for (const [conversationId, sequence] of [...this.#reads]) await this.read(conversationId, sequence);
  }

  /** @param {boolean} isAway */
  async away(isAway) {
    this.#isAway = isAway;
    await this.#say("away", { is_away: isAway });
  }

  /**
   * @param {string} conversationId
   * @param {number} sequence
   */
  async read(conversationId, sequence) {
    const furthest = Math.max(sequence, this.#reads.get(conversationId) ?? 0);
    this.#reads.set(conversationId, furthest);
    const said = await this.#say("read", { conversation_id: conversationId, sequence: furthest });
    if (said && this.#reads.get(conversationId) === furthest) this.#reads.delete(conversationId);
  }

  /** @param {string} conversationId */
  forget(conversationId) {
    this.#reads.delete(conversationId);
  }

  /** @param {object} state */
  async setState(state) {
    this.#state = state;
    const said = await this.#say("state", { state });
    if (said && this.#state === state) this.#state = null;
  }

  /**
   * @param {string} type
   * @param {object} fields
   * @returns {Promise<boolean>} whether the server took note; a refusal counts, for it is not repeated
   */
  async #say(type, fields) {
    try {
      await this.#ask(type, fields, { tries: TRIES });
    } catch (error) {
      if (!(error instanceof OvaraError)) throw error;
      if (UNANSWERED.has(error.code)) return false;
      console.warn(`Ovara: the server refused ${type}: ${error.code}: ${error.message}`);
    }
    return true;
  }
}
