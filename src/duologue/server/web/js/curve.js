// The sentiment of both sides over a conversation, as a small drawing with the same in words.

import { el, svg } from "./dom.js";
import { decimal, t, word } from "./i18n.js";

const SPEAKERS = ["user", "agent"];
const WIDTH = 280;
const HEIGHT = 84;
const EDGE = 6;

/** A section with a line for each side; `points` are those of /v1/conversations/{id}/sentiment. */
export function curveSection(points) {
  const speakers = SPEAKERS.filter((speaker) => points.some((point) => point.speaker === speaker));
  const summary = speakers.map((speaker) => inWords(speaker, of(points, speaker)));
  return el(
    "section",
    { class: "curve", "aria-labelledby": "curve-title" },
    el("h3", { id: "curve-title" }, t("curve_title")),
    drawing(points, speakers, summary.join(" ")),
    el(
      "ul",
      { class: "curve-legend" },
      ...speakers.map((speaker, index) =>
        el("li", {}, el("span", { class: `curve-key ${speaker}`, "aria-hidden": "true" }), summary[index]),
      ),
    ),
    el("p", { class: "note" }, t("curve_hint")),
  );
}

const of = (points, speaker) => points.filter((point) => point.speaker === speaker);

function inWords(speaker, own) {
  const last = own.at(-1);
  return t("curve_words", {
    who: t(`curve_${speaker}`),
    label: word(last.label),
    level: decimal(last.level, 2),
    count: decimal(own.length),
  });
}

function drawing(points, speakers, summary) {
  const x = (index) => EDGE + ((WIDTH - 2 * EDGE) * index) / Math.max(1, points.length - 1);
  const y = (level) => HEIGHT / 2 - (HEIGHT / 2 - EDGE) * level;
  const shapes = speakers.map((speaker) => {
    const own = points.map((point, index) => ({ point, index })).filter(({ point }) => point.speaker === speaker);
    const line = own.map(({ point, index }) => `${x(index)},${y(point.level)}`).join(" ");
    const dots = own.map(({ point, index }) =>
      svg(
        "circle",
        { cx: x(index), cy: y(point.value), r: 2.5 },
        svg("title", {}, `${t(`curve_${speaker}`)}: ${word(point.label)}, ${decimal(point.value, 2)}`),
      ),
    );
    return svg("g", { class: `curve-line ${speaker}` }, svg("polyline", { points: line }), ...dots);
  });
  return svg(
    "svg",
    { class: "curve-drawing", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary },
    svg("path", { class: "curve-middle", d: `M0 ${HEIGHT / 2}H${WIDTH}` }),
    ...shapes,
  );
}
