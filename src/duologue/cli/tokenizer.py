"""`duologue tokenizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tokenizer(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Text (.txt, one a line) or data (.jsonl, .tsv), plain or .gz."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="tokenizer.json to write.")
    ],
    vocab_size: Annotated[
        int, typer.Option(metavar="N", help="Entries, control tokens and 256 bytes included.")
    ] = 8000,
    max_chars: Annotated[
        int, typer.Option(metavar="N", help="Characters that get an entry of their own.")
    ] = 4000,
) -> None:
    """Train a tokenizer on texts; `tokenizer.path` of a recipe takes it.

    `duologue train` does this by itself when the recipe names no tokenizer. Of data files, the
    train rows are read.

    \b
    Examples:
      duologue tokenizer --output mine.json --vocab-size 4000 corpus.txt
      duologue tokenizer --output mine.json data/*.jsonl.gz
    """
    from duologue.config import DataConfig, DatasetConfig
    from duologue.data import survey
    from duologue.data.dataset import open_datasets
    from duologue.errors import ConfigError
    from duologue.text.tokenizer_train import train_tokenizer

    if output.exists():
        raise ConfigError(f"{output}: exists already; remove it or name another file")
    sets = tuple(DatasetConfig(path=str(file)) for file in files)
    texts = survey.texts(open_datasets(DataConfig(sets=sets)))
    trained = train_tokenizer(texts, vocab_size, max_chars)
    trained.save(output)
    print(f"{output}: {trained.vocab_size:,} entries")
