import { OvaraError } from "./errors.js";

/**
 * @typedef {object} OutboxEntry a message on its way
 * @property {string} conversation_id
 * @property {string} client_message_id stays the same however often it is sent
 * @property {string} content
 * @property {object} [metadata]
 * @property {"sending" | "sent" | "failed"} status
 * @property {string} created_at
 * @property {{code: string, message: string}} [error] of a failed one
 *
 * @typedef {import("./conversation.js").Message} Message
 */

/**
 * Messages that are not acknowledged yet. Those of one conversation leave one after the other, so that
 * a refused one is not overtaken; after a reconnect they leave again with the same `client_message_id`,
 * by which the server knows a repeat.
 */
export class Outbox {
  #options;
  /** @type {OutboxEntry[]} in the order of writing; `sending` and `failed` ones */
  #entries;
  /** @type {Set<string>} conversations that one is leaving for at this moment */
  #busy = new Set();
  /** @type {Map<string, {resolve: (message: Message) => void, reject: (error: Error) => void}>} by client_message_id */
  #promises = new Map();

  /**
   * @param {object} options
   * @param {(entry: OutboxEntry) => Promise<Message>} options.deliver
   * @param {(conversationId: string) => boolean} options.ready whether messages may leave now
   * @param {(entry: OutboxEntry, message?: Message) => void} options.onChange with the message when it was sent
   * @param {{load: () => OutboxEntry[], save: (entries: OutboxEntry[]) => void}} options.store outlives a reload
   * @param {() => string} options.uuid
   * @param {import("./timer.js").Clock} options.clock
   */
  constructor(options) {
    this.#options = options;
    this.#entries = options.store.load();
  }

  /** @param {string} conversationId @returns {OutboxEntry[]} */
  entries(conversationId) {
    return this.#entries.filter((entry) => entry.conversation_id === conversationId);
  }

  /**
   * @param {string} conversationId
   * @param {string} content
   * @param {object} [metadata]
   * @returns {Promise<Message>} the stored message
   */
  add(conversationId, content, metadata) {
    const { uuid, clock } = this.#options;
    /** @type {OutboxEntry} */
    const entry = {
      conversation_id: conversationId,
      client_message_id: uuid(),
      content,
      metadata,
      status: "sending",
      created_at: new Date(clock.now()).toISOString(),
    };
    this.#entries.push(entry);
    return this.#start(entry);
  }

  /** @param {string} clientMessageId of a failed message @returns {Promise<Message>} */
  retry(clientMessageId) {
    const entry = this.#find(clientMessageId);
    if (entry?.status !== "failed") {
      return Promise.reject(new OvaraError("invalid", "There is no failed message of this id."));
    }
    entry.status = "sending";
    delete entry.error;
    return this.#start(entry);
  }

  /** Takes a failed message back. @param {string} clientMessageId */
  discard(clientMessageId) {
    this.#entries = this.#entries.filter((entry) => entry.client_message_id !== clientMessageId);
    this.#save();
  }

  /** A stored message that may be one of these. @param {Message} message */
  settle(message) {
    const entry = this.#find(message.client_message_id);
    if (!entry || entry.conversation_id !== message.conversation_id) return;
    entry.status = "sent";
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#changed(entry, message);
    this.#settlePromise(entry, ({ resolve }) => resolve(message));
  }

  /**
   * Gives up what is still waiting; each can be tried again.
   * @param {{code: string, message: string}} error
   * @param {string} [conversationId] only of this conversation
   */
  fail(error, conversationId) {
    for (const entry of [...this.#entries]) {
      const meant = conversationId === undefined || entry.conversation_id === conversationId;
      if (meant && entry.status === "sending") this.#failed(entry, error);
    }
  }

  /** Sends what waits and may leave. */
  flush() {
    for (const id of new Set(this.#entries.map((entry) => entry.conversation_id))) void this.#run(id);
  }

  /** @param {OutboxEntry} entry @returns {Promise<Message>} */
  #start(entry) {
    const promise = new Promise((resolve, reject) => {
      this.#promises.set(entry.client_message_id, { resolve, reject });
    });
    this.#changed(entry);
    void this.#run(entry.conversation_id);
    return promise;
  }

  /** @param {string} conversationId */
  async #run(conversationId) {
    if (this.#busy.has(conversationId)) return;
    this.#busy.add(conversationId);
    while (this.#options.ready(conversationId)) {
      const entry = this.entries(conversationId).find(({ status }) => status === "sending");
      if (!entry) break;
      try {
        this.settle(await this.#options.deliver(entry));
      } catch (error) {
        // After a loss it leaves again as soon as the conversation is ready again.
        const failure = /** @type {OvaraError} */ (error);
        if (failure.code !== "disconnected" && entry.status === "sending") this.#failed(entry, failure);
      }
    }
    this.#busy.delete(conversationId);
  }

  /**
   * @param {OutboxEntry} entry
   * @param {{code: string, message: string}} error
   */
  #failed(entry, { code, message }) {
    entry.status = "failed";
    entry.error = { code, message };
    this.#changed(entry);
    const clientMessageId = entry.client_message_id;
    this.#settlePromise(entry, ({ reject }) => reject(new OvaraError(code, message, { clientMessageId })));
  }

  /**
   * @param {OutboxEntry} entry
   * @param {(promise: {resolve: (message: Message) => void, reject: (error: Error) => void}) => void} settle
   */
  #settlePromise(entry, settle) {
    const promise = this.#promises.get(entry.client_message_id);
    this.#promises.delete(entry.client_message_id);
    if (promise) settle(promise);
  }

  /**
   * @param {OutboxEntry} entry
   * @param {Message} [message]
   */
  #changed(entry, message) {
    this.#save();
    this.#options.onChange({ ...entry }, message);
  }

  #save() {
    this.#options.store.save(this.#entries);
  }

  /** @param {string | null} clientMessageId */
  #find(clientMessageId) {
    return this.#entries.find((entry) => entry.client_message_id === clientMessageId);
  }
}

/**
 * Keeps the outbox in a storage of the browser, so that a reload loses nothing.
 * @param {import("./identity.js").KeyValueStorage} storage e.g. `sessionStorage`
 * @param {string} account
 */
export function storedOutbox(storage, account) {
  const key = `ovara:${account}:outbox`;
  return {
    load: () => JSON.parse(storage.getItem(key) ?? "[]"),
    /** @param {OutboxEntry[]} entries */
    save: (entries) => {
      try {
        if (entries.length) storage.setItem(key, JSON.stringify(entries));
        else storage.removeItem(key);
      } catch (error) {
        // A full storage costs only what a reload would have kept; the messages leave all the same.
        console.warn("Unsent messages would not survive a reload of this page:", error);
      }
    },
  };
}
