/** A state may have 16 KiB; drafts keep to this many characters, the latest ones first. */
const MAX_DRAFT_CHARACTERS = 4_000;
const SAVE_DELAY_MS = 600;

/**
 * What the person was doing, in the session's state: shared by all tabs, and there again after a reload.
 *
 * @typedef {object} Doing
 * @property {string} [conversation_id] the conversation that was opened last
 * @property {Record<string, string>} [drafts] by conversation
 */
export class Drafts {
  #client;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #saving;
  /** Not saved yet. Only what was changed here, so that another tab's changes stay. @type {Doing | null} */
  #changed = null;

  /** @param {import("../ovara/ovara.js").OvaraClient} client */
  constructor(client) {
    this.#client = client;
    addEventListener("pagehide", () => this.#save());
  }

  /** @returns {Doing} */
  get #doing() {
    const { drafts, ...changed } = this.#changed ?? {};
    const stored = this.#client.state;
    return { ...stored, ...changed, drafts: { ...stored.drafts, ...drafts } };
  }

  /** @returns {string | null} the conversation that was open last */
  get lastConversation() {
    return this.#doing.conversation_id ?? null;
  }

  /** @param {string} conversationId @returns {string} */
  get(conversationId) {
    return this.#doing.drafts?.[conversationId] ?? "";
  }

  /** @param {string} conversationId @param {string} draft */
  set(conversationId, draft) {
    this.#change({ drafts: { ...this.#changed?.drafts, [conversationId]: draft } });
  }

  /** @param {string} conversationId */
  opened(conversationId) {
    if (this.lastConversation !== conversationId) this.#change({ conversation_id: conversationId });
  }

  /** @param {Doing} change */
  #change(change) {
    this.#changed = { ...this.#changed, ...change };
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.#save(), SAVE_DELAY_MS);
  }

  #save() {
    clearTimeout(this.#saving);
    if (!this.#changed) return;
    const latestFirst = Object.keys(this.#changed.drafts ?? {}).reverse();
    const { drafts = {}, ...rest } = this.#doing;
    this.#changed = null;
    void this.#client.setState({ ...rest, drafts: withinLimit(drafts, latestFirst) });
  }
}

/**
 * As many drafts as there is room for, empty ones left out.
 * @param {Record<string, string>} drafts
 * @param {string[]} first ids of those that matter most
 */
function withinLimit(drafts, first) {
  let left = MAX_DRAFT_CHARACTERS;
  const ids = new Set([...first, ...Object.keys(drafts)]);
  return Object.fromEntries([...ids].map((id) => [id, drafts[id]]).filter(([, text]) => text !== "" && (left -= text.length) >= 0));
}
