/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} KeyValueStorage */

/** A random UUID, also on pages without TLS, where `crypto.randomUUID` is missing. @returns {string} */
export function randomUuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Keeps values for the life of the page, where the browser allows no storage. @returns {KeyValueStorage} */
export function memoryStorage() {
  /** @type {Map<string, string>} */
  const values = new Map();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, value),
    removeItem: (key) => void values.delete(key),
  };
}

/**
 * @param {() => Storage} open e.g. `() => localStorage`: touching it throws where it is forbidden
 * @returns {KeyValueStorage}
 */
export function storageOrMemory(open) {
  try {
    const storage = open();
    storage.setItem("ovara:probe", "1");
    storage.removeItem("ovara:probe");
    return storage;
  } catch {
    return memoryStorage();
  }
}

/**
 * Who this browser profile is to the server. Kept for each account apart, because a client belongs to
 * one user, and read anew for every connection, because all tabs share it.
 */
export class Identity {
  #storage;
  #clientKey;
  #sessionKey;

  /**
   * @param {KeyValueStorage} storage
   * @param {string} account
   */
  constructor(storage, account) {
    this.#storage = storage;
    this.#clientKey = `ovara:${account}:client_id`;
    this.#sessionKey = `ovara:${account}:session_id`;
  }

  /** Made here at first use, so that two tabs opened together do not get two. @returns {string} */
  get clientId() {
    const known = this.#storage.getItem(this.#clientKey);
    if (known) return known;
    this.#storage.setItem(this.#clientKey, randomUuid());
    return /** @type {string} */ (this.#storage.getItem(this.#clientKey));
  }

  /** @returns {string | null} */
  get sessionId() {
    return this.#storage.getItem(this.#sessionKey);
  }

  /**
   * @param {string} clientId
   * @param {string} sessionId
   */
  remember(clientId, sessionId) {
    this.#storage.setItem(this.#clientKey, clientId);
    this.#storage.setItem(this.#sessionKey, sessionId);
  }

  /** The next connection is a new client. */
  forget() {
    this.#storage.removeItem(this.#clientKey);
    this.#storage.removeItem(this.#sessionKey);
  }
}
