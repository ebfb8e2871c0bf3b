// The messages of the shown path, from the first one to the head.

import { byId, el } from "./dom.js";
import { mark, unmark } from "./evidence.js";
import { t } from "./i18n.js";
import { emptyItem, messageItem } from "./message.js";

const NEAR_END_PX = 80;

export class Thread {
  #list = byId("messages");
  #scroller = byId("scroller");
  #messages = [];
  #act;

  /** `act` is what the buttons of a message do; see message.js. */
  constructor(act) {
    this.#act = act;
    const hovered = (event) => {
      const message = this.#messageAt(event.target);
      if (message?.result?.evidence?.length) mark(message.result.evidence);
      else unmark();
    };
    this.#list.addEventListener("pointerover", hovered);
    this.#list.addEventListener("focusin", hovered);
    this.#list.addEventListener("pointerleave", unmark);
    this.#list.addEventListener("focusout", unmark);
  }

  get messages() {
    return this.#messages;
  }

  get lastReply() {
    return this.#messages.findLast((message) => message.role === "agent") ?? null;
  }

  title(text) {
    byId("thread-title").textContent = text;
  }

  /** Shows these messages and nothing else; `isQuiet` without what can be done to them. */
  draw(messages, isQuiet = false) {
    this.#messages = messages;
    const act = isQuiet ? null : this.#act;
    this.#list.replaceChildren(...messages.map((message) => messageItem(message, act)));
    byId("welcome").hidden = true;
  }

  /** Shows what can be said first. `say` is called with the one that is chosen. */
  welcome(say) {
    this.draw([]);
    const examples = ["try_1", "try_2", "try_3"].map((key) =>
      el("button", { type: "button", class: "quiet example", onclick: () => say(t(key)) }, t(key)),
    );
    byId("welcome").replaceChildren(
      el("h2", {}, t("welcome")),
      el("p", { class: "note" }, t("welcome_hint")),
      el("div", { class: "examples" }, ...examples),
    );
    byId("welcome").hidden = false;
  }

  /** A message of the user that is on its way. */
  pending(text) {
    const item = emptyItem("user");
    item.querySelector(".text").textContent = text;
    item.classList.add("pending");
    this.append(item);
    return item;
  }

  append(item) {
    this.#list.append(item);
    this.follow(true);
  }

  /** Shows a reply that is being made, after the messages that are stored. */
  resume(exchange) {
    const stored = exchange.question && this.itemOf(exchange.question.id);
    if (stored) exchange.asked = stored;
    else this.append(exchange.asked);
    this.append(exchange.reply.item);
  }

  /** Takes one message of the path in place of an item that stood for it. */
  settle(item, message) {
    this.#messages = [...this.#messages.filter((one) => one.id !== message.id), message];
    const drawn = this.itemOf(message.id);
    if (drawn !== item) drawn?.remove();
    const settled = messageItem(message, this.#act);
    item.replaceWith(settled);
    return settled;
  }

  /** Keeps the end in sight; unless `always`, only if it was there. */
  follow(always = false) {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (always || isNear) this.#scroller.scrollTop = scrollHeight;
  }

  /** Gives the focus to the last reply, if what had it is gone. */
  focusReply() {
    if (document.activeElement !== document.body || !this.lastReply) return;
    this.itemOf(this.lastReply.id)?.querySelector("[data-act=again]")?.focus();
  }

  itemOf(id) {
    return this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  /** The messages before this one. */
  before(id) {
    const place = this.#messages.findIndex((message) => message.id === id);
    return place < 0 ? this.#messages : this.#messages.slice(0, place);
  }

  #messageAt(node) {
    const id = node.closest("li.message")?.dataset.id;
    return this.#messages.find((message) => message.id === id);
  }
}
