// The view of the assistant: what was said, what it was understood as, and what rings.

import { call } from "./api.js";
import { byId, el } from "./dom.js";
import { pageLanguage, percent, t, word } from "./i18n.js";
import { announce, showError, showNote } from "./notices.js";

const DUE_MS = 5000;

export class Assistant {
  #session = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #timer = 0;

  constructor() {
    byId("command-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = byId("command").value.trim();
      if (!text) return;
      byId("command").value = "";
      this.#say(text);
    });
  }

  show() {
    clearTimeout(this.#timer);
    this.#look();
  }

  /** Takes what rings, as long as the view is shown. */
  async #look() {
    try {
      const { data } = await call("POST", "v1/assistant/due");
      for (const { text } of data) {
        showNote(text);
        this.#add("agent", text);
      }
    } catch (error) {
      showError(error);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => byId("assistant").hidden || this.#look(), DUE_MS);
  }

  async #say(text) {
    for (const old of byId("commands").querySelectorAll(".confirm")) old.remove();
    this.#add("user", text);
    const body = { text, session: this.#session, language: pageLanguage() };
    try {
      const { result } = await call("POST", "v1/assistant", body);
      this.#add("agent", result.text, this.#understood(result), this.#confirmation(result));
      announce(result.text);
    } catch (error) {
      showError(error);
      byId("command").value ||= text;
    }
  }

  /** What it made of the text: the intent, how sure it is, and each slot. */
  #understood({ command, confidence }) {
    if (!command) return null;
    const slots = Object.entries(command.slots).map(([name, value]) =>
      el("li", {}, `${name}: ${value}`),
    );
    return el(
      "ul",
      { class: "chips", "aria-label": t("understood") },
      el("li", { class: "intent" }, `${command.intent} ${percent(confidence)}`),
      ...slots,
      el("li", {}, word(`status_${command.status}`)),
    );
  }

  #confirmation({ command }) {
    if (command?.status !== "confirming") return null;
    const button = (key, kind) =>
      el("button", { type: "button", class: kind, onclick: () => this.#say(t(key)) }, t(key));
    return el("div", { class: "confirm" }, button("yes", "primary"), button("no", "quiet"));
  }

  #add(role, text, ...more) {
    const item = el(
      "li",
      { class: `message ${role}` },
      el(
        "article",
        { "aria-label": t(role === "user" ? "you" : "assistant") },
        el("p", { class: "text", dir: "auto" }, text),
        ...more,
      ),
    );
    byId("commands").append(item);
    item.scrollIntoView({ block: "nearest" });
  }
}
