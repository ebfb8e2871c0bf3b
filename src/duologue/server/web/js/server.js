// What the server says of itself: models, limits, scopes. Asked once and kept.

import { call } from "./api.js";

let known = null;

/** The answer of /v1/info; `again` asks anew. */
export async function info(again = false) {
  if (again) known = null;
  known ??= call("GET", "v1/info").catch((error) => {
    known = null;
    throw error;
  });
  return known;
}

/** The model that new conversations are led with: the server's first. */
export async function defaultModel() {
  return (await info()).models[0];
}

/** The first model that translates, or undefined. */
export async function translationModel() {
  return (await info()).models.find(canTranslate);
}

export const canTranslate = (model) => model.tasks.includes("translate");
