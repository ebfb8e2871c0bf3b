// Word documents (.docx): paragraphs are translated, everything else stays. The words of a paragraph
// take the style of its first ones.

import { readZip, textOf, withText, writeZip } from "./zip.js";

const WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
const PARTS = /^word\/(document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml$/;
const MAX_UNPACKED = 50_000_000;

/** See documents.js; throws TypeError for what is no such document. */
export async function readDocx(file) {
  const entries = await readZip(file).catch((error) => {
    throw new TypeError(error.message); // also a RangeError of a directory that points nowhere
  });
  const parts = [];
  for (const entry of entries.filter(({ name }) => PARTS.test(name))) {
    const xml = new DOMParser().parseFromString(await textOf(entry, MAX_UNPACKED), "application/xml");
    if (xml.querySelector("parsererror")) throw new TypeError("damaged XML");
    parts.push({ entry, xml, paragraphs: paragraphsOf(xml) });
  }
  if (!parts.length) throw new TypeError("no document inside");
  return {
    texts: parts.flatMap(({ paragraphs }) => paragraphs.map(({ text }) => text)),
    write: async (translations, type) => {
      const left = [...translations];
      const changed = new Map();
      for (const { entry, xml, paragraphs } of parts) {
        for (const paragraph of paragraphs) fill(paragraph, left.shift());
        const head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
        const body = new XMLSerializer().serializeToString(xml.documentElement);
        changed.set(entry.name, await withText(entry, head + body));
      }
      return writeZip(entries.map((entry) => changed.get(entry.name) ?? entry), type);
    },
  };
}

/** Paragraphs that say something: {text, before, after, nodes}, nodes are those that hold the text. */
function paragraphsOf(xml) {
  const found = [];
  for (const paragraph of xml.getElementsByTagNameNS(WORD, "p")) {
    const nodes = [...paragraph.getElementsByTagNameNS(WORD, "t")].filter(
      (node) => parentParagraph(node) === paragraph,
    );
    const whole = nodes.map((node) => node.textContent).join("");
    const text = whole.trim();
    if (!/\p{L}/u.test(text)) continue;
    const start = whole.indexOf(text);
    found.push({ text, before: whole.slice(0, start), after: whole.slice(start + text.length), nodes });
  }
  return found;
}

function parentParagraph(node) {
  let parent = node.parentNode;
  while (parent && !(parent.namespaceURI === WORD && parent.localName === "p")) {
    parent = parent.parentNode;
  }
  return parent;
}

function fill({ before, after, nodes }, translation) {
  nodes.forEach((node, index) => {
    node.textContent = index === 0 ? before + translation + after : "";
    node.setAttribute("xml:space", "preserve");
  });
}
