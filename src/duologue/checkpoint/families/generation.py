"""How a published checkpoint wants to be decoded: generation_config.json over config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duologue.config import GenerationConfig, from_dict, to_dict
from duologue.errors import CheckpointError, ConfigError

_LANGUAGE_MARKS = "<|>"


def read_generation(values: Mapping[str, Any], vocab_size: int, where: str) -> GenerationConfig:
    """The advice in `values`: keys of generation_config.json over those of config.json.

    Lengths are counted as we count them: what was begun with or forced is no produced token, and
    neither is the end. Forbidden sequences of several tokens and advice on sampling are not taken.
    Raises CheckpointError for values that mean nothing, or ids that the vocabulary does not have.
    """
    values = {key: value for key, value in values.items() if value is not None}
    start = values.get("decoder_start_token_id", values.get("bos_token_id"))
    if start is None:
        raise CheckpointError(f"{where}: decoder_start_token_id is missing")
    forced = values.get("forced_bos_token_id")
    eos_ids = _ids(values.get("eos_token_id"))
    try:
        read = {
            "start_ids": _ids(start),
            "eos_ids": eos_ids,
            "pad_id": values.get("pad_token_id", next(iter(eos_ids), None)),
            "forced_first_id": forced,
            "suppressed_ids": _known(
                [*_ids(values.get("suppress_tokens")), *_single(values.get("bad_words_ids"))],
                vocab_size,
            ),
            "first_suppressed_ids": _known(_ids(values.get("begin_suppress_tokens")), vocab_size),
            "languages": {
                token.strip(_LANGUAGE_MARKS): idx
                for token, idx in values.get("lang_to_id", {}).items()
            },
            "beam_size": values.get("num_beams", 1),
            "length_penalty": values.get("length_penalty", 1.0),
            "early_stopping": values.get("early_stopping", False) is True,
            "no_repeat_ngram_size": values.get("no_repeat_ngram_size", 0),
            "repetition_penalty": values.get("repetition_penalty", 1.0),
            "min_tokens": _min_tokens(values),
            "max_tokens": _max_tokens(values),
            "alignment_heads": values.get("alignment_heads", ()),
        }
        generation = from_dict(GenerationConfig, read, where)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{where}: advice on decoding makes no sense: {error}") from None
    _check_ids(generation, vocab_size, where)
    return generation


def _ids(value: Any) -> list[Any]:
    """One id or several as a list; none for null."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _single(words: Any) -> list[Any]:
    return [word[0] for word in words or () if len(word) == 1]


def _known(ids: list[Any], vocab_size: int) -> list[Any]:
    """Those that the vocabulary has, once each; lists are often those of a larger sibling."""
    return [idx for idx in dict.fromkeys(ids) if 0 <= idx < vocab_size]


def _num_forced(values: Mapping[str, Any]) -> int:
    return 1 if "forced_bos_token_id" in values else 0


def _min_tokens(values: Mapping[str, Any]) -> int:
    length: int = values.get("min_new_tokens", values.get("min_length", 0) - 1)
    return max(0, length - _num_forced(values))


def _max_tokens(values: Mapping[str, Any]) -> int | None:
    """None without advice. A forced end takes the place of the last token."""
    if "max_new_tokens" not in values and "max_length" not in values:
        return None
    length: int = values.get("max_new_tokens", values.get("max_length", 0) - 1)
    return max(1, length - _num_forced(values) - (1 if "forced_eos_token_id" in values else 0))


def _check_ids(generation: GenerationConfig, vocab_size: int, where: str) -> None:
    ids = {*generation.start_ids, *generation.eos_ids, generation.pad_id}
    ids |= {*generation.languages.values()}
    if generation.forced_first_id is not None:
        ids.add(generation.forced_first_id)
    unknown = sorted(idx for idx in ids if not 0 <= idx < vocab_size)
    if unknown:
        raise CheckpointError(
            f"{where}: tokens {unknown} are asked for, but vocab_size is {vocab_size}"
        )


def export_generation(generation: GenerationConfig) -> dict[str, Any]:
    """A generation_config.json that read_generation reads as `generation`."""
    forced = generation.forced_first_id
    begun = 1 + (forced is not None)
    starts, ends = list(generation.start_ids), list(generation.eos_ids)
    values: dict[str, Any] = {
        "decoder_start_token_id": starts[0] if len(starts) == 1 else starts,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
        "pad_token_id": generation.pad_id,
        "forced_bos_token_id": forced,
        "suppress_tokens": list(generation.suppressed_ids) or None,
        "begin_suppress_tokens": list(generation.first_suppressed_ids) or None,
        "num_beams": generation.beam_size,
        "length_penalty": generation.length_penalty,
        "early_stopping": generation.early_stopping,
        "no_repeat_ngram_size": generation.no_repeat_ngram_size,
        "repetition_penalty": generation.repetition_penalty,
        "min_length": generation.min_tokens + begun if generation.min_tokens else None,
        "max_length": None if generation.max_tokens is None else generation.max_tokens + begun,
        "lang_to_id": {f"<|{code}|>": idx for code, idx in generation.languages.items()} or None,
        "alignment_heads": to_dict(generation)["alignment_heads"] or None,
    }
    return {key: value for key, value in values.items() if value is not None}
