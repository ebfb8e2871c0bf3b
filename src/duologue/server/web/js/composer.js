// Where the message is written.

import { byId } from "./dom.js";
import { isSend } from "./message.js";

/** on.write(text) at every change, on.send(text) when it is sent, on.stop() to end the reply. */
export class Composer {
  #area = byId("draft");
  #isBusy = false;
  #on;

  constructor(on) {
    this.#on = on;
    this.#area.addEventListener("input", () => {
      this.#fit();
      on.write(this.#area.value);
    });
    this.#area.addEventListener("keydown", (event) => {
      if (!isSend(event)) return;
      event.preventDefault();
      this.#send();
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("stop").addEventListener("click", on.stop);
  }

  get text() {
    return this.#area.value;
  }

  set text(text) {
    this.#area.value = text;
    this.#fit();
  }

  focus() {
    this.#area.focus();
  }

  /** While a reply is made, the button that sends is one that stops. */
  set isBusy(isBusy) {
    this.#isBusy = isBusy;
    const hadFocus = [byId("send"), byId("stop")].includes(document.activeElement);
    byId("send").hidden = isBusy;
    byId("stop").hidden = !isBusy;
    if (hadFocus) this.focus();
  }

  #send() {
    if (!this.#isBusy && this.#area.value.trim()) this.#on.send(this.#area.value);
  }

  /** As high as its text; style.css limits it. */
  #fit() {
    this.#area.style.height = "auto";
    this.#area.style.height = `${this.#area.scrollHeight}px`;
  }
}
