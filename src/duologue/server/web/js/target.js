// The translation, sentence by sentence: each can be asked what else it could be.

import { byId, el } from "./dom.js";
import { t } from "./i18n.js";
import { openMenu } from "./menu.js";
import { announce } from "./notices.js";
import { difference, gapIn, wordsOf } from "./sentences.js";

export class Target {
  #pane = byId("target");

  get text() {
    return this.#pane.textContent;
  }

  clear() {
    this.#pane.replaceChildren();
  }

  /** Shows results for sentencesOf(source), in their order. */
  show(sentences, results, language) {
    const nodes = sentences.flatMap(({ gap }, index) => [
      gapIn(language, gap, index === 0),
      this.#sentence(results[index]),
    ]);
    this.#pane.lang = language;
    this.#pane.replaceChildren(...nodes);
  }

  #sentence(result) {
    const choices = [result.text, ...result.alternatives.map(({ text }) => text)];
    const span = el("span", {
      class: "sentence",
      role: "button",
      tabindex: "0",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      onclick: ({ target }) => this.#offer(span, choices, placeOf(target)),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.#offer(span, choices, null);
      },
    });
    write(span, result.text);
    return span;
  }

  /** Shows the choices; those that change the word that was clicked come first. */
  #offer(span, choices, place) {
    const shown = span.textContent;
    const base = wordsOf(shown);
    const others = [...new Set(choices)]
      .filter((text) => text !== shown)
      .map((text) => {
        const words = wordsOf(text);
        return { text, words, ...difference(base, words) };
      });
    if (place !== null) {
      others.sort((one, other) => other.missing.has(place) - one.missing.has(place));
    }
    const items = [
      { content: shown, isChosen: true, run: () => {} },
      ...others.map(({ text, words, isShared }) => ({
        content: marked(words, isShared),
        isChosen: false,
        run: () => {
          write(span, text);
          span.focus();
          announce(text);
        },
      })),
    ];
    const label = others.length ? t("alternatives") : t("alternatives_none");
    openMenu(span, items, label, label);
  }
}

function write(span, text) {
  const words = wordsOf(text).map(({ text: part, isWord }, index) =>
    isWord ? el("span", { class: "word", "data-place": index }, part) : part,
  );
  span.replaceChildren(...words);
}

const placeOf = (node) => {
  const place = node.closest(".word")?.dataset.place;
  return place === undefined ? null : Number(place);
};

/** The words of an alternative; those that differ from what is chosen are marked. */
function marked(words, isShared) {
  const parts = words.map(({ text, isWord }, index) =>
    isWord && !isShared[index] ? el("mark", {}, text) : text,
  );
  return el("span", {}, ...parts);
}
