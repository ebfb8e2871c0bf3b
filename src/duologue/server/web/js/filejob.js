// The translation of a file: it is read and written here, and only its texts go to the server.

import { call } from "./api.js";
import { decode, KINDS } from "./documents.js";
import { byId, el, icon, saveFile } from "./dom.js";
import { bytes, t } from "./i18n.js";
import { announce } from "./notices.js";
import { translate } from "./translation.js";

export class FileJob {
  #languages;
  #running = null;

  /** `languages` gives {from, to} when a file comes. */
  constructor(languages) {
    this.#languages = languages;
  }

  async start(file) {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    const { from, to } = this.#languages();
    try {
      const blob = await this.#translated(file, from, to, running.signal);
      this.#done(blob, file.name.replace(/(\.[^.]*)$/, `.${to}$1`));
    } catch (error) {
      if (error.name === "AbortError") this.#draw();
      else this.#draw(el("p", { role: "alert", dir: "auto" }, messageOf(error, file)));
    }
  }

  async #translated(file, from, to, signal) {
    const ending = file.name.split(".").pop().toLowerCase();
    const kind = Object.hasOwn(KINDS, ending) ? KINDS[ending] : null;
    if (!kind) throw new Error(t("file_kind", { name: file.name }));
    if (file.size > kind.bytes) {
      throw new Error(t("file_large", { name: file.name, size: bytes(kind.bytes) }));
    }
    this.#progress(file.name, 0, 1);
    if (!kind.read) return await translatedHtml(file, from, to, signal, kind.type);
    const { texts, write } = await kind.read(file);
    if (!texts.length) throw new Error(t("file_empty", { name: file.name }));
    const onDone = (done, all) => this.#progress(file.name, done, all);
    const spoken = [...new Set(texts)].filter((text) => /\p{L}/u.test(text));
    const results = await translate(spoken, { to, from, signal, onDone });
    const found = new Map(spoken.map((text, index) => [text, results[index].text]));
    const content = await write(texts.map((text) => found.get(text) ?? text), kind.type);
    return content instanceof Blob ? content : new Blob([content], { type: kind.type });
  }

  #progress(name, done, all) {
    this.#draw(
      el("p", {}, t("file_progress", { name, done, all })),
      el("progress", { max: all, value: done, "aria-label": t("file_job") }),
      el(
        "button",
        { type: "button", class: "quiet", onclick: () => this.#running.abort() },
        t("cancel"),
      ),
    );
  }

  #done(blob, name) {
    const save = el(
      "button",
      { type: "button", class: "primary", onclick: () => saveFile(blob, name) },
      icon("save"),
      el("span", {}, t("file_save", { name })),
    );
    this.#draw(el("p", { dir: "auto" }, t("file_done", { name })), save);
    announce(t("file_done", { name }));
    save.focus();
  }

  #draw(...nodes) {
    const place = byId("job");
    place.replaceChildren(...nodes);
    place.hidden = nodes.length === 0;
  }
}

/** HTML as a whole: the server knows which of it is text, and where sentences go on. */
async function translatedHtml(file, from, to, signal, type) {
  const body = { q: await decode(file), source: from || "auto", target: to, format: "html" };
  const { translatedText } = await call("POST", "translate", body, signal);
  return new Blob([translatedText], { type });
}

/** A TypeError is what readers throw for content that they cannot use. */
const messageOf = (error, file) =>
  error instanceof TypeError ? t("file_damaged", { name: file.name }) : error.message;
