// The replies that are being made in this tab: one at a time in each conversation.

import { GrowingReply } from "./message.js";

/**
 * One reply on its way.
 *
 * conversation  its id; null until there is one
 * asked         the item of the user's message
 * question      that message, once it is stored
 */
export class Exchange {
  reply = new GrowingReply();

  constructor(conversation, asked, question = null) {
    this.conversation = conversation;
    this.asked = asked;
    this.question = question;
  }

  /** Whether the reader looks at it. */
  get isShown() {
    return this.asked.isConnected;
  }
}

export class Replies {
  #running = new Set();
  #changed;

  /** `changed` is called when a reply begins, ends, or gets its conversation. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** The exchange in a conversation; null is the one that is still to be made. */
  in(conversation) {
    for (const exchange of this.#running) {
      if (exchange.conversation === conversation) return exchange;
    }
    return null;
  }

  begin(exchange) {
    this.#running.add(exchange);
    this.#changed();
  }

  /** The conversation of an exchange is there now. */
  place(exchange, conversation) {
    exchange.conversation = conversation;
    this.#changed();
  }

  end(exchange) {
    this.#running.delete(exchange);
    this.#changed();
  }
}
