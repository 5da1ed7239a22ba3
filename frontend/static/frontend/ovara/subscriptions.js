import { Conversation } from "./conversation.js";

/**
 * @typedef {object} Joined
 * @property {string} conversation_id
 * @property {number} sequence the newest
 * @property {string} epoch
 * @property {any[]} presence `[{user, state, connections, clients, joined_at, last_seen}]`
 * @property {boolean} anew what was shown of the conversation no longer counts: load its history
 *
 * @typedef {import("./errors.js").OvaraError} OvaraError
 * @typedef {import("./conversation.js").Message} Message
 */

const TRIES = 6;
/** A `resync` reaches a crowd at one moment: each looks within this time. */
const RESYNC_SPREAD_MS = 2_000;

/** The conversations that this client listens to, joined again on every connection. */
export class Subscriptions {
  #options;
  /** @type {Map<string, Conversation>} joined, or to be joined as soon as there is a connection */
  #conversations = new Map();
  /** @type {Map<string, {promise: Promise<Joined>, resolve: (joined: Joined) => void, reject: (error: Error) => void}>} */
  #firstJoins = new Map();

  /**
   * @param {object} options
   * @param {(type: string, fields: object, options: {tries: number}) => Promise<any>} options.ask
   * @param {() => boolean} options.online
   * @param {import("./timer.js").Clock} options.clock
   * @param {() => number} options.random
   * @param {(message: Message) => void} options.deliver
   * @param {(joined: Joined) => void} options.onJoined before the messages that were missed
   * @param {() => void} options.onLive after them
   * @param {(conversationId: string, error: OvaraError) => void} options.onFailed
   */
  constructor(options) {
    this.#options = options;
  }

  /** @param {string} conversationId @returns {Conversation | undefined} */
  get(conversationId) {
    return this.#conversations.get(conversationId);
  }

  /**
   * @param {string} conversationId
   * @param {{since?: number, epoch?: string}} known
   * @returns {Promise<Joined>}
   */
  join(conversationId, known) {
    const joining = this.#firstJoins.get(conversationId);
    if (joining) return joining.promise;
    /** @type {any} */
    const join = {};
    join.promise = new Promise((resolve, reject) => Object.assign(join, { resolve, reject }));
    this.#firstJoins.set(conversationId, join);
    this.#conversations.get(conversationId)?.suspend();
    const conversation = new Conversation(conversationId, {
      ...known,
      clock: this.#options.clock,
      history: (page) => this.#options.ask("history", { conversation_id: conversationId, ...page }, { tries: TRIES }),
      deliver: this.#options.deliver,
      rejoin: () => void this.#enter(conversation),
    });
    this.#conversations.set(conversationId, conversation);
    if (this.#options.online()) void this.#enter(conversation);
    return join.promise;
  }

  /**
   * @param {string} conversationId
   * @param {OvaraError} error what a join that still waits is told
   */
  forget(conversationId, error) {
    this.#conversations.get(conversationId)?.suspend();
    this.#conversations.delete(conversationId);
    this.#firstJoins.get(conversationId)?.reject(error);
    this.#firstJoins.delete(conversationId);
  }

  /** There is a connection: joins everything on it. */
  enterAll() {
    for (const conversation of this.#conversations.values()) void this.#enter(conversation);
  }

  /** The connection is lost. */
  suspendAll() {
    for (const conversation of this.#conversations.values()) conversation.suspend();
  }

  /** Publications may be lost: joining again compares, and fills what is missing. @param {string} [conversationId] */
  resync(conversationId) {
    const meant = conversationId ? [this.#conversations.get(conversationId)] : [...this.#conversations.values()];
    for (const conversation of meant) conversation?.rejoinIn(this.#options.random() * RESYNC_SPREAD_MS);
  }

  /** @param {Conversation} conversation */
  async #enter(conversation) {
    const { id } = conversation;
    let ack;
    try {
      ack = await this.#options.ask("join", conversation.joinFields, { tries: TRIES });
    } catch (error) {
      const failure = /** @type {OvaraError} */ (error);
      if (failure.code === "disconnected" || this.#conversations.get(id) !== conversation) return;
      this.forget(id, failure);
      this.#options.onFailed(id, failure);
      return;
    }
    if (this.#conversations.get(id) !== conversation) return;
    const { sequence, epoch, presence } = ack;
    const joined = { conversation_id: id, sequence, epoch, presence, anew: conversation.begin(ack) };
    this.#firstJoins.get(id)?.resolve(joined);
    this.#firstJoins.delete(id);
    this.#options.onJoined(joined);
    await conversation.catchUp(ack);
    if (conversation.live) this.#options.onLive();
  }
}
