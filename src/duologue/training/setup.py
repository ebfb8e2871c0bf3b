"""What a run consists of, put together from its recipe; and what it leaves on disk.

Run            model, optimizer, data, validation: fixed for the whole run
prepare        a recipe to a Run, fresh or resumed
save_last      everything needed to go on, as checkpoints/last.safetensors
save_best      the weights alone, as checkpoints/best.safetensors
export_model   the finished model folder

    <output>/recipe.yaml      the recipe, every default written out
             tokenizer.json   trained on the recipe's data, or a copy of the one it names; an
                              imported model of `init` has its own
             metrics.jsonl  loss.png  scores.png
             checkpoints/     last.safetensors, best.safetensors
             model/           the finished model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duologue.checkpoint.store import LoadedModel, load_model, save_model
from duologue.checkpoint.weights import Weights
from duologue.config import ModelConfig, Recipe, load_recipe, save_recipe, to_dict
from duologue.data import survey
from duologue.data.dataset import Dataset, open_datasets
from duologue.data.mixing import BatchStream, limits_of
from duologue.errors import ConfigError
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source, Target
from duologue.text.imported import ImportedTokenizer
from duologue.text.imported_template import ImportedTemplate
from duologue.text.template import LANGUAGES
from duologue.text.templates import AnyTokenizer
from duologue.text.tokenizer import Tokenizer
from duologue.text.tokenizer_train import train_tokenizer
from duologue.training.card import model_card
from duologue.training.lora import add_adapters, merged_weights
from duologue.training.optimizer import AveragedWeights, build_optimizer
from duologue.training.parallel import Parallel
from duologue.training.progress import Reporter, forget_metrics_after
from duologue.training.shape import model_config
from duologue.training.state import (
    Tensors,
    TrainState,
    collect,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from duologue.training.validation import Scores, ValidationSet, open_validation, tensors

RECIPE, TOKENIZER, MODEL = "recipe.yaml", "tokenizer.json", "model"
LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"


@dataclass(frozen=True)
class Run:
    """The parts of a run.

    model     the weights that are trained
    forward   the model's forward pass, compiled if the recipe says so
    average   averaged weights, or None
    batches   training batches of this process
    """

    recipe: Recipe
    folder: Path
    parallel: Parallel
    tokenizer: AnyTokenizer
    model: Seq2Seq
    forward: Callable[[Source, Target], Tensor]
    optimizer: torch.optim.Optimizer
    average: AveragedWeights | None
    batches: BatchStream
    validation: tuple[ValidationSet, ...]
    reporter: Reporter

    def next_batch(self) -> tuple[Source, Target, Tensor]:
        """The next batch of this process, on its device."""
        return tensors(next(self.batches), self.parallel.device)

    def gradients(self) -> list[Tensor]:
        """The gradients of all weights that have one."""
        return [weight.grad for weight in self.model.parameters() if weight.grad is not None]

    def weights(self) -> Tensors:
        """The weights to keep, as a model folder names them: the averaged ones if there are any."""
        if self.average is None:
            return merged_weights(self.model)
        with self.average.applied():
            return {name: weight.clone() for name, weight in merged_weights(self.model).items()}


def prepare(recipe: Recipe, resume: bool, parallel: Parallel) -> tuple[Run, TrainState]:
    """Build the run of a recipe, in the state of its last checkpoint if it is resumed.

    Raises ConfigError, DataError or CheckpointError, before anything is trained.
    """
    folder = Path(recipe.output).expanduser()
    init = load_model(Path(recipe.init).expanduser(), "f32") if recipe.init else None
    imported = init.tokenizer if init and isinstance(init.tokenizer, ImportedTokenizer) else None
    datasets = open_datasets(recipe.data, None if imported else LANGUAGES)
    if parallel.is_main:
        _claim(folder, recipe, resume)
        if not imported:
            _provide_tokenizer(folder, recipe, init, datasets)
        save_recipe(recipe, folder / RECIPE)
    parallel.wait()
    tokenizer = imported or Tokenizer.load(folder / TOKENIZER)
    config = model_config(recipe, tokenizer, datasets, init.config if init else None)
    template = ImportedTemplate(config, imported) if imported else None
    model = _build_model(config, recipe, init, parallel)
    training = recipe.training
    single_target = recipe.data.single_target or config.encoder_mask == "full"
    run = Run(
        recipe=recipe,
        folder=folder,
        parallel=parallel,
        tokenizer=tokenizer,
        model=model,
        forward=torch.compile(model, dynamic=True) if training.compile else model,
        optimizer=build_optimizer(model, training),
        average=AveragedWeights(model, training.ema_decay) if training.ema_decay else None,
        batches=BatchStream(
            recipe.data,
            tokenizer,
            training.seed,
            template=template,
            single_target=single_target,
            rank=parallel.rank,
            world_size=parallel.world_size,
        ),
        validation=open_validation(
            datasets, recipe, tokenizer, limits_of(recipe.data, single_target), template
        ),
        reporter=Reporter(folder, parallel.is_main, training.tensorboard),
    )
    state = _resumed(run) if resume and (folder / LAST).exists() else TrainState()
    parallel.wait()  # rank 0 rewrites the metrics only after all have read the checkpoint
    if parallel.is_main:
        forget_metrics_after(folder, state.step)
    return run, state


def _claim(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Make the output folder; raises ConfigError if it holds what this run must not touch."""
    if (folder / RECIPE).exists():
        if not resume:
            raise ConfigError(
                f"{folder}: already holds a run; go on with --resume, or give another output"
            )
        _check_same_run(load_recipe(folder / RECIPE), recipe, folder)
    elif folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty; give another output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None


def _check_same_run(stored: Recipe, recipe: Recipe, folder: Path) -> None:
    """A resumed run keeps model, data, tokenizer and seed; the rest of `training` may change."""

    def fixed(values: Recipe) -> dict[str, Any]:
        plain = to_dict(values)
        del plain["output"], plain["data"]["root"]
        plain["training"] = {key: plain["training"][key] for key in ("seed", "ema_decay", "lora")}
        return plain

    before, now = fixed(stored), fixed(recipe)
    changed = [key for key in before if before[key] != now[key]]
    if changed:
        raise ConfigError(
            f"{folder}: this run was started with other settings under {', '.join(changed)} (see "
            f"its {RECIPE}); resume with the same, or give another output"
        )


def _provide_tokenizer(
    folder: Path, recipe: Recipe, init: LoadedModel | None, datasets: tuple[Dataset, ...]
) -> None:
    path = folder / TOKENIZER
    if path.exists():
        return
    if init is not None:
        if recipe.tokenizer.path is not None:
            raise ConfigError("tokenizer.path: leave it out, the model of `init` has its own")
        tokenizer = init.tokenizer
    elif recipe.tokenizer.path is not None:
        tokenizer = Tokenizer.load(Path(recipe.tokenizer.path).expanduser())
    else:
        settings = recipe.tokenizer
        texts = survey.texts(datasets, settings.max_set_chars)
        tokenizer = train_tokenizer(texts, settings.vocab_size, settings.max_chars)
    tokenizer.save(path)


def _build_model(
    config: ModelConfig, recipe: Recipe, init: LoadedModel | None, parallel: Parallel
) -> Seq2Seq:
    """The model on this process's device, equal on all of them; seeds dropout differently."""
    if recipe.training.compile and config.cell == "gru":
        raise ConfigError("training.compile: cannot be used with cell gru, which is a loop")
    torch.manual_seed(recipe.training.seed)
    model = Seq2Seq(config, recipe.training.dropout)
    if init is not None:
        arrays = {name: torch.tensor(array) for name, array in init.weights.items()}
        model.load_state_dict(arrays)
    if recipe.training.lora is not None:
        if config.cell == "gru":
            raise ConfigError("training.lora: cannot be used with cell gru")
        add_adapters(model, recipe.training.lora)
    model.to(parallel.device)
    parallel.same_weights(model)
    torch.manual_seed(recipe.training.seed + parallel.rank)
    return model


def save_last(run: Run, state: TrainState) -> None:
    """Keep everything that decides what comes next. Every process must call this."""
    everything = collect(run.model, run.optimizer, run.average, run.parallel)
    if run.parallel.is_main:
        facts = {
            "state": state.to_dict(),
            "batches": run.batches.state(),
            "world_size": run.parallel.world_size,
        }
        save_checkpoint(run.folder / LAST, everything, facts)


def _resumed(run: Run) -> TrainState:
    path = run.folder / LAST
    stored, facts = load_checkpoint(path)
    if facts["world_size"] != run.parallel.world_size:
        raise ConfigError(
            f"{run.folder}: this run has {facts['world_size']} processes; resume with as many"
        )
    restore(stored, run.model, run.optimizer, run.average, run.parallel)
    run.batches.restore(facts["batches"])
    return TrainState(**facts["state"])


def save_best(run: Run, state: TrainState, scores: Scores) -> None:
    """Keep the weights that the finished model is made of."""
    if run.parallel.is_main:
        facts = {"step": state.step, "scores": asdict(scores)}
        save_checkpoint(run.folder / BEST, run.weights(), facts)


def export_model(run: Run) -> Path:
    """Write <output>/model from the best checkpoint, or from the last weights if there is none."""
    folder = run.folder / MODEL
    if run.parallel.is_main:
        weights: Tensors = run.weights()
        facts: dict[str, Any] = {}
        if (run.folder / BEST).exists():
            weights, facts = load_checkpoint(run.folder / BEST)
        arrays: Weights = {name: weight.cpu().numpy() for name, weight in weights.items()}
        card = model_card(run.recipe, run.model.config, facts)
        save_model(folder, run.model.config, arrays, run.tokenizer, card)
    return folder
