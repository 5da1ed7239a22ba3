import { avatar, byId, element, setText } from "./dom.js";

/** Shows the conversations, the chosen one marked, with what is unread. */
export class ConversationList {
  #list = byId("conversation-list");
  #empty = byId("conversations-empty");

  /** @param {string} id */
  focus(id) {
    this.#list.querySelector(`a[href="#${CSS.escape(id)}"]`)?.focus();
  }

  /**
   * @param {import("./conversations.js").Conversations} conversations
   * @param {string | null} chosen
   */
  render(conversations, chosen) {
    const focused = document.activeElement?.getAttribute("href");
    this.#list.replaceChildren(...conversations.items.map((item) => this.#row(conversations, item, item.id === chosen)));
    if (focused) this.#list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    this.#empty.hidden = !conversations.loaded || conversations.items.length > 0;
    setText(document.querySelector("title") ?? document.head, conversations.unread ? `(${conversations.unread}) Ovara` : "Ovara");
  }

  /**
   * @param {import("./conversations.js").Conversations} conversations
   * @param {import("./conversations.js").ConversationItem} item
   * @param {boolean} isChosen
   */
  #row(conversations, item, isChosen) {
    const title = conversations.title(item.id);
    const others = conversations.others(item);
    const unread = item.unread > 0;
    return element(
      "li",
      {},
      element(
        "a",
        { class: "conversation", href: `#${item.id}`, dataset: { unread: String(unread) }, "aria-current": isChosen && "page" },
        avatar(title),
        element(
          "span",
          {},
          element("span", { class: "conversation__title ellipsis" }, title),
          title !== others && element("span", { class: "conversation__people ellipsis" }, others),
        ),
        unread &&
          element("span", { class: "badge" }, String(item.unread), element("span", { class: "visually-hidden" }, " unread")),
      ),
    );
  }
}
