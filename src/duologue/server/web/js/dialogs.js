// Questions in front of the page. A <dialog> keeps the focus inside and gives it back.

import { el } from "./dom.js";
import { t } from "./i18n.js";

/**
 * Shows a dialog with a form and waits. Resolves with the value of the button that was pressed,
 * or with "" if it was closed otherwise. `buttons` are [value, label, class].
 */
export function ask({ title, hint, body = [], buttons }) {
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "dialog-title" }, title),
    hint && el("p", { id: "dialog-hint", dir: "auto" }, hint),
    ...body,
    el(
      "div",
      { class: "dialog-buttons" },
      ...buttons.map(([value, label, kind]) =>
        el("button", { value, class: kind, formnovalidate: value === "" }, label),
      ),
    ),
  );
  const dialog = el(
    "dialog",
    { "aria-labelledby": "dialog-title", "aria-describedby": hint && "dialog-hint" },
    form,
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** Asks whether to do what cannot be undone; the safe answer has the focus. */
export async function confirm(title, hint, action) {
  const buttons = [
    ["", t("cancel"), "quiet"],
    ["yes", action, "danger"],
  ];
  return (await ask({ title, hint, buttons })) === "yes";
}

/** Asks for the API key; resolves with it, or with "" if the reader would not give one. */
export async function askKey() {
  const input = el("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: "200",
    required: true,
  });
  const answer = await ask({
    title: t("key_title"),
    hint: t("key_hint"),
    body: [el("label", { for: "key" }, t("key")), input],
    buttons: [
      ["use", t("key_use"), "primary"],
      ["", t("cancel"), "quiet"],
    ],
  });
  return answer === "use" ? input.value.trim() : "";
}
