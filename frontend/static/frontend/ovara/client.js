import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { OvaraError } from "./errors.js";
import { Identity, randomUuid, storageOrMemory } from "./identity.js";
import { Outbox, storedOutbox } from "./outbox.js";
import { Standing } from "./standing.js";
import { Subscriptions } from "./subscriptions.js";
import { systemClock } from "./timer.js";

/**
 * @typedef {object} OvaraOptions
 * @property {import("./token.js").TokenSource} token the access token, or better a function that takes a fresh one
 * @property {string} [account] whose client this is, e.g. the user's id: ids are kept for each account apart
 * @property {string} [url] of the WebSocket, without a query; default: `/ws/` of the page's own host
 * @property {boolean} [autoAway] say `away` while the tab is hidden; default true
 * @property {import("./identity.js").KeyValueStorage} [storage] for the ids, shared by all tabs; default localStorage
 * @property {import("./identity.js").KeyValueStorage} [outboxStorage] for unsent messages, the tab's own; default sessionStorage
 * @property {typeof WebSocket} [WebSocket]
 * @property {import("./timer.js").Clock} [clock]
 * @property {() => number} [random]
 * @property {() => string} [uuid]
 * @property {any} [window] an EventTarget that says `online`
 * @property {any} [document] an EventTarget that says `visibilitychange`
 *
 * @typedef {import("./conversation.js").Message} Message
 * @typedef {import("./outbox.js").OutboxEntry} OutboxEntry
 * @typedef {import("./subscriptions.js").Joined} Joined
 */

const SEND_TRIES = 8;
const ASK_TRIES = 3;

/** The library's own events. A publication of one of these types is heard as `frame` only. */
const OWN_EVENTS = new Set(["connection", "welcome", "latency", "joined", "join_failed", "outbox", "frame"]);

/**
 * One browser profile's (or device's) connection to Ovara.
 *
 * Own events: `connection` (ConnectionState) · `welcome` (the frame) · `latency` (ms) ·
 * `joined` (Joined): after `join`, and again after every reconnect, before what was missed ·
 * `join_failed` ({conversation_id, error}): the conversation is not there, or not for this user ·
 * `outbox` ({entry, message?}): a message is sending, sent (with the stored message) or failed.
 *
 * Every frame of the server is an event by its `type`, and also the event `frame`. `message` comes once
 * for each message of a joined conversation, own ones included, in rising sequence, without gaps.
 */
export class OvaraClient extends Emitter {
  #autoAway;
  #identity;
  #connection;
  #subscriptions;
  #outbox;
  #standing;
  /** @type {any} the latest `welcome`, kept up to date */
  #welcome = null;

  /** @param {OvaraOptions} options */
  constructor(options) {
    super();
    const { clock = systemClock, random = Math.random, account = "default", autoAway = true } = options;
    this.#autoAway = autoAway;
    this.#identity = new Identity(options.storage ?? storageOrMemory(() => localStorage), account);
    this.#connection = new Connection(
      {
        url: options.url ?? ownUrl(),
        token: options.token,
        identity: this.#identity,
        clock,
        random,
        WebSocket: options.WebSocket ?? WebSocket,
        window: options.window,
        document: options.document,
      },
      {
        onState: (state) => this.#stateChanged(state),
        onWelcome: (welcome) => this.#welcomed(welcome),
        onFrame: (frame) => this.#receive(frame),
        onLatency: (milliseconds) => this.emit("latency", milliseconds),
        onVisibility: () => autoAway && void this.away(this.#connection.hidden),
      },
    );
    const ask = this.#connection.requests.ask.bind(this.#connection.requests);
    this.#standing = new Standing(ask);
    this.#subscriptions = new Subscriptions({
      ask,
      online: () => this.#connection.online,
      clock,
      random,
      deliver: (message) => this.#handOn(message),
      onJoined: (joined) => this.emit("joined", joined),
      onLive: () => this.#outbox.flush(),
      onFailed: (conversation_id, error) => this.emit("join_failed", { conversation_id, error }),
    });
    this.#outbox = new Outbox({
      deliver: (entry) => this.#deliver(entry),
      ready: (id) => this.#connection.online && (this.#subscriptions.get(id)?.live ?? true),
      onChange: (entry, message) => this.emit("outbox", { entry, message }),
      store: storedOutbox(options.outboxStorage ?? storageOrMemory(() => sessionStorage), account),
      uuid: options.uuid ?? randomUuid,
      clock,
    });
  }

  /** @returns {import("./connection.js").ConnectionState} */
  get connection() {
    return this.#connection.state;
  }

  /** @returns {{id: string, username: string} | null} */
  get user() {
    return this.#welcome?.user ?? null;
  }

  get clientId() {
    return this.#identity.clientId;
  }

  /** @returns {string | null} */
  get sessionId() {
    return this.#identity.sessionId;
  }

  /** @returns {string | null} of the present connection */
  get connectionId() {
    return this.#connection.online ? this.#welcome.connection_id : null;
  }

  /** How many connections (tabs) this client has. */
  get clientConnections() {
    return this.#connection.online ? this.#welcome.client_connections : 0;
  }

  /** The session's state, shared by all tabs and kept by the server. @returns {any} */
  get state() {
    return this.#standing.unsaidState ?? this.#welcome?.session.state ?? {};
  }

  /** Connects, and stays connected. While it waits to reconnect: tries now, if the server did not ask to wait. */
  connect() {
    if (this.#autoAway) void this.away(this.#connection.hidden);
    this.#connection.open();
  }

  /** Stays away until `connect()`. */
  disconnect() {
    this.#connection.close();
  }

  /** The next `connect()` is a new client: for a `client_id` that turned out to be another user's (4503). */
  forgetIdentity() {
    this.#identity.forget();
  }

  /**
   * Listens to a conversation, from now on through every reconnect.
   *
   * @param {string} conversationId
   * @param {{since?: number, epoch?: string}} [known] what the application has already: only later messages come
   * @returns {Promise<Joined>} waits for a connection if there is none
   */
  join(conversationId, known = {}) {
    return this.#subscriptions.join(conversationId, known);
  }

  /** @param {string} conversationId */
  async leave(conversationId) {
    this.#subscriptions.forget(conversationId, new OvaraError("discarded", "The conversation was left before it was joined."));
    if (this.#connection.online) await this.#ask("leave", { conversation_id: conversationId });
  }

  /**
   * Sends a message, for as long as it takes, and never twice.
   *
   * @param {string} conversationId
   * @param {string} content
   * @param {{metadata?: object}} [options]
   * @returns {Promise<Message>} the stored message; rejects when it has failed (see `retry`)
   */
  send(conversationId, content, { metadata } = {}) {
    const stored = this.#outbox.add(conversationId, content, metadata);
    this.#failIfOffline();
    return stored;
  }

  /** @param {string} clientMessageId of a failed message @returns {Promise<Message>} */
  retry(clientMessageId) {
    const stored = this.#outbox.retry(clientMessageId);
    this.#failIfOffline();
    return stored;
  }

  /** Takes a failed message back. @param {string} clientMessageId */
  discard(clientMessageId) {
    this.#outbox.discard(clientMessageId);
  }

  /** Messages that are not acknowledged, or failed. @param {string} conversationId @returns {OutboxEntry[]} */
  pending(conversationId) {
    return this.#outbox.entries(conversationId);
  }

  /**
   * Not worth a wait: dropped where it cannot leave at once.
   * @param {string} conversationId
   * @param {boolean} isTyping
   */
  typing(conversationId, isTyping) {
    this.#connection.requests.post("typing", { conversation_id: conversationId, is_typing: isTyping });
  }

  /**
   * Moves the read position; without a connection it is said at the next one.
   * @param {string} conversationId
   * @param {number} sequence
   */
  read(conversationId, sequence) {
    return this.#standing.read(conversationId, sequence);
  }

  /**
   * @param {string} conversationId
   * @param {{after?: number, before?: number, limit?: number}} [page]
   * @returns {Promise<{messages: Message[], has_more: boolean}>}
   */
  history(conversationId, page = {}) {
    return this.#ask("history", { conversation_id: conversationId, ...page });
  }

  /** @param {string} conversationId @returns {Promise<any[]>} `[{user, state, connections, clients, joined_at, last_seen}]` */
  async presence(conversationId) {
    return (await this.#ask("presence", { conversation_id: conversationId })).users;
  }

  /** Replaces the session's state; without a connection it is said at the next one. @param {object} state */
  setState(state) {
    if (this.#welcome) this.#welcome.session.state = state;
    return this.#standing.setState(state);
  }

  /** Without a connection it is said at the next one. @param {boolean} isAway */
  away(isAway) {
    return this.#standing.away(isAway);
  }

  /** @param {string} type @param {object} fields */
  #ask(type, fields) {
    return this.#connection.requests.ask(type, fields, { tries: ASK_TRIES });
  }

  /** @param {import("./connection.js").ConnectionState} state */
  #stateChanged(state) {
    if (state.status !== "online") this.#subscriptions.suspendAll();
    this.#failIfOffline();
    this.emit("connection", state);
  }

  #failIfOffline() {
    if (this.connection.status !== "offline") return;
    this.#outbox.fail({ code: "offline", message: "There is no connection; connect again, then retry." });
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    this.#welcome = { ...welcome, session: { ...welcome.session } };
    this.emit("welcome", welcome);
    this.#subscriptions.enterAll();
    this.#outbox.flush();
    void this.#standing.sayAll();
  }

  /** @param {OutboxEntry} entry @returns {Promise<Message>} */
  async #deliver({ conversation_id, content, metadata, client_message_id }) {
    const fields = { conversation_id, content, metadata, client_message_id };
    const { message } = await this.#connection.requests.ask("message", fields, { tries: SEND_TRIES });
    this.#subscriptions.get(conversation_id)?.accept(message);
    return message;
  }

  /** @param {Message} message in its turn */
  #handOn(message) {
    if (message.sender?.id === this.user?.id) this.#outbox.settle(message);
    this.emit("message", { type: "message", conversation_id: message.conversation_id, message });
  }

  /** What the library itself does upon a frame, by its type. @type {Record<string, (frame: any) => void>} */
  #handlers = {
    client_connections: ({ count }) => (this.#welcome.client_connections = count),
    state: ({ state }) => (this.#welcome.session.state = state),
    conversation_updated: ({ conversation_id, last_sequence }) => this.#subscriptions.get(conversation_id)?.notice(last_sequence),
    conversation_removed: ({ conversation_id }) => this.#removed(conversation_id),
    resync: ({ conversation_id }) => this.#subscriptions.resync(conversation_id),
  };

  /** @param {any} frame */
  #receive(frame) {
    this.emit("frame", frame);
    // A message is handed on by its conversation, in its turn.
    if (frame.type === "message") return this.#subscriptions.get(frame.conversation_id)?.accept(frame.message);
    if (Object.hasOwn(this.#handlers, frame.type)) this.#handlers[frame.type](frame);
    if (!OWN_EVENTS.has(frame.type)) this.emit(frame.type, frame);
  }

  /** @param {string} conversationId */
  #removed(conversationId) {
    const gone = new OvaraError("not_found", "You no longer take part in this conversation.");
    this.#subscriptions.forget(conversationId, gone);
    this.#standing.forget(conversationId);
    this.#outbox.fail(gone, conversationId);
  }
}

function ownUrl() {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/ws/`;
}
