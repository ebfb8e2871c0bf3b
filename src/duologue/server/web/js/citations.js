// Passages of documents, with what was used of them marked.

import { el } from "./dom.js";
import { percent, t } from "./i18n.js";

/** Where a passage stands: the document and the headings above it. */
export const placeOf = ({ document: name, heading }) => (heading ? `${name} › ${heading}` : name);

/** A passage; offsets are Unicode code points. */
export function passage({ text, start = 0, end = 0, score, ...place }) {
  const points = Array.from(text);
  const part = (from, to) => points.slice(from, to).join("");
  return el(
    "figure",
    { class: "passage" },
    el(
      "figcaption",
      {},
      el("span", { dir: "auto" }, placeOf(place)),
      score !== undefined && el("span", { class: "note" }, t("fits", { share: percent(score) })),
    ),
    el(
      "blockquote",
      { dir: "auto" },
      part(0, start),
      end > start && el("mark", {}, part(start, end)),
      part(end),
    ),
  );
}

/** What an answer comes from, or which passages are nearest where there is none. */
export function sources({ citations = [], declined }) {
  if (!citations.length) return null;
  return el(
    "details",
    { class: "sources", open: !declined },
    el("summary", {}, t(declined ? "nearest" : "comes_from")),
    ...citations.map(passage),
  );
}
