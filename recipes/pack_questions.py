"""Question-answering sets to rows of several documents and several questions.

    python recipes/pack_questions.py DATA OUT [--variants 4]

Reads DATA/qa/*.jsonl.gz and writes OUT/qa_*.jsonl.gz. A paragraph is cut into passages at ends of
sentences, the questions about it are asked one after another, and beside its passages stand
others that share words with a question and do not hold its answer, as a search would find them.
Some questions are about another paragraph: nothing answers them. Passages that many questions
fit, such as those of reviews and policies, get no others beside them.

A paragraph gives `--variants` rows of the train split, with other passages each time; one of the
valid split. Test splits are left out. The same seed gives the same rows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SETS = {"squad_subset": True, "drcd": True, "cmrc2018": True, "policyqa": False, "subjqa": False}
MAX_PASSAGE = 520  # a Chinese character counts as three others: about as many tokens
MAX_PASSAGES = 4
MAX_QUESTIONS = 5
FOREIGN = 0.35  # chance of a question that nothing answers
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s)|[。！？；\n]|$)\s*", re.DOTALL)
_TERM = re.compile(r"[a-z0-9]+|[\u4e00-\u9fff]{2}")


@dataclass
class Paragraph:
    """One context with its questions and answers."""

    text: str
    language: str
    questions: list[tuple[str, list[str]]] = field(default_factory=list)

    def passages(self) -> list[str]:
        """The text in pieces of whole sentences."""
        pieces = [""]
        for sentence in _SENTENCE.findall(self.text):
            if pieces[-1] and _size(pieces[-1] + sentence) > MAX_PASSAGE:
                pieces.append("")
            pieces[-1] += sentence
        return [piece.strip() for piece in pieces if piece.strip()]


class Others:
    """Passages by the words they share with a question."""

    def __init__(self, paragraphs: Sequence[Paragraph]) -> None:
        self._passages = [
            (paragraph, passage) for paragraph in paragraphs for passage in paragraph.passages()
        ]
        self._index: defaultdict[str, list[int]] = defaultdict(list)
        for number, (_, passage) in enumerate(self._passages):
            for term in set(_terms(passage)):
                self._index[term].append(number)

    def near(self, question: str, own: Paragraph, answers: list[str], count: int) -> list[str]:
        """At most `count` passages of other paragraphs without an answer, the nearest first."""
        scores: defaultdict[int, float] = defaultdict(float)
        for term in set(_terms(question)):
            for number in self._index[term]:
                scores[number] += 1 / len(self._index[term])
        found: list[str] = []
        for number in sorted(scores, key=lambda number: (-scores[number], number)):
            paragraph, passage = self._passages[number]
            if paragraph is not own and not any(answer in passage for answer in answers):
                found.append(passage)
            if len(found) == count:
                break
        return found


def _size(text: str) -> int:
    return sum(3 if char >= "\u2e80" else 1 for char in text)


def _terms(text: str) -> list[str]:
    doubled = re.sub(r"([\u4e00-\u9fff])", r"\1\1", text.lower())[1:]
    return _TERM.findall(doubled)


def read(path: Path) -> dict[str, list[Paragraph]]:
    """Paragraphs of each split, in the order of the file."""
    splits: defaultdict[str, dict[str, Paragraph]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            known = splits[row["split"]]
            paragraph = known.setdefault(row["context"], Paragraph(row["context"], row["lang"]))
            paragraph.questions.append((row["question"], row["answers"]))
    return {split: list(known.values()) for split, known in splits.items()}


def pack(
    paragraph: Paragraph, pool: Sequence[Paragraph], others: Others | None, rng: random.Random
) -> dict[str, object] | None:
    """One row, or None for a paragraph that is too long or whose answers all lie on a border."""
    passages = paragraph.passages()[:MAX_PASSAGES]
    questions = [
        (question, answers)
        for question, answers in paragraph.questions
        if not answers or any(answers[0] in passage for passage in passages)
    ]
    if not questions:
        return None
    rng.shuffle(questions)
    questions = questions[: rng.randint(1, MAX_QUESTIONS)]
    if others is not None:
        question, answers = questions[0]
        near = others.near(question, paragraph, answers, 8)
        room = MAX_PASSAGES - len(passages)
        passages += rng.sample(near, min(len(near), rng.randint(0, room)))
        some = rng.sample(pool, min(len(pool), 8))
        strangers = [other for other in some if not set(other.passages()) & set(passages)]
        if strangers and rng.random() < FOREIGN:
            questions.append((rng.choice(rng.choice(strangers).questions)[0], []))
            rng.shuffle(questions)
    rng.shuffle(passages)
    return {
        "task": "qa",
        "contexts": passages,
        "questions": [{"question": text, "answers": answers} for text, answers in questions],
        "lang": paragraph.language,
    }


def main() -> None:
    """Write one file for each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    for name, is_mixed in SETS.items():
        rng = random.Random(f"{settings.seed}/{name}")
        rows = []
        for split, paragraphs in read(settings.data / "qa" / f"{name}.jsonl.gz").items():
            if split == "test":
                continue
            others = Others(paragraphs) if is_mixed else None
            for _ in range(settings.variants if split == "train" else 1):
                packed = [pack(item, paragraphs, others, rng) for item in paragraphs]
                rows += [{"split": split, **row} for row in packed if row is not None]
        path = settings.out / f"qa_{name}.jsonl.gz"
        with gzip.open(path, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        print(f"{path}: {len(rows):,} rows")


if __name__ == "__main__":
    main()
