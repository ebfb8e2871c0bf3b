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
import { Thread } from "./thread.js";

const TITLE_CHARS = 60;
const WATCH_MS = 1000;

export class Talk {
  #conversation = null;
  #isReplying = false;
  #replyingIn = null; // id of the conversation, once there is one
  #watching = 0;
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
    if (this.#isReplying && id === this.#conversation?.id) return;
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

  /** Ends the reply that is being made, if one is; what was committed is kept. */
  async stop() {
    if (!this.#replyingIn) return;
    try {
      await call("POST", `v1/conversations/${this.#replyingIn}/stop`);
    } catch (error) {
      showError(error);
    }
  }

  // --- what is shown -------------------------------------------------------------------------

  async #open(id) {
    clearTimeout(this.#watching);
    if (id === null) {
      this.#set(null);
      this.#thread.welcome((text) => this.#say(text));
      this.#insight.show(null);
      return;
    }
    try {
      const { messages, ...conversation } = await call("GET", `v1/conversations/${id}`);
      if (location.hash !== `#/talk/${id}`) return; // the reader went on
      this.#set(conversation);
      this.#thread.draw(messages);
      this.#thread.follow(true);
      this.#insight.show(this.#thread.lastReply, id);
      if (conversation.replying) this.#watch(id);
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
    this.#list.select(conversation?.id ?? null);
  }

  #renamed(conversation) {
    if (conversation.id === this.#conversation?.id) this.#set(conversation);
  }

  // --- saying something ----------------------------------------------------------------------

  /** Says a text after the head; what is in the composer was read already while it was typed. */
  async #say(text) {
    await this.#exchange(async (begun) => {
      const pending = this.#thread.pending(text);
      const isTyped = this.#composer.text === text;
      if (isTyped) this.#composer.text = "";
      try {
        const { id } = await this.#created(text);
        const path = `v1/conversations/${id}/messages`;
        const events = (isTyped && this.#draft.send(text, id)) || stream(path, { text });
        this.#draft.clear();
        await this.#follow(events, pending, begun);
      } catch (error) {
        if (!pending.dataset.id && pending.isConnected && isTyped) {
          pending.remove();
          if (!this.#composer.text) this.#composer.text = text;
        }
        throw error;
      }
    });
  }

  async #edit(message) {
    const text = await editInPlace(this.#thread.itemOf(message.id), message.text);
    if (text === null) return;
    await this.#exchange(async (begun) => {
      this.#thread.draw(this.#thread.before(message.id));
      const path = `v1/conversations/${this.#conversation.id}/messages`;
      const events = stream(path, { text, parent: message.parent });
      await this.#follow(events, this.#thread.pending(text), begun);
    });
    this.#thread.focusReply();
  }

  async #regenerate(message) {
    await this.#exchange(async (begun) => {
      const before = this.#thread.before(message.id);
      this.#thread.draw(before);
      const { id } = this.#conversation;
      // Greedy decoding would give the same words again.
      const options = { temperature: 0.8, top_p: 0.9 };
      const events = stream(`v1/conversations/${id}/messages/${message.id}/regenerate`, { options });
      await this.#follow(events, this.#thread.itemOf(before.at(-1).id), begun);
    });
    this.#thread.focusReply();
  }

  /** Does one exchange; whatever goes wrong, the thread ends up as the server has it. */
  async #exchange(run) {
    if (this.#isReplying) return;
    clearTimeout(this.#watching);
    this.#isReplying = this.#composer.isBusy = true;
    announce(t("replying"));
    try {
      await run(performance.now());
    } catch (error) {
      if (error instanceof ApiError && error.code === "stopped") showNote(t("ended_abort"));
      else showError(error);
      this.#isReplying = false;
      await this.#open(this.#conversation?.id ?? null);
    } finally {
      this.#isReplying = this.#composer.isBusy = false;
      this.#replyingIn = null;
      this.#list.refresh();
    }
  }

  async #created(text) {
    if (this.#conversation) return this.#conversation;
    const title = text.trim().replace(/\s+/g, " ").slice(0, TITLE_CHARS);
    const conversation = await call("POST", "v1/conversations", { title });
    history.pushState(null, "", `#/talk/${conversation.id}`);
    this.#set(conversation);
    byId("welcome").hidden = true;
    return conversation;
  }

  /** Shows the events of one reply; `asked` is the item of the user's message. */
  async #follow(events, asked, begun) {
    const { id } = this.#conversation;
    this.#replyingIn = id;
    const reply = new GrowingReply();
    let firstMs = null;
    this.#thread.append(reply.item);
    for await (const event of events) {
      if (!reply.item.isConnected) continue; // the reader went on; it is stored all the same
      if (event.type === "message") {
        this.#thread.settle(asked, withoutType(event)).classList.remove("pending");
        asked.dataset.id = event.id;
      } else if (event.type === "commit") {
        firstMs ??= performance.now() - begun;
        reply.commit(event.text);
      } else if (event.type === "revise") reply.revise(event.text);
      else if (event.type === "done") {
        if (firstMs !== null) this.#insight.timed(event.message.id, firstMs);
        this.#thread.settle(reply.item, event.message);
        this.#insight.show(event.message, id);
        announce(`${t("reply")}: ${event.message.text}`);
      }
      this.#thread.follow();
    }
  }

  // --- the other buttons of a message ----------------------------------------------------------

  async #turnTo(id, step) {
    if (this.#isReplying) return;
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
