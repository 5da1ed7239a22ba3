/**
 * What the library's tests run against: a clock that is turned by hand, and a small server that speaks
 * enough of protocol v1 over a fake WebSocket. No test sleeps: `await clock.advance(ms)` runs everything
 * that is due, in order, and lets promises settle in between.
 *
 * How to extend the server: a frame type is a method of `FakeServer.answers`; it gets (socket, frame) and
 * returns the ack's fields, or throws `refusal(code, retry_after)`. Add one there if it is part of the
 * protocol. For the odd behaviour of a single test set `server.override[type]` instead: a function of the
 * same shape, or one that returns NOTHING to stay silent. What the server got is in `server.frames(type)`;
 * what happened to it is told by methods such as `cut`, `disconnect`, `say`, `store`.
 */
import { OvaraClient } from "../../frontend/static/frontend/ovara/ovara.js";
import { memoryStorage } from "../../frontend/static/frontend/ovara/identity.js";

const LATENCY_MS = 5;
export const NOTHING = Symbol("no answer");
export const ALICE = { id: "00000000-0000-4000-8000-00000000000a", username: "alice" };
export const BOB = { id: "00000000-0000-4000-8000-00000000000b", username: "bob" };

/** Lets everything that waits for promises alone go on. */
export async function settle() {
  for (let round = 0; round < 10; round += 1) await new Promise((resolve) => setImmediate(resolve));
}

export class VirtualClock {
  #now = Date.parse("2026-01-01T00:00:00.000Z");
  #appointments = new Map();
  #handle = 0;

  now = () => this.#now;

  setTimeout = (callback, delayMs) => {
    this.#handle += 1;
    this.#appointments.set(this.#handle, { at: this.#now + delayMs, callback });
    return this.#handle;
  };

  clearTimeout = (handle) => this.#appointments.delete(handle);

  async advance(milliseconds) {
    const until = this.#now + milliseconds;
    for (;;) {
      await settle();
      const due = [...this.#appointments].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [handle, { at, callback }] = due;
      this.#appointments.delete(handle);
      this.#now = Math.max(this.#now, at);
      callback();
    }
    this.#now = until;
    await settle();
  }
}

export function refusal(code, retry_after) {
  return { refusal: true, code, message: `refused: ${code}`, retry_after };
}

/** One side's socket, as a browser shows it. */
class FakeSocket {
  readyState = 0;
  onmessage = null;
  onclose = null;
  received = [];

  constructor(server, url, protocols) {
    Object.assign(this, { server, url: new URL(url), protocols });
    server.sockets.push(this);
    server.clock.setTimeout(() => server.accept(this), LATENCY_MS);
  }

  send(text) {
    if (this.readyState === 0) throw new Error("A socket that still connects cannot send.");
    if (this.readyState > 1) throw new Error("A browser complains of what is sent on a socket that closes.");
    const frame = JSON.parse(text);
    this.received.push({ ...frame, at: this.server.clock.now() });
    this.server.clock.setTimeout(() => this.readyState === 1 && this.server.receive(this, frame), LATENCY_MS);
  }

  close(code) {
    this.closedWith = code;
    this.readyState = 3;
  }

  /** The server speaks; arrives after the latency, even if the client has closed meanwhile. */
  say(frame) {
    this.server.clock.setTimeout(() => this.onmessage?.({ data: JSON.stringify(frame) }), LATENCY_MS);
  }

  /** The connection ends, by the server or the network. */
  end(code, reason = "") {
    this.readyState = 3;
    this.server.clock.setTimeout(() => this.onclose?.({ code, reason }), LATENCY_MS);
  }
}

export class FakeServer {
  sockets = [];
  override = {};
  /** false: connection attempts fail, as if nobody listened. */
  up = true;
  /** A `disconnect` frame's fields: every connection is refused with it. */
  refuse = null;
  welcome = {};
  tokenLifetimeMs = 900_000;
  /** How far the server's clock is ahead of the client's. */
  clockAheadMs = 0;
  conversations = new Map();
  sessionState = {};

  constructor(clock) {
    this.clock = clock;
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocols) {
        super(server, url, protocols);
      }
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get tokens() {
    return this.sockets.map((socket) => socket.protocols[1].replace("ovara.jwt.", ""));
  }

  /** Frames of a type that the server got, over all connections, `ping` not wanted by most. */
  frames(type) {
    return this.sockets.flatMap((socket) => socket.received).filter((frame) => frame.type === type);
  }

  time(offsetMs = 0) {
    return new Date(this.clock.now() + this.clockAheadMs + offsetMs).toISOString();
  }

  accept(socket) {
    if (socket.readyState !== 0) return;
    if (!this.up) return socket.end(1006);
    socket.readyState = 1;
    if (this.refuse) {
      socket.say({ type: "disconnect", reason: "refused", ...this.refuse });
      return socket.end(this.refuse.code);
    }
    socket.say({
      type: "welcome",
      protocol: 1,
      connection_id: `connection-${this.sockets.length}`,
      client_id: socket.url.searchParams.get("client_id"),
      client_connections: 1,
      node: "node-1",
      authenticated: true,
      user: ALICE,
      session: { id: "session-1", resumed: this.sockets.length > 1, state: this.sessionState },
      token_expires_at: this.time(this.tokenLifetimeMs),
      heartbeat_interval: 25,
      idle_timeout: 75,
      reconnect: { min_delay: 0.5, max_delay: 20, factor: 2, jitter: 0.5 },
      limits: { max_frame_bytes: 524288, frames_per_second: 20, burst: 40 },
      ...this.welcome,
    });
  }

  receive(socket, frame) {
    const answer = this.override[frame.type] ?? this.answers[frame.type];
    try {
      const fields = answer.call(this.answers, socket, frame);
      if (fields !== NOTHING) socket.say({ type: "ack", id: frame.id, ...fields });
    } catch (error) {
      if (!error.refusal) throw error;
      socket.say({ type: "error", id: frame.id, code: error.code, message: error.message, retry_after: error.retry_after });
    }
  }

  answers = {
    ping: () => ({ type: "pong", server_time: this.time() }),
    authenticate: (socket) => ({
      user: ALICE,
      client_id: socket.url.searchParams.get("client_id"),
      session: { id: "session-1", resumed: false, state: this.sessionState },
      token_expires_at: this.time(this.tokenLifetimeMs),
    }),
    join: (socket, { conversation_id, since, epoch }) => {
      const conversation = this.conversation(conversation_id);
      socket.joined = (socket.joined ?? new Set()).add(conversation_id);
      const { messages } = conversation;
      const fields = { conversation_id, sequence: messages.length, epoch: conversation.epoch, presence: [] };
      if (since === undefined) return fields;
      const recovered = epoch === conversation.epoch && since <= messages.length;
      const missed = recovered ? messages.slice(since, since + 200) : [];
      return { ...fields, recovered, messages: missed, has_more: recovered && messages.length > since + 200 };
    },
    leave: (socket, { conversation_id }) => {
      socket.joined?.delete(conversation_id);
      return { conversation_id };
    },
    message: (socket, { conversation_id, content, client_message_id }) => {
      const { messages } = this.conversation(conversation_id);
      const stored = messages.find((message) => message.client_message_id === client_message_id);
      if (stored) return { message: stored, duplicate: true };
      return { message: this.store(conversation_id, { content, client_message_id, sender: ALICE }) };
    },
    history: (_socket, { conversation_id, after, before, limit = 50 }) => {
      const { messages } = this.conversation(conversation_id);
      if (after !== undefined) {
        return { messages: messages.slice(after, after + limit), has_more: messages.length > after + limit };
      }
      const end = before === undefined ? messages.length : before - 1;
      return { messages: messages.slice(Math.max(0, end - limit), end), has_more: end > limit };
    },
    read: (_socket, { sequence }) => ({ sequence }),
    typing: () => NOTHING,
    away: () => ({}),
    state: (_socket, { state }) => {
      this.sessionState = state;
      return {};
    },
    presence: () => ({ users: [{ user: ALICE, state: "active" }] }),
  };

  conversation(id) {
    if (!this.conversations.has(id)) this.conversations.set(id, { epoch: "epoch-1", messages: [] });
    return this.conversations.get(id);
  }

  /** Stores a message, and tells nobody. */
  store(conversation_id, { content = "text", sender = BOB, client_message_id = null } = {}) {
    const { messages } = this.conversation(conversation_id);
    const sequence = messages.length + 1;
    const message = { id: `${conversation_id}-${sequence}`, conversation_id, sequence, role: "user", sender, content, client_message_id };
    messages.push(message);
    return message;
  }

  /** Tells the newest connection of a message. */
  publish(message) {
    this.socket.say({ type: "message", conversation_id: message.conversation_id, message });
  }

  say(frame) {
    this.socket.say(frame);
  }

  /** The network is cut, or the process killed: no goodbye. */
  cut() {
    this.socket.end(1006);
  }

  disconnect(code, fields = {}) {
    this.socket.say({ type: "disconnect", code, reason: "", reconnect: code < 4500, ...fields });
    this.socket.end(code);
  }
}

/** An EventTarget that stands for the browser's window and document. */
export class FakePage extends EventTarget {
  visibilityState = "visible";

  show(visibilityState) {
    this.visibilityState = visibilityState;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

/**
 * A client, its server, clock and page, and what the client told: `states` and `delivered` sequences.
 * @param {object} [options] of the client, in place of the fakes
 */
export function setUp(options = {}) {
  const clock = new VirtualClock();
  const server = new FakeServer(clock);
  const page = new FakePage();
  let tokens = 0;
  let uuids = 0;
  const client = new OvaraClient({
    account: ALICE.id,
    url: "ws://ovara.test/ws/",
    token: () => `token-${(tokens += 1)}`,
    storage: memoryStorage(),
    outboxStorage: memoryStorage(),
    WebSocket: server.WebSocket,
    clock,
    random: () => 0,
    uuid: () => `message-${(uuids += 1)}`,
    window: page,
    document: page,
    ...options,
  });
  const states = [];
  const delivered = [];
  client.on("connection", (state) => states.push(state));
  client.on("message", ({ message }) => delivered.push(message.sequence));
  /** Connects, and waits until the first ping is answered. */
  const connect = async () => {
    client.connect();
    await clock.advance(100);
  };
  const statuses = () => states.map(({ status }) => status);
  return { client, server, clock, page, states, statuses, delivered, connect };
}
