// Elements without strings of markup: whatever comes from people or models is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id, which index.html has. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element. Keys of `attributes` that begin with "on" are listeners, `true` sets an empty
 * attribute, and undefined, null and false set none. Children are elements, text, or anything false for none.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child || child === 0));
  return element;
}

/** A new element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A decorative drawing; index.html has them all. */
export const icon = (name) =>
  svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));

/** A button that shows an icon alone; its label is what is read out and shown as a hint. */
export function iconButton(name, label, onclick, attributes = {}) {
  const { class: extra = "", ...rest } = attributes;
  return el(
    "button",
    {
      type: "button",
      class: `icon-button ${extra}`.trim(),
      "aria-label": label,
      title: label,
      onclick,
      ...rest,
    },
    icon(name),
  );
}

/** A horizontal bar that tells a share of 1, with its name and its percentage. */
export function bar(label, share, percent) {
  const fill = el("span", { class: "bar-fill" });
  fill.style.setProperty("--share", String(Math.max(0, Math.min(1, share))));
  return el(
    "div",
    {
      class: "bar",
      role: "meter",
      "aria-label": label,
      "aria-valuemin": "0",
      "aria-valuemax": "1",
      "aria-valuenow": String(Math.round(share * 1000) / 1000),
      "aria-valuetext": percent,
    },
    el("span", { class: "bar-name", "aria-hidden": "true" }, label),
    el("span", { class: "bar-track", "aria-hidden": "true" }, fill),
    el("span", { class: "bar-value", "aria-hidden": "true" }, percent),
  );
}

/** Calls `run` when there was no further call for so many milliseconds. */
export function debounce(run, delayMs) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(run, delayMs, ...values);
  };
}

/**
 * Gives `take` the files that are dropped on an element, which has the class "dropping" while some
 * are over it. Where `isOpen` says no, none are taken.
 */
export function acceptDrops(element, take, isOpen = () => true) {
  const hasFiles = (event) => isOpen() && event.dataTransfer?.types.includes("Files");
  element.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    element.classList.add("dropping");
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("dropping");
  });
  element.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    element.classList.remove("dropping");
    take([...event.dataTransfer.files]);
  });
}

/** Lets the reader save a blob as a file. */
export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Puts a text on the clipboard, also where the page came over plain HTTP. */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const before = document.activeElement;
  const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus();
}
