"""Translate texts of any length: lines and sentences are put in pieces, and nothing is lost.

translator   texts to results; begin here
pieces       a text apart, and together again
protected    what must stay: placeholders, tags, mark-up; on placeholders, numbers, stand_ins,
             units, alignment and placing
"""

from duologue.apps.translate.pieces import Piece, joined, split
from duologue.apps.translate.protected import (
    Languages,
    Translated,
    translate_batch,
    translate_parts,
)
from duologue.apps.translate.translator import OPTIONS, Joined

__all__ = [
    "OPTIONS",
    "Joined",
    "Languages",
    "Piece",
    "Translated",
    "joined",
    "split",
    "translate_batch",
    "translate_parts",
]
