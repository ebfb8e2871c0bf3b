// The view of documents: what is there, what is found in it, and what it answers.

import { call, send } from "./api.js";
import { passage, sources } from "./citations.js";
import { confirm } from "./dialogs.js";
import { acceptDrops, byId, el, iconButton } from "./dom.js";
import { bytes, number, percent, t, when } from "./i18n.js";
import { announce, showError, showNote } from "./notices.js";
import { info } from "./server.js";

const PROGRESS_MS = 400;

export class Library {
  #canChange = false;
  #isBusy = false;

  constructor() {
    byId("ask-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find(event.submitter?.value ?? "ask");
    });
    byId("refresh").addEventListener("click", () => this.#refresh());
    byId("talk-documents").addEventListener("click", () => this.#talk());
    byId("upload").addEventListener("change", async ({ target }) => {
      await this.#add([...target.files]);
      target.value = "";
    });
    acceptDrops(byId("documents"), (files) => this.#add(files), () => this.#canChange);
  }

  async show() {
    try {
      const { documents, scopes } = await info(true);
      this.#canChange = documents && scopes.includes("admin");
      for (const node of byId("documents").querySelectorAll("[data-needs=documents]")) {
        node.hidden = !documents;
      }
      for (const node of byId("documents").querySelectorAll("[data-needs=admin]")) {
        node.hidden = !this.#canChange;
      }
      byId("no-documents").hidden = documents;
      if (documents) await this.#list();
    } catch (error) {
      showError(error);
    }
  }

  async #list() {
    const { data } = await call("GET", "v1/kb/documents");
    byId("document-list").replaceChildren(...data.map((item) => this.#row(item)));
    byId("documents-note").textContent = data.length ? "" : t("documents_none");
  }

  #row(item) {
    const facts = [
      t("passages", { count: number(item.passages) }),
      bytes(item.bytes),
      when(item.indexed_at),
    ];
    return el(
      "li",
      {},
      el("span", { class: "document-name", dir: "auto" }, item.name),
      el("span", { class: "note" }, facts.join(" · ")),
      this.#canChange &&
        iconButton("trash", t("remove_document", { name: item.name }), () => this.#remove(item)),
    );
  }

  // --- changes -------------------------------------------------------------------------------

  async #add(files) {
    for (const file of files) {
      const path = `v1/kb/documents?name=${encodeURIComponent(file.name)}`;
      await this.#change(file.name, async () => {
        await send("POST", path, { body: file });
        announce(t("document_added", { name: file.name }));
      });
    }
  }

  async #remove(item) {
    const hint = t("remove_hint", { name: item.name });
    if (!(await confirm(t("remove_title"), hint, t("remove")))) return;
    await this.#change(item.name, () => call("DELETE", `v1/kb/documents/${item.id}`));
    byId("refresh").focus();
  }

  #refresh() {
    return this.#change(t("refresh"), async () => {
      const told = await call("POST", "v1/kb/refresh");
      const [added, changed, removed] = [told.added, told.changed, told.removed].map(
        (names) => names.length,
      );
      showNote(t("refreshed", { added, changed, removed }));
      for (const { name, problem } of told.failed) showError({ message: `${name}: ${problem}` });
    });
  }

  /** Makes one change, and shows how far it is. */
  async #change(name, run) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    const bar = el("progress", { "aria-label": name });
    byId("documents-job").replaceChildren(el("p", { dir: "auto" }, name), bar);
    byId("documents-job").hidden = false;
    const timer = setInterval(() => this.#look(bar), PROGRESS_MS);
    try {
      await run();
    } catch (error) {
      showError(error);
    }
    clearInterval(timer);
    this.#isBusy = false;
    byId("documents-job").hidden = true;
    await this.#list().catch(showError);
  }

  async #look(bar) {
    try {
      const { progress } = await call("GET", "v1/kb/progress");
      if (progress?.total) Object.assign(bar, { max: progress.total, value: progress.done });
    } catch {
      // The change itself tells what is wrong.
    }
  }

  // --- questions -------------------------------------------------------------------------------

  async #find(what) {
    const question = byId("question").value.trim();
    if (!question) return;
    const place = byId("found");
    place.setAttribute("aria-busy", "true");
    try {
      if (what === "search") {
        const path = `v1/kb/search?q=${encodeURIComponent(question)}`;
        const { data } = await call("GET", path);
        place.replaceChildren(...data.map(passage));
        announce(t("found_passages", { count: data.length }));
      } else {
        const result = await call("POST", "v1/ask", { question });
        place.replaceChildren(
          el("p", { class: "answer", dir: "auto" }, result.text),
          el("p", { class: "note" }, `${t("confidence")}: ${percent(result.confidence)}`),
          sources(result),
        );
        announce(result.text);
      }
    } catch (error) {
      showError(error);
    }
    place.removeAttribute("aria-busy");
  }

  async #talk() {
    try {
      const { id } = await call("POST", "v1/conversations", { source: "documents" });
      location.hash = `#/talk/${id}`;
    } catch (error) {
      showError(error);
    }
  }
}
