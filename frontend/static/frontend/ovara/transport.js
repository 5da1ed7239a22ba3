/**
 * @typedef {object} TransportHandlers
 * @property {(frame: any) => void} onFrame
 * @property {(close: {code: number, reason: string}) => void} onClose once for each socket that is opened and not dropped
 */

const OPEN = 1; // WebSocket.OPEN, also where another class stands in for it

/** At most one WebSocket at a time. Every socket has an id; what an old one still says is not heard. */
export class Transport {
  #WebSocket;
  #handlers;
  #socketId = 0;
  /** @type {WebSocket | null} */
  #socket = null;

  /**
   * @param {typeof WebSocket} WebSocketClass
   * @param {TransportHandlers} handlers
   */
  constructor(WebSocketClass, handlers) {
    this.#WebSocket = WebSocketClass;
    this.#handlers = handlers;
  }

  /** Changes with every socket: what belongs to an earlier one is out of date. */
  get socketId() {
    return this.#socketId;
  }

  /**
   * @param {string} url
   * @param {string[]} protocols
   */
  open(url, protocols) {
    this.drop();
    const id = ++this.#socketId;
    const socket = new this.#WebSocket(url, protocols);
    this.#socket = socket;
    socket.onmessage = (event) => {
      if (id === this.#socketId) this.#handlers.onFrame(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      if (id !== this.#socketId) return;
      this.#socket = null;
      this.#handlers.onClose({ code: event.code, reason: event.reason });
    };
  }

  /**
   * A socket that closes takes nothing: what has no acknowledgement goes again on the next one.
   * @param {string} text
   */
  write(text) {
    if (this.#socket && this.#socket.readyState <= OPEN) this.#socket.send(text);
  }

  /** Closes the socket without waiting for its goodbye, which may never come on a dead network. */
  drop() {
    this.#socketId += 1;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }
}
