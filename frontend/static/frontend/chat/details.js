import { avatar, byId, element, setNotice } from "./dom.js";
import { connectionWords, errorWords } from "./words.js";

const COUNTDOWN_MS = 1_000;

/** The panel beside the conversation: who takes part, and what this connection is. */
export class Details {
  #panel = byId("details");
  #toggle = byId("toggle-details");
  #client;
  #handlers;
  /** @type {number | null} milliseconds of the latest ping */
  #latency = null;

  /**
   * @param {import("../ovara/ovara.js").OvaraClient} client
   * @param {object} handlers
   * @param {() => void} handlers.onOpen
   * @param {(username: string) => Promise<void>} handlers.onRemove takes a person out of the conversation
   */
  constructor(client, handlers) {
    this.#client = client;
    this.#handlers = handlers;
    this.#toggle.addEventListener("click", () => (this.#panel.hidden ? this.#open() : this.close()));
    byId("close-details").addEventListener("click", () => this.close());
    this.#panel.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.close();
    });
    setInterval(() => client.connection.status === "reconnecting" && this.#renderFacts(), COUNTDOWN_MS);
    for (const event of ["connection", "welcome", "client_connections"]) client.on(event, () => this.#renderFacts());
    client.on("latency", (milliseconds) => {
      this.#latency = milliseconds;
      this.#renderFacts();
    });
  }

  #open() {
    this.#show(true);
    byId("details-title").focus();
    this.#handlers.onOpen();
    this.#renderFacts();
  }

  close() {
    const hadFocus = this.#panel.contains(document.activeElement);
    this.#show(false);
    if (hadFocus) this.#toggle.focus();
  }

  /** @param {boolean} open */
  #show(open) {
    this.#panel.hidden = !open;
    document.body.dataset.details = open ? "open" : "closed";
    this.#toggle.setAttribute("aria-expanded", String(open));
  }

  #renderFacts() {
    if (this.#panel.hidden) return;
    const { connection, clientId, sessionId, connectionId, clientConnections } = this.#client;
    const online = connection.status === "online";
    const facts = [
      ["State", connectionWords(connection, Date.now()).short, ""],
      ["Tabs open for this client", online ? String(clientConnections) : "unknown while not online", ""],
      ["Round trip", online && this.#latency !== null ? `${Math.round(this.#latency)} ms` : "–", ""],
      ["Client id", clientId, "id"],
      ["Session id", sessionId ?? "–", "id"],
      ["Connection id", connectionId ?? "–", "id"],
    ];
    byId("facts").replaceChildren(
      ...facts.map(([name, value, kind]) =>
        element("div", {}, element("dt", {}, name), element("dd", { dataset: { fact: name.toLowerCase().replaceAll(" ", "-"), kind } }, value)),
      ),
    );
  }

  /** @param {import("./thread.js").Thread | null} thread */
  renderPeople(thread) {
    byId("details-people-section").hidden = thread === null;
    if (thread === null || this.#panel.hidden) return;
    const own = thread.participants.find(({ user }) => user.id === thread.me.id);
    const isOwner = own?.role === "owner";
    byId("people").replaceChildren(...thread.participants.map((participant) => this.#person(thread, participant, isOwner)));
    const leave = byId("leave");
    leave.hidden = own === undefined || isOwner;
    leave.onclick = () => void this.#remove(thread.me.username);
  }

  /**
   * @param {import("./thread.js").Thread} thread
   * @param {{user: {id: string, username: string}, role: string}} participant
   * @param {boolean} canRemove
   */
  #person(thread, { user, role }, canRemove) {
    const isOnline = this.#client.connection.status === "online";
    const state = isOnline ? (thread.presence.get(user.id)?.state ?? "absent") : "unknown";
    const where = { active: "here", away: "away", absent: "not here" }[state] ?? "unknown";
    const isMe = user.id === thread.me.id;
    return element(
      "li",
      { class: "person", dataset: { state, username: user.username } },
      element("span", { class: "person__face" }, avatar(user.username)),
      element(
        "span",
        {},
        element("span", { class: "person__name ellipsis" }, isMe ? `${user.username} (you)` : user.username),
        element("span", { class: "person__state" }, role === "owner" ? `${where} · owner` : where),
      ),
      canRemove &&
        !isMe &&
        element(
          "button",
          { type: "button", class: "button button--quiet button--small", "aria-label": `Remove ${user.username}`, onclick: () => void this.#remove(user.username) },
          "Remove",
        ),
    );
  }

  /** @param {string} username */
  async #remove(username) {
    const notice = byId("people-error");
    setNotice(notice);
    try {
      await this.#handlers.onRemove(username);
    } catch (error) {
      setNotice(notice, errorWords(error));
    }
  }
}

/** The faces in the conversation's head. @param {import("./thread.js").Thread} thread */
export function renderFaces(thread) {
  const shown = thread.others.slice(0, 4);
  byId("faces").replaceChildren(
    ...shown.map(({ user, state }) => element("span", { class: "face", dataset: { state }, title: user.username }, avatar(user.username))),
  );
}
