import { byId, element, setText } from "./dom.js";
import { connectionWords } from "./words.js";

const TICK_MS = 250;
/** An attempt this short is not worth a banner. */
const BANNER_AFTER_MS = 400;

/** Shows the connection's state: beside the name always, and as a banner while there is none. */
export class Status {
  #client;
  #remedies;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  #announced = "";
  #wasOnline = false;

  /**
   * @param {import("../ovara/ovara.js").OvaraClient} client
   * @param {Record<import("./words.js").Remedy, {words: string, act: () => void}>} remedies
   */
  constructor(client, remedies) {
    this.#client = client;
    this.#remedies = remedies;
    client.on("connection", () => this.#changed());
    this.#render();
  }

  #changed() {
    const { status } = this.#client.connection;
    clearInterval(this.#ticking);
    if (status === "reconnecting") this.#ticking = setInterval(() => this.#render(), TICK_MS);
    if (status === "connecting" && this.#wasOnline) this.#ticking = setInterval(() => this.#render(), BANNER_AFTER_MS);
    if (status === "online") this.#wasOnline = true;
    this.#render();
    this.#announce();
  }

  #render() {
    const state = this.#client.connection;
    const words = connectionWords(state, Date.now());
    byId("status").dataset.status = state.status;
    setText(byId("status-text"), words.short);
    const banner = byId("banner");
    banner.dataset.status = state.status;
    setText(byId("banner-title"), words.title);
    setText(byId("banner-text"), words.text);
    banner.hidden = state.status === "online" || (state.status === "connecting" && banner.hidden);
    this.#renderRemedies(words.remedies);
  }

  /** Built anew only when they change, so that the focus stays. @param {import("./words.js").Remedy[]} remedies */
  #renderRemedies(remedies) {
    const actions = byId("banner-actions");
    if (actions.dataset.remedies === remedies.join()) return;
    actions.dataset.remedies = remedies.join();
    actions.replaceChildren(
      ...remedies.map((remedy) => {
        const { words, act } = this.#remedies[remedy];
        return element("button", { type: "button", class: "button button--small", onclick: act }, words);
      }),
    );
  }

  /** Said once for each change of state, not at every second of the countdown. */
  #announce() {
    const { status, name } = this.#client.connection;
    if (status === "connecting" || `${status} ${name}` === this.#announced) return;
    this.#announced = `${status} ${name}`;
    const { title, text } = connectionWords(this.#client.connection, Date.now());
    const words = { online: "Online.", reconnecting: "Connection lost. Reconnecting.", offline: `${title} ${text}` };
    setText(byId("status-announcement"), words[status]);
  }
}
