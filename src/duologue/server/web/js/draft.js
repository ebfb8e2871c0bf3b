// What the server makes of the draft while it is written: its translation and its sentiment.

import { bar, byId, el } from "./dom.js";
import { languageName, number, percent, t, word } from "./i18n.js";
import { Live } from "./live.js";
import { showError } from "./notices.js";
import { canTranslate, defaultModel } from "./server.js";

const PAUSE_MS = 60; // drafts closer together than this are one
const KEPT = "duologue.live";

export class Draft {
  #text = "";
  #conversation = null;
  #timer = 0;
  #sent = null;
  #tokens = 0;
  #sentiment = null;
  #isOff = false;
  #canJudge = false;
  #live = new Live({
    encoded: ({ tokens }) => {
      this.#tokens = this.#text.trim() ? tokens : 0;
      this.#note();
    },
    translation: (event) => this.#translated(event),
    sentiment: (event) => {
      this.#sentiment = this.#text.trim() ? event : null;
      this.#judged();
    },
    failed: (error) => {
      byId("live-note").textContent = error.message;
    },
    state: (isOpen) => {
      this.#isOff = !isOpen;
      this.#note();
    },
  });

  constructor() {
    byId("live-language").addEventListener("change", ({ target }) => {
      localStorage.setItem(KEPT, target.value);
      this.#flush();
    });
  }

  /** Fills the menu of languages; "" is none. */
  async draw() {
    const menu = byId("live-language");
    this.#note();
    this.#judged();
    try {
      const model = await defaultModel();
      const codes = canTranslate(model) ? model.languages : [];
      this.#canJudge = model.tasks.includes("sentiment");
      const wanted = menu.value || localStorage.getItem(KEPT) || preferred(codes);
      menu.replaceChildren(
        ...codes.map((code) => el("option", { value: code }, languageName(code))),
      );
      menu.value = codes.includes(wanted) ? wanted : (codes[0] ?? "");
    } catch (error) {
      showError(error);
    }
  }

  /** The draft is now this text, in this conversation or in none yet. */
  write(text, conversation) {
    this.#text = text;
    this.#conversation = conversation;
    if (!text.trim()) {
      this.clear();
      this.#live.draft({ text: "" });
    } else if (!this.#timer) this.#timer = setTimeout(() => this.#flush(), PAUSE_MS);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#text = "";
    this.#sent = this.#sentiment = null;
    this.#tokens = 0;
    this.#live.forget();
    this.#translated({ commit: "", revise: "" });
    this.#judged();
    this.#note();
  }

  /** Says the draft, which is read already: yields the events of the reply. Null: not possible. */
  send(text, conversation) {
    if (!this.#live.isOpen || this.#live.isReplying) return null;
    if (!this.#text.trim() || this.#text !== text) return null;
    this.#conversation = conversation;
    this.#flush();
    return this.#live.send(conversation);
  }

  /** Connects again, as after the server was away. */
  reopen() {
    this.#live.reopen();
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#text.trim()) return;
    const language = byId("live-language").value;
    const fields = { text: this.#text, sentiment: this.#canJudge };
    if (language) fields.translate_to = language;
    if (this.#conversation) fields.conversation_id = this.#conversation;
    const frame = JSON.stringify(fields);
    if (frame === this.#sent && this.#live.isOpen) return;
    this.#sent = frame;
    this.#live.draft(fields);
  }

  #translated({ commit, revise }) {
    const isEmpty = !this.#text.trim();
    byId("live-translation").replaceChildren(
      ...(isEmpty ? [] : [commit, el("span", { class: "guess" }, revise)]),
    );
    byId("live").classList.toggle("empty", isEmpty);
  }

  #judged() {
    const rows = Object.entries(this.#sentiment?.probabilities ?? {})
      .sort(([, one], [, other]) => other - one)
      .map(([label, share]) => {
        const row = bar(word(label), share, percent(share));
        row.classList.add(label.replace(/\W+/g, "-"));
        return row;
      });
    byId("live-sentiment").replaceChildren(...rows);
  }

  #note() {
    const isEmpty = !this.#text.trim();
    byId("live").classList.toggle("empty", isEmpty);
    const read = this.#tokens > 0 ? t("live_read", { tokens: number(this.#tokens) }) : "";
    const off = this.#isOff ? t("live_off") : "";
    byId("live-note").textContent = isEmpty ? t("live_empty") : off || read;
  }
}

/** The first language of the browser that is none the reader most likely writes in, or the first. */
function preferred(codes) {
  const own = navigator.language.slice(0, 2);
  return codes.find((code) => code.slice(0, 2) !== own) ?? codes[0];
}
