// Shortcuts of the whole page. Letters come with Alt, so that speaking or typing triggers none.

import { byId, el } from "./dom.js";
import { ask } from "./dialogs.js";
import { closeDrawer } from "./drawers.js";
import { t } from "./i18n.js";

const TABLE = [
  [["Alt+1"], "conversations"],
  [["Alt+2"], "translator"],
  [["Alt+3"], "documents"],
  [["Alt+4"], "assistant"],
  [["Alt+5"], "queue"],
  [["Alt+6"], "models"],
  [["Alt+N"], "new_conversation"],
  [["Alt+K"], "search"],
  [["Alt+J"], "keys_composer"],
  [["Alt+H"], "shortcuts"],
  [["Esc"], "keys_escape"],
  [["↑", "↓", "Home", "End"], "keys_menu"],
  [["F2"], "keys_rename"],
  [["Delete"], "keys_delete"],
];

/** `actions` are what the shortcuts do: view(index), create(), search(), stop(). */
export function startShortcuts(actions) {
  const byCode = {
    ...Object.fromEntries([0, 1, 2, 3, 4, 5].map((n) => [`Digit${n + 1}`, () => actions.view(n)])),
    KeyN: actions.create,
    KeyK: actions.search,
    KeyJ: () => byId(byId("talk").hidden ? "source" : "draft").focus(),
    KeyH: showShortcuts,
  };
  document.addEventListener("keydown", (event) => {
    const isAlone = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (isAlone && Object.hasOwn(byCode, event.code)) {
      event.preventDefault();
      byCode[event.code]();
    } else if (event.key === "Escape" && !event.defaultPrevented) {
      if (!document.querySelector(":popover-open") && !closeDrawer()) actions.stop();
    }
  });
}

/** Shows the table of shortcuts. */
export function showShortcuts() {
  const rows = TABLE.map(([keys, what]) =>
    el(
      "tr",
      {},
      el("td", {}, ...keys.flatMap((key) => [el("kbd", {}, key), " "])),
      el("td", {}, t(what)),
    ),
  );
  return ask({
    title: t("shortcuts"),
    body: [
      el("table", { class: "keys" }, el("tbody", {}, ...rows)),
      el("p", { class: "note" }, t("composer_hint")),
    ],
    buttons: [["", t("close"), "primary"]],
  });
}
