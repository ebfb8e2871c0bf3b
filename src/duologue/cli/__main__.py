"""`python -m duologue.cli` does what `duologue` does."""

from duologue.cli import main

main()
