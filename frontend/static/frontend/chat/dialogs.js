import { byId, setNotice } from "./dom.js";
import { errorWords } from "./words.js";

/** A dialog with one form: opens, sends, says what went wrong, closes. Escape closes it too. */
export class FormDialog {
  #dialog;
  #form;
  #notice;
  #submit;

  /**
   * @param {string} id of the `<dialog>`
   * @param {(fields: Record<string, string>) => Promise<void>} submit
   */
  constructor(id, submit) {
    this.#dialog = byId(id);
    this.#form = this.#dialog.querySelector("form");
    this.#notice = this.#dialog.querySelector("[data-error]");
    this.#submit = submit;
    this.#dialog.querySelector("[data-close]").addEventListener("click", () => this.#dialog.close());
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#send();
    });
  }

  open() {
    this.#form.reset();
    setNotice(this.#notice);
    this.#dialog.showModal();
    this.#form.querySelector("input").focus();
  }

  async #send() {
    const button = this.#form.querySelector("[type=submit]");
    const fields = Object.fromEntries(new FormData(this.#form));
    setNotice(this.#notice);
    button.disabled = true;
    try {
      await this.#submit(/** @type {Record<string, string>} */ (fields));
      this.#dialog.close();
    } catch (error) {
      setNotice(this.#notice, errorWords(error));
    } finally {
      button.disabled = false;
    }
  }
}
