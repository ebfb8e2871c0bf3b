"""Tiny tokenizers in the files of each imported family, and the library that reads them as well.

KINDS       every kind of files that there is
FAMILY      kind -> family
Published   folder(kind), load(kind) and oracle(kind): its files, and both readings of them
texts       what to compare them on
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from duologue.config.model import Family
from duologue.text.imported import ImportedTokenizer, load_imported_tokenizer

VOCAB_SIZE = 1000
_WORDS = """
the a house train station where is my friend card has not arrived yet please help me today Haus
Bahnhof Straße schön über größer müde das ist ein kleiner Hund 你好 今天 天气 怎么样 火车站 在哪里
we like music and good food 3 15 2024 hello , . ! ? : ; - ( ) ' " < > / _ | 2 x e s d r f a
"""
WORDS = _WORDS.split()
RARE = ["zebra", "😀", "Ωμέγα", "x_1", "€5", "ﬁ", "naïve"]
SENTINELS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|zh|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
NLLB_LANGUAGES = ["deu_Latn", "eng_Latn", "zho_Hans", "zho_Hant"]
T5_PIECES = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
FAIRSEQ_PIECES = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}


def corpus() -> list[str]:
    generator = random.Random(5)
    return [" ".join(generator.choices(WORDS, k=generator.randint(3, 12))) for _ in range(600)]


def texts(count: int = 200) -> list[str]:
    """Texts with common and rare words, and with blanks of every kind between them."""
    generator = random.Random(1)
    lines = []
    for _ in range(count):
        words = generator.choices([*WORDS, *RARE], k=generator.randint(1, 9))
        blank = generator.choice(["  ", "\n", "\t"]) if generator.random() < 0.3 else " "
        lines.append(blank.join(words))
    return lines


# --- writing -------------------------------------------------------------------------------------


def _train_pieces(path: Path, **options: Any) -> list[str]:
    """Train a SentencePiece model, save it, and give its pieces."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_prefix=str(path),
        **{
            "vocab_size": 260,
            "hard_vocab_limit": False,
            "character_coverage": 1.0,
            "minloglevel": 3,
            "num_threads": 1,
            **options,
        },
    )
    path.with_name(f"{path.name}.vocab").unlink()
    path.with_name(f"{path.name}.model").rename(path)
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [model.id_to_piece(idx) for idx in range(model.get_piece_size())]


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def _publish_t5(folder: Path) -> None:
    _train_pieces(folder / "spiece.model", **T5_PIECES)


def _publish_madlad(folder: Path) -> None:
    _train_pieces(
        folder / "spiece.model",
        **{"unk_id": 0, "pad_id": 1, "eos_id": 2, "bos_id": -1, "vocab_size": 420},
        user_defined_symbols=["<2de>", "<2fr>", "<2zh_Hant>"],
        byte_fallback=True,
    )
    _write(folder / "tokenizer_config.json", {"extra_ids": 0})


def _publish_madlad_json(folder: Path) -> None:
    """The same pieces in a tokenizer.json that takes languages out of a text first."""
    path = folder / "spiece.model"
    _publish_madlad(folder)
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size())]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    blanks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), blanks])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(["<unk>", "<pad>", "</s>", "<2de>"])
    backend.add_tokens(["<2fr>", "<2zh_Hant>"])
    backend.save(str(folder / "tokenizer.json"))
    path.unlink()
    values = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    _write(folder / "tokenizer_config.json", values)


def _publish_mbart(folder: Path) -> None:
    _train_pieces(folder / "sentencepiece.bpe.model", **FAIRSEQ_PIECES)


def _publish_nllb(folder: Path) -> None:
    _train_pieces(folder / "sentencepiece.bpe.model", **FAIRSEQ_PIECES, model_type="bpe")
    values = {
        "tokenizer_class": "NllbTokenizer",
        "additional_special_tokens": NLLB_LANGUAGES,
    }
    _write(folder / "tokenizer_config.json", values)


def _publish_m2m(folder: Path) -> None:
    pieces = _train_pieces(folder / "sentencepiece.bpe.model", **FAIRSEQ_PIECES)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:-9]]  # nine that the vocabulary lacks
    _write(folder / "vocab.json", {token: idx for idx, token in enumerate(tokens)})


def _publish_marian(folder: Path) -> None:
    _publish_marian_pair(folder, ">>deu<<", ">>fra<<", ">>cmn_Hans<<")


def _publish_marian_pair(folder: Path, *languages: str) -> None:
    source = _train_pieces(folder / "source.spm", **FAIRSEQ_PIECES)
    target = _train_pieces(folder / "target.spm", **FAIRSEQ_PIECES, vocab_size=150)
    pieces = dict.fromkeys((*source[3:-9], *target[3:-9]))
    tokens = ["</s>", "<unk>", *languages, *pieces, "<pad>"]
    _write(folder / "vocab.json", {token: idx for idx, token in enumerate(tokens)})


def _train_byte_level(folder: Path, specials: list[str]) -> int:
    backend = tokenizers.ByteLevelBPETokenizer()
    backend.train_from_iterator(
        corpus(), vocab_size=600, special_tokens=specials, show_progress=False
    )
    backend.save_model(str(folder))
    size: int = backend.get_vocab_size()
    return size


def _publish_bart(folder: Path) -> None:
    _train_byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])


def _publish_whisper(folder: Path) -> None:
    size = _train_byte_level(folder, [])
    _write(folder / "added_tokens.json", {token: size + i for i, token in enumerate(SENTINELS)})
    end = "<|endoftext|>"
    values: dict[str, Any] = {"bos_token": end, "eos_token": end, "unk_token": end}
    values["additional_special_tokens"] = SENTINELS
    _write(folder / "special_tokens_map.json", values)


def _publish_byt5(folder: Path) -> None:
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})


def _publish_gemma(folder: Path) -> None:
    """Byte fallback, no blank in front, `</s>` a tag of HTML, `<bos>` before a source."""
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>"]
    added = ["<mask>", "<unused0>", "\n", "\n\n", "▁▁", "<table>", "<s>", "</s>"]
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*special, *added, *bytes_], show_progress=False
    )
    backend.train_from_iterator(corpus(), trainer)
    state = json.loads(backend.to_str())
    entries = [entry for entry in state["added_tokens"] if entry["content"] not in bytes_]
    for entry in entries:
        entry["special"] = entry["content"] in special
    state["added_tokens"] = entries
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    state["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, text],
        "pair": [text, text],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
    }
    _write(folder / "tokenizer.json", state)
    values = {f"{name}_token": f"<{name}>" for name in ("eos", "bos", "pad", "unk")}
    values["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write(folder / "tokenizer_config.json", values)


_Published = tuple[Family, str, Callable[[Path], None]]
_PUBLISHED: dict[str, _Published] = {
    "t5": ("t5", "T5Tokenizer", _publish_t5),
    "byt5": ("t5", "ByT5Tokenizer", _publish_byt5),
    "madlad": ("t5", "PreTrainedTokenizerFast", _publish_madlad),
    "madlad_added": ("t5", "PreTrainedTokenizerFast", _publish_madlad_json),
    "pegasus": ("pegasus", "PegasusTokenizer", _publish_t5),
    "mbart": ("mbart", "MBart50Tokenizer", _publish_mbart),
    "nllb": ("m2m_100", "NllbTokenizer", _publish_nllb),
    "m2m": ("m2m_100", "M2M100Tokenizer", _publish_m2m),
    "marian": ("marian", "MarianTokenizer", _publish_marian),
    "marian_pair": ("marian", "MarianTokenizer", _publish_marian_pair),
    "bart": ("bart", "BartTokenizer", _publish_bart),
    "whisper": ("whisper", "WhisperTokenizer", _publish_whisper),
    "gemma": ("t5gemma", "PreTrainedTokenizerFast", _publish_gemma),
}
# Those whose oracle can write a tokenizer.json, which is a kind of its own.
_WITH_JSON = ("t5", "pegasus", "mbart", "nllb", "bart", "whisper")
KINDS = (*_PUBLISHED, *(f"{kind}_json" for kind in _WITH_JSON))
FAMILY = {kind: _PUBLISHED[kind.removesuffix("_json")][0] for kind in KINDS}


class Published:
    """Folders of every kind below one root, written when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, kind: str) -> Path:
        """A folder with the files of a kind; not to be changed."""
        path = self._root / kind
        if not path.exists():
            path.mkdir()
            name = kind.removesuffix("_json")
            if name == kind:
                _PUBLISHED[kind][2](path)
            else:
                self.oracle(name).save_pretrained(str(path))
        return path

    @cache  # noqa: B019 - lives as long as the tests of a module
    def load(self, kind: str) -> ImportedTokenizer:
        """Our tokenizer, of a model with more ids than it knows."""
        return load_imported_tokenizer(self.folder(kind), FAMILY[kind], VOCAB_SIZE)

    def oracle(self, kind: str) -> Any:
        """The tokenizer of transformers."""
        name = _PUBLISHED[kind.removesuffix("_json")][1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Marian's recommends a package
            return getattr(transformers, name).from_pretrained(str(self.folder(kind)))
