// Requests to the server that the page came from, and what may become of them.

import { askKey } from "./dialogs.js";
import { lost } from "./connection.js";
import { t } from "./i18n.js";
import { events } from "./sse.js";

const KEPT = "duologue.key";
let asking = null;

/** An answer that says no: the server's own message and its stable code. */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The API key of this tab, or "". */
export const key = () => sessionStorage.getItem(KEPT) ?? "";

/**
 * Sends a request, whose body is a Blob or becomes JSON, and gives the response, which is a good one. Asks for a key where the server does.
 * Throws ApiError with what the server said, or with the code "unreachable".
 */
export async function send(method, path, { body, signal } = {}) {
  for (;;) {
    const used = key();
    const response = await fetchOnce(method, path, body, signal, used);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.status !== 401 || !(await otherKey(used))) throw error;
  }
}

/** The same, and the JSON of the answer; undefined if there is none. */
export async function call(method, path, body, signal) {
  const response = await send(method, path, { body, signal });
  return response.status === 204 ? undefined : response.json();
}

/** The same for an answer that streams: yields {type, ...data}, `failed` as a thrown ApiError. */
export async function* stream(path, body, signal) {
  const response = await send("POST", path, { body: { ...body, stream: true }, signal });
  try {
    for await (const event of events(response.body)) {
      if (event.type === "failed") throw toError(event, response.status);
      yield event;
    }
  } catch (error) {
    throw error instanceof TypeError ? unreachable() : error;
  }
}

export const toError = ({ error }, status = 0) =>
  new ApiError(error?.message ?? String(error), error?.code ?? "error", status);

export function unreachable() {
  lost();
  return new ApiError(t("not_reached"), "unreachable", 0);
}

async function fetchOnce(method, path, body, signal, used) {
  const headers = {};
  if (used) headers.Authorization = `Bearer ${used}`;
  const isFile = body instanceof Blob;
  if (isFile) headers["Content-Type"] = "application/octet-stream";
  else if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined || isFile ? body : JSON.stringify(body);
  try {
    return await fetch(path, { method, headers, body: sent, signal, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
}

async function errorOf(response) {
  try {
    return toError(await response.json(), response.status);
  } catch {
    return new ApiError(`${response.status} ${response.statusText}`, "error", response.status);
  }
}

/** Whether there is a key now that is not the one refused; many requests ask once. */
async function otherKey(refused) {
  if (key() !== refused) return true;
  asking ??= askKey().finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given) sessionStorage.setItem(KEPT, given);
  return given !== "";
}
