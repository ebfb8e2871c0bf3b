// A text in sentences, and sentences in words, each with what stands between them.

/** Languages whose sentences follow each other without a blank. */
const BLANKLESS = ["zh", "zho", "cmn", "yue", "ja", "jpn"];

/** The sentences of a text in order: [{text, gap}], gap is what stands before the sentence. */
export function sentencesOf(text) {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "sentence" });
  const found = [];
  let gap = "";
  for (const { segment } of segmenter.segment(text)) {
    for (const part of segment.split(/(\s*[\r\n]+\s*)/)) {
      const body = part.trim();
      if (!body) {
        gap += part;
        continue;
      }
      const start = part.indexOf(body);
      found.push({ text: body, gap: gap + part.slice(0, start) });
      gap = part.slice(start + body.length);
    }
  }
  return found;
}

/** What stands between two translated sentences where `gap` stood between the two of the source. */
export function gapIn(language, gap, isFirst) {
  if (isFirst || gap.includes("\n")) return gap;
  return BLANKLESS.includes(language.split("-")[0]) ? "" : gap || " ";
}

/** The words of a text and what is between them: [{text, isWord}]. */
export function wordsOf(text) {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
  return [...segmenter.segment(text)].map(({ segment, isWordLike }) => ({
    text: segment,
    isWord: isWordLike,
  }));
}

/**
 * How `other` differs from `base`, both wordsOf: for each part of `other` whether it stands in
 * `base` too, and the places in `base` that are missing from it (longest common subsequence).
 */
export function difference(base, other) {
  const lengths = Array.from({ length: base.length + 1 }, () => new Uint16Array(other.length + 1));
  for (let i = base.length - 1; i >= 0; i -= 1) {
    for (let j = other.length - 1; j >= 0; j -= 1) {
      lengths[i][j] =
        base[i].text === other[j].text
          ? lengths[i + 1][j + 1] + 1
          : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const isShared = other.map(() => false);
  const missing = new Set(base.keys());
  for (let i = 0, j = 0; i < base.length && j < other.length; ) {
    if (base[i].text === other[j].text) {
      isShared[j] = true;
      missing.delete(i);
      i += 1;
      j += 1;
    } else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
    else j += 1;
  }
  return { isShared, missing };
}
