"""Tokenizers published as SentencePiece models: which id each piece has in its family.

read_t5        ids of the model; sentinels `<extra_id_N>` behind them, N counting down
read_pegasus   ids moved up by 103, sentinels in the gap
read_fairseq   mBART-50 and NLLB: four control tokens first, ids moved up by one, languages behind
read_m2m       ids from vocab.json, languages behind
read_marian    ids from vocab.json; sources are cut by one model, targets joined from another

The punctuation of sources is not normalised for Marian, as in the published tokenizer where its
optional normaliser is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from duologue.errors import CheckpointError
from duologue.text.codec import RESERVED, Codec, Folder, spell_sentencepiece
from duologue.text.tokenizer import BLANK

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

PAD, EOS, BOS, UNK, MASK = "<pad>", "</s>", "<s>", "<unk>", "<mask>"
T5_MODEL, FAIRSEQ_MODEL, VOCABULARY = "spiece.model", "sentencepiece.bpe.model", "vocab.json"
SOURCE_MODEL, TARGET_MODEL = "source.spm", "target.spm"

_PEGASUS_OFFSET = 103

# In the order of their ids, where the folder does not list them.
_MBART_LANGUAGES = """
ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV
my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID
ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA
ur_PK xh_ZA gl_ES sl_SI
"""
_M2M_LANGUAGES = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he
hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no
ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo
zh zu
"""
_WMT21_LANGUAGES = "en ha is ja cs ru zh de"


def _load(folder: Folder, name: str) -> SentencePieceProcessor:
    import sentencepiece

    content = folder.read(name)
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError:
        raise folder.damaged(name, "not a SentencePiece model") from None
    if not content:
        raise folder.damaged(name, "the file is empty")
    return model


def _pieces(model: SentencePieceProcessor) -> list[str]:
    return [model.id_to_piece(idx) for idx in range(model.get_piece_size())]


def _controls(model: SentencePieceProcessor, pieces: Sequence[str]) -> set[str]:
    return {
        piece
        for idx, piece in enumerate(pieces)
        if model.is_control(idx) or model.is_unknown(idx) or RESERVED.fullmatch(piece)
    }


def _renumbered(model: SentencePieceProcessor, ids: Sequence[int], extra: dict[str, int]) -> Codec:
    """A codec in which piece number i of the model has ids[i], and `extra` tokens are added."""
    pieces = _pieces(model)
    tokens = dict(zip(pieces, ids, strict=True)) | extra
    controls = _controls(model, pieces) | extra.keys()

    def encode(text: str) -> list[int]:
        return [ids[idx] for idx in model.encode(text)]

    return Codec(encode, tokens, frozenset(controls), spell_sentencepiece)


def read_t5(folder: Folder) -> Codec:
    """spiece.model of T5 and its relatives; raises CheckpointError without `</s>`."""
    model = _load(folder, T5_MODEL)
    pieces = _pieces(model)
    if EOS not in pieces:
        raise folder.damaged(T5_MODEL, f"{EOS} is missing")
    has_sentinels = any(piece.lstrip(BLANK) == "<extra_id_0>" for piece in pieces)
    num_extra = 0 if has_sentinels else folder.count("extra_ids", 100)
    size = len(pieces)
    extra = {f"<extra_id_{number}>": size + num_extra - 1 - number for number in range(num_extra)}
    return _renumbered(model, range(size), extra)


def read_pegasus(folder: Folder) -> Codec:
    """spiece.model of PEGASUS, whose first pieces are `<pad>` and `</s>`."""
    model = _load(folder, T5_MODEL)
    offset = folder.count("offset", _PEGASUS_OFFSET)
    extra = {"<mask_1>": 2, "<mask_2>": 3}
    extra |= {f"<unk_{number}>": number + 2 for number in range(2, offset)}
    ids = [idx if idx < 2 else idx + offset for idx in range(model.get_piece_size())]
    return _renumbered(model, ids, extra)


def read_fairseq(folder: Folder) -> Codec:
    """sentencepiece.bpe.model of mBART-50 and NLLB.

    Raises CheckpointError where the languages, whose order gives their ids, are not listed and the
    folder is NLLB's.
    """
    model = _load(folder, FAIRSEQ_MODEL)
    languages = [token for token in folder.extra_tokens if token != MASK]
    if not languages and folder.setting("tokenizer_class", "").startswith("Nllb"):
        raise CheckpointError(
            f"{folder.path}: neither tokenizer.json nor tokenizer_config.json lists the languages"
        )
    languages = languages or _MBART_LANGUAGES.split()
    size = model.get_piece_size()
    ids = [3, 0, 2, *range(4, size + 1)]
    extra = {code: size + 1 + index for index, code in enumerate(languages)}
    extra |= {PAD: 1, MASK: size + 1 + len(languages)}
    return _renumbered(model, ids[:size], extra)


def read_m2m(folder: Folder) -> Codec:
    """sentencepiece.bpe.model and vocab.json of M2M100."""
    vocabulary = folder.read_vocabulary(VOCABULARY)
    is_wmt21 = folder.setting("language_codes", "") == "wmt21"
    codes = (_WMT21_LANGUAGES if is_wmt21 else _M2M_LANGUAGES).split()
    languages = {f"__{code}__": len(vocabulary) + index for index, code in enumerate(codes)}
    return _looked_up(folder, FAIRSEQ_MODEL, vocabulary | languages, frozenset(languages))


def read_marian(folder: Folder) -> Codec:
    """source.spm, target.spm and vocab.json of Marian.

    Raises CheckpointError for a model with two vocabularies.
    """
    if folder.setting("separate_vocabs", False):
        raise CheckpointError(
            f"{folder.path}: a vocabulary of its own for each side is not supported"
        )
    vocabulary = folder.read_vocabulary(VOCABULARY)
    _load(folder, TARGET_MODEL)
    return _looked_up(folder, SOURCE_MODEL, vocabulary, frozenset())


def _looked_up(
    folder: Folder, name: str, tokens: dict[str, int], languages: frozenset[str]
) -> Codec:
    """A codec whose pieces are looked up in a vocabulary; those that it lacks are `<unk>`."""
    model = _load(folder, name)
    missing = [token for token in (EOS, UNK) if token not in tokens]
    if missing:
        raise folder.damaged(VOCABULARY, f"{missing[0]} is missing")
    reserved = {token for token in tokens if RESERVED.fullmatch(token)}
    controls = languages | reserved | ({PAD, EOS, BOS, UNK} & tokens.keys())

    def encode(text: str) -> list[int]:
        return [tokens.get(piece, tokens[UNK]) for piece in model.encode(text, out_type=str)]

    return Codec(encode, tokens, controls, spell_sentencepiece, unglued=controls)
