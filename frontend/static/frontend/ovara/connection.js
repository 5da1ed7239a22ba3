import { Backoff } from "./backoff.js";
import { closeCodeName, reconnectAdvice } from "./close_codes.js";
import { Heartbeat } from "./heartbeat.js";
import { PageSignals } from "./page_signals.js";
import { Requests } from "./requests.js";
import { Timer } from "./timer.js";
import { Token } from "./token.js";
import { Transport } from "./transport.js";

/**
 * @typedef {object} ConnectionState
 * @property {"connecting" | "online" | "reconnecting" | "offline"} status
 * @property {number} [code] why the last connection ended: a close code (0: no socket was opened)
 * @property {string} [name] the code's name, see close_codes.js; "no_token" where the token source failed
 * @property {string} [reason] the server's words
 * @property {number} [delay] reconnecting: milliseconds of this wait
 * @property {number} [at] reconnecting: when the next attempt comes, milliseconds since 1970
 * @property {number} [attempt] reconnecting: 1, 2, 3, …
 */

/** From the start of an attempt, its token included, until `welcome`. */
const CONNECT_TIMEOUT_MS = 15_000;
/** A connection that lived this long was a good one: the next delay is the shortest again. */
const STABLE_AFTER_MS = 5_000;
/** The close code of a connection that ended without one. */
const ABNORMAL = 1006;
const FORBIDDEN = 4503;

/**
 * One authenticated connection that is kept up: opened, watched, and opened again as the close codes
 * advise. It knows frames and requests, but not conversations.
 */
export class Connection {
  #options;
  #handlers;
  #token;
  #transport;
  #requests;
  #heartbeat;
  #signals;
  #backoff;
  #retryTimer;
  #connectTimer;
  #stableTimer;
  /** @type {ConnectionState} */
  #state = { status: "offline" };
  /** Which attempt is the present one: what an earlier one still awaited is out of date. */
  #attemptId = 0;
  /** @type {any} the `disconnect` frame of this socket, if one came */
  #announced = null;
  /** What the server asked for by `retry_after` is kept even when the tab is shown meanwhile. */
  #notBefore = 0;
  /** @type {string | null} */
  #tokenExpiresAt = null;
  /** @type {number | null} how far this machine's clock is ahead of the server's */
  #clockAheadMs = null;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {import("./token.js").TokenSource} options.token
   * @param {import("./identity.js").Identity} options.identity
   * @param {import("./timer.js").Clock} options.clock
   * @param {() => number} options.random
   * @param {typeof WebSocket} options.WebSocket
   * @param {any} [options.window]
   * @param {any} [options.document]
   * @param {object} handlers
   * @param {(state: ConnectionState) => void} handlers.onState
   * @param {(welcome: any) => void} handlers.onWelcome comes after the state `online`
   * @param {(frame: any) => void} handlers.onFrame what is no answer and no matter of the connection itself
   * @param {(milliseconds: number) => void} handlers.onLatency a ping's way there and back
   * @param {() => void} handlers.onVisibility the tab was hidden or shown
   */
  constructor(options, handlers) {
    const { clock } = options;
    this.#options = options;
    this.#handlers = handlers;
    this.#token = new Token(options.token, clock, {
      authenticate: (token) => this.#authenticate(token),
      onForbidden: ({ message }) => this.#stayAway({ code: FORBIDDEN, name: closeCodeName(FORBIDDEN), reason: message }),
    });
    this.#backoff = new Backoff(options.random);
    this.#retryTimer = new Timer(clock, () => void this.#attempt());
    this.#connectTimer = new Timer(clock, () => this.#lost({ code: ABNORMAL, reason: "the server did not answer" }));
    this.#stableTimer = new Timer(clock, () => this.#backoff.reset());
    this.#transport = new Transport(options.WebSocket, {
      onFrame: (frame) => this.#receive(frame),
      onClose: (close) => this.#lost(close),
    });
    this.#requests = new Requests(clock, options.random, (text) => this.#transport.write(text));
    this.#heartbeat = new Heartbeat(clock, {
      ping: () => void this.#ping(),
      onDead: () => this.#lost({ code: ABNORMAL, reason: "the server has fallen silent" }),
    });
    const onShown = () => {
      this.#wake();
      handlers.onVisibility();
    };
    const onOnline = () => this.#wake({ networkChanged: true });
    const onOffline = () => this.online && this.#heartbeat.check();
    this.#signals = new PageSignals(
      { onOnline, onOffline, onShown, onHidden: handlers.onVisibility },
      options.window,
      options.document,
    );
  }

  get state() {
    return this.#state;
  }

  get online() {
    return this.#state.status === "online";
  }

  get hidden() {
    return this.#signals.hidden;
  }

  /** What goes out; refuses as `disconnected` while the state is not `online`. */
  get requests() {
    return this.#requests;
  }

  open() {
    if (this.#state.status === "reconnecting") this.#wake();
    if (this.#state.status !== "offline") return;
    this.#signals.start();
    this.#backoff.reset();
    void this.#attempt();
  }

  close() {
    this.#stayAway({ code: 1000, name: closeCodeName(1000), reason: "" });
  }

  // Opening

  async #attempt() {
    this.#end();
    const attemptId = this.#attemptId;
    this.#announced = null;
    this.#notBefore = 0;
    this.#connectTimer.start(CONNECT_TIMEOUT_MS);
    this.#setState({ status: "connecting", attempt: this.#backoff.attempt });
    let jwt;
    try {
      jwt = await this.#token.take();
    } catch (error) {
      if (attemptId === this.#attemptId) this.#tokenFailed(error);
      return;
    }
    if (attemptId !== this.#attemptId) return;
    const { url, identity } = this.#options;
    const query = new URLSearchParams({ client_id: identity.clientId });
    if (identity.sessionId) query.set("session_id", identity.sessionId);
    this.#transport.open(`${url}?${query}`, ["ovara.v1", `ovara.jwt.${jwt}`]);
  }

  /** @param {any} error what the token source rejected with */
  #tokenFailed(error) {
    const cause = { code: 0, name: "no_token", reason: String(error?.message ?? error) };
    if (error?.code === "unauthenticated") this.#stayAway(cause);
    else this.#comeBack(cause);
  }

  // Receiving

  /** @param {any} frame */
  #receive(frame) {
    this.#heartbeat.alive();
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "disconnect") this.#announced = frame;
    else if (frame.id !== undefined && ["ack", "pong", "error"].includes(frame.type)) this.#requests.answer(frame);
    else {
      if (frame.type === "token_expiring") void this.#token.renew();
      this.#handlers.onFrame(frame);
    }
  }

  /** Something on the way took the subprotocols out: the token goes as a frame. @param {any} welcome */
  async #authenticateFirst(welcome) {
    this.#requests.start(welcome.limits);
    try {
      const token = await this.#token.take();
      const { user, client_id, session, token_expires_at } = await this.#requests.ask("authenticate", { token });
      this.#welcomed({ ...welcome, user, client_id, session, token_expires_at, authenticated: true });
    } catch {
      // The server ends what does not authenticate in time, and its close code says how to go on.
    }
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    if (!welcome.authenticated) return void this.#authenticateFirst(welcome);
    this.#connectTimer.stop();
    this.#stableTimer.start(STABLE_AFTER_MS);
    this.#backoff.configure(welcome.reconnect);
    this.#tokenExpiresAt = welcome.token_expires_at;
    this.#clockAheadMs = null;
    this.#options.identity.remember(welcome.client_id, welcome.session.id);
    this.#requests.start(welcome.limits);
    this.#setState({ status: "online" });
    this.#heartbeat.start(welcome.heartbeat_interval);
    this.#handlers.onWelcome(welcome);
  }

  async #ping() {
    const sentAt = this.#options.clock.now();
    let pong;
    try {
      pong = await this.#requests.ask("ping", {}, { urgent: true });
    } catch {
      return; // Whether the server is still there is the heartbeat's judgement, by any frame that comes.
    }
    const now = this.#options.clock.now();
    this.#handlers.onLatency(now - sentAt);
    if (this.#clockAheadMs !== null) return;
    this.#clockAheadMs = now - Date.parse(pong.server_time);
    this.#scheduleRenewal();
  }

  /** @param {string} token */
  async #authenticate(token) {
    const answer = await this.#requests.ask("authenticate", { token }, { urgent: true });
    this.#tokenExpiresAt = answer.token_expires_at;
    this.#scheduleRenewal();
  }

  #scheduleRenewal() {
    if (!this.#tokenExpiresAt || this.#clockAheadMs === null) return;
    this.#token.renewBefore(Date.parse(this.#tokenExpiresAt) + this.#clockAheadMs);
  }

  // Ending, and coming back

  /** @param {{code: number, reason: string}} close */
  #lost(close) {
    const announced = this.#announced;
    const code = announced?.code ?? close.code;
    const advice = reconnectAdvice(code, announced !== null);
    const cause = { code, name: closeCodeName(code), reason: announced?.reason || close.reason };
    if (advice === "no" || (advice === "after_new_token" && !this.#token.renewable)) this.#stayAway(cause);
    else this.#comeBack(cause, announced?.retry_after);
  }

  /**
   * @param {{code: number, name: string, reason: string}} cause
   * @param {number} [retryAfter] seconds
   */
  #comeBack(cause, retryAfter) {
    this.#end();
    const delay = this.#backoff.next(retryAfter);
    const at = this.#options.clock.now() + delay;
    if (retryAfter !== undefined) this.#notBefore = at;
    this.#retryTimer.start(delay);
    this.#setState({ status: "reconnecting", delay, at, attempt: this.#backoff.attempt, ...cause });
  }

  /** @param {{code: number, name: string, reason: string}} cause */
  #stayAway(cause) {
    this.#end();
    this.#signals.stop();
    this.#setState({ status: "offline", ...cause });
  }

  #end() {
    this.#attemptId += 1;
    this.#transport.drop();
    this.#heartbeat.stop();
    this.#token.stop();
    for (const timer of [this.#retryTimer, this.#connectTimer, this.#stableTimer]) timer.stop();
    this.#requests.stop();
  }

  /** The person is back, or the network: what waits, waits no longer. */
  #wake({ networkChanged = false } = {}) {
    const { status } = this.#state;
    if (status === "online") this.#heartbeat.check();
    else if (status === "reconnecting" && this.#options.clock.now() >= this.#notBefore) void this.#attempt();
    else if (status === "connecting" && networkChanged) void this.#attempt();
  }

  /** @param {ConnectionState} state */
  #setState(state) {
    this.#state = state;
    this.#handlers.onState(state);
  }
}
