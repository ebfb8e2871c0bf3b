"""`duologue info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from duologue.cli.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from duologue.config import ModelConfig

MOST_LISTED = 12


def info(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[NAME|FOLDER]",
            help="Shipped model, OWNER/NAME of a published one, or model folder.",
        ),
    ] = DEFAULT_MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Show what a model is and what it was trained for.

    \b
    Examples:
      duologue info
      duologue info runs/mine/model --json
    """
    import json

    from duologue.api import model_folder
    from duologue.checkpoint.store import model_info
    from duologue.config import to_dict

    found = model_info(model_folder(model))
    config = found.config
    if as_json:
        values = {
            "parameters": found.parameters,
            "bytes": found.bytes,
            "precision": found.precision,
            "fingerprint": found.fingerprint,
            "config": to_dict(config),
        }
        print(json.dumps(values, ensure_ascii=False))
        return
    layers = f"{config.num_encoder_layers} encoder and {config.num_decoder_layers} decoder layers"
    labels = "; ".join(
        f"{name} ({len(values)})" for name, values in sorted(config.label_sets.items())
    )
    unit = "tokens" if config.front_end == "tokens" else "steps of sound"
    rows = {
        "model": found.path,
        "family": config.family,
        "parameters": f"{found.parameters:,}",
        "weights": f"{found.bytes:,} bytes, {found.precision}",
        "shape": f"{config.cell}, {layers}, width {config.d_model}",
        "vocabulary": f"{config.vocab_size:,} entries",
        "memory": f"{config.max_positions:,} {unit}",
        "tasks": ", ".join(config.tasks),
        "languages": _listed(config.languages),
        "replies in": ", ".join(config.reply_languages) or "whatever its data was in",
        "label sets": labels,
        "calibrated": ", ".join(_calibrated(config)),
        "licence": config.license,
        "fingerprint": found.fingerprint[:16],
    }
    if "reply" not in config.tasks:
        del rows["replies in"]
    if not config.calibration:
        del rows["calibrated"]
    for name, value in rows.items():
        print(f"{name:<12} {value or '(none stated)'}")


def _calibrated(config: ModelConfig) -> list[str]:
    """Label sets, with the languages that have a temperature of their own."""
    found = []
    for name in sorted(config.calibration):
        languages = config.calibration_by_language.get(name, {})
        found.append(f"{name} ({', '.join(languages)})" if languages else name)
    return found


def _listed(languages: tuple[str, ...]) -> str:
    """Language codes; of many only some, and how many there are."""
    if len(languages) <= MOST_LISTED:
        return ", ".join(languages)
    return f"{len(languages)}, such as {', '.join(languages[:MOST_LISTED])}"
