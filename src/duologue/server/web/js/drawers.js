// On narrow screens the list and the side panel lie over the conversation; one may be open.

import { byId } from "./dom.js";

let open = null;
let opener = null;

export function startDrawers() {
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => openDrawer(button.dataset.open, button));
  }
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", closeDrawer);
  }
  document.addEventListener("pointerdown", ({ target }) => {
    const isOutside = open && !open.contains(target) && !target.closest("[popover], dialog");
    if (isOutside && !target.closest("[data-open]")) closeDrawer();
  });
}

export function openDrawer(id, button) {
  const wasOpen = open?.id === id;
  closeDrawer();
  if (wasOpen) return;
  open = byId(id);
  opener = button;
  open.classList.add("open");
  opener.setAttribute("aria-expanded", "true");
  open.querySelector("button, input, a")?.focus();
}

/** Closes the one that is open, if any, and says whether there was one. */
export function closeDrawer() {
  if (!open) return false;
  const hadFocus = open.contains(document.activeElement);
  open.classList.remove("open");
  opener.setAttribute("aria-expanded", "false");
  if (hadFocus) opener.focus();
  open = opener = null;
  return true;
}
