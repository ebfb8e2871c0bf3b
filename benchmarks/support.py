"""Answers from documents: are the right passages found, the right answers given, others declined?

    python benchmarks/support.py --data DATA [--model duo-s] [--rows 200]
    python benchmarks/support.py --data DATA --fit
    python benchmarks/support.py --data DATA --cost [--passages 10000]

A base is made of the contexts of the question sets (test split), English and Chinese together. Each
question is asked of it; then half of the documents are removed, and the questions whose passage is
gone are asked again: these have no answer. In policyqa the same question is asked of many policies,
so that other passages than the one that was marked answer it, too.

    hit@5      a passage of the question's document that holds a reference is among the first five
    F1, ROUGE-L  of what ask says, 0 where it declined; (all): had it never declined
    citation   share of answers whose cited sentence, of the right document, holds a reference
    declined   share of questions without an answer that were declined; false: of those with one

--fit does the same on the validation split and prints the constants of confidence.py. --cost times
a question of 10 passages and of --passages. Writes benchmarks/results/support.json; --fit nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from report import RESULTS, surroundings, write

import duologue
from duologue.apps.support import confidence
from duologue.apps.support.answer import Candidate, consider
from duologue.apps.support.base import KnowledgeBase
from duologue.apps.support.retrieval import expression
from duologue.evaluation.metrics import rouge_l, token_f1
from duologue.storage.knowledge import KnowledgeStore

SETS = ("squad_subset", "policyqa", "cmrc2018", "drcd")
REVIEWS = "subjqa"
AMBIGUOUS = "policyqa"  # a question is asked of many policies, and many of them answer it
FILLERS = ("text/en.jsonl.gz", "text/zh.jsonl.gz", "mt/news_enzh.jsonl.gz")
FILLER_CHARS = {"en": 450, "zh": 180}
SEED = 20


@dataclass(frozen=True)
class Case:
    """A question; name: the file that its context is in."""

    set: str
    question: str
    answers: tuple[str, ...]
    name: str


def rows_of(path: Path, split: str | None) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if split in (None, row["split"]):
                yield row


def write_documents(folder: Path, data: Path, split: str, limit: int | None) -> list[Case]:
    """The contexts as text files in a folder, and the questions."""
    folder.mkdir()
    names: dict[str, str] = {}
    cases = []
    for name in SETS:
        rows = list(rows_of(data / f"qa/{name}.jsonl.gz", split))
        random.Random(SEED).shuffle(rows)
        for row in rows[:limit]:
            context = row["context"]
            if context not in names:
                names[context] = f"{name}-{len(names):05d}.txt"
                (folder / names[context]).write_text(context, encoding="utf-8")
            cases.append(Case(name, row["question"], tuple(row["answers"]), names[context]))
    return cases


def chosen(cases: Iterable[Case], num_rows: int) -> list[Case]:
    """At most so many of each set, always the same ones."""
    by_set: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_set[case.set].append(case)
    return [case for rows in by_set.values() for case in rows[:num_rows]]


def progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"\r{done:,} of {total:,} passages", end="", file=sys.stderr, flush=True)


# --- retrieval -----------------------------------------------------------------------------------


def hits(base: KnowledgeBase, folder: Path, cases: list[Case]) -> dict[str, dict[str, float]]:
    """hit@5 of the three rankings, for each set."""
    found: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        document = str((folder / case.name).resolve())
        question = base.encoder.question(case.question)
        with base.store.reading() as state:
            by_words = [number for number, _ in state.match(expression(state, case.question), 5)]
            table = base.retriever.table(state)
            near = table.nearest(table.turned(question.encoded.embedding), 5)
            rankings = {
                "words": state.passages(by_words),
                "embeddings": state.passages(near),
                "fused": [hit.passage for hit in base.find(question, 5)],
            }
        for name, passages in rankings.items():
            own = [passage.text for passage in passages if passage.document == document]
            is_hit = any(answer in text for answer in case.answers for text in own)
            found[case.set][name].append(is_hit)
    return {
        name: {ranking: float(np.mean(values)) for ranking, values in by_ranking.items()}
        for name, by_ranking in found.items()
    }


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A question that was asked; is_known: its passage is in the base."""

    case: Case
    found: Candidate
    is_known: bool

    @property
    def is_right(self) -> bool:
        """Whether the answer is good enough to be given."""
        if not self.is_known or not self.case.answers:
            return False
        return self.f1 >= 0.5 or (self.found.produced_tokens == 0 and self.is_held)

    @property
    def is_held(self) -> bool:
        """Whether the answer, or a sentence that is one, holds a reference."""
        return any(answer in self.found.text for answer in self.case.answers)

    @property
    def f1(self) -> float:
        return token_f1(self.found.text, self.case.answers)

    @property
    def is_declined(self) -> bool:
        return self.found.confidence < confidence.THRESHOLD or not self.found.text


def ask_all(base: KnowledgeBase, cases: list[Case], is_known: bool) -> list[Asked]:
    return [Asked(case, consider(base, case.question), is_known) for case in cases]


def ask_reviews(base: KnowledgeBase, folder: Path, rows: list[dict[str, Any]]) -> list[Asked]:
    """Questions about one review, which is all that there is in the base."""
    asked = []
    for row in rows:
        path = folder / "review.txt"
        path.write_text(row["context"], encoding="utf-8")
        base.add([path])
        case = Case(REVIEWS, row["question"], tuple(row["answers"]), path.name)
        asked.append(Asked(case, consider(base, case.question), is_known=True))
        base.remove(path)
    return asked


def scores(asked: list[Asked], folder: Path) -> dict[str, float]:
    """What the docstring of this file lists, over questions of one kind."""
    known = [item for item in asked if item.is_known and item.case.answers]
    unknown = [item for item in asked if not item.is_known or not item.case.answers]
    given = [item for item in known if not item.is_declined]
    result = {"questions": float(len(known)), "without_answer": float(len(unknown))}
    if known:
        result["f1"] = mean(0.0 if item.is_declined else item.f1 for item in known)
        result["f1_all"] = mean(item.f1 for item in known)
        result["rouge_l"] = mean(
            0.0 if item.is_declined else rouge_l(item.found.text, item.case.answers)
            for item in known
        )
        result["rouge_l_all"] = mean(rouge_l(i.found.text, i.case.answers) for i in known)
        result["false_declines"] = mean(item.is_declined for item in known)
    if given:
        result["f1_given"] = mean(item.f1 for item in given)
        result["citation_precision"] = mean(is_cited(item, folder) for item in given)
    if unknown:
        result["declined"] = mean(item.is_declined for item in unknown)
    return result


def is_cited(item: Asked, folder: Path) -> bool:
    """Whether the passage that is cited is of the right document and holds a reference."""
    passage = item.found.hits[item.found.place].passage
    own = item.case.set == REVIEWS or passage.document == str((folder / item.case.name).resolve())
    return own and any(answer in passage.text for answer in item.case.answers)


def mean(values: Iterable[float]) -> float:
    return float(np.mean([float(value) for value in values]))


def ask_with_and_without(base: KnowledgeBase, folder: Path, cases: list[Case]) -> list[Asked]:
    """All questions; then half of the documents go, and questions about them are asked again.

    AMBIGUOUS is left out of the second half: its questions fit policies that stay as well.
    """
    asked = ask_all(base, cases, is_known=True)
    names = sorted({case.name for case in cases})
    gone = set(random.Random(SEED).sample(names, len(names) // 2))
    for name in gone:
        base.remove(folder / name)
    again = [case for case in cases if case.name in gone and case.set != AMBIGUOUS]
    return asked + ask_all(base, again, is_known=False)


# --- the fit -------------------------------------------------------------------------------------


def fit(asked: list[Asked]) -> tuple[list[float], float]:
    """Weights and bias of a logistic regression of is_right, both kinds of questions weighing the
    same; Newton's method with a little weight decay."""
    signs = np.array([astuple(item.found.signs) for item in asked], dtype=np.float64)
    inputs = np.column_stack([signs, np.ones(len(signs))])
    right = np.array([item.is_right for item in asked], dtype=np.float64)
    known = np.array([item.is_known for item in asked])
    weight = np.where(known, 1 / max(1, known.sum()), 1 / max(1, (~known).sum())) * len(asked) / 2
    weights = np.zeros(inputs.shape[1])
    decay = np.diag([*[1.0] * signs.shape[1], 1e-6])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (weight * (right - chance)) - decay @ weights
        curvature = (inputs.T * (weight * chance * (1 - chance))) @ inputs + decay
        weights += np.linalg.solve(curvature, gradient)
    return weights[:-1].tolist(), float(weights[-1])


def print_fit(asked: list[Asked], name: str) -> None:
    weights, bias = fit(asked)
    for sign, weight in zip(fields(confidence.Signs), weights, strict=True):
        print(f"{sign.name:12} {weight:8.3f}")
    listed = ", ".join(f"{weight:.3f}" for weight in weights)
    print(f"{name} = Calibration(({listed}), {bias:.3f})")


# --- cost ----------------------------------------------------------------------------------------


def fillers(data: Path) -> Iterator[str]:
    """Stretches of text of about the size of a passage."""
    for name in FILLERS:
        text, size = "", 0
        for row in rows_of(data / name, None):
            piece = row.get("text") or row["source"]
            size = FILLER_CHARS["zh" if row.get("lang", row.get("src_lang")) == "zh" else "en"]
            text = f"{text}\n\n{piece}".strip()
            if len(text) >= size:
                yield text[:size]
                text = ""


def cost(model: duologue.Model, data: Path, folder: Path, num_passages: int) -> dict[str, float]:
    """Milliseconds of a question of a small base and of a large one, and bytes of a passage."""
    rows = list(islice(rows_of(data / "qa/squad_subset.jsonl.gz", "test"), 200))
    contexts = list(dict.fromkeys(row["context"] for row in rows))
    bases = {}
    for name, size in (("small", 10), ("large", num_passages)):
        documents = folder / f"{name}-documents"
        documents.mkdir()
        texts = [contexts[0][:450], *fillers(data)]
        for number, text in enumerate(texts[:size]):
            (documents / f"{number:06d}.txt").write_text(text, encoding="utf-8")
        base = KnowledgeBase(KnowledgeStore(folder / name), model._runtime)
        begin = time.perf_counter()
        base.add([documents], progress)
        bases[name] = base, time.perf_counter() - begin
    questions = [row["question"] for row in rows[:60]]
    times: dict[str, list[float]] = {name: [] for name in bases}
    for question in questions * 2:
        for name, (base, _) in bases.items():
            begin = time.perf_counter()
            base.ask(question)
            times[name].append(1000 * (time.perf_counter() - begin))
    small, large = (statistics.median(times[name][len(questions) :]) for name in bases)
    base, add_s = bases["large"]
    with base.store.reading() as state:
        count = state.num_passages()
    sizes = {path: path.stat().st_size for path in (folder / "large").rglob("*") if path.is_file()}
    in_memories = sum(size for path, size in sizes.items() if "memories" in path.parts)
    return {
        "passages": count,
        "small_ms": small,
        "large_ms": large,
        "ratio": large / small,
        "add_ms_per_passage": 1000 * add_s / count,
        "disk_bytes_per_passage": sum(sizes.values()) / count,
        "memory_bytes_per_passage": in_memories / count,
    }


# --- all of it -----------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace, model: duologue.Model, root: Path) -> dict[str, Any]:
    split = "valid" if arguments.fit else "test"
    limit = 8 if arguments.quick else None
    folder = root / "documents"
    cases = write_documents(folder, arguments.data, split, limit)
    base = KnowledgeBase(KnowledgeStore(root / "base"), model._runtime)
    base.add([folder], progress)
    print(file=sys.stderr)
    values: dict[str, Any] = {"documents": len(base.documents())}
    values["hit_at_5"] = hits(base, folder, cases)
    asked = ask_with_and_without(base, folder, chosen(cases, arguments.rows))
    if arguments.fit:
        name = "SPAN" if base.encoder.can_answer else "SENTENCE"
        print_fit([item for item in asked if item.case.set != AMBIGUOUS], name)
    reviews = KnowledgeBase(KnowledgeStore(root / "reviews"), model._runtime)
    rows = list(rows_of(arguments.data / f"qa/{REVIEWS}.jsonl.gz", split))
    random.Random(SEED).shuffle(rows)
    asked += ask_reviews(reviews, root, rows[: limit or arguments.rows])
    values["answers"] = {
        name: scores([item for item in asked if item.case.set == name], folder)
        for name in (*SETS, REVIEWS)
    }
    clear = [item for item in asked if item.case.set not in (REVIEWS, AMBIGUOUS)]
    values["answers"]["squad, cmrc, drcd"] = scores(clear, folder)
    return values


def show(values: dict[str, Any]) -> None:
    for name, rankings in values.get("hit_at_5", {}).items():
        print(f"hit@5 {name:14}", *(f"{key} {value:.3f}" for key, value in rankings.items()))
    for name, found in values.get("answers", {}).items():
        print(f"{name:20}", *(f"{key} {value:.3g}" for key, value in found.items()))
    if "cost" in values:
        print("cost", *(f"{key} {value:,.4g}" for key, value in values["cost"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="duo-s")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rows", type=int, default=200, help="questions of each set to answer")
    parser.add_argument("--fit", action="store_true", help="print the constants of confidence.py")
    parser.add_argument("--cost", action="store_true", help="time a small and a large base")
    parser.add_argument("--passages", type=int, default=10_000, help="of the large base")
    parser.add_argument("--quick", action="store_true", help="few rows, to try the script out")
    arguments = parser.parse_args()
    model = duologue.load(arguments.model, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cost:
            num_passages = 20 if arguments.quick else arguments.passages
            values = {"cost": cost(model, arguments.data, Path(folder), num_passages)}
        else:
            values = measure(arguments, model, Path(folder))
    show(values)
    if not arguments.quick and not arguments.fit:
        path = RESULTS / "support.json"
        former = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write("support", former | surroundings(("duologue",)) | {"model": arguments.model} | values)


if __name__ == "__main__":
    main()
