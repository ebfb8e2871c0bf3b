// Joins the parts of the page: which view is shown, the language, the colours, the shortcuts.

import { byId, icon } from "./dom.js";
import { onLanguage, pageLanguage, setLanguage, t, translatePage } from "./i18n.js";
import { onBack } from "./connection.js";
import { closeDrawer, startDrawers } from "./drawers.js";
import { Assistant } from "./assistant.js";
import { Library } from "./library.js";
import { Models } from "./models.js";
import { Queue } from "./queue.js";
import { info } from "./server.js";
import { showShortcuts, startShortcuts } from "./shortcuts.js";
import { Talk } from "./talk.js";
import { Translator } from "./translator.js";

const THEMES = ["auto", "light", "dark"];
const VIEWS = ["talk", "translate", "documents", "assistant", "queue", "models"];

const NAMES = { talk: "conversations", translate: "translator", documents: "documents" };

const views = {
  talk: new Talk(),
  translate: new Translator(),
  documents: new Library(),
  assistant: new Assistant(),
  queue: new Queue(),
  models: new Models(),
};

/** Shows what the address says: #/talk, #/talk/ID, or one of the other views. */
function route() {
  if (location.hash && !location.hash.startsWith("#/")) return; // a place in the page, not a view
  const [, name = "", rest] = location.hash.split("/");
  const shown = VIEWS.includes(name) ? name : "talk";
  for (const view of VIEWS) byId(view).hidden = view !== shown;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  closeDrawer();
  views[shown].show(rest ? decodeURIComponent(rest) : null);
  titlePage(shown);
}

function titlePage(shown) {
  document.title = `${t(NAMES[shown] ?? shown)} · Duologue`;
}

function startTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const draw = () => {
    const theme = root.dataset.theme ?? "auto";
    button.setAttribute("aria-label", t(`theme_${theme}`));
    button.title = t(`theme_${theme}`);
    button.replaceChildren(icon(theme));
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    localStorage.setItem("duologue.theme", next);
    draw();
  });
  onLanguage(draw);
  draw();
}

function startLanguage() {
  const menu = byId("language");
  menu.value = pageLanguage();
  menu.addEventListener("change", () => setLanguage(menu.value));
  onLanguage(route);
  translatePage();
}

startLanguage();
startTheme();
startDrawers();
startShortcuts({
  view: (index) => {
    location.hash = `#/${VIEWS[index]}`;
  },
  create: () => views.talk.create(),
  search: () => views.talk.search(),
  stop: () => views.talk.stop(),
});
byId("help").addEventListener("click", showShortcuts);
window.addEventListener("hashchange", route);
onBack(route);
route();
// Only who may take questions over sees that there are some.
info().then(
  ({ scopes }) => {
    document.querySelector("[data-view=queue]").hidden = !scopes.includes("admin");
  },
  () => {}, // the view that is shown tells it
);
