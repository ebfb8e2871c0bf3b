// The side panel of a reply: how sure it is, what it leaned on, how fast it came.

import { call } from "./api.js";
import { bar, byId, el } from "./dom.js";
import { mark, reveal, unmark } from "./evidence.js";
import { duration, number, percent, t } from "./i18n.js";

const STEPS = 5; // shades of confidence

export class Insight {
  #message = null;
  #explained = new Map();
  #firstMs = new Map();

  /** Remembers how long the first word of a reply took, in milliseconds, as seen from here. */
  timed(id, milliseconds) {
    this.#firstMs.set(id, milliseconds);
  }

  /** Shows a reply, or what the panel is for. */
  show(message, conversation) {
    this.#message = message;
    unmark();
    this.draw();
    if (message?.result && !this.#explained.has(message.id)) this.#explain(message, conversation);
  }

  draw() {
    const message = this.#message;
    const body = byId("insight-body");
    if (!message?.result) {
      body.replaceChildren(el("p", { class: "note" }, t("about_none")));
      return;
    }
    body.replaceChildren(
      this.#confidence(message),
      evidence(message.result.evidence ?? []),
      this.#speed(message),
    );
  }

  async #explain(message, conversation) {
    const body = { conversation_id: conversation, message_id: message.id };
    try {
      this.#explained.set(message.id, await call("POST", "v1/explain", body));
    } catch (error) {
      this.#explained.set(message.id, { error });
    }
    if (this.#message === message) this.draw();
  }

  #confidence({ id, text, result }) {
    const explained = this.#explained.get(id);
    const pieces = explained?.tokens?.map(([piece, probability]) =>
      el(
        "span",
        { class: `piece sure-${shade(probability)}`, title: percent(probability) },
        piece,
      ),
    );
    return el(
      "section",
      { "aria-labelledby": "confidence-title" },
      el("h3", { id: "confidence-title" }, t("confidence")),
      bar(t("whole_reply"), result.confidence, percent(result.confidence)),
      el("p", { class: "pieces", dir: "auto" }, ...(pieces ?? [text])),
      el("p", { class: "note" }, explained?.error?.message ?? t("confidence_hint")),
    );
  }

  #speed({ id, result }) {
    const { usage } = result;
    const rate = usage.decode_ms > 0 ? (1000 * usage.produced_tokens) / usage.decode_ms : 0;
    const first = this.#firstMs.get(id);
    const rows = [
      rate > 0 && [t("speed_rate"), number(rate, rate < 10 ? 1 : 0)],
      first !== undefined && [t("speed_first"), duration(first)],
      [t("speed_whole"), duration(usage.encode_ms + usage.decode_ms)],
      [
        t("speed_read"),
        `${number(usage.encoded_tokens)} / ${t("tokens", { count: number(usage.reused_tokens) })}`,
      ],
    ];
    return el(
      "section",
      { "aria-labelledby": "speed-title" },
      el("h3", { id: "speed-title" }, t("speed")),
      el(
        "dl",
        { class: "facts" },
        ...rows
          .filter(Boolean)
          .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
      ),
    );
  }
}

const shade = (probability) => Math.min(STEPS, 1 + Math.floor(probability * STEPS));

/** Each span is a button: pointing at it or reaching it marks its words in the conversation. */
function evidence(spans) {
  const best = Math.max(...spans.map((span) => span.score), 0);
  const items = spans.map((span) =>
    el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "evidence",
          onclick: () => {
            mark([span]);
            reveal(span);
          },
          onpointerenter: () => mark([span]),
          onpointerleave: unmark,
          onfocus: () => mark([span]),
          onblur: unmark,
        },
        bar(span.text, best > 0 ? span.score / best : 0, percent(span.score)),
      ),
    ),
  );
  return el(
    "section",
    { "aria-labelledby": "evidence-title" },
    el("h3", { id: "evidence-title" }, t("evidence")),
    items.length > 0 && el("ul", { class: "evidence-list" }, ...items),
    el("p", { class: "note" }, items.length ? t("evidence_hint") : t("evidence_none")),
  );
}
