"""translate, summarize and generate with published models: what transformers makes of them too."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from published_apps import BART_POSITIONS, publish
from published_tokenizers import WORDS, Published

from duologue.api import Model, load
from duologue.cli import run
from duologue.cli.lines import printable
from duologue.errors import InputError
from duologue.types import Options

LoadKind = Callable[[str], Model]
FolderOf = Callable[[str], Path]
TEXTS = [" ".join(random.Random(number).choices(WORDS, k=6)) for number in range(8)]


@pytest.fixture(scope="module")
def folder_of(tokenizers: Published, tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    root = tmp_path_factory.mktemp("models")

    def folder_of(kind: str) -> Path:
        folder = root / kind
        return folder if folder.exists() else publish(kind, tokenizers, folder)

    return folder_of


@pytest.fixture(scope="module")
def load_kind(folder_of: FolderOf) -> LoadKind:
    models: dict[str, Model] = {}

    def load_kind(kind: str) -> Model:
        if kind not in models:
            models[kind] = load(folder_of(kind), precision="f32", threads=1)
        return models[kind]

    return load_kind


class Oracle:
    """The same folder, read by transformers."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)

    def answer(self, text: str, most_ids: int | None = None, **settings: Any) -> str:
        ids = self.tokenizer(text).input_ids
        if most_ids is not None and len(ids) > most_ids:
            ids = [*ids[: most_ids - 1], ids[-1]]
        made = self._model.generate(torch.tensor([ids]), **settings)[0]
        special = set(self.tokenizer.all_special_ids)
        kept = [idx for idx in made.tolist() if idx not in special]
        return str(self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)).strip()


@pytest.fixture
def oracle(folder_of: FolderOf, tokenizers: Published) -> Callable[[str], Oracle]:
    return lambda kind: Oracle(folder_of(kind), tokenizers.oracle(kind))


# --- the same answers ----------------------------------------------------------------------------


def test_a_model_with_language_tokens_translates_as_transformers_does(
    load_kind: LoadKind, oracle: Callable[[str], Oracle]
) -> None:
    theirs = oracle("nllb_json")
    theirs.tokenizer.src_lang = "eng_Latn"
    for to, spelled in (("de", "deu_Latn"), ("zho_Hans", "zho_Hans")):
        target = theirs.tokenizer.convert_tokens_to_ids(spelled)
        results = load_kind("nllb_json").translate_batch(TEXTS, to, "en", check=False)
        for result, text in zip(results, TEXTS, strict=True):
            # Their max_length counts a target that the caller forces.
            expected = theirs.answer(text, forced_bos_token_id=target, max_length=15)
            assert result.text == expected != ""


def test_a_marian_model_translates_as_transformers_does(
    load_kind: LoadKind, oracle: Callable[[str], Oracle]
) -> None:
    theirs = oracle("marian")
    for result, text in zip(
        load_kind("marian").translate_batch(TEXTS, "fr", check=False), TEXTS, strict=True
    ):
        assert result.text == theirs.answer(f">>fra<< {text}") != ""


def test_a_t5_summarizes_and_generates_as_transformers_does(
    load_kind: LoadKind, oracle: Callable[[str], Oracle]
) -> None:
    model, theirs = load_kind("t5"), oracle("t5")
    summaries, answers = model.summarize_batch(TEXTS), model.generate_batch(TEXTS)
    translations = model.translate_batch(TEXTS, check=False)
    for text, summary, answer, translation in zip(
        TEXTS, summaries, answers, translations, strict=True
    ):
        assert summary.text.strip() == theirs.answer(f"summarize: {text}") != ""
        assert answer.text.strip() == theirs.answer(text)
        assert translation.text == theirs.answer(f"translate English to German: {text}")


def test_published_settings_are_the_defaults_and_each_can_be_changed(
    load_kind: LoadKind, oracle: Callable[[str], Oracle]
) -> None:
    model, theirs = load_kind("bart"), oracle("bart")
    options = model.options("summarize")
    assert options == Options(
        max_tokens=14,
        beam_size=3,
        length_penalty=2.0,
        early_stopping=True,
        min_tokens=6,
        no_repeat_ngram_size=2,
    )
    greedy = replace(options, beam_size=1, min_tokens=0)
    for text in TEXTS:
        assert model.summarize(text).text.strip() == theirs.answer(text)
        changed = model.summarize(text, greedy).text.strip()
        assert changed == theirs.answer(text, num_beams=1, min_length=0)


# --- what does not fit ---------------------------------------------------------------------------


def test_what_a_summary_leaves_unread_is_told(
    load_kind: LoadKind, oracle: Callable[[str], Oracle]
) -> None:
    model, theirs = load_kind("bart"), oracle("bart")
    text = " ".join(WORDS * 2)
    result = model.summarize(text)
    (span,) = result.checks.source_truncated
    assert span.text == text[span.start :] != ""
    assert (span.end, result.usage.encoded_tokens) == (len(text), BART_POSITIONS)
    read = model.tokenizer.encode(text)[: BART_POSITIONS - 2]
    assert text[: span.start] == model.tokenizer.decode(read)
    assert result.text.strip() == theirs.answer(text, most_ids=BART_POSITIONS)
    assert model.summarize("hello friend").checks.source_truncated == ()


def test_a_long_line_is_translated_in_pieces_that_are_read_whole(load_kind: LoadKind) -> None:
    model = load_kind("marian")
    sentence = "the house station where is my friend card has not arrived yet."
    one, two = (model.translate(" ".join([sentence] * count), "de") for count in (1, 12))
    assert two.checks.source_truncated == two.checks.source_split == ()
    assert two.usage.encoded_tokens > 12 * (one.usage.encoded_tokens - 2)
    options = replace(model.options("translate"), max_tokens=5)
    lines = model.translate(f"{TEXTS[0]}\n\n{TEXTS[1]}", "de", options=options)
    assert lines.text.split("\n\n") == [
        model.translate(text, "de", options=options).text for text in TEXTS[:2]
    ]


def test_memory_and_dialogue_are_refused_with_what_there_is(load_kind: LoadKind) -> None:
    with pytest.raises(InputError, match="no dialogue, and no role 'user'; it can translate"):
        load_kind("nllb_json").encode("hello")
    with pytest.raises(InputError, match="not learnt the task 'reply'; it knows translate"):
        load_kind("nllb_json").conversation().say("hello")


# --- tasks and languages -------------------------------------------------------------------------


def test_a_source_language_is_never_guessed(load_kind: LoadKind) -> None:
    model = load_kind("nllb_json")
    with pytest.raises(InputError, match=r"translate from is missing.* deu_Latn, eng_Latn, zho"):
        model.translate("hello", to="de")
    with pytest.raises(InputError, match="unknown language 'auto'"):
        model.translate("hello", to="de", from_="auto")
    with pytest.raises(InputError, match="translate to is missing"):
        model.translate("hello", from_="de")
    with pytest.raises(InputError, match="unknown language 'xx'; this model knows"):
        load_kind("marian").translate("hello", to="xx")
    assert model.translate_batch([], "de", "en") == []


@pytest.mark.parametrize(
    ("kind", "task", "known"),
    [
        ("nllb_json", "generate", "it knows translate"),
        ("marian", "summarize", "it knows translate"),
        ("bart", "translate", "it knows summarize, generate"),
    ],
)
def test_a_task_that_a_model_has_not_learnt_is_answered_with_those_it_has(
    load_kind: LoadKind, kind: str, task: str, known: str
) -> None:
    with pytest.raises(InputError, match=f"not learnt the task '{task}'; {known}"):
        getattr(load_kind(kind), task)("hello")


def test_texts_of_no_use_are_named_by_number(load_kind: LoadKind) -> None:
    for name in ("generate_batch", "summarize_batch"):
        call = getattr(load_kind("bart"), name)
        with pytest.raises(InputError, match=r"^text 2: the text is empty"):
            call(["hello", " "])
        with pytest.raises(InputError, match="a list of texts"):
            call("hello")
    with pytest.raises(InputError, match="no options for 'sing'"):
        load_kind("bart").options("sing")


def test_a_seed_decides_what_is_sampled(load_kind: LoadKind) -> None:
    model = load_kind("t5")

    def sample(seed: int) -> str:
        options = replace(model.options("generate"), temperature=1.5, seed=seed)
        return model.generate("hello friend", options).text

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(5)}) > 1


# --- the command line ----------------------------------------------------------------------------


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run([*arguments, "--threads", "1", "--precision", "f32"]) == 0
    return capsys.readouterr().out.split("\n")[:-1]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments]) == 2
    return capsys.readouterr().err


def test_commands_answer_as_the_api_does(
    load_kind: LoadKind, folder_of: FolderOf, capsys: pytest.CaptureFixture[str]
) -> None:
    nllb, t5, bart = (str(folder_of(kind)) for kind in ("nllb_json", "t5", "bart"))
    two = TEXTS[:2]
    translated = lines(capsys, "translate", "-m", nllb, "--from", "en", "--to", "de", *two)
    assert translated == [r.text for r in load_kind("nllb_json").translate_batch(two, "de", "en")]
    summaries = lines(capsys, "summarize", "-m", bart, "--beam", "1", "--max-tokens", "7", *two)
    options = replace(load_kind("bart").options("summarize"), beam_size=1, max_tokens=7)
    made = load_kind("bart").summarize_batch(two, options)
    assert summaries == [printable(result.text) for result in made]
    drawn = ("--temperature", "1.5", "--seed", "4", "--top-k", "9", "--top-p", "0.9")
    answers = lines(capsys, "generate", "-m", t5, *drawn, "--json", *two)
    options = replace(
        load_kind("t5").options("generate"), temperature=1.5, seed=4, top_k=9, top_p=0.9
    )
    assert [json.loads(line)["text"] for line in answers] == [
        result.text for result in load_kind("t5").generate_batch(two, options)
    ]


def test_sampling_puts_published_beams_aside(
    folder_of: FolderOf, capsys: pytest.CaptureFixture[str]
) -> None:
    bart = str(folder_of("bart"))
    assert len(lines(capsys, "generate", "-m", bart, "--temperature", "1", "hello")) == 1
    both = ("--temperature", "1", "--beam", "3")
    assert "exclude each other" in refusal(capsys, "generate", "-m", bart, *both, "hello")


def test_chat_with_a_model_that_cannot_says_what_it_can(
    folder_of: FolderOf, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, "chat", "-m", str(folder_of("bart")))
    assert "has not learnt to hold a conversation; it can summarize, generate" in message


def test_info_shows_family_tasks_and_languages(
    folder_of: FolderOf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["info", str(folder_of("marian"))]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["family"], shown["tasks"]) == ("marian", "translate")
    assert shown["languages"] == "deu, fra, cmn_Hans"
    assert "replies" not in shown


def test_published_translators_are_evaluated_like_any(
    folder_of: FolderOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"source": TEXTS[0], "target": TEXTS[1], "src_lang": "en", "tgt_lang": "de"},
        {"source": TEXTS[2], "target": TEXTS[3], "src_lang": "zh", "tgt_lang": "de"},
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps({"split": "test", **row}) for row in rows))
    for kind in ("nllb_json", "marian"):
        model = str(folder_of(kind))
        if kind == "nllb_json":  # two of its languages are Chinese
            message = refusal(capsys, "evaluate", "--data", str(data), "-m", model)
            assert "'zh' could be each of zho_Hans, zho_Hant" in message
            data.write_text(json.dumps({"split": "test", **rows[0]}))
        (line,) = lines(capsys, "evaluate", "--data", str(data), "-m", model, "--json")
        report = json.loads(line)
        assert report["settings"]["beam_size"] == (3 if kind == "nllb_json" else 4)
        assert report["scores"]["perplexity"]["value"] > 1
