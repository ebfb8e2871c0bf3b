// The view of models: what is loaded, what it can do, what it takes.

import { byId, el } from "./dom.js";
import { bytes, languageName, number, t } from "./i18n.js";
import { showError } from "./notices.js";
import { info } from "./server.js";

export class Models {
  async show() {
    try {
      const known = await info(true);
      byId("cards").replaceChildren(...known.models.map(card), server(known));
    } catch (error) {
      showError(error);
    }
  }
}

function card(model) {
  const title = `model-${model.name}`;
  const languages = model.languages.map((code) => languageName(code)).join(", ");
  return el(
    "article",
    { class: "card", "aria-labelledby": title },
    el(
      "header",
      {},
      el("h2", { id: title, dir: "auto" }, model.name),
      el(
        "span",
        { class: model.loaded ? "badge on" : "badge" },
        model.loaded ? t("loaded") : t("not_loaded"),
      ),
    ),
    facts([
      [t("family"), model.family],
      [t("memory"), bytes(model.memory_bytes)],
      [t("licence"), model.license || t("unknown")],
      [t("languages"), languages || t("unknown")],
    ]),
    el("h3", {}, t("tasks")),
    el("ul", { class: "chips" }, ...model.tasks.map((task) => el("li", {}, task))),
  );
}

function server({ version, limits, scopes }) {
  return el(
    "section",
    { class: "card", "aria-labelledby": "server-title" },
    el("header", {}, el("h2", { id: "server-title" }, t("server"))),
    facts([
      [t("release"), version],
      [t("scopes"), (scopes ?? []).join(", ")],
    ]),
    el(
      "details",
      {},
      el("summary", {}, t("limits")),
      facts(
        Object.entries(limits ?? {}).map(([name, value]) => [
          name,
          typeof value === "number" ? number(value, 1) : String(value),
        ]),
      ),
    ),
  );
}

const facts = (rows) =>
  el(
    "dl",
    { class: "facts" },
    ...rows.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", { dir: "auto" }, value)),
    ),
  );
