"""The model card of a finished run: what the model is, what it was trained on, how it scored."""

from __future__ import annotations

from typing import Any

from duologue.config import ModelConfig, Recipe

UNITS = {
    "loss": "validation loss (nats per target token)",
    "source_sensitivity": "source sensitivity (nats)",
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact": "exact match (%)",
    "accuracy": "accuracy (%)",
}


def model_card(recipe: Recipe, config: ModelConfig, facts: dict[str, Any]) -> str:
    """Markdown of the card.

    facts  plain values of the best checkpoint: `step` and `scores`; empty without validation
    """
    lines = [
        f"# {recipe.output.rstrip('/').rsplit('/', 1)[-1]}",
        "",
        f"A Duologue model: {config.cell}, {config.num_encoder_layers} encoder and "
        f"{config.num_decoder_layers} decoder layers of width {config.d_model}, "
        f"{config.vocab_size} vocabulary entries.",
        "",
        f"- Tasks: {', '.join(config.tasks)}",
        f"- Translates into: {', '.join(config.languages) or 'nothing'}",
        f"- Replies in: {', '.join(config.reply_languages) or 'whatever its data was in'}",
        f"- Licence: {config.license or 'not stated'}",
        "",
        "## Training data",
        "",
        *(f"- `{item.path}`" for item in recipe.data.sets),
        "",
    ]
    if facts:
        lines += [
            f"## Validation scores after {facts['step']} updates",
            "",
            "Greedy decoding during training, on a part of the valid splits: a yardstick for "
            "training, not for comparison with other models.",
            "",
            "| set | score | value |",
            "| --- | --- | --- |",
        ]
        for name, values in facts["scores"]["sets"].items():
            lines += [f"| {name} | {UNITS[key]} | {value:.2f} |" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)
