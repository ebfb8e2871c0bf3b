// Translates pieces of text: in batches, and what was translated before is not asked again.

import { ApiError, call } from "./api.js";
import { info, translationModel } from "./server.js";

const MAX_KEPT = 2000;
const NUM_ALTERNATIVES = 4;
const known = new Map();

/**
 * Results for texts that are not blank, in their order. `from` may be "". `onDone(count)` is called
 * after each batch. Throws ApiError, or AbortError by the signal.
 */
export async function translate(texts, { to, from, signal, onDone }) {
  const name = (text) => JSON.stringify([to, from, text]);
  const wanted = [...new Set(texts)].filter((text) => !known.has(name(text)));
  const { limits } = await info();
  const model = (await translationModel())?.name;
  const most = Math.max(1, Math.min(limits.max_texts ?? 16, 16));
  const options = alternatives(limits);
  const found = new Map();
  for (let start = 0; start < wanted.length; start += most) {
    const batch = wanted.slice(start, start + most);
    const body = { texts: batch, to, options, model, ...(from && { from }) };
    const { data } = await call("POST", "v1/translate", body, signal);
    data.forEach((result, index) => found.set(batch[index], result));
    onDone?.(start + batch.length, wanted.length);
  }
  for (const [text, result] of found) known.set(name(text), result);
  const results = texts.map((text) => found.get(text) ?? known.get(name(text)));
  while (known.size > MAX_KEPT) known.delete(known.keys().next().value);
  return results;
}

function alternatives(limits) {
  const most = Math.min(limits.max_beam_size ?? 1, limits.max_hypotheses ?? 1, NUM_ALTERNATIVES);
  return { beam_size: Math.max(1, most), num_hypotheses: Math.max(1, most) };
}

/** The code of the language a text is in, or "" if the server cannot tell. */
export async function detect(text, signal) {
  try {
    const [best] = await call("POST", "detect", { q: text }, signal);
    return best && best.confidence > 0 ? best.language : "";
  } catch (error) {
    if (error instanceof ApiError && error.code !== "unreachable") return "";
    throw error;
  }
}
