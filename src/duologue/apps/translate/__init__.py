"""Translate texts of any length: lines and sentences are put in pieces, and nothing is lost.

protected    texts in which something must stay: placeholders, tags, mark-up; on protected_text,
             placeholders, numbers, stand_ins, units, alignment and placing; begin here
translator   texts to results
pieces       a text apart, and together again
signs        what can be seen of a translation for nothing
coverage     does it say all of its source, and nothing else?
repair       what does not is decoded again
remembered   translations that somebody has confirmed, in place of the model's
glossary     terms that are to come out as they are told; terms: how they get there
"""

from duologue.apps.translate.glossary import Glossary, Term
from duologue.apps.translate.pieces import Piece, joined, split
from duologue.apps.translate.protected import translate_batch, translation
from duologue.apps.translate.translator import OPTIONS, TranslateOptions, check

__all__ = [
    "OPTIONS",
    "Glossary",
    "Piece",
    "Term",
    "TranslateOptions",
    "check",
    "joined",
    "split",
    "translate_batch",
    "translation",
]
