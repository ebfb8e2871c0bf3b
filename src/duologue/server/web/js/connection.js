// Whether the server can be reached: what is lost is said, tried again, and said when it is back.

import { byId, el } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { announce } from "./notices.js";

const FIRST_WAIT_S = 1;
const LONGEST_WAIT_S = 15;
const listeners = [];
let isLost = false;
let wait = FIRST_WAIT_S;
let left = 0;
let timer = 0;

/** `listener` is called when the server answers again. */
export const onBack = (listener) => listeners.push(listener);

/** To be called by whoever could not reach the server. */
export function lost() {
  if (isLost) return;
  isLost = true;
  wait = FIRST_WAIT_S;
  countDown();
}

function countDown() {
  left = wait;
  wait = Math.min(2 * wait, LONGEST_WAIT_S);
  draw();
  clearInterval(timer);
  timer = setInterval(() => {
    left -= 1;
    if (left > 0) draw();
    else tryNow();
  }, 1000);
}

async function tryNow() {
  clearInterval(timer);
  byId("connection").firstElementChild.textContent = t("connection_trying");
  try {
    const response = await fetch("health/live", { cache: "no-store" });
    if (response.ok) back();
    else countDown();
  } catch {
    countDown();
  }
}

function back() {
  isLost = false;
  draw();
  announce(t("connection_back"));
  for (const listener of listeners) listener();
}

function draw() {
  const banner = byId("connection");
  banner.classList.toggle("shown", isLost);
  if (!isLost) {
    banner.replaceChildren();
    return;
  }
  if (!banner.hasChildNodes()) {
    banner.append(
      el("span", {}),
      el("button", { type: "button", class: "quiet", onclick: tryNow }, t("retry")),
    );
  }
  // Each second is shown, and only the first is read out.
  banner.firstElementChild.textContent = t("connection_lost", { seconds: left });
  banner.setAttribute("aria-live", left === FIRST_WAIT_S ? "polite" : "off");
  banner.lastElementChild.textContent = t("retry");
}

window.addEventListener("offline", lost);
window.addEventListener("online", () => isLost && tryNow());
onLanguage(draw);
