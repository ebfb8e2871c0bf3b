// The side panel of a reply: how sure it is, what it leaned on, how fast it came.

import { call } from "./api.js";
import { curveSection } from "./curve.js";
import { bar, byId, el } from "./dom.js";
import { mark, reveal, unmark } from "./evidence.js";
import { duration, number, percent, t } from "./i18n.js";

const STEPS = 5; // shades of confidence

export class Insight {
  #message = null;
  #conversation = null;
  #explained = new Map();
  #needed = new Map(); // by erasure, for replies where somebody asked; null while it is found out
  #firstMs = new Map();
  #curve = { conversation: null, points: [] };

  /** Remembers how long the first word of a reply took, in milliseconds, as seen from here. */
  timed(id, milliseconds) {
    this.#firstMs.set(id, milliseconds);
  }

  /** Shows a reply, or what the panel is for. */
  show(message, conversation) {
    this.#message = message;
    this.#conversation = conversation;
    if (this.#curve.conversation !== (conversation ?? null)) {
      this.#curve = { conversation: conversation ?? null, points: [] };
    }
    unmark();
    this.draw();
    if (message) this.#judge(conversation);
    if (message && !this.#explained.has(message.id)) this.#explain(message, conversation);
  }

  draw() {
    const message = this.#message;
    const body = byId("insight-body");
    if (!message?.result) {
      body.replaceChildren(el("p", { class: "note" }, t("about_none")));
      return;
    }
    const sections = [
      this.#confidence(message),
      evidence(message.result.evidence ?? []),
      this.#need(message, this.#conversation),
      this.#curve.points.length > 0 && curveSection(this.#curve.points),
      this.#speed(message),
    ];
    body.replaceChildren(...sections.filter(Boolean));
  }

  /** Asks for the curve of a conversation; a model that cannot judge has none. */
  async #judge(conversation) {
    try {
      const { points } = await call("GET", `v1/conversations/${conversation}/sentiment`);
      if (this.#curve.conversation !== conversation) return; // the reader went on
      this.#curve.points = points;
      this.#drawCurve();
    } catch {
      // The panel has more to say than this.
    }
  }

  /** Leaves the rest of the panel, and with it the focus, where it is. */
  #drawCurve() {
    const body = byId("insight-body");
    const section = body.querySelector("section.curve");
    const fresh = curveSection(this.#curve.points);
    if (section) section.replaceWith(fresh);
    else if (this.#message?.result && this.#curve.points.length) body.lastElementChild.before(fresh);
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

  /** What the reply needed is found out only when somebody asks: it takes a while. */
  #need({ id }, conversation) {
    const needed = this.#needed.get(id);
    const ask = async () => {
      this.#needed.set(id, null);
      this.draw();
      const body = { conversation_id: conversation, message_id: id, method: "erasure" };
      try {
        this.#needed.set(id, await call("POST", "v1/explain", body));
      } catch (error) {
        this.#needed.set(id, { error });
      }
      if (this.#message?.id === id) this.draw();
    };
    const isOpen = this.#needed.has(id);
    const spans = needed?.influence ?? [];
    const note = spans.length ? t("needed_hint") : t("evidence_none");
    return el(
      "section",
      { "aria-labelledby": "needed-title", "aria-busy": String(needed === null) },
      el("h3", { id: "needed-title" }, t("needed")),
      !isOpen && el("button", { type: "button", class: "quiet", onclick: ask }, t("needed_ask")),
      spans.length > 0 && list(spans),
      el(
        "p",
        { class: "note", role: "status" },
        isOpen ? (needed === null ? t("needed_wait") : (needed.error?.message ?? note)) : "",
      ),
    );
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
function list(spans) {
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
  return el("ul", { class: "evidence-list" }, ...items);
}

function evidence(spans) {
  return el(
    "section",
    { "aria-labelledby": "evidence-title" },
    el("h3", { id: "evidence-title" }, t("evidence")),
    spans.length > 0 && list(spans),
    el("p", { class: "note" }, spans.length ? t("evidence_hint") : t("evidence_none")),
  );
}
