import { byId, setNotice, setText } from "./dom.js";
import { renderFaces } from "./details.js";
import { MessageList } from "./message_list.js";
import { Thread } from "./thread.js";
import { errorWords, namesTyping, presenceWords } from "./words.js";

const PAGE_SIZE = 50;
const READ_DELAY_MS = 250;

/** The conversation that is open: joins it, loads its messages, shows what happens in it. */
export class OpenThread {
  #client;
  #api;
  #conversations;
  #me;
  #onPeople;
  #onEdit;
  #list;
  /** @type {Thread | null} */
  thread = null;
  #loading = false;
  #renderingSoon = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reading;

  /**
   * @param {object} parts
   * @param {import("../ovara/ovara.js").OvaraClient} parts.client
   * @param {import("./api.js").Api} parts.api
   * @param {import("./conversations.js").Conversations} parts.conversations
   * @param {{id: string, username: string}} parts.me
   * @param {(thread: Thread) => void} parts.onPeople people or their presence have changed
   * @param {(content: string) => void} parts.onEdit a failed message is to be written anew
   */
  constructor({ client, api, conversations, me, onPeople, onEdit }) {
    this.#client = client;
    this.#api = api;
    this.#conversations = conversations;
    this.#me = me;
    this.#onPeople = onPeople;
    this.#onEdit = onEdit;
    this.#list = new MessageList({
      onRetry: (id) => client.retry(id).catch(shownInList),
      onEdit: (id, content) => {
        this.#discard(id);
        this.#onEdit(content);
      },
      onDiscard: (id) => this.#discard(id),
      onEnd: () => this.#readSoon(),
      onTop: () => void this.loadOlder(),
    });
    byId("older").addEventListener("click", () => void this.loadOlder());
    for (const target of [document, window]) {
      for (const event of ["visibilitychange", "focus"]) target.addEventListener(event, () => this.#readSoon());
    }
    this.#listen();
  }

  /** @param {string} id */
  open(id) {
    if (this.thread?.id === id) return;
    this.close();
    const thread = new Thread(id, this.#me);
    this.thread = thread;
    setNotice(byId("thread-error"));
    for (const entry of this.#client.pending(id)) thread.setPending(entry);
    thread.participants = this.#conversations.get(id)?.participants ?? [];
    if ((this.#conversations.get(id)?.unread ?? 0) > 0) thread.newAfter = thread.ownPosition;
    this.#render();
    this.#renderPeople();
    // Whether it succeeds is heard by the events `joined` and `join_failed`.
    this.#client.join(id).catch(shownInList);
    void this.loadPeople();
  }

  close() {
    if (!this.thread) return;
    clearTimeout(this.#reading);
    this.#client.leave(this.thread.id).catch(shownInList);
    this.thread = null;
    this.#list.clear();
  }

  /** @param {string} content */
  send(content) {
    if (!this.thread) return;
    this.thread.newAfter = null;
    this.#list.toEnd();
    this.#client.send(this.thread.id, content).catch(shownInList);
  }

  async loadPeople() {
    const { thread } = this;
    if (!thread) return;
    try {
      const item = await this.#api.conversation(thread.id);
      if (this.thread !== thread) return;
      thread.participants = item.participants;
      this.#conversations.put({ ...item, unread: this.#conversations.get(thread.id)?.unread ?? item.unread });
      this.#render();
      this.#renderPeople();
    } catch (error) {
      if (this.thread === thread) setNotice(byId("thread-error"), errorWords(error));
    }
  }

  async loadOlder() {
    const { thread } = this;
    if (!thread?.hasOlder || this.#loading) return;
    await this.#load(thread, { before: thread.oldest, limit: PAGE_SIZE });
  }

  #listen() {
    const client = this.#client;
    /** @param {string} event @param {(thread: Thread, frame: any) => void} act */
    const onThread = (event, act) =>
      client.on(event, (frame) => {
        if (this.thread && frame.conversation_id === this.thread.id) act(this.thread, frame);
      });
    onThread("joined", (thread, joined) => void this.#joined(thread, joined));
    onThread("join_failed", (_thread, { error }) => setNotice(byId("thread-error"), errorWords(error)));
    onThread("conversation_removed", (_thread, _frame) => setNotice(byId("thread-error"), errorWords({ code: "not_found" })));
    onThread("message", (thread, { message }) => this.#arrived(thread, message));
    onThread("read", (thread, { user, sequence }) => {
      thread.setRead(user.id, sequence);
      if (user.id === this.#me.id) this.#conversations.setUnread(thread.id, Math.max(0, thread.newest - sequence));
      this.#render();
    });
    onThread("typing", (thread, { user, is_typing }) => {
      if (user.id === this.#me.id) return; // In another tab, or on another device.
      if (is_typing) thread.typing.set(user.id, user);
      else thread.typing.delete(user.id);
      this.#renderTyping();
    });
    onThread("user_joined", (thread, { user }) => this.#peopleChanged(thread, [{ event: "joined", user }]));
    onThread("user_left", (thread, { user }) => this.#peopleChanged(thread, [{ event: "left", user }]));
    onThread("presence", (thread, { changes }) => this.#peopleChanged(thread, changes));
    client.on("outbox", ({ entry, message }) => {
      if (!this.thread || entry.conversation_id !== this.thread.id) return;
      this.thread.setPending(entry, message);
      this.#renderSoon();
      this.#readSoon();
    });
    client.on("connection", ({ status }) => {
      // Nobody says any more that they have stopped, or left; the next join tells who is there.
      if (status !== "online") this.thread?.typing.clear();
      if (status !== "online") this.thread?.presence.clear();
      this.#renderTyping();
      this.#renderPeople();
    });
  }

  /** @param {Thread} thread @param {{anew: boolean, presence: any[]}} joined */
  async #joined(thread, { anew, presence }) {
    thread.setPresence(presence);
    this.#renderPeople();
    // A first load that was cut short is made up for, too.
    if (!anew && thread.loaded) return;
    thread.reset();
    await this.#load(thread, { limit: PAGE_SIZE });
    this.#readSoon();
  }

  /** @param {Thread} thread @param {{before?: number, limit: number}} page */
  async #load(thread, page) {
    const older = page.before !== undefined;
    this.#loading = older;
    try {
      const { messages, has_more } = await this.#client.history(thread.id, page);
      if (this.thread !== thread) return;
      thread.add(messages);
      thread.loaded = true;
      thread.hasOlder = has_more;
      setNotice(byId("thread-error"));
      this.#render({ olderAdded: older });
    } catch (error) {
      // After a lost connection the conversation is joined again, and what is missing is loaded then.
      const isLost = /** @type {any} */ (error).code === "disconnected";
      if (this.thread === thread && !isLost) setNotice(byId("thread-error"), errorWords(error));
    } finally {
      if (older) this.#loading = false;
    }
  }

  /** @param {Thread} thread @param {import("./thread.js").Message} message */
  #arrived(thread, message) {
    thread.add([message]);
    this.#renderSoon();
    this.#renderTyping();
    this.#readSoon();
    const author = message.sender?.username ?? "Assistant";
    if (message.sender?.id !== this.#me.id) setText(byId("message-announcement"), `${author}: ${message.content}`);
  }

  /** @param {Thread} thread @param {any[]} changes */
  #peopleChanged(thread, changes) {
    for (const change of changes) thread.changePresence(change);
    this.#renderPeople();
    this.#renderTyping();
    const isKnown = (/** @type {any} */ { user }) => thread.participants.some((participant) => participant.user.id === user.id);
    if (!changes.every(isKnown)) void this.loadPeople();
  }

  /** @param {string} clientMessageId */
  #discard(clientMessageId) {
    this.#client.discard(clientMessageId);
    this.thread?.discard(clientMessageId);
    this.#render();
  }

  /** Read is what is in view while the page is. */
  #readSoon() {
    clearTimeout(this.#reading);
    this.#reading = setTimeout(() => {
      const { thread } = this;
      if (!thread || document.visibilityState !== "visible" || !this.#list.atEnd) return;
      const { newest } = thread;
      this.#conversations.setUnread(thread.id, 0);
      if (newest <= thread.ownPosition) return;
      thread.setRead(this.#me.id, newest);
      void this.#client.read(thread.id, newest);
    }, READ_DELAY_MS);
  }

  /** Messages that come together, after a reconnect, are shown together. */
  #renderSoon() {
    if (this.#renderingSoon) return;
    this.#renderingSoon = true;
    queueMicrotask(() => {
      this.#renderingSoon = false;
      this.#render();
    });
  }

  #render({ olderAdded = false } = {}) {
    const { thread } = this;
    if (!thread) return;
    this.#list.render(thread.items, { newAfter: thread.newAfter, olderAdded });
    byId("scroll").setAttribute("aria-busy", String(!thread.loaded));
    byId("older").hidden = !thread.hasOlder;
    byId("thread-empty").hidden = !thread.loaded || !thread.isEmpty;
    setText(byId("thread-title"), this.#conversations.title(thread.id));
  }

  #renderPeople() {
    const { thread } = this;
    if (!thread) return;
    const others = thread.others.map(({ user, state }) => ({ username: user.username, state }));
    const isOnline = this.#client.connection.status === "online";
    setText(byId("thread-people"), isOnline ? presenceWords(others, thread.participants.length) : "Not connected");
    renderFaces(thread);
    this.#onPeople(thread);
  }

  #renderTyping() {
    const names = [...(this.thread?.typing.values() ?? [])].map(({ username }) => username);
    setText(byId("typing"), namesTyping(names));
  }
}

/** A failed message stands in the list with its reason; a failed join is an event of its own. */
function shownInList() {}
