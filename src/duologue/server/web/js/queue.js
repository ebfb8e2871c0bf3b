// The view of the queue: questions that wait for a person, and what the person says.

import { call } from "./api.js";
import { passage } from "./citations.js";
import { byId, el } from "./dom.js";
import { t, when } from "./i18n.js";
import { messageItem } from "./message.js";
import { announce, showError } from "./notices.js";

const LOOK_MS = 4000;

export class Queue {
  #shown = null;
  #timer = 0;
  #drawn = "";

  async show() {
    clearTimeout(this.#timer);
    await this.#look();
  }

  /** Looks again and again, as long as the view is shown. */
  async #look() {
    try {
      const { data } = await call("GET", "v1/handovers");
      byId("queue-note").textContent = data.length ? "" : t("queue_empty");
      byId("waiting").replaceChildren(...data.map((item) => this.#row(item)));
      if (!data.some((item) => item.id === this.#shown)) this.#shown = null;
      await this.#draw();
    } catch (error) {
      showError(error);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => byId("queue").hidden || this.#look(), LOOK_MS);
  }

  #row(item) {
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "quiet waiting",
          "aria-current": item.id === this.#shown && "true",
          onclick: () => {
            this.#shown = item.id;
            this.#look();
          },
        },
        el("span", { dir: "auto" }, item.question),
        el("span", { class: "note" }, `${t(item.status)} · ${when(item.created_at)}`),
      ),
    );
  }

  async #draw() {
    const place = byId("case");
    if (this.#shown === null) {
      this.#drawn = "";
      place.replaceChildren();
      return;
    }
    const found = await call("GET", `v1/handovers/${this.#shown}`);
    const state = JSON.stringify([found.id, found.status, found.messages.map(({ id }) => id)]);
    if (state === this.#drawn) return; // whoever writes an answer is not disturbed
    this.#drawn = state;
    const written = byId("answer-text")?.value ?? "";
    place.replaceChildren(
      el("h2", { dir: "auto" }, found.question),
      el("ol", { class: "said" }, ...found.messages.map((message) => messageItem(message, null))),
      el("h3", {}, t("nearest")),
      ...found.citations.map(passage),
      ...(found.mine ? this.#answering(found, written) : [this.#button("take", found, "primary")]),
    );
  }

  #answering(found, written) {
    const area = el("textarea", { id: "answer-text", rows: "3", dir: "auto", required: true });
    area.value = written;
    const form = el(
      "form",
      {
        class: "edit",
        onsubmit: (event) => {
          event.preventDefault();
          const text = area.value;
          area.value = "";
          this.#act(found, "reply", { text });
        },
      },
      el("label", { for: "answer-text" }, t("your_answer")),
      area,
      el(
        "div",
        { class: "dialog-buttons" },
        this.#button("give-back", found, "quiet"),
        el("button", { class: "primary" }, t("send")),
      ),
    );
    return [form];
  }

  #button(what, found, kind) {
    const label = t(what === "take" ? "take" : "give_back");
    const onclick = () => this.#act(found, what);
    return el("button", { type: "button", class: kind, onclick }, label);
  }

  async #act(found, what, body) {
    try {
      await call("POST", `v1/handovers/${found.id}/${what}`, body);
      announce(t("done"));
    } catch (error) {
      showError(error);
    }
    await this.#look();
    byId("answer-text")?.focus();
  }
}
