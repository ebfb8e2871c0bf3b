// Files as pieces of text to translate, and back: what is no text stays as it is.
//
// A reader takes the content of a file and gives {texts, write}: write takes the translations, in
// the order of texts, and gives the new content.

import { readDocx } from "./docx.js";

const MARKS = /^(?:\s*(?:#{1,6}|[-*+]|\d+[.)]|>|\[[ xX]\])(?=\s))*\s*/;
const TIMING = /^\d+:\d\d:\d\d[,.]\d+\s*-->/;
const MAX_SUBTITLE_CHARS = 42;

export const TEXT_BYTES = 2_000_000;
export const DOCX_BYTES = 20_000_000;

/** How to read each kind: {bytes: greatest size, type, read(file)}; html is left to the server. */
export const KINDS = {
  txt: { bytes: TEXT_BYTES, type: "text/plain", read: textReader(readText) },
  md: { bytes: TEXT_BYTES, type: "text/markdown", read: textReader(readMarkdown) },
  srt: { bytes: TEXT_BYTES, type: "application/x-subrip", read: textReader(readSubtitles) },
  docx: {
    bytes: DOCX_BYTES,
    type: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    read: readDocx,
  },
  html: { bytes: TEXT_BYTES, type: "text/html", read: null },
  htm: { bytes: TEXT_BYTES, type: "text/html", read: null },
};

function textReader(read) {
  return async (file) => {
    const text = await decode(file);
    const newline = text.includes("\r\n") ? "\r\n" : "\n";
    const parts = read(text.replaceAll("\r\n", "\n").split("\n"));
    return {
      texts: parts.flatMap(textsOf),
      write: (translations) => {
        const left = [...translations];
        const lines = parts.map((part) =>
          typeof part === "string" ? part : part.write(left.splice(0, part.texts.length)),
        );
        return lines.join("\n").replaceAll("\n", newline);
      },
    };
  };
}

/** What is to be translated of a part: nothing of a line that stays. */
const textsOf = (part) => (typeof part === "string" ? [] : part.texts);

/** The text of a file: UTF-8, or UTF-16 with its mark; throws TypeError for anything else. */
export async function decode(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  const isWide = (data[0] === 0xff && data[1] === 0xfe) || (data[0] === 0xfe && data[1] === 0xff);
  const name = isWide ? (data[0] === 0xff ? "utf-16le" : "utf-16be") : "utf-8";
  const text = new TextDecoder(name, { fatal: true }).decode(data);
  if (text.includes("\0")) throw new TypeError("not a text");
  return text;
}

/** Each line that is not blank is a text; what stands before and after it stays. */
function readText(lines) {
  return lines.map((line) => {
    const text = line.trim();
    const start = line.indexOf(text);
    return text ? between(line.slice(0, start), text, line.slice(start + text.length)) : line;
  });
}

/** Paragraphs are texts; code, front matter, rules and the marks before a text stay. */
function readMarkdown(lines) {
  const parts = [];
  let fence = null;
  let paragraph = null; // the text that the next line may go on with
  const verbatim = (line) => {
    paragraph = null;
    parts.push(line);
  };
  lines.forEach((line, index) => {
    const opened = line.match(/^\s*(`{3,}|~{3,})/)?.[1];
    const isFrontMatter = index === 0 && line === "---" && lines.indexOf("---", 1) > 0;
    if (fence) {
      if (line.trim().startsWith(fence)) fence = null;
      verbatim(line);
    } else if (opened || isFrontMatter) {
      fence = opened ?? "---";
      verbatim(line);
    } else if (!/\p{L}/u.test(line) || /^( {4}|\t)/.test(line) || /^\s*\[[^\]]+\]:\s/.test(line)) {
      verbatim(line);
    } else if (line.trim().startsWith("|")) {
      paragraph = null;
      parts.push(tableRow(line));
    } else {
      const mark = line.match(MARKS)[0];
      const text = line.slice(mark.length).trim();
      if (paragraph && !mark.trim()) paragraph.texts[0] += ` ${text}`;
      else {
        paragraph = between(mark, text, "");
        parts.push(paragraph);
      }
      if (mark.includes("#") || line.endsWith("  ")) paragraph = null;
    }
  });
  return parts;
}

/** A row of a table: its cells are texts, its bars stay. */
function tableRow(line) {
  const cells = line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  return { texts: cells, write: (translations) => `| ${translations.join(" | ")} |` };
}

/** The words of each subtitle are one text; numbers and times stay. */
function readSubtitles(lines) {
  const parts = [];
  let said = [];
  let isInside = false;
  const flush = () => {
    if (said.length) parts.push(subtitle(said));
    said = [];
  };
  for (const line of lines) {
    if (TIMING.test(line)) isInside = true;
    else if (!line.trim()) isInside = false;
    else if (isInside) {
      said.push(line.trim());
      continue;
    }
    flush();
    parts.push(line);
  }
  flush();
  return parts;
}

function subtitle(lines) {
  const write = ([translation]) => (lines.length > 1 ? inTwo(translation) : translation);
  return { texts: [lines.join(" ")], write };
}

/** A long subtitle in two lines, broken at the blank nearest to its middle. */
function inTwo(text) {
  if (text.length <= MAX_SUBTITLE_CHARS) return text;
  const middle = text.length / 2;
  const blanks = [...text.matchAll(/ /g)].map(({ index }) => index);
  if (!blanks.length) return text;
  const near = (one, other) => (Math.abs(one - middle) <= Math.abs(other - middle) ? one : other);
  const at = blanks.reduce(near);
  return `${text.slice(0, at)}\n${text.slice(at + 1)}`;
}

const between = (before, text, after) => ({
  texts: [text],
  write: ([translation]) => before + translation + after,
});
