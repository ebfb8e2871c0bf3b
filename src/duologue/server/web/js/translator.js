// The view of the translator: two panes, menus of languages, files.

import { acceptDrops, byId, copyText, debounce, el } from "./dom.js";
import { FileJob } from "./filejob.js";
import { languageName, t } from "./i18n.js";
import { announce, showError } from "./notices.js";
import { sentencesOf } from "./sentences.js";
import { translationModel } from "./server.js";
import { Target } from "./target.js";
import { detect, translate } from "./translation.js";

const TYPING_MS = 350;
const KEPT = "duologue.translator";

export class Translator {
  #source = byId("source");
  #from = byId("from");
  #to = byId("to");
  #target = new Target();
  #detected = "";
  #asked = null;
  #job = new FileJob(() => ({ from: this.#from.value, to: this.#to.value }));

  constructor() {
    const soon = debounce(() => this.#translate(), TYPING_MS);
    this.#source.addEventListener("input", () => {
      byId("clear").hidden = !this.#source.value;
      soon();
    });
    for (const menu of [this.#from, this.#to]) {
      menu.addEventListener("change", () => {
        this.#keep();
        this.#translate();
      });
    }
    byId("swap").addEventListener("click", () => this.#swap());
    byId("clear").addEventListener("click", () => this.#clear());
    byId("copy").addEventListener("click", () => this.#copy());
    this.#acceptFiles();
  }

  async show() {
    try {
      const codes = (await translationModel())?.languages ?? [];
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      const from = this.#from.value || kept.from || "";
      const to = this.#to.value || kept.to || codes.find((code) => code !== from) || "";
      const options = codes.map((code) => el("option", { value: code }, languageName(code)));
      this.#to.replaceChildren(...options);
      this.#from.replaceChildren(
        el("option", { value: "" }, t("any_language")),
        ...options.map((option) => option.cloneNode(true)),
      );
      this.#from.value = codes.includes(from) ? from : "";
      this.#to.value = codes.includes(to) ? to : (codes[0] ?? "");
      this.#showDetected();
    } catch (error) {
      showError(error);
    }
  }

  async #translate() {
    this.#asked?.abort();
    const text = this.#source.value;
    const asked = new AbortController();
    this.#asked = asked;
    if (!text.trim()) {
      this.#target.clear();
      this.#detected = "";
      this.#showDetected();
      this.#note("");
      return;
    }
    this.#note(t("translating"));
    try {
      const from = this.#from.value || (await this.#detect(text, asked.signal));
      const to = this.#to.value;
      const sentences = sentencesOf(text);
      const texts = sentences.map((sentence) => sentence.text);
      const results = await translate(texts, { to, from, signal: asked.signal });
      this.#target.show(sentences, results, to);
      const missed = results.flatMap(({ checks }) => checks.glossary.map((span) => span.text));
      this.#note(missed.length ? t("missed_terms", { terms: [...new Set(missed)].join(", ") }) : "");
      announce(t("translated"));
    } catch (error) {
      if (error.name !== "AbortError") this.#note(error.message);
    }
    byId("copy").hidden = !this.#target.text;
  }

  /** Which language the text is in; a target that is the same gives way to another. */
  async #detect(text, signal) {
    this.#detected = await detect(text.slice(0, 1000), signal);
    this.#showDetected();
    if (this.#detected && this.#detected === this.#to.value) {
      const others = [...this.#to.options].map((option) => option.value);
      this.#to.value = others.find((code) => code !== this.#detected) ?? this.#to.value;
    }
    return [...this.#from.options].some(({ value }) => value === this.#detected)
      ? this.#detected
      : "";
  }

  #showDetected() {
    const code = this.#from.value ? "" : this.#detected;
    byId("detected").textContent = code ? t("detected", { language: languageName(code) }) : "";
  }

  #swap() {
    const from = this.#from.value || this.#detected;
    const text = this.#target.text;
    this.#from.value = this.#to.value;
    if (from && from !== this.#to.value) this.#to.value = from;
    if (text) this.#source.value = text;
    this.#keep();
    this.#showDetected();
    this.#translate();
  }

  #clear() {
    this.#source.value = "";
    byId("clear").hidden = true;
    this.#translate();
    byId("copy").hidden = true;
    this.#source.focus();
  }

  async #copy() {
    try {
      await copyText(this.#target.text);
      this.#note(t("copied"));
    } catch (error) {
      showError(error);
    }
  }

  #keep() {
    const { value: from } = this.#from;
    localStorage.setItem(KEPT, JSON.stringify({ from, to: this.#to.value }));
    this.#showDetected();
  }

  #note(text) {
    byId("translate-note").textContent = text;
  }

  // --- files -----------------------------------------------------------------------------------

  #acceptFiles() {
    byId("file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.#job.start(target.files[0]);
      target.value = "";
    });
    acceptDrops(byId("translate"), ([file]) => file && this.#job.start(file));
  }
}
