/**
 * @typedef {object} ConversationItem
 * @property {string} id
 * @property {string} title
 * @property {number} last_sequence
 * @property {number} unread
 * @property {{user: {id: string, username: string}, role: string, last_read_sequence: number}[]} participants
 */

/** The person's conversations, most recently active first, kept in step with the server. */
export class Conversations {
  #api;
  #me;
  #onChange;
  /** @type {ConversationItem[]} */
  #items = [];
  loaded = false;

  /**
   * @param {import("./api.js").Api} api
   * @param {import("../ovara/ovara.js").OvaraClient} client
   * @param {{id: string, username: string}} me
   * @param {() => void} onChange
   */
  constructor(api, client, me, onChange) {
    this.#api = api;
    this.#me = me;
    this.#onChange = onChange;
    client.on("conversation_added", ({ conversation_id }) => void this.refresh(conversation_id));
    client.on("conversation_updated", (frame) => this.#updated(frame));
    client.on("conversation_removed", ({ conversation_id }) => this.#remove(conversation_id));
  }

  get items() {
    return this.#items;
  }

  get unread() {
    return this.#items.reduce((sum, { unread }) => sum + unread, 0);
  }

  /** @param {string} id */
  get(id) {
    return this.#items.find((item) => item.id === id);
  }

  /** @param {string} id @returns {string} the title, or who takes part */
  title(id) {
    const item = this.get(id);
    if (!item) return "";
    return item.title || this.others(item);
  }

  /** @param {ConversationItem} item @returns {string} who else takes part */
  others({ participants }) {
    const names = participants.map(({ user }) => user.username).filter((name) => name !== this.#me.username);
    return names.join(", ") || "Only you";
  }

  /** Fetches the list: at the start, and whenever frames may have been missed. */
  async load() {
    const previous = this.#items.map(({ id }) => id);
    const place = (/** @type {ConversationItem} */ { id }) => (previous.includes(id) ? previous.indexOf(id) : -1);
    this.#items = await this.#api.conversations();
    if (this.loaded) this.#items.sort((a, b) => place(a) - place(b));
    this.loaded = true;
    this.#onChange();
  }

  /** Fetches one, new or changed, and puts it first if it is new. @param {string} id */
  async refresh(id) {
    this.put(await this.#api.conversation(id));
  }

  /** @param {ConversationItem} item */
  put(item) {
    const known = this.get(item.id);
    if (known) Object.assign(known, item);
    else this.#items.unshift(item);
    this.#onChange();
  }

  /** @param {string} id @param {number} unread */
  setUnread(id, unread) {
    const item = this.get(id);
    if (!item || item.unread === unread) return;
    item.unread = unread;
    this.#onChange();
  }

  /** @param {{conversation_id: string, title: string, last_sequence: number, unread: number}} frame */
  #updated({ conversation_id, title, last_sequence, unread }) {
    const item = this.get(conversation_id);
    if (!item) return void this.refresh(conversation_id);
    const active = last_sequence > item.last_sequence;
    Object.assign(item, { title, last_sequence, unread });
    if (active) this.#items = [item, ...this.#items.filter((other) => other !== item)];
    this.#onChange();
  }

  /** @param {string} id */
  #remove(id) {
    this.#items = this.#items.filter((item) => item.id !== id);
    this.#onChange();
  }
}
