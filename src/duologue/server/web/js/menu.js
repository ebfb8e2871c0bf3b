// The one menu of the page: opened beside whatever called it, moved in with the arrow keys.

import { byId, el, icon } from "./dom.js";

const MARGIN = 8;
let caller = null;

/**
 * Opens the menu at a button. `items` are {content, run, icon?, kind?, isChosen?}; content is text
 * or an element. `isChosen` makes them choices, of which one is marked. `title` stands above.
 */
export function openMenu(button, items, label, title) {
  const menu = byId("menu");
  const wasOwn = menu.matches(":popover-open") && caller === button;
  closeMenu();
  if (wasOwn) return;
  caller = button;
  menu.setAttribute("aria-label", label);
  menu.replaceChildren(
    ...(title ? [el("p", { class: "note", role: "presentation" }, title)] : []),
    ...items.map(itemOf),
  );
  button.setAttribute("aria-expanded", "true");
  menu.showPopover();
  place(menu, button.getBoundingClientRect());
  menu.querySelector("button")?.focus();
}

export function closeMenu() {
  const menu = byId("menu");
  if (menu.matches(":popover-open")) menu.hidePopover();
}

function itemOf({ content, run, icon: drawing, kind = "", isChosen }) {
  const isChoice = isChosen !== undefined;
  return el(
    "button",
    {
      type: "button",
      class: kind,
      role: isChoice ? "menuitemradio" : "menuitem",
      "aria-checked": isChoice ? String(isChosen) : undefined,
      tabindex: "-1",
      dir: "auto",
      onclick: () => {
        closeMenu();
        run();
      },
    },
    drawing && icon(drawing),
    el("span", {}, content),
  );
}

function place(menu, anchor) {
  const { width, height } = menu.getBoundingClientRect();
  const left = Math.min(anchor.left, innerWidth - width - MARGIN);
  const below = anchor.bottom + MARGIN / 2;
  const top = below + height + MARGIN > innerHeight ? anchor.top - height - MARGIN / 2 : below;
  menu.style.setProperty("--left", `${Math.max(MARGIN, left)}px`);
  menu.style.setProperty("--top", `${Math.max(MARGIN, top)}px`);
}

/** Moves the focus among elements: arrows by one, Home and End to the ends. True if it did. */
export function moveFocus(event, elements) {
  const here = elements.indexOf(document.activeElement);
  const last = elements.length - 1;
  const targets = {
    ArrowDown: here < last ? here + 1 : 0,
    ArrowUp: here > 0 ? here - 1 : last,
    Home: 0,
    End: last,
  };
  if (last < 0 || !Object.hasOwn(targets, event.key)) return false;
  event.preventDefault();
  elements[targets[event.key]].focus();
  return true;
}

export function startMenu() {
  const menu = byId("menu");
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Tab") closeMenu();
    else moveFocus(event, [...menu.querySelectorAll("button")]);
  });
  menu.addEventListener("beforetoggle", ({ newState }) => {
    if (newState !== "closed" || !caller) return;
    caller.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement)) caller.focus();
  });
}
