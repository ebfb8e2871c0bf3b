// The WebSocket that reads along: drafts go out as they are typed, events come back.

import { key, toError, unreachable } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/**
 * on.encoded, on.translation, on.sentiment  called with the server's events about the draft
 * on.state                                  called with whether somebody reads along
 */
export class Live {
  #socket = null;
  #on;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #draft = null;
  #reply = null;

  constructor(on) {
    this.#on = on;
  }

  /** Whether drafts reach the server now. */
  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Whether a reply is made on this connection: there is one at a time. */
  get isReplying() {
    return this.#reply !== null;
  }

  /** What stands there now; it is sent at once, or when the connection stands. */
  draft(fields) {
    this.#draft = fields;
    if (this.isOpen) this.#write({ type: "draft", ...fields });
    else if (fields.text) this.#open();
  }

  /** Forgets the draft, so that a new connection does not bring it up again. */
  forget() {
    this.#draft = null;
  }

  /** Tries again now, as after a new key. */
  reopen() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#draft) this.#open();
  }

  /** Says the last draft: yields the events of the reply as api.stream does. */
  async *send(conversation, parent) {
    const queue = new Queue();
    this.#reply = queue;
    const frame = { type: "send", conversation_id: conversation };
    this.#write(parent === undefined ? frame : { ...frame, parent });
    try {
      for (;;) {
        const event = await queue.next();
        if (event.type === "failed") throw event.error ? toError(event) : unreachable();
        yield event;
        if (event.type === "done") return;
      }
    } finally {
      this.#reply = null;
      // What comes after the reply can be read now.
      if (this.#draft?.conversation_id === conversation) this.draft(this.#draft);
    }
  }

  #open() {
    if (this.#timer || this.#socket) return;
    const url = new URL("v1/live", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const protocols = key() ? ["duologue", `duologue.key.${key()}`] : ["duologue"];
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#wait = FIRST_WAIT_MS;
      this.#on.state(true);
      if (this.#draft) this.draft(this.#draft);
    });
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    socket.addEventListener("close", () => this.#closed());
  }

  #closed() {
    this.#socket = null;
    this.#on.state(false);
    this.#reply?.put({ type: "failed" });
    this.#timer = setTimeout(() => this.reopen(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }

  #take(event) {
    if (["encoded", "translation", "sentiment"].includes(event.type)) this.#on[event.type](event);
    else if (this.#reply && event.of !== "draft") this.#reply.put(event);
    else if (event.type === "failed") this.#on.failed(toError(event));
  }

  #write(frame) {
    this.#socket.send(JSON.stringify(frame));
  }
}

/** Events that wait for whoever takes them. */
class Queue {
  #events = [];
  #taker = null;

  put(event) {
    this.#events.push(event);
    this.#taker?.();
    this.#taker = null;
  }

  async next() {
    while (!this.#events.length) await new Promise((resolve) => (this.#taker = resolve));
    return this.#events.shift();
  }
}
