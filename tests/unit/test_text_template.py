"""Sources and prefixes of imported families against transformers; what a folder says it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from published_tokenizers import FAMILY, SENTINELS, VOCAB_SIZE, Published, texts

from duologue.config import GenerationConfig, ModelConfig
from duologue.errors import ConfigError, InputError
from duologue.text.describe import describe
from duologue.text.imported import ImportedTokenizer, load_imported_tokenizer
from duologue.text.imported_template import ImportedTemplate, Prefix, SourceIds
from duologue.text.language_codes import resolve_language

T5_TASKS = {
    "summarization": {"prefix": "summarize: ", "num_beams": 4},
    "translation_en_to_de": {"prefix": "translate English to German: "},
    "translation_en_to_fr": {"prefix": "translate English to French: "},
}
SUMMARIZER = {"task_specific_params": {"summarization": {"num_beams": 4}}, "prefix": " "}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("published"))


def template(
    kind: str,
    tokenizer: ImportedTokenizer,
    values: dict[str, Any] | None = None,
    forced: int | None = None,
    name: str = "",
) -> ImportedTemplate:
    """The template of a model that was published with these values in its config.json."""
    said = describe(values or {}, FAMILY[kind], tokenizer, name)
    is_speech = FAMILY[kind] == "whisper"
    start = tokenizer.controls["<|startoftranscript|>"] if is_speech else tokenizer.pad_id
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        family=FAMILY[kind],
        encoder_mask="full",
        front_end="mel" if is_speech else "tokens",
        mel_bins=80 if is_speech else 0,
        tasks=said.tasks,
        languages=said.languages,
        generation=GenerationConfig(
            start_ids=(start,),
            eos_ids=(tokenizer.eos_id,),
            pad_id=tokenizer.pad_id,
            forced_first_id=forced,
            languages=said.language_ids,
            prompts=said.prompts,
        ),
    )
    return ImportedTemplate(config, tokenizer)


def own(source: SourceIds) -> list[int]:
    return list(source.ids[source.start : source.stop])


# --- sources -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["t5", "t5_json", "byt5", "pegasus", "pegasus_json", "bart", "bart_json", "gemma"]
)
def test_a_source_is_what_the_published_tokenizer_makes_of_a_text(
    kind: str, published: Published
) -> None:
    ours, theirs = template(kind, published.load(kind)), published.oracle(kind)
    for text in texts(50):
        source = ours.source(text, "generate")
        assert list(source.ids) == theirs(text)["input_ids"]
        assert own(source) == published.load(kind).encode(text)


@pytest.mark.parametrize("kind", ["t5", "nllb_json", "bart"])
def test_a_text_alone_has_no_more_than_its_end(kind: str, published: Published) -> None:
    tokenizer = published.load(kind)
    for text in texts(20):
        alone = template(kind, tokenizer).alone(text)
        assert list(alone.ids) == [*tokenizer.encode(text), tokenizer.eos_id]
        assert list(alone.ids[alone.start : alone.stop]) == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("kind", "code", "target"),
    [
        ("mbart", "de_DE", "en_XX"),
        ("mbart_json", "de_DE", "en_XX"),
        ("nllb_json", "deu_Latn", "eng_Latn"),
        ("m2m", "de", "en"),
    ],
)
def test_a_source_begins_with_its_language(
    kind: str, code: str, target: str, published: Published
) -> None:
    ours, theirs = template(kind, published.load(kind)), published.oracle(kind)
    theirs.src_lang = code
    for text in texts(50):
        source = ours.source(text, "translate", "de", "en")
        assert list(source.ids) == theirs(text)["input_ids"]
        assert own(source) == published.load(kind).encode(text)
    forced = theirs.convert_tokens_to_ids(f"__{target}__" if kind == "m2m" else target)
    assert ours.prefix("translate", "de", "en").forced == (forced,)


def test_mbart_of_25_languages_has_its_source_language_at_the_end(
    published: Published, tmp_path: Path
) -> None:
    codes = [f"{'abcde'[index // 5]}{'vwxyz'[index % 5]}_XX" for index in range(25)]
    published.load("mbart").save(tmp_path)
    listing = f'{{"additional_special_tokens": {codes}}}'.replace("'", '"')
    (tmp_path / "tokenizer_config.json").write_text(listing)
    tokenizer = load_imported_tokenizer(tmp_path, "mbart", VOCAB_SIZE)
    ours = template("mbart", tokenizer)
    source, target = tokenizer.controls["av_XX"], tokenizer.controls["aw_XX"]
    expected = [*tokenizer.encode("house"), tokenizer.eos_id, source]
    assert list(ours.source("house", "translate", "av", "aw").ids) == expected
    assert ours.prefix("translate", "av", "aw") == Prefix((target,))


def test_marian_says_the_target_in_front(published: Published) -> None:
    ours, theirs = template("marian", published.load("marian")), published.oracle("marian")
    for text in texts(50):
        source = ours.source(text, "translate", to_language="fr")
        assert list(source.ids) == theirs(f">>fra<< {text}")["input_ids"]
        assert own(source) == published.load("marian").encode(text)


def test_a_marian_pair_says_no_language(published: Published) -> None:
    kind = "marian_pair"
    ours = template(kind, published.load(kind), name="opus-mt-en-de")
    theirs = published.oracle(kind)
    for text in texts(50):
        source = ours.source(text, "translate", "en", "deu")
        assert list(source.ids) == theirs(text)["input_ids"]


def test_madlad_says_the_target_in_front(published: Published) -> None:
    tokenizer = published.load("madlad")
    source = template("madlad", tokenizer).source("the house", "translate", to_language="de")
    marker = tokenizer.marker_ids(tokenizer.control_id("<2de>"))
    assert list(source.ids) == [*marker, *tokenizer.encode("the house"), tokenizer.eos_id]
    assert own(source) == tokenizer.encode("the house")


@pytest.mark.parametrize("code", ["de", "fr"])  # a special token, and one that is not
def test_a_language_token_that_is_taken_out_of_the_text_has_no_blank_before_it(
    code: str, published: Published
) -> None:
    kind = "madlad_added"
    ours, theirs = template(kind, published.load(kind)), published.oracle(kind)
    for text in texts(50):
        source = ours.source(text, "translate", to_language=code)
        assert list(source.ids[:-1]) == theirs(f"<2{code}> {text}")["input_ids"]
        assert source.start == 1


@pytest.mark.parametrize("kind", ["t5", "t5_json", "byt5"])
def test_prompts_are_those_of_the_config(kind: str, published: Published) -> None:
    ours = template(kind, published.load(kind), {"task_specific_params": T5_TASKS})
    theirs = published.oracle(kind)
    for text in ["the house", "das Haus", "你好"]:
        prompted = ours.source(text, "translate", "en", "de")
        assert list(prompted.ids) == theirs(f"translate English to German: {text}")["input_ids"]
        assert published.load(kind).decode(own(prompted)) == published.load(kind).decode(
            published.load(kind).encode(text)
        )
        summary = ours.source(text, "summarize")
        assert list(summary.ids) == theirs(f"summarize: {text}")["input_ids"]
        assert list(ours.source(text, "generate").ids) == theirs(text)["input_ids"]


def test_a_prompt_that_joins_the_first_word_belongs_to_the_text(published: Published) -> None:
    ours = template("bart", published.load("bart"), SUMMARIZER)
    source = ours.source("house", "summarize")
    assert list(source.ids) == published.oracle("bart")(" house")["input_ids"]
    assert published.load("bart").decode(own(source)) == "house"


@pytest.mark.parametrize("text", ["</s>", ">>fra<< house", "<2fr> house", "de_DE", "__fr__ a"])
@pytest.mark.parametrize("kind", ["t5_json", "madlad", "marian", "mbart_json", "m2m", "bart_json"])
def test_control_tokens_in_a_text_do_not_count(kind: str, text: str, published: Published) -> None:
    tokenizer = published.load(kind)
    ours = template(kind, tokenizer)
    language = {"madlad": "zh_Hant", "marian": "deu"}.get(kind, "en")
    source = ours.source(text, describe({}, FAMILY[kind], tokenizer).tasks[0], "en", language)
    controls = set(tokenizer.controls.values()) - {tokenizer.controls["<unk>"]}
    assert controls.isdisjoint(own(source))


# --- prefixes ------------------------------------------------------------------------------------


def test_a_prefix_is_the_start_and_what_is_forced(published: Published) -> None:
    tokenizer = published.load("bart")
    assert template("bart", tokenizer).prefix("generate") == Prefix((tokenizer.pad_id,))
    forced = template("bart", tokenizer, forced=0).prefix("generate")
    assert forced == Prefix((tokenizer.pad_id,), (0,))


@pytest.mark.parametrize("kind", ["whisper", "whisper_json"])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
@pytest.mark.parametrize("with_timestamps", [False, True])
def test_speech_is_told_its_language_and_what_to_do(
    kind: str, task: str, with_timestamps: bool, published: Published
) -> None:
    theirs = published.oracle(kind)
    theirs.set_prefix_tokens(language="de", task=task, predict_timestamps=with_timestamps)
    ours = template(kind, published.load(kind)).prefix(task, "de", with_timestamps=with_timestamps)
    assert list(ours.ids) == theirs.prefix_tokens
    assert ours.forced == ()


def test_english_speech_is_told_nothing(published: Published) -> None:
    tokenizer = published.load("whisper")
    ours = template("whisper", tokenizer, {"is_multilingual": False})
    start, silent = (tokenizer.controls[SENTINELS[index]] for index in (1, -1))
    assert ours.prefix("transcribe") == Prefix((start, silent))
    with pytest.raises(InputError, match="it knows transcribe"):
        ours.prefix("translate", "en")
    with pytest.raises(InputError, match="unknown language 'de'; this model knows en"):
        ours.prefix("transcribe", "de")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "languages", "problem"),
    [
        ("mbart", ("en", None), "translate to is missing.*en_XX"),
        ("mbart", (None, "en"), "translate from is missing.*en_XX"),
        ("mbart", ("en", "xx"), "unknown language 'xx'.*and 28 more"),
        ("nllb_json", ("en", "zh"), "'zh' could be each of zho_Hans, zho_Hant"),
        ("nllb_json", ("xx", "en"), "unknown language 'xx'.*deu_Latn"),
        ("m2m", ("en", "eng_US"), "unknown language 'eng_US'; this model knows en, "),
        ("marian", (None, None), "translate to is missing.*fra"),
        ("marian", (None, "it"), "unknown language 'it'.*fra"),
        ("marian_pair", (None, "de"), "does not say which languages"),
        ("madlad", (None, "zh_Hans"), "unknown language 'zh_Hans'.*zh_Hant"),
        ("t5", ("en", "it"), "unknown language 'it'.*de, fr"),
        ("t5", ("fr", "de"), "unknown language 'fr'.*en"),
        ("t5", ("en", None), "translate to is missing.*de, fr"),
    ],
)
def test_a_wrong_or_missing_language_is_refused_with_those_there_are(
    kind: str, languages: tuple[str | None, str | None], problem: str, published: Published
) -> None:
    ours = template(
        kind, published.load(kind), {"task_specific_params": T5_TASKS} if kind == "t5" else {}
    )
    with pytest.raises(InputError, match=problem):
        ours.source("house", "translate", *languages)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("transcribe",), "spoken is missing.*en, zh, de"),
        (("transcribe", "fr"), "unknown language 'fr'.*en, zh, de"),
        (("translate", "de", "fr"), "unknown language 'fr'.*en"),
        (("transcribe", "de", "en"), "unknown language 'en'.*de"),
        (("summarize",), "has not learnt the task 'summarize'.*transcribe, translate"),
    ],
)
def test_speech_in_a_wrong_or_missing_language_is_refused(
    arguments: tuple[str, ...], problem: str, published: Published
) -> None:
    with pytest.raises(InputError, match=problem):
        template("whisper", published.load("whisper")).prefix(*arguments)


def test_a_model_of_speech_reads_no_texts(published: Published) -> None:
    with pytest.raises(InputError, match="reads speech"):
        template("whisper", published.load("whisper")).source("house", "transcribe", "en")


def test_a_model_that_is_not_imported_has_no_template(published: Published) -> None:
    with pytest.raises(ConfigError, match="generation"):
        ImportedTemplate(ModelConfig(vocab_size=VOCAB_SIZE), published.load("t5"))


# --- what a folder says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "tasks"),
    [
        ("t5", {}, ("generate",)),
        ("t5", {"task_specific_params": T5_TASKS}, ("generate", "translate", "summarize")),
        ("byt5", {"task_specific_params": None}, ("generate",)),
        ("byt5", {"task_specific_params": {"summarization": 1}}, ("generate",)),
        ("madlad", {}, ("translate",)),
        ("bart", {}, ("generate",)),
        ("bart", SUMMARIZER, ("summarize", "generate")),
        ("bart", {"min_length": 11}, ("summarize", "generate")),
        (
            "bart",
            {"task_specific_params": {"summarization": {}, "summarization_cnn": {}}},
            ("generate",),
        ),
        ("pegasus", {}, ("summarize", "generate")),
        ("mbart", {}, ("translate",)),
        ("nllb", {}, ("translate",)),
        ("m2m", {}, ("translate",)),
        ("marian", {}, ("translate",)),
        ("marian_pair", {}, ("translate",)),
        ("whisper", {}, ("transcribe", "translate")),
        ("whisper", {"vocab_size": 51864}, ("transcribe",)),
        ("gemma", {}, ("generate",)),
    ],
)
def test_tasks_follow_from_the_folder(
    kind: str, values: dict[str, Any], tasks: tuple[str, ...], published: Published
) -> None:
    assert describe(values, FAMILY[kind], published.load(kind)).tasks == tasks


def test_languages_follow_from_the_tokenizer(published: Published) -> None:
    said = {
        kind: describe({}, FAMILY[kind], published.load(kind))
        for kind in ("mbart", "mbart_json", "nllb_json", "m2m", "marian", "madlad", "whisper")
    }
    assert len(said["mbart"].languages) == len(said["mbart_json"].languages) == 52
    assert set(said["nllb_json"].languages) == {"deu_Latn", "eng_Latn", "zho_Hans", "zho_Hant"}
    assert said["m2m"].languages[:3] == ("af", "am", "ar")
    assert said["marian"].languages == ("deu", "fra", "cmn_Hans")
    assert said["madlad"].languages == ("de", "fr", "zh_Hant")
    assert said["whisper"].languages == ("en", "zh", "de")
    for kind, one in said.items():
        for code in one.languages:
            spelled = {"m2m": f"__{code}__", "marian": f">>{code}<<", "madlad": f"<2{code}>"}
            token = spelled.get(kind, f"<|{code}|>" if kind == "whisper" else code)
            assert published.load(kind).controls[token] == one.language_ids[code]


@pytest.mark.parametrize(
    ("values", "name", "languages"),
    [
        ({}, "opus-mt-en-de", ("de",)),
        ({}, "opus-mt-tc-big-en-fr", ("fr",)),
        ({}, "opus-mt-ROMANCE-en", ("en",)),
        ({"_name_or_path": "Helsinki-NLP/opus-mt-de-en"}, "renamed", ("en",)),
        ({}, "renamed", ()),
    ],
)
def test_a_marian_pair_takes_its_target_from_its_name(
    values: dict[str, Any], name: str, languages: tuple[str, ...], published: Published
) -> None:
    assert describe(values, "marian", published.load("marian_pair"), name).languages == languages


@pytest.mark.parametrize(
    ("code", "known", "meant"),
    [
        ("en", ("en_XX", "zh_CN"), "en_XX"),
        ("ZH", ("en_XX", "zh_CN"), "zh_CN"),
        ("zh-cn", ("en_XX", "zh_CN"), "zh_CN"),
        ("de", ("eng_Latn", "deu_Latn"), "deu_Latn"),
        ("ar", ("arz_Arab", "arb_Arab"), "arb_Arab"),
        ("deu", ("en", "de"), "de"),
        ("zh", ("cmn_Hans", "fra"), "cmn_Hans"),
        ("yue", ("yue_Hant", "zho_Hant"), "yue_Hant"),
    ],
)
def test_a_plain_code_names_the_only_spelling_of_its_language(
    code: str, known: tuple[str, ...], meant: str
) -> None:
    assert resolve_language(code, known) == meant


@pytest.mark.parametrize(
    ("code", "known"),
    [
        ("zh", ("zho_Hans", "zho_Hant")),
        ("zh_TW", ("zh_CN", "en_XX")),
        ("e", ("en_XX",)),
        ("", ("en",)),
        ("de", ()),
    ],
)
def test_a_code_that_names_no_or_several_languages_is_refused(
    code: str, known: tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match="language"):
        resolve_language(code, known)


def test_of_very_many_languages_the_close_ones_are_listed_first() -> None:
    known = [f"{letter}{other}" for letter in "abcdefgh" for other in "abcdefgh"]
    with pytest.raises(InputError, match=r"knows hh, [a-h, ]* and 40 more$") as refused:
        resolve_language("hxh", known)
    assert "ha" in str(refused.value)
    assert "dd" not in str(refused.value)
