// Marks stretches of the conversation without touching its text (CSS custom highlights).

const STRENGTHS = ["weak", "medium", "strong"];

/** Whether this browser can mark; where it cannot, evidence is only listed. */
const canMark = typeof Highlight === "function" && "highlights" in CSS;

/** Marks the spans in the messages they name; the stronger the score, the stronger the mark. */
export function mark(spans) {
  unmark();
  if (!canMark) return;
  const best = Math.max(...spans.map((span) => span.score), 0);
  for (const span of spans) {
    const range = rangeOf(span);
    if (!range) continue;
    const share = best > 0 ? span.score / best : 1;
    const strength = STRENGTHS[Math.min(2, Math.floor(share * 3))];
    const name = `evidence-${strength}`;
    if (!CSS.highlights.has(name)) CSS.highlights.set(name, new Highlight());
    CSS.highlights.get(name).add(range);
  }
}

export function unmark() {
  if (!canMark) return;
  for (const strength of STRENGTHS) CSS.highlights.delete(`evidence-${strength}`);
}

/** Brings a span's message into sight. */
export function reveal(span) {
  itemOf(span)?.scrollIntoView({ block: "nearest" });
}

function itemOf(span) {
  return document.querySelector(`#messages [data-id="${CSS.escape(span.message ?? "")}"]`);
}

function rangeOf(span) {
  const node = itemOf(span)?.querySelector(".text").firstChild;
  if (!node) return null;
  const [start, end] = [span.start, span.end].map((offset) => units(node.data, offset));
  const range = new Range();
  range.setStart(node, start);
  range.setEnd(node, end);
  return range;
}

/** The server counts Unicode code points, the browser UTF-16 units. */
function units(text, points) {
  let at = 0;
  for (let passed = 0; passed < points && at < text.length; passed += 1) {
    at += text.codePointAt(at) > 0xffff ? 2 : 1;
  }
  return at;
}
