// One message of the thread, and what can be done to it.

import { sources } from "./citations.js";
import { el, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const ROLES = { user: "you", agent: "reply", system: "role_system", document: "role_document" };

/**
 * The list item of a stored message. `act` is what its buttons do: edit, again, fork, copy, why,
 * turnTo(message, id); null draws none.
 */
export function messageItem(message, act) {
  const item = emptyItem(message.role);
  item.dataset.id = message.id;
  item.querySelector(".text").textContent = message.text;
  const notes = notesOf(message);
  if (notes.length) item.querySelector("article").append(noteList(notes));
  const cited = message.result && sources(message.result);
  if (cited) item.querySelector("article").append(cited);
  if (act) item.querySelector("article").append(toolbar(message, act));
  return item;
}

/** A list item whose text is still to come. */
export function emptyItem(role) {
  return el(
    "li",
    { class: `message ${role}` },
    el(
      "article",
      { "aria-label": t(ROLES[role]) },
      el("p", { class: "text", dir: "auto" }),
    ),
  );
}

/** Stands where a reply should be that never came; `again` asks for it anew. */
export function missingReply(again) {
  const item = emptyItem("agent");
  item.classList.add("interrupted");
  item.querySelector(".text").replaceWith(
    noteList([t("interrupted")]),
    el("button", { type: "button", class: "quiet", onclick: again }, t("try_again")),
  );
  return item;
}

/** A reply that is being made: commit and revise change its text. */
export class GrowingReply {
  text = "";
  item = emptyItem("agent");
  #final = document.createTextNode("");
  #guess = el("span", { class: "guess" });

  constructor() {
    this.item.classList.add("growing");
    const article = this.item.querySelector("article");
    article.setAttribute("aria-busy", "true");
    article.querySelector(".text").append(this.#final, this.#guess);
  }

  commit(text) {
    this.text += text;
    this.#final.data = this.text;
    this.#guess.textContent = "";
  }

  revise(text) {
    this.#guess.textContent = text;
  }
}

/** A form in place of the text of a user's message; resolves with the new text, or null. */
export function editInPlace(item, text) {
  const article = item.querySelector("article");
  const area = el("textarea", { "aria-label": t("edit_label"), dir: "auto", rows: "3" });
  area.value = text;
  return new Promise((resolve) => {
    const done = (value) => {
      form.remove();
      item.classList.remove("editing");
      if (value === null) article.querySelector("[data-act=edit]")?.focus();
      resolve(value);
    };
    const form = el(
      "form",
      {
        class: "edit",
        onsubmit: (event) => {
          event.preventDefault();
          if (area.value.trim()) done(area.value);
        },
        onkeydown: (event) => {
          if (event.key === "Escape") {
            event.preventDefault();
            done(null);
          } else if (isSend(event)) {
            event.preventDefault();
            form.requestSubmit();
          }
        },
      },
      area,
      el(
        "div",
        { class: "dialog-buttons" },
        el("button", { type: "button", class: "quiet", onclick: () => done(null) }, t("cancel")),
        el("button", { class: "primary" }, t("say_instead")),
      ),
    );
    item.classList.add("editing");
    article.append(form);
    area.focus();
  });
}

/** Enter alone sends; not while an input method is composing, for which Enter chooses. */
export const isSend = (event) =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;

function toolbar(message, act) {
  const button = (name, drawing, run) =>
    iconButton(drawing, t(name), run, { "data-act": name });
  const isUser = message.role === "user";
  const isReply = message.role === "agent";
  return el(
    "div",
    { class: "actions" },
    versions(message, act),
    isUser && button("edit", "edit", () => act.edit(message)),
    isReply && button("again", "again", () => act.again(message)),
    button("copy", "copy", () => act.copy(message)),
    button("fork", "fork", () => act.fork(message)),
    isReply && button("why", "insight", () => act.why(message)),
  );
}

/** Which of its siblings a message is, and the way to the others. */
function versions(message, act) {
  const { siblings = [], index = 0 } = message;
  if (siblings.length < 2) return null;
  const to = (step) => () => act.turnTo(message, siblings[index + step], step);
  return el(
    "span",
    { class: "versions" },
    iconButton("back", t("version_before"), to(-1), {
      disabled: index === 0,
      "data-act": "before",
    }),
    el("span", { class: "hidden" }, t("version", { index: index + 1, count: siblings.length })),
    el("span", { "aria-hidden": "true" }, `${index + 1}/${siblings.length}`),
    iconButton("next", t("version_next"), to(1), {
      disabled: index === siblings.length - 1,
      "data-act": "next",
    }),
  );
}

const noteList = (notes) =>
  el("ul", { class: "checks" }, ...notes.map((note) => el("li", {}, note)));

/** What a reader should know of a message: nothing is lost in silence. */
function notesOf({ finish_reason: reason, result, by_person: byPerson }) {
  const checks = result?.checks ?? {};
  return [
    byPerson && t("by_person"),
    reason === "length" && t("ended_length"),
    reason === "abort" && t("ended_abort"),
    checks.repetition && t("check_repetition"),
    checks.trimmed_turns > 0 && t("check_trimmed", { count: checks.trimmed_turns }),
    checks.source_truncated?.length > 0 && t("check_truncated"),
    checks.source_split?.length > 0 && t("check_split"),
  ].filter(Boolean);
}
