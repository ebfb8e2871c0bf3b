// The language of the page: chosen by the reader, or else the first one of the browser that we have.

import { LANGUAGES, TEXTS } from "./texts.js";

const KEPT = "duologue.language";
const listeners = [];
let language = initial();

function initial() {
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages];
  const codes = wanted.filter(Boolean).map((code) => code.slice(0, 2).toLowerCase());
  return codes.find((code) => LANGUAGES.includes(code)) ?? "en";
}

export const pageLanguage = () => language;

/** The language with the browser's region, where it has one: for numbers, dates and names. */
const locale = () => navigator.languages.find((code) => code.startsWith(language)) ?? language;

/** A text of the page, with {names} filled in. */
export function t(key, values = {}) {
  const text = TEXTS[key][LANGUAGES.indexOf(language)];
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The word for a label of the model where there is one, or else the label. */
export const word = (label) => (Object.hasOwn(TEXTS, label) ? t(label) : label);

export function setLanguage(code) {
  language = code;
  localStorage.setItem(KEPT, code);
  translatePage();
  for (const listener of listeners) listener();
}

/** `listener` is called whenever the language changes, to draw again what was drawn. */
export const onLanguage = (listener) => listeners.push(listener);

/** Fills in what index.html marks: data-t is the text, data-t-X the attribute X or its label. */
export function translatePage() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) {
    node.setAttribute("aria-label", t(node.dataset.tLabel));
    if (node.matches("button")) node.title = t(node.dataset.tLabel);
  }
  for (const node of document.querySelectorAll("[data-t-placeholder]")) {
    node.placeholder = t(node.dataset.tPlaceholder);
  }
}

// --- numbers, times and names -----------------------------------------------------------------

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);

/** A number with so many digits and, if it is not whole, its sign. */
export const decimal = (value, digits = 0) =>
  new Intl.NumberFormat(locale(), {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    signDisplay: digits ? "exceptZero" : "auto",
  }).format(value);

export const percent = (share) =>
  new Intl.NumberFormat(locale(), { style: "percent" }).format(share);

export function duration(milliseconds) {
  return milliseconds < 1000
    ? `${number(milliseconds)} ms`
    : `${number(milliseconds / 1000, 1)} s`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = count;
  let unit = 0;
  for (; size >= 1000 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${number(size, size < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

/** "10:15" of today, else a date. */
export function when(iso) {
  const time = new Date(iso);
  const isToday = time.toDateString() === new Date().toDateString();
  const style = isToday ? { timeStyle: "short" } : { dateStyle: "medium" };
  return new Intl.DateTimeFormat(locale(), style).format(time);
}

/** A language by its name in the language of the page; codes nobody knows stay codes. */
export function languageName(code) {
  try {
    return new Intl.DisplayNames([locale()], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}
