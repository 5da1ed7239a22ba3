/** A state may have 16 KiB; drafts keep to this many characters, the latest ones first. */
const MAX_DRAFT_CHARACTERS = 4_000;
const SAVE_DELAY_MS = 600;

/** What the person was doing, in the session's state: shared by all tabs, and there again after a reload. */
export class Drafts {
  #client;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #saving;
  /** @type {{conversation_id?: string, drafts?: Record<string, string>} | null} not saved yet */
  #changed = null;

  /** @param {import("../ovara/ovara.js").OvaraClient} client */
  constructor(client) {
    this.#client = client;
    addEventListener("pagehide", () => this.#save());
  }

  get #state() {
    return this.#changed ?? this.#client.state;
  }

  /** @returns {string | null} the conversation that was open last */
  get lastConversation() {
    return this.#state.conversation_id ?? null;
  }

  /** @param {string} conversationId @returns {string} */
  get(conversationId) {
    return this.#state.drafts?.[conversationId] ?? "";
  }

  /** @param {string} conversationId @param {string} draft */
  set(conversationId, draft) {
    const others = Object.entries(this.#state.drafts ?? {}).filter(([id]) => id !== conversationId);
    let left = MAX_DRAFT_CHARACTERS;
    const kept = [[conversationId, draft], ...others].filter(([, text]) => text !== "" && (left -= text.length) >= 0);
    this.#change({ drafts: Object.fromEntries(kept) });
  }

  /** @param {string} conversationId */
  opened(conversationId) {
    if (this.lastConversation !== conversationId) this.#change({ conversation_id: conversationId });
  }

  /** @param {object} change */
  #change(change) {
    this.#changed = { ...this.#state, ...change };
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.#save(), SAVE_DELAY_MS);
  }

  #save() {
    clearTimeout(this.#saving);
    if (!this.#changed) return;
    void this.#client.setState(this.#changed);
    this.#changed = null;
  }
}
