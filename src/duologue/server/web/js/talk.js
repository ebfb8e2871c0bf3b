// The view of conversations: joins list, thread, composer, draft and side panel.

import { ApiError, call, stream } from "./api.js";
import { Composer } from "./composer.js";
import { byId, copyText } from "./dom.js";
import { Draft } from "./draft.js";
import { openDrawer } from "./drawers.js";
import { onLanguage, t } from "./i18n.js";
import { Insight } from "./insight.js";
import { List, titleOf } from "./list.js";
import { startMenu } from "./menu.js";
import { editInPlace, GrowingReply } from "./message.js";
import { announce, showError, showNote } from "./notices.js";
import { Exchange, Replies } from "./replies.js";
import { Thread } from "./thread.js";

const TITLE_CHARS = 60;
const WATCH_MS = 1000;

export class Talk {
  #conversation = null;
  #watching = 0;
  #replies = new Replies(() => this.#mark());
  #insight = new Insight();
  #draft = new Draft();
  #composer = new Composer({
    write: (text) => this.#draft.write(text, this.#conversation?.id),
    send: (text) => this.#say(text),
    stop: () => this.stop(),
  });
  #thread = new Thread({
    edit: (message) => this.#edit(message),
    again: (message) => this.#regenerate(message),
    fork: (message) => this.#fork(message),
    copy: (message) => this.#copy(message),
    why: (message) => this.#why(message),
    turnTo: (message, id, step) => this.#turnTo(id, step),
  });
  #list = new List({
    renamed: (conversation) => this.#renamed(conversation),
    deleted: (id) => {
      if (id === this.#conversation?.id) location.hash = "#/talk";
    },
    isBusy: (id) => this.#replies.in(id) !== null,
  });

  constructor() {
    startMenu();
    byId("new").addEventListener("click", () => this.create());
    byId("thread-menu").addEventListener("click", ({ currentTarget }) =>
      this.#list.menu(currentTarget, this.#conversation),
    );
    onLanguage(() => this.#insight.draw());
  }

  /** Shows a conversation, or with null the beginning of a new one. */
  async show(id) {
    this.#list.refresh();
    this.#draft.draw();
    this.#draft.reopen();
    if (this.#shown === id && this.#replies.in(id)?.isShown) return;
    await this.#open(id);
  }

  create() {
    if (location.hash === "#/talk") this.#open(null);
    else goTo("#/talk", () => this.#composer.focus());
    this.#composer.focus();
  }

  search() {
    if (byId("talk").hidden) goTo("#/talk", () => this.search());
    else {
      if (getComputedStyle(byId("list")).visibility === "hidden") {
        openDrawer("list", byId("open-list"));
      }
      byId("search").focus();
    }
  }

  /** Ends the reply in the conversation that is shown; what was committed is kept. */
  async stop() {
    if (!this.#shown || !this.#isBusy) return;
    try {
      await call("POST", `v1/conversations/${this.#shown}/stop`);
    } catch (error) {
      showError(error);
    }
  }

  // --- what is shown -------------------------------------------------------------------------

  /** The id of the conversation that is shown; null of one that is still to be made. */
  get #shown() {
    return this.#conversation?.id ?? null;
  }

  /** Whether a reply is made in the conversation that is shown. */
  get #isBusy() {
    return this.#replies.in(this.#shown) !== null;
  }

  /** Shows where replies are being made. */
  #mark() {
    this.#composer.isBusy = this.#isBusy;
    this.#list.draw();
  }

  async #open(id) {
    clearTimeout(this.#watching);
    if (id === null) {
      this.#set(null);
      this.#thread.welcome((text) => this.#say(text));
      this.#insight.show(null);
      return;
    }
    try {
      const before = this.#replies.in(id);
      const { messages, ...conversation } = await call("GET", `v1/conversations/${id}`);
      if (location.hash !== `#/talk/${id}`) return; // the reader went on
      const exchange = this.#replies.in(id);
      if (exchange !== before) {
        await this.#open(id); // what came is older than the end of a reply
        return;
      }
      this.#set(conversation);
      this.#thread.draw(messages);
      if (exchange) this.#thread.resume(exchange);
      this.#thread.follow(true);
      this.#insight.show(this.#thread.lastReply, id);
      if (conversation.replying && !exchange) this.#watch(id);
    } catch (error) {
      showError(error);
      if (error.status === 404) location.hash = "#/talk";
    }
  }

  /** A reply is made that is not followed here, such as one of another tab: look again later. */
  #watch(id) {
    this.#thread.append(new GrowingReply().item);
    this.#watching = setTimeout(() => this.#open(id), WATCH_MS);
  }

  #set(conversation) {
    this.#conversation = conversation;
    this.#thread.title(conversation ? titleOf(conversation) : t("new_conversation"));
    byId("thread-menu").hidden = conversation === null;
    this.#list.select(this.#shown);
    this.#composer.isBusy = this.#isBusy;
  }

  #renamed(conversation) {
    if (conversation.id === this.#conversation?.id) this.#set(conversation);
  }

  // --- saying something ----------------------------------------------------------------------

  /** Says a text after the head; what is in the composer was read already while it was typed. */
  async #say(text) {
    if (this.#isBusy) return;
    const isTyped = this.#composer.text === text;
    if (isTyped) this.#composer.text = "";
    const exchange = new Exchange(this.#shown, this.#thread.pending(text));
    const isLost = await this.#exchange(exchange, async () => {
      const id = exchange.conversation ?? (await this.#created(exchange, text));
      const path = `v1/conversations/${id}/messages`;
      const events = (isTyped && this.#draft.send(text, id)) || stream(path, { text });
      if (isTyped) this.#draft.clear();
      return events;
    });
    if (isLost && isTyped && !this.#composer.text) this.#composer.text = text;
  }

  async #edit(message) {
    const text = await editInPlace(this.#thread.itemOf(message.id), message.text);
    if (text === null || this.#isBusy) return;
    this.#thread.draw(this.#thread.before(message.id));
    const exchange = new Exchange(this.#shown, this.#thread.pending(text));
    const path = `v1/conversations/${exchange.conversation}/messages`;
    await this.#exchange(exchange, () => stream(path, { text, parent: message.parent }));
    this.#thread.focusReply();
  }

  async #regenerate(message) {
    if (this.#isBusy) return;
    const before = this.#thread.before(message.id);
    const question = before.at(-1);
    this.#thread.draw(before);
    const exchange = new Exchange(this.#shown, this.#thread.itemOf(question.id), question);
    const path = `v1/conversations/${exchange.conversation}/messages/${message.id}/regenerate`;
    // Greedy decoding would give the same words again.
    const options = { temperature: 0.8, top_p: 0.9 };
    await this.#exchange(exchange, () => stream(path, { options }));
    this.#thread.focusReply();
  }

  /**
   * Does one exchange, whatever is shown meanwhile; `start` gives its events. Whatever goes wrong,
   * the thread ends up as the server has it; true: what was said is gone from the reader's sight.
   */
  async #exchange(exchange, start) {
    clearTimeout(this.#watching);
    this.#replies.begin(exchange);
    announce(t("replying"));
    const begun = performance.now();
    let problem = null;
    try {
      await this.#follow(exchange, await start(), begun);
    } catch (error) {
      problem = error;
    }
    this.#replies.end(exchange);
    this.#list.refresh();
    if (!problem) return false;
    if (problem instanceof ApiError && problem.code === "stopped") showNote(t("ended_abort"));
    else showError(problem);
    if (!exchange.isShown) return false;
    await this.#open(this.#shown);
    return exchange.question === null;
  }

  /** Makes the conversation of an exchange; its id. */
  async #created(exchange, text) {
    const title = text.trim().replace(/\s+/g, " ").slice(0, TITLE_CHARS);
    const conversation = await call("POST", "v1/conversations", { title });
    if (exchange.isShown) {
      history.pushState(null, "", `#/talk/${conversation.id}`);
      exchange.conversation = conversation.id;
      this.#set(conversation);
      byId("welcome").hidden = true;
    }
    this.#replies.place(exchange, conversation.id);
    this.#list.refresh();
    return conversation.id;
  }

  /** Takes the events of one reply, which the reader need not look at. */
  async #follow(exchange, events, begun) {
    const { conversation, reply } = exchange;
    let firstMs = null;
    if (exchange.isShown) this.#thread.append(reply.item);
    for await (const event of events) {
      if (event.type === "message") {
        exchange.question = withoutType(event);
        if (exchange.isShown) {
          exchange.asked = this.#thread.settle(exchange.asked, exchange.question);
        }
      } else if (event.type === "commit") {
        firstMs ??= performance.now() - begun;
        reply.commit(event.text);
      } else if (event.type === "revise") reply.revise(event.text);
      else if (event.type === "done") {
        if (firstMs !== null) this.#insight.timed(event.message.id, firstMs);
        this.#replies.end(exchange);
        if (reply.item.isConnected) {
          this.#thread.settle(reply.item, event.message);
          this.#insight.show(event.message, conversation);
          announce(`${t("reply")}: ${event.message.text}`);
        }
      }
      if (reply.item.isConnected) this.#thread.follow();
    }
  }

  // --- the other buttons of a message ----------------------------------------------------------

  async #turnTo(id, step) {
    if (this.#isBusy) return;
    const path = `v1/conversations/${this.#conversation.id}`;
    try {
      await call("PATCH", path, { head: id });
      await this.#open(this.#conversation.id);
      const buttons = this.#thread.itemOf(id);
      const wanted = step < 0 ? "before" : "next";
      const other = step < 0 ? "next" : "before";
      (
        buttons?.querySelector(`[data-act=${wanted}]:not(:disabled)`) ??
        buttons?.querySelector(`[data-act=${other}]`)
      )?.focus();
    } catch (error) {
      showError(error);
    }
  }

  async #fork(message) {
    const path = `v1/conversations/${this.#conversation.id}/fork`;
    try {
      const fork = await call("POST", path, { message_id: message.id });
      location.hash = `#/talk/${fork.id}`;
      showNote(t("forked"));
      this.#composer.focus();
    } catch (error) {
      showError(error);
    }
  }

  async #copy(message) {
    try {
      await copyText(message.text);
      announce(t("copied"));
    } catch (error) {
      showError(error);
    }
  }

  #why(message) {
    this.#insight.show(message, this.#conversation.id);
    const isDrawer = getComputedStyle(byId("insight")).visibility === "hidden";
    if (isDrawer) openDrawer("insight", byId("open-insight"));
    else byId("insight").querySelector("button.evidence")?.focus();
  }
}

/** Changes the address, and does something when the view is there. */
function goTo(hash, then) {
  window.addEventListener("hashchange", then, { once: true });
  location.hash = hash;
}

const withoutType = ({ type, ...message }) => message;
