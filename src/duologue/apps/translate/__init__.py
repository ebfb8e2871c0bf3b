"""Translate texts of any length: lines and sentences are put in pieces, and nothing is lost.

translator   texts to results; begin here
pieces       a text apart, and together again
"""

from duologue.apps.translate.pieces import Piece, joined, split
from duologue.apps.translate.translator import OPTIONS, Joined, translate_batch

__all__ = ["OPTIONS", "Joined", "Piece", "joined", "split", "translate_batch"]
