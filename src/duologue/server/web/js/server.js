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

/** The models that can do a task, loaded ones first. */
export async function modelsFor(task) {
  const { models } = await info();
  return models
    .filter((model) => model.tasks.includes(task))
    .sort((one, other) => Number(other.loaded) - Number(one.loaded));
}

/** Codes of the languages that some model translates between, in the server's order. */
export async function translationLanguages() {
  const models = await modelsFor("translate");
  return [...new Set(models.flatMap((model) => model.languages))];
}
