// What is said beside the views: read out to screen readers, or shown for a while.

import { byId, el, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const SHOWN_MS = 8000;

/** Says a sentence to screen readers alone. */
export function announce(text) {
  const place = byId("announcer");
  place.textContent = "";
  requestAnimationFrame(() => {
    place.textContent = text;
  });
}

/** Shows an error, or anything with a message, until it is closed. */
export function showError(error) {
  if (error?.name === "AbortError") return;
  show(error?.message ?? String(error), "error", false);
}

/** Shows a sentence for some seconds. */
export const showNote = (text) => show(text, "note", true);

function show(text, kind, isBrief) {
  const alerts = byId("alerts");
  for (const other of [...alerts.children]) if (other.dataset.text === text) other.remove();
  const remove = () => alert.remove();
  const alert = el(
    "div",
    { class: `alert ${kind}`, "data-text": text },
    el("span", { dir: "auto" }, text),
    iconButton("close", t("close"), remove),
  );
  alerts.append(alert);
  while (alerts.children.length > 3) alerts.firstElementChild.remove();
  if (isBrief) setTimeout(remove, SHOWN_MS);
}
