"""Fine-tuning models of imported families: from their folder to ours, and back to theirs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from model_shapes import FAMILIES
from published_tokenizers import VOCAB_SIZE, WORDS, Published
from tiny_transformers import SIDE, T5, draw_weights

from duologue.checkpoint.store import LoadedModel, load_model, save_model
from duologue.cli import run
from duologue.config import Recipe, from_dict, replace
from duologue.data.batching import Batch, collate
from duologue.data.dataset import open_datasets
from duologue.data.encoding import Encoded, as_one_text, encode_all
from duologue.data.survey import Contents
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import ConfigError, DataError
from duologue.model.seq2seq import Seq2Seq
from duologue.text.imported import ImportedTokenizer
from duologue.text.imported_template import ImportedTemplate
from duologue.training import progress, setup, trainer
from duologue.training.shape import imported_tasks
from duologue.training.state import load_checkpoint
from duologue.training.validation import tensors
from duologue.types import Turn

KINDS = ("t5", "marian_pair")
LORA = {"rank": 4, "alpha": 16, "targets": ["attention", "feed_forward"]}
TRAINING = {"max_steps": 30, "warmup_steps": 2, "validate_every": 15, "keep_every": 7,
            "generate_examples": 2, "validate_examples": 4, "learning_rate": 0.02,
            "dropout": 0.0}  # fmt: skip
DATA = {"batch_tokens": 512, "max_source": 64, "max_target": 64, "bucket_batches": 2}


def publish(kind: str, tokenizers: Published, folder: Path) -> Path:
    """A folder as published, with a tokenizer of a kind and a tiny random model."""
    shutil.copytree(tokenizers.folder(kind), folder)
    torch.manual_seed(1)
    model: Any
    if kind == "t5":
        model = transformers.T5ForConditionalGeneration(
            transformers.T5Config(**{**T5, "vocab_size": VOCAB_SIZE})
        )
    else:
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        size, pad_id = len(vocabulary), vocabulary["<pad>"]
        config = transformers.MarianConfig(
            **{**SIDE, "vocab_size": size}, decoder_vocab_size=size, scale_embedding=True,
            pad_token_id=pad_id, decoder_start_token_id=pad_id, eos_token_id=0,
            forced_eos_token_id=0, bad_words_ids=[[pad_id]],
        )  # fmt: skip
        model = transformers.MarianMTModel(config)
    draw_weights(model)
    model.save_pretrained(folder)
    return folder


def corpus(kind: str) -> list[dict[str, Any]]:
    """Translations that copy; for a model that takes prompts also labels and dialogues."""
    rows: list[dict[str, Any]] = []
    for index in range(24):
        text = " ".join(WORDS[(index * step) % 12] for step in (1, 5, 7))
        rows.append({"source": text, "target": text, "src_lang": "en", "tgt_lang": "de"})
        if kind == "t5":
            rows.append({"text": text, "label": "good" if index % 2 else "bad"})
            turns = [("user", text), ("agent", "yes please"), ("user", "ok"), ("agent", "help")]
            rows.append({"turns": [{"role": role, "text": said} for role, said in turns]})
    return [{"split": "valid" if index < 6 else "train", **row} for index, row in enumerate(rows)]


@pytest.fixture
def make_recipe(tmp_path: Path, tokenizers: Published) -> Callable[..., Recipe]:
    """make_recipe(kind, output, rows=..., init=folder, **training)"""

    def make(
        kind: str,
        output: str = "run",
        rows: list[dict[str, Any]] | None = None,
        init: Path | None = None,
        augment: dict[str, Any] | None = None,
        **training: Any,
    ) -> Recipe:
        published = tmp_path / f"published-{kind}"
        if init is None and not published.exists():
            publish(kind, tokenizers, published)
        lines = map(json.dumps, corpus(kind) if rows is None else rows)
        (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        sets = [{"path": "rows.jsonl", "augment": augment or {}}]
        values = {
            "output": str(tmp_path / output),
            "data": {"root": str(tmp_path), "sets": sets, **DATA},
            "training": {**TRAINING, **training},
            "init": str(init or published),
        }
        return from_dict(Recipe, values, "test")

    return make


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "draw_plots", lambda metrics, folder: None)


def train(recipe: Recipe) -> Path:
    model = trainer.train(recipe).model
    assert model is not None
    return model


def mean_loss(logits: torch.Tensor, batch: Batch) -> float:
    labels = torch.tensor(batch.tgt_out).long()
    return torch.nn.functional.cross_entropy(logits.mT, labels, ignore_index=-1).item()


def encoded_rows(recipe: Recipe, loaded: LoadedModel) -> list[Encoded]:
    """The valid rows, as a loaded model reads them."""
    assert isinstance(loaded.tokenizer, ImportedTokenizer)
    template = ImportedTemplate(loaded.config, loaded.tokenizer)
    (dataset,) = open_datasets(recipe.data, None)
    return [
        part
        for example in dataset.examples("valid")
        for part in encode_all(example, loaded.tokenizer, template, dataset.path)
    ]


def our_logits(loaded: LoadedModel, batch: Batch) -> torch.Tensor:
    model = Seq2Seq(loaded.config).eval()
    arrays = {name: torch.tensor(np.asarray(array)) for name, array in loaded.weights.items()}
    model.load_state_dict(arrays)
    source, target, _ = tensors(batch, torch.device("cpu"))
    with torch.no_grad():
        return model.logits(model(source, target))


def their_logits(folder: Path, batch: Batch) -> torch.Tensor:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor(batch.src_ids).long(),
            attention_mask=torch.tensor(batch.src_segment >= 0).long(),
            decoder_input_ids=torch.tensor(batch.tgt_in).long(),
        )
    return output.logits


def engine_logits(loaded: LoadedModel, row: Encoded) -> np.ndarray:
    forward = Forward(loaded.config, loaded.weights, threads=1)
    state = forward.start(forward.encode(row.segments[0], Memory.empty()))
    ids = (*row.targets[0].prefix, *row.targets[0].text)
    return np.concatenate([forward.decode_step([state], [idx]) for idx in ids])


@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fine_tuned_model_is_ours_and_goes_back_to_transformers(
    make_recipe: Callable[..., Recipe],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    lora: dict[str, Any] | None,
) -> None:
    recipe = make_recipe(kind, lora=lora)
    folder = train(recipe)
    loaded = load_model(folder, "f32")
    assert loaded.config.languages == ("de",)
    rows = encoded_rows(recipe, loaded)
    batch = collate(rows, loaded.tokenizer.pad_id, loaded.tokenizer.eos_id)
    ours = our_logits(loaded, batch)
    assert recipe.init is not None
    before = our_logits(load_model(Path(recipe.init), "f32"), batch)
    share = 0.7 if lora is None else 0.97  # beside random weights adapters alone can do little
    assert mean_loss(ours, batch) < share * mean_loss(before, batch)

    exported = tmp_path / "exported"
    assert run(["export", str(folder), str(exported)]) == 0
    assert str(exported) in capsys.readouterr().out
    theirs = their_logits(exported, batch)
    seen = torch.tensor(batch.tgt_block >= 0)
    assert (ours - theirs)[seen].abs().max() < 1e-4 * theirs[seen].abs().max()

    alone = torch.tensor(engine_logits(loaded, rows[0]))
    assert (alone - ours[0, : len(alone)]).abs().max() < 1e-4 * ours[0].abs().max()


@pytest.mark.parametrize("lora", [None, {**LORA, "dropout": 0.2}], ids=["all weights", "lora"])
def test_a_stopped_run_resumes_to_identical_weights(
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    lora: dict[str, Any] | None,
) -> None:
    settings = {"max_steps": 8, "keep_every": 3, "ema_decay": 0.9, "dropout": 0.2, "lora": lora}
    whole, killed = (make_recipe("t5", name, **settings) for name in ("whole", "killed"))
    trainer.train(whole)
    original, calls = trainer.sum_gradients, []

    def crash(run: setup.Run) -> tuple[float, float]:
        calls.append(run)
        if len(calls) == 5:
            raise MemoryError
        return original(run)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "sum_gradients", crash)
        with pytest.raises(MemoryError):
            trainer.train(killed)
    trainer.train(killed, resume=True)
    one, two = (load_checkpoint(Path(recipe.output) / setup.LAST)[0] for recipe in (whole, killed))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_adapters_change_nothing_but_what_they_stand_beside(
    make_recipe: Callable[..., Recipe],
) -> None:
    recipe = make_recipe("t5", max_steps=3, lora={**LORA, "targets": ["feed_forward"]})
    assert recipe.init is not None
    before = load_model(Path(recipe.init), "f32").weights
    after = load_model(train(recipe), "f32").weights
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in before if ".ff." in name and "norm" not in name}


def test_a_model_that_was_trained_here_can_be_trained_further(
    make_recipe: Callable[..., Recipe],
) -> None:
    first = make_recipe("t5", "first", max_steps=3)
    model = train(first)
    second = make_recipe("t5", "second", init=model, max_steps=3, learning_rate=1e-9)
    start, end = load_model(model, "f32"), load_model(train(second), "f32")
    assert end.config == start.config
    for name, weight in start.weights.items():
        np.testing.assert_allclose(end.weights[name], weight, atol=1e-6)


def test_rows_become_prompts_texts_and_targets(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe("t5", max_steps=3)
    loaded = load_model(train(recipe), "f32")
    config, tokenizer = loaded.config, loaded.tokenizer
    assert config.tasks == ("generate", "reply", "sentiment", "translate")
    assert config.label_sets == {"rows": ("bad", "good")}
    assert config.generation is not None
    assert config.generation.prompts == {
        "translate en de": "translate en to de: ",
        "reply": "reply: ",
        "sentiment": "sentiment: ",
    }
    translation, label, reply, last_reply, *_ = encoded_rows(recipe, loaded)
    assert tokenizer.decode(list(translation.segments[0])).startswith("translate en to de: the")
    assert tokenizer.decode(list(label.segments[0])).startswith("sentiment: the")
    assert [row.targets[0].prefix for row in (translation, label)] == [(0,), (0,)]
    assert tokenizer.decode(list(label.targets[0].text)) == "bad"
    assert tokenizer.decode(list(reply.segments[0])) == "reply: the the the"
    text = "reply: user: the the the agent: yes please user: ok"
    assert tokenizer.decode(list(last_reply.segments[0])) == text
    batch = collate([translation], tokenizer.pad_id, tokenizer.eos_id)
    target = translation.targets[0].text
    assert batch.tgt_out[0].tolist() == [*target, tokenizer.eos_id]


def test_one_turn_is_its_text_and_several_name_their_roles() -> None:
    turns = [Turn("document", "It is cold."), Turn("user", "How is it?")]
    assert as_one_text(turns[1:]) == "How is it?"
    assert as_one_text(turns) == "document: It is cold.\nuser: How is it?"


def test_language_tokens_are_those_of_the_row(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = [
        {"source": "my friend", "target": "mon ami", "src_lang": "en", "tgt_lang": code}
        for code in ("fr", "de")
    ]
    recipe = make_recipe("marian", rows=[{"split": "valid", **row} for row in rows] + rows)
    assert recipe.init is not None
    loaded = load_model(Path(recipe.init), "f32")
    tokenizer = loaded.tokenizer
    french, german = encoded_rows(recipe, loaded)
    assert french.segments[0][0] == tokenizer.control_id(">>fra<<")
    assert german.segments[0][0] == tokenizer.control_id(">>deu<<")
    assert french.segments[0][-1] == tokenizer.eos_id


@pytest.mark.parametrize(
    ("kind", "rows", "problem"),
    [
        (
            "marian_pair",
            [{"source": "a", "target": "b", "src_lang": "en", "tgt_lang": code} for code in "xy"],
            "translates into one language.*x, y",
        ),
        (
            "marian",
            [{"source": "a", "target": "b", "src_lang": "en", "tgt_lang": "ja"}] * 2,
            r"rows.jsonl, line \d: unknown language 'ja'",
        ),
        ("marian", [{"turns": [{"role": "user", "text": "a"}]}], "no train rows to learn from"),
    ],
)
def test_data_that_a_model_cannot_learn_is_refused(
    make_recipe: Callable[..., Recipe], kind: str, rows: list[dict[str, Any]], problem: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=problem):
        trainer.train(make_recipe(kind, rows=rows))


def test_a_model_that_hears_is_refused(make_recipe: Callable[..., Recipe]) -> None:
    contents = Contents((), (), (), ("sentiment",), {})
    with pytest.raises(ConfigError, match="hears cannot be trained on texts"):
        imported_tasks(FAMILIES["whisper"], contents, make_recipe("t5"))


def test_a_pair_that_a_model_knows_keeps_its_prompt(make_recipe: Callable[..., Recipe]) -> None:
    t5 = FAMILIES["t5"]
    assert t5.generation is not None
    prompts = {"translate en de": "translate English to German: "}
    known = replace(
        t5,
        tasks=("generate", "translate"),
        languages=("de",),
        generation=replace(t5.generation, prompts=prompts),
    )
    pairs = (("en", "de"), ("en", "fr"))
    contents = Contents(("de", "fr"), pairs, (), ("translate",), {})
    taught = imported_tasks(known, contents, make_recipe("t5"))
    assert taught.languages == ("de", "fr")
    assert taught.generation is not None
    added = {"translate en fr": "translate en to fr: "}
    assert taught.generation.prompts == prompts | added


def test_denoising_is_refused(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe("t5", rows=[{"text": "a house"}] * 4, augment={"denoise": True})
    with pytest.raises(ConfigError, match="no token for what is masked"):
        trainer.train(recipe)


def test_our_own_model_is_not_exported(
    tiny_model_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(tiny_model_folder()), str(tmp_path / "out")]) == 2
    assert "family duo has no other form" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_ours_without_training_can_be_exported(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = make_recipe("t5")
    assert recipe.init is not None
    loaded = load_model(Path(recipe.init), "f32")
    save_model(tmp_path / "ours", loaded.config, loaded.weights, loaded.tokenizer, "# ours\n")
    assert run(["export", str(tmp_path / "ours"), str(tmp_path / "theirs")]) == 0
    again = load_model(tmp_path / "theirs", "f32")
    assert all(np.array_equal(again.weights[name], loaded.weights[name]) for name in again.weights)
