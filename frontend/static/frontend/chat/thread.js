/**
 * @typedef {import("../ovara/conversation.js").Message} Message
 * @typedef {import("../ovara/outbox.js").OutboxEntry} OutboxEntry
 * @typedef {{id: string, username: string}} User
 *
 * @typedef {object} Item one message as it is shown, stored or not
 * @property {string} key stays the same from writing to stored
 * @property {"user" | "assistant" | "system"} role
 * @property {string} author
 * @property {boolean} mine
 * @property {string} content
 * @property {string} created_at
 * @property {"sending" | "sent" | "failed"} state
 * @property {number | null} sequence
 * @property {string[]} readBy
 * @property {OutboxEntry | null} entry
 */

/** What is known of the conversation that is open: messages, people, who types, who has read what. */
export class Thread {
  /** @type {Map<number, Message>} by sequence */
  #messages = new Map();
  /** @type {Map<string, OutboxEntry>} by client_message_id */
  #pending = new Map();
  /** @type {Map<string, {user: User, state: string}>} who is present, by user id */
  presence = new Map();
  /** @type {Map<string, User>} by user id */
  typing = new Map();
  /** @type {{user: User, role: string, last_read_sequence: number}[]} */
  participants = [];
  hasOlder = false;
  /** Whether the newest messages are here. */
  loaded = false;
  /** Messages after this one were new when the conversation was opened. @type {number | null} */
  newAfter = null;

  /** @param {string} id @param {User} me */
  constructor(id, me) {
    this.id = id;
    this.me = me;
  }

  get newest() {
    return Math.max(0, ...this.#messages.keys());
  }

  get oldest() {
    return Math.min(...this.#messages.keys());
  }

  get isEmpty() {
    return this.#messages.size === 0 && this.#pending.size === 0;
  }

  get ownPosition() {
    return this.#participant(this.me.id)?.last_read_sequence ?? 0;
  }

  get others() {
    return [...this.presence.values()].filter(({ user }) => user.id !== this.me.id);
  }

  /** Everything shown so far no longer counts. */
  reset() {
    this.#messages.clear();
    this.hasOlder = false;
    this.loaded = false;
  }

  /** @param {Message[]} messages */
  add(messages) {
    for (const message of messages) {
      this.#messages.set(message.sequence, message);
      if (message.sender?.id === this.me.id && message.client_message_id) this.#pending.delete(message.client_message_id);
      if (message.sender) this.typing.delete(message.sender.id);
    }
  }

  /** @param {OutboxEntry} entry @param {Message} [message] once it is stored */
  setPending(entry, message) {
    if (message) this.add([message]);
    else this.#pending.set(entry.client_message_id, entry);
  }

  /** @param {string} clientMessageId */
  discard(clientMessageId) {
    this.#pending.delete(clientMessageId);
  }

  /** @param {string} userId @param {number} sequence */
  setRead(userId, sequence) {
    const participant = this.#participant(userId);
    if (participant) participant.last_read_sequence = Math.max(participant.last_read_sequence, sequence);
  }

  /** @param {{user: User, state: string}[]} users */
  setPresence(users) {
    this.presence = new Map(users.map((entry) => [entry.user.id, entry]));
  }

  /** @param {{event: string, user: User, state?: string}} change */
  changePresence({ event, user, state = "active" }) {
    if (event === "left") {
      this.presence.delete(user.id);
      this.typing.delete(user.id);
    } else this.presence.set(user.id, { user, state });
  }

  /** @returns {Item[]} stored ones by sequence, then those on their way */
  get items() {
    const stored = [...this.#messages.values()].sort((a, b) => a.sequence - b.sequence);
    return [...stored.map((message) => this.#stored(message)), ...[...this.#pending.values()].map((entry) => this.#unstored(entry))];
  }

  /** @param {string} userId */
  #participant(userId) {
    return this.participants.find(({ user }) => user.id === userId);
  }

  /** @param {Message} message @returns {Item} */
  #stored({ id, role, sender, content, created_at, sequence, client_message_id }) {
    const mine = role === "user" && sender?.id === this.me.id;
    const author = sender?.username ?? (role === "assistant" ? "Assistant" : "Ovara");
    const readBy = this.participants
      .filter(({ user, last_read_sequence }) => user.id !== this.me.id && last_read_sequence >= sequence)
      .map(({ user }) => user.username);
    const key = (mine && client_message_id) || id;
    return { key, role, author, mine, content, created_at, state: "sent", sequence, readBy, entry: null };
  }

  /** @param {OutboxEntry} entry @returns {Item} */
  #unstored(entry) {
    const { client_message_id: key, content, created_at, status: state } = entry;
    return { key, role: "user", author: this.me.username, mine: true, content, created_at, state, sequence: null, readBy: [], entry };
  }
}
