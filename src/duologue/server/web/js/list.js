// The list of conversations: search, open, rename, export, delete.

import { call, send } from "./api.js";
import { confirm } from "./dialogs.js";
import { byId, debounce, el, iconButton, saveFile } from "./dom.js";
import { number, t, when } from "./i18n.js";
import { moveFocus, openMenu } from "./menu.js";
import { announce, showError } from "./notices.js";

const PAGE = 50;
const TYPING_MS = 250;
const FORMATS = { md: "Markdown", txt: "", json: "JSON" };

export const titleOf = (conversation) => conversation.title || t("untitled");

/**
 * on.renamed(conversation) and on.deleted(id) tell what happened to one of them; on.isBusy(id) is
 * asked whether a reply is made in one.
 */
export class List {
  #on;
  #shown = [];
  #cursor = null;
  #current = null;
  #asked = null;

  constructor(on) {
    this.#on = on;
    const search = byId("search");
    search.addEventListener("input", debounce(() => this.refresh(), TYPING_MS));
    byId("more").addEventListener("click", () => this.#load(this.#cursor));
    byId("conversations").addEventListener("keydown", (event) => this.#key(event));
  }

  /** Marks the conversation that is open. */
  select(id) {
    this.#current = id;
    this.draw();
  }

  /** Asks for the first page again. */
  refresh() {
    return this.#load(null);
  }

  draw() {
    const list = byId("conversations");
    const focused = list.contains(document.activeElement)
      ? document.activeElement.closest("li")?.dataset.id
      : null;
    if (list.querySelector("form")) return; // somebody is renaming
    list.replaceChildren(...this.#shown.map((conversation) => this.#item(conversation)));
    byId("more").hidden = this.#cursor === null;
    if (focused) this.#linkOf(focused)?.focus();
  }

  /** Opens the menu of a conversation beside the button that was pressed. */
  menu(button, conversation) {
    const exports = Object.entries(FORMATS).map(([format, name]) => ({
      content: t("export_as", { format: name || t("plain_text") }),
      icon: "save",
      run: () => this.#export(conversation, format),
    }));
    openMenu(
      button,
      [
        { content: t("rename"), icon: "edit", run: () => this.#rename(conversation) },
        ...exports,
        { content: t("delete"), icon: "trash", kind: "danger", run: () => this.#delete(conversation) },
      ],
      t("menu_of", { title: titleOf(conversation) }),
    );
  }

  async #load(cursor) {
    this.#asked?.abort();
    this.#asked = new AbortController();
    const query = byId("search").value.trim();
    const wanted = new URLSearchParams({ query, limit: PAGE });
    if (cursor) wanted.set("cursor", cursor);
    try {
      const page = await call("GET", `v1/conversations?${wanted}`, undefined, this.#asked.signal);
      this.#shown = cursor ? [...this.#shown, ...page.data] : page.data;
      this.#cursor = page.next_cursor;
      this.draw();
      const none = query ? t("none_found", { query }) : t("none_yet");
      byId("list-note").textContent = this.#shown.length ? "" : none;
      if (query && this.#shown.length) announce(number(this.#shown.length));
    } catch (error) {
      showError(error);
    }
  }

  #item(conversation) {
    const title = titleOf(conversation);
    const menu = iconButton("dots", t("menu_of", { title }), () => this.menu(menu, conversation), {
      "aria-haspopup": "menu",
      "aria-expanded": "false",
    });
    const isCurrent = conversation.id === this.#current;
    const isBusy = conversation.replying || this.#on.isBusy(conversation.id);
    const changed = conversation.updated_at;
    return el(
      "li",
      { "data-id": conversation.id, class: isCurrent && "current" },
      el(
        "a",
        { href: `#/talk/${conversation.id}`, "aria-current": isCurrent && "true", title },
        el("span", { class: "title", dir: "auto" }, title),
        isBusy
          ? el("span", { class: "busy" }, t("replying"))
          : el("time", { datetime: changed }, when(changed)),
      ),
      menu,
    );
  }

  #linkOf(id) {
    return byId("conversations").querySelector(`li[data-id="${CSS.escape(id)}"] a`);
  }

  #key(event) {
    const link = event.target.closest("a");
    if (!link) return;
    const id = link.closest("li").dataset.id;
    const conversation = this.#shown.find((one) => one.id === id);
    if (event.key === "F2") this.#rename(conversation);
    else if (event.key === "Delete") this.#delete(conversation);
    else moveFocus(event, [...byId("conversations").querySelectorAll("a")]);
  }

  // --- what can be done to one ---------------------------------------------------------------

  #rename(conversation) {
    const item = this.#linkOf(conversation.id)?.closest("li");
    if (!item) return;
    const input = el("input", { "aria-label": t("title"), maxlength: "200", dir: "auto" });
    input.value = conversation.title;
    const close = () => {
      form.remove();
      this.draw();
      this.#linkOf(conversation.id)?.focus();
    };
    const form = el(
      "form",
      {
        class: "rename",
        onsubmit: (event) => {
          event.preventDefault();
          this.#save(conversation, input.value.trim()).then(close);
        },
        onkeydown: (event) => {
          if (event.key !== "Escape") return;
          event.preventDefault();
          close();
        },
      },
      input,
      iconButton("save", t("save"), () => form.requestSubmit()),
      iconButton("close", t("cancel"), close),
    );
    item.replaceChildren(form);
    input.select();
  }

  async #save(conversation, title) {
    try {
      const saved = await call("PATCH", `v1/conversations/${conversation.id}`, { title });
      this.#shown = this.#shown.map((one) => (one.id === saved.id ? saved : one));
      announce(t("renamed"));
      this.#on.renamed(saved);
    } catch (error) {
      showError(error);
    }
  }

  async #export(conversation, format) {
    try {
      const response = await send("GET", `v1/conversations/${conversation.id}/export?format=${format}`);
      const name = titleOf(conversation).replace(/[\p{Cc}\\/:*?"<>|]+/gu, " ").trim().slice(0, 80);
      saveFile(await response.blob(), `${name || "duologue"}.${format}`);
    } catch (error) {
      showError(error);
    }
  }

  async #delete(conversation) {
    const hint = t("delete_hint", { title: titleOf(conversation) });
    if (!(await confirm(t("delete_title"), hint, t("delete")))) return;
    try {
      await call("DELETE", `v1/conversations/${conversation.id}`);
    } catch (error) {
      if (error.status !== 404) {
        showError(error);
        return;
      }
    }
    this.#shown = this.#shown.filter((one) => one.id !== conversation.id);
    this.draw();
    announce(t("deleted"));
    this.#on.deleted(conversation.id);
    byId("search").focus();
  }
}
