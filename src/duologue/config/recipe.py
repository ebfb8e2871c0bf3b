"""Recipes: which data, mixed how, trained how; one YAML file is one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from duologue.config.values import STRICT, from_dict, require, to_dict
from duologue.errors import ConfigError


@dataclass(frozen=True)
class AugmentConfig:
    """Text augmentation for one data set; every probability is per example, 0 is off.

    pair_swap       translation: also train the other direction of each pair
    denoise         plain text: corrupt spans of the source and restore the whole text, as in
                    Lewis et al. 2019 (arXiv:1910.13461, section 2.2, text infilling)
    mask_ratio      denoise: share of the words that are masked
    mean_span       denoise: mean length of a masked span, in words
    drop_word       chance to drop each source word
    swap_words      chance to swap each source word with the next
    drop_char       chance to drop each source character
    swap_chars      chance to swap each source character with the next
    truncate_turns  dialogue: chance to forget a random number of the oldest turns
    """

    __pydantic_config__ = STRICT

    pair_swap: bool = False
    denoise: bool = False
    mask_ratio: float = 0.3
    mean_span: float = 3.0
    drop_word: float = 0.0
    swap_words: float = 0.0
    drop_char: float = 0.0
    swap_chars: float = 0.0
    truncate_turns: float = 0.0

    def __post_init__(self) -> None:
        shares = ("mask_ratio", "drop_word", "swap_words", "drop_char", "swap_chars")
        for name in (*shares, "truncate_turns"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be between 0 and 1")
        require(self.mean_span >= 1, "mean_span must be at least 1")


@dataclass(frozen=True)
class DatasetConfig:
    """One data set of a mix.

    path      file (JSONL, TSV, text, or a pair of text files `A,B`; .gz as well); relative to the
              data root; `{split}` in it stands for train, valid or test
    weight    share of the rows drawn, relative to the other sets; None is by size
    format    auto, or one of the formats of docs/reference/data.md
    src_lang  languages of a TSV or text pair (JSONL rows name their own)
    tgt_lang
    limit     use at most this many rows of each split; None is all
    augment   see AugmentConfig
    """

    __pydantic_config__ = STRICT

    path: str
    weight: float | None = None
    format: Literal["auto", "jsonl", "tsv", "text"] = "auto"
    src_lang: str | None = None
    tgt_lang: str | None = None
    limit: int | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        require(self.weight is None or self.weight >= 0, "weight must not be negative")
        require(self.limit is None or self.limit >= 1, "limit must be at least 1")


@dataclass(frozen=True)
class DataConfig:
    """Which data, mixed how, in batches of what size.

    root             folder that relative paths of sets start from (the recipe may use ~)
    sets             the mix
    temperature      sets without a weight are drawn by size ** (1 / temperature); 1 is by size
    batch_tokens     most source plus target tokens in a batch, padding included
    max_source       longer sources are left out of training (tokens); counted and reported
    max_target       the same for targets
    max_turns        dialogue: longest window of turns in one example
    join_dialogues   chance that a dialogue begins with the last turns of another one, of any set
                     and language, so that a model learns to follow a change of both
    single_target    give every target a row of its own instead of packing those of one source;
                     an encoder that sees everything needs it, and turns it on by itself
    shuffle_buffer   rows of each set held in memory to shuffle from; a set may be larger
    bucket_batches   batches' worth of examples that are sorted by length together
    """

    __pydantic_config__ = STRICT

    sets: tuple[DatasetConfig, ...]
    root: str = "."
    temperature: float = 1.0
    batch_tokens: int = 4096
    max_source: int = 256
    max_target: int = 256
    max_turns: int = 12
    join_dialogues: float = 0.0
    single_target: bool = False
    shuffle_buffer: int = 20_000
    bucket_batches: int = 100

    def __post_init__(self) -> None:
        require(len(self.sets) > 0, "sets must name at least one data set")
        require(self.temperature > 0, "temperature must be positive")
        require(0 <= self.join_dialogues <= 1, "join_dialogues must be between 0 and 1")
        sizes = ("batch_tokens", "max_source", "max_target", "max_turns")
        for name in (*sizes, "shuffle_buffer", "bucket_batches"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        require(
            self.batch_tokens >= self.max_source + self.max_target,
            "batch_tokens must hold one longest example (max_source + max_target)",
        )


@dataclass(frozen=True)
class LoraConfig:
    """Train small matrices beside frozen ones; Hu et al. 2021 (arXiv:2106.09685, section 4.1).

    rank     inner width of the small matrices
    alpha    their product counts alpha / rank times
    dropout  of what they read
    targets  the linear layers that get them: those of the attentions, of the feed-forwards
    """

    __pydantic_config__ = STRICT

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[Literal["attention", "feed_forward"], ...] = ("attention",)

    def __post_init__(self) -> None:
        require(self.rank >= 1, "rank must be at least 1")
        require(self.alpha >= 1, "alpha must be at least 1")
        require(0 <= self.dropout < 1, "dropout must be at least 0 and below 1")
        require(len(self.targets) > 0, "targets must name attention, feed_forward or both")


@dataclass(frozen=True)
class TrainConfig:
    """Optimizer, schedule, validation and budget of one run.

    max_steps         optimizer updates; the schedule is laid out over them
    max_minutes       wall-clock budget; when given, the schedule follows the budget instead
    learning_rate     peak, reached after warmup_steps
    schedule          cosine to min_lr_ratio of the peak, or inverse_sqrt
    accumulate        batches whose gradients are summed for one update
    ema_decay         0 is off; otherwise validation and the best checkpoint use averaged weights
    precision         auto: bf16 autocast where the processor or GPU multiplies it fast, else f32
    compile           torch.compile the model
    validate_every    updates between validations; validate_examples from each set's valid split
                      for the loss, generate_examples of its targets for greedy decoding
    patience          validations without a better score before the run stops; 0 is never
    max_bad_losses    updates in a row without a finite loss and gradient before the run stops
    keep_every        updates between `last` checkpoints
    lora              train small matrices in place of the weights of `init`; None trains these
    """

    __pydantic_config__ = STRICT

    max_steps: int = 10_000
    max_minutes: float | None = None
    learning_rate: float = 1e-3
    min_lr_ratio: float = 0.05
    warmup_steps: int = 400
    schedule: Literal["cosine", "inverse_sqrt"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    dropout: float = 0.1
    clip_norm: float = 1.0
    accumulate: int = 1
    ema_decay: float = 0.0
    precision: Literal["auto", "f32", "bf16"] = "auto"
    compile: bool = False
    validate_every: int = 500
    validate_examples: int = 200
    generate_examples: int = 64
    patience: int = 0
    max_bad_losses: int = 20
    keep_every: int = 200
    seed: int = 1
    tensorboard: bool = False
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        counts = ("max_steps", "warmup_steps", "accumulate", "validate_every", "keep_every")
        for name in (*counts, "validate_examples", "max_bad_losses"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        require(self.warmup_steps < self.max_steps, "warmup_steps must be below max_steps")
        require(self.learning_rate > 0, "learning_rate must be positive")
        for name in ("generate_examples", "patience", "weight_decay"):
            require(getattr(self, name) >= 0, f"{name} must not be negative")
        require(all(0 <= beta < 1 for beta in self.betas), "betas must be at least 0 and below 1")
        for name in ("label_smoothing", "dropout", "ema_decay"):
            require(0 <= getattr(self, name) < 1, f"{name} must be at least 0 and below 1")
        require(0 <= self.min_lr_ratio <= 1, "min_lr_ratio must be between 0 and 1")
        require(self.max_minutes is None or self.max_minutes > 0, "max_minutes must be positive")
        require(self.clip_norm > 0, "clip_norm must be positive")


@dataclass(frozen=True)
class TokenizerConfig:
    """Where the tokenizer is, or how to train it from the recipe's training data.

    path           tokenizer.json to use; None trains one and keeps it in the run's folder
    vocab_size     entries, control tokens and the 256 bytes included
    max_chars      characters that get an entry of their own; rarer ones are spelled as bytes
    max_set_chars  characters read from the start of each set, so that no set decides alone
    """

    __pydantic_config__ = STRICT

    path: str | None = None
    vocab_size: int = 8000
    max_chars: int = 4000
    max_set_chars: int | None = 2_000_000

    def __post_init__(self) -> None:
        require(self.path is not None or self.vocab_size >= 400, "vocab_size must be at least 400")


@dataclass(frozen=True)
class Recipe:
    """One run: everything that decides what `duologue train` produces.

    model   keys of ModelConfig; vocab_size, languages, tasks and label_sets come from the data
    output  folder of the run: checkpoints, plots, and the finished model folder
    init    model to start from: a folder of ours or as published; None starts from random weights
    """

    __pydantic_config__ = STRICT

    data: DataConfig
    output: str
    model: dict[str, Any] = field(default_factory=dict)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    init: str | None = None

    def __post_init__(self) -> None:
        require(
            self.training.lora is None or self.init is not None,
            "training.lora needs a model to start from: set init",
        )


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `key=value` overrides, such as `training.max_steps=100`."""
    import yaml  # here, because only training reads recipes: serving need not hold it

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe; complete ones lie in recipes/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values")
    for override in overrides:
        _apply_override(values, override)
    return from_dict(Recipe, values, str(path))


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override}: write key=value, such as training.max_steps=100")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {parent} holds no keys")
    import yaml

    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not valid YAML") from None


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, every default included."""
    import yaml

    path.write_text(
        yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
