"""The training loop.

train         a recipe to a finished model folder; or a stop on the way, to be resumed
run_updates   the loop itself: read this first
Outcome       what train() says at the end

What a run consists of is put together in setup.py; validation is in validation.py.
"""

from __future__ import annotations

import math
import signal
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from duologue.config import Recipe, TrainConfig
from duologue.errors import TrainingError
from duologue.training.objective import target_loss
from duologue.training.optimizer import learning_rate, scale_gradients, set_learning_rate
from duologue.training.parallel import join, leave, precision
from duologue.training.setup import RECIPE, Run, export_model, prepare, save_best, save_last
from duologue.training.signals import StopSignal
from duologue.training.state import TrainState
from duologue.training.validation import validate

Ending = Literal["steps", "minutes", "patience", "signal"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    ending     steps, minutes, patience: finished, `model` is there; signal: stopped, to be resumed
    signal     number of the signal, or 0 if the run finished; SIGTERM if a peer was stopped
    steps      updates made
    best_loss  lowest validation loss, nats per target token; infinite without validation data
    model      the finished model folder, or None
    """

    ending: Ending
    signal: int
    steps: int
    best_loss: float
    model: Path | None


def train(recipe: Recipe, resume: bool = False) -> Outcome:
    """Train what the recipe describes and write its output folder.

    resume  go on from the folder's `last` checkpoint, exactly as if the run had not stopped; the
            same as a fresh start if there is no checkpoint yet

    SIGINT and SIGTERM end the current update, write `last`, and return with ending "signal".
    Under torchrun every process calls this. Raises ConfigError, DataError, CheckpointError and
    TrainingError; what is on disk then is a run that can be resumed.
    """
    parallel = join()
    try:
        run, state = prepare(recipe, resume, parallel)
        with StopSignal() as stop, run.reporter:
            ending = run_updates(run, state, stop)
            if ending == "signal":
                model = None
                run.reporter.say(
                    f"stopped after update {state.step}; go on with: "
                    f"duologue train {run.folder / RECIPE} --resume"
                )
            else:
                model = export_model(run)
                say_what_was_left_out(run)
                run.reporter.say(f"finished ({ending}) after update {state.step}: {model}")
            parallel.wait()
        number = (stop.number or signal.SIGTERM) if ending == "signal" else 0
        return Outcome(ending, number, state.step, state.best_loss, model)
    finally:
        leave(parallel)


def run_updates(run: Run, state: TrainState, stop: StopSignal) -> Ending:
    """Update the weights until the run ends or is stopped; says which.

    One round: agree on the time, draw batches and sum their gradients, step, report, and every
    now and then validate and keep a checkpoint. All processes go through the same rounds.
    """
    config = run.recipe.training
    started = time.monotonic() - state.elapsed_s
    while True:
        seconds, stops = run.parallel.sum_numbers(time.monotonic() - started, stop.number > 0)
        state.elapsed_s = seconds / run.parallel.world_size
        share = done_share(config, state)
        ending = _ending(config, state, share, stops > 0)
        if ending is not None:
            run.reporter.report(state)
            if ending != "signal" and state.validated_step != state.step:
                check(run, state)
            save_last(run, state)
            return ending
        rate = learning_rate(config, state.step, share if config.max_minutes else None)
        set_learning_rate(run.optimizer, rate)
        loss, num_tokens = sum_gradients(run)
        norm = scale_gradients(run.gradients(), max(1.0, num_tokens), config.clip_norm)
        apply_gradients(run, state, math.isfinite(loss) and math.isfinite(norm))
        state.step += 1
        state.target_tokens += round(num_tokens)
        run.reporter.updated(
            state,
            loss,
            num_tokens,
            {"learning_rate": rate, "gradient_norm": norm, "share": done_share(config, state)},
        )
        if state.step % config.validate_every == 0:
            check(run, state)
        if state.step % config.keep_every == 0:
            save_last(run, state)


def done_share(config: TrainConfig, state: TrainState) -> float:
    """How much of the run is done, 0 to 1: by time if it has a time budget, else by updates."""
    if config.max_minutes is not None:
        return min(1.0, state.elapsed_s / (60 * config.max_minutes))
    return min(1.0, state.step / config.max_steps)


def _ending(config: TrainConfig, state: TrainState, share: float, stops: bool) -> Ending | None:
    if stops:
        return "signal"
    if share >= 1:
        return "minutes" if config.max_minutes is not None else "steps"
    if config.patience and state.stale >= config.patience:
        return "patience"
    return None


def sum_gradients(run: Run) -> tuple[float, float]:
    """Backward through the next `accumulate` batches of each process.

    Returns the summed loss in nats and the number of target tokens, over all processes; the
    gradients of the weights are those of the summed loss.
    """
    config = run.recipe.training
    run.optimizer.zero_grad(set_to_none=True)
    run.model.train()
    total, num_tokens = 0.0, 0
    for _ in range(config.accumulate):
        source, target, tgt_out = run.next_batch()
        with precision(config.precision, run.parallel.device):
            states = run.forward(source, target)
            output = run.model.output_layer()
            loss, count = target_loss(states, tgt_out, output, config.label_smoothing)
        loss.backward()
        total += loss.item()
        num_tokens += count
    run.parallel.sum_gradients(run.gradients())
    summed_loss, summed_tokens = run.parallel.sum_numbers(total, num_tokens)
    return summed_loss, summed_tokens


def apply_gradients(run: Run, state: TrainState, is_finite: bool) -> None:
    """Step, unless the loss or a gradient was not finite: such an update is skipped and counted.

    Raises TrainingError after max_bad_losses skipped updates in a row.
    """
    config = run.recipe.training
    if is_finite:
        run.optimizer.step()
        state.skipped_in_a_row = 0
        if run.average is not None:
            run.average.update(state.step)
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row >= config.max_bad_losses:
        raise TrainingError(
            f"{state.skipped_in_a_row} losses or gradients in a row were not finite, the last at "
            f"update {state.step}: lower training.learning_rate, raise training.warmup_steps, or "
            "set training.precision to f32; the last checkpoint is kept"
        )


def check(run: Run, state: TrainState) -> None:
    """Validate the averaged or own weights, and keep them if they are the best so far."""
    state.validated_step = state.step
    with run.average.applied() if run.average is not None else nullcontext():
        scores = validate(run.model, run.validation, run.tokenizer, run.parallel.device)
    if scores is None:
        return
    # The word of rank 0 holds: processes that disagree on the last digit must not part ways.
    (loss,) = run.parallel.sum_numbers(scores.loss if run.parallel.is_main else 0.0)
    is_best = loss < state.best_loss
    state.stale = 0 if is_best else state.stale + 1
    if is_best:
        state.best_loss = loss
        save_best(run, state, scores)
    run.reporter.validated(state, asdict(scores), is_best)


def say_what_was_left_out(run: Run) -> None:
    """Name the sets of which some targets were too long to be trained on."""
    for name, counts in run.batches.counts.items():
        if counts.left_out:
            run.reporter.say(
                f"{name}: {counts.left_out} of {counts.left_out + counts.targets} targets were "
                "left out, because they or their source are longer than data.max_target, "
                "data.max_source"
            )
