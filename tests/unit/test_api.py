from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import duologue
from duologue import api
from duologue.api import Model, load, model_folder
from duologue.checkpoint.store import load_model
from duologue.errors import CheckpointError, ConfigError, EngineError, InputError
from duologue.runtime import Runtime
from duologue.types import PRECISIONS, Options, Precision, Turn

SHORT = Options(max_tokens=5)


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


# --- the package ---------------------------------------------------------------------------------


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    assert duologue.__all__ == sorted(duologue.__all__)
    for name in duologue.__all__:
        assert getattr(duologue, name) is not None
    assert set(duologue.__all__) <= set(dir(duologue))
    assert set(duologue._MODULES) < set(duologue.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        duologue.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, duologue; print(sorted({'numpy', 'torch', 'tokenizers'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_serving_never_loads_torch() -> None:
    code = (
        "import sys, duologue; duologue.load; duologue.Conversation; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


# --- loading -------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_shipped_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("duo-b", "duo-a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    monkeypatch.setattr(api, "PRETRAINED", tmp_path)
    with pytest.raises(CheckpointError, match=r"no model 'duo-x'.* duo-a, duo-b$"):
        load("duo-x")


def test_a_shipped_model_is_found_by_name_and_goes_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Callable[..., Path]
) -> None:
    shutil.copytree(tiny_model_folder(), tmp_path / "shipped" / "duo-s")
    (tmp_path / "duo-s").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "PRETRAINED", tmp_path / "shipped")
    assert load().config == load(tiny_model_folder()).config
    assert model_folder("duo-s") == tmp_path / "shipped" / "duo-s"
    assert model_folder("./duo-s").resolve() == tmp_path / "duo-s"


def test_settings_that_cannot_be_are_refused(tiny_model_folder: Callable[..., Path]) -> None:
    with pytest.raises(
        InputError, match="unknown precision 'int3'; there are f32, bf16, int8, int4"
    ):
        load(tiny_model_folder(), precision="int3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="threads"):
        load(tiny_model_folder(), threads=0)


@pytest.mark.parametrize("cell", ["transformer", "gru"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_of_each_cell_answers(
    tiny_model_folder: Callable[..., Path], cell: str, precision: Precision
) -> None:
    for stored in ("int8", precision):
        model = load(str(tiny_model_folder(cell, stored)), precision=precision, threads=2)
        assert model.reply("hello", SHORT).finish_reason in ("stop", "length")


# --- dialogue ------------------------------------------------------------------------------------


def test_reply_to_a_text_is_the_first_turn_of_a_conversation(model: Model) -> None:
    alone = model.reply("hello how are you", SHORT)
    said = model.conversation().say("hello how are you", SHORT)
    assert replace(alone, usage=said.usage) == said


def test_reply_reports_what_the_whole_dialogue_lost(model: Model) -> None:
    turns = [Turn("user", "the food was cold " * 30), Turn("agent", "hello"), Turn("user", "hello")]
    checks = model.reply(turns, SHORT).checks
    assert checks.trimmed_turns >= 1
    assert len(checks.source_truncated) == 1


@pytest.mark.parametrize(
    "turns", [[], [Turn("user", "hello"), Turn("agent", "hello")], [("user", "hello")], ""]
)
def test_dialogues_without_a_last_user_turn_are_refused(model: Model, turns: list) -> None:
    with pytest.raises(InputError):
        model.reply(turns)


# --- encode once, decode many --------------------------------------------------------------------


def test_one_memory_is_decoded_in_several_ways(model: Model) -> None:
    memory = model.encode("hello how are you")
    translated = model.decode(memory, "translate zh", SHORT)
    assert (
        translated.text
        == model.translate("hello how are you", "zh", options=SHORT, check=False).text
    )
    replied = model.decode(memory, "reply", SHORT)
    assert replied.text == model.reply("hello how are you", SHORT).text
    prefix = [model.tokenizer.control_id("<reply>")]
    assert model.decode(memory, prefix, SHORT).text == replied.text
    assert replied.usage.reused_tokens == memory.num_tokens


def test_a_reply_is_asked_for_in_the_language_that_the_user_spoke_last(
    tiny_model_folder: Callable[..., Path],
) -> None:
    loaded = load_model(tiny_model_folder())
    config = replace(loaded.config, reply_languages=("en", "zh"))
    model = Model(Runtime(replace(loaded, config=config), threads=1))
    runtime = model._runtime
    english, chinese = (runtime.template.prefix("reply", to_language=code) for code in ("en", "zh"))
    assert english != chinese

    memory = model.encode("42")
    assert runtime.reply_prefix(memory) == english  # no sign yet: the model's first language
    memory = model.encode("你好，今天天气怎么样？", memory)
    assert runtime.reply_prefix(memory) == chinese
    memory = model.encode("what time does it leave", memory, role="agent")
    memory = model.encode("42", memory)
    assert runtime.reply_prefix(memory) == chinese  # neither the agent nor a number changes it
    assert (
        model.decode(memory, "reply", SHORT).text == model.decode(memory, chinese.ids, SHORT).text
    )
    assert (
        model.decode(memory, "reply en", SHORT).text
        == model.decode(memory, english.ids, SHORT).text
    )
    assert runtime.reply_prefix(model.encode("what time", memory)) == english
    with pytest.raises(InputError, match="unknown language 'de'; this model knows en, zh"):
        model.decode(memory, "reply de")


def test_a_conversation_answers_in_the_language_of_its_last_turn(
    tiny_model_folder: Callable[..., Path],
) -> None:
    loaded = load_model(tiny_model_folder())
    config = replace(loaded.config, reply_languages=("en", "zh"))
    model = Model(Runtime(replace(loaded, config=config), threads=1))
    talk = model.conversation()
    talk.add("user", "hello how are you")
    for text, language in (("你好", "zh"), ("what time", "en")):
        expected = talk.fork()
        expected.add("user", text)
        said = model.decode(
            expected.memory, f"reply {language}", Options(max_tokens=5, no_repeat_ngram_size=6)
        )
        assert talk.say(text, Options(max_tokens=5, no_repeat_ngram_size=6)).text == said.text


def test_encode_appends_without_changing_the_memory_it_was_given(model: Model) -> None:
    first = model.encode("hello")
    both = model.encode("what time", first, role="agent")
    assert len(first.segments) == 1
    assert both.segments[0] is first.segments[0]
    assert both.encoded_tokens == both.num_tokens - first.num_tokens
    assert model.encode("hello", role="document").segments[0].is_document


def test_encode_refuses_what_does_not_fit_with_the_sizes(model: Model) -> None:
    memory = model.encode("hello")
    text = "the food was cold " * 30
    with pytest.raises(InputError, match=rf"room for {64 - memory.num_tokens} of 64"):
        model.encode(text, memory)
    with pytest.raises(InputError, match="unknown role"):
        model.encode("hello", role="robot")  # type: ignore[arg-type]


def test_decode_refuses_foreign_memories_unknown_tasks_and_ids(
    model: Model, tiny_model_folder: Callable[..., Path]
) -> None:
    memory = model.encode("hello")
    with pytest.raises(InputError, match="has not learnt the task 'sing'; it knows reply, tr"):
        model.decode(memory, "sing")
    with pytest.raises(
        InputError, match="language to translate to is missing; this model knows en, zh"
    ):
        model.decode(memory, "translate")
    for prefix in ([], [model.tokenizer.vocab_size], [-1]):
        with pytest.raises(EngineError):
            model.decode(memory, prefix)
    cell = "gru" if model.config.cell == "transformer" else "transformer"
    with pytest.raises(EngineError):
        model.decode(load(tiny_model_folder(cell), threads=1).encode("hello"), "reply")
    model._runtime.engine.check()


def test_more_tokens_than_the_model_has_positions_for_are_lowered(model: Model) -> None:
    result = model.decode(model.encode("hello"), "reply", Options(max_tokens=10**6))
    assert result.usage.produced_tokens <= 63


def test_a_model_that_has_not_learnt_a_task_says_what_it_knows(
    tiny_model_folder: Callable[..., Path],
) -> None:
    loaded = load_model(tiny_model_folder())
    config = replace(loaded.config, tasks=("reply",), label_sets={}, languages=())
    model = Model(Runtime(replace(loaded, config=config), threads=1))
    for call in (
        lambda: model.translate("hello", "zh"),
        lambda: model.sentiment("hello"),
        lambda: model.intent("hello", "bank"),
    ):
        with pytest.raises(InputError, match=r"knows (reply|none)"):
            call()


# --- threads -------------------------------------------------------------------------------------


def test_threads_get_what_they_would_get_alone(model: Model) -> None:
    jobs: list[Callable[[], object]] = [
        lambda: model.translate("hello how are you", "zh", options=SHORT, check=False).text,
        lambda: model.sentiment("the food was cold").probabilities,
        lambda: model.reply("what time", Options(max_tokens=9, temperature=1, seed=5)).text,
        lambda: model.intent("the card has not arrived", "bank").probabilities,
        lambda: model.translate("你好", "en", options=Options(max_tokens=7, beam_size=3)).text,
    ]
    expected = [job() for job in jobs]
    with ThreadPoolExecutor(5) as pool:
        for _ in range(3):
            assert list(pool.map(lambda job: job(), jobs)) == expected
    model._runtime.engine.check()
