"""Speech to text with Whisper models: what was said, when, and what was left out.

transcriber   from window to window; begin here
window        what the model makes of 30 s
rules         which token may come next
alignment     when each word was spoken
vocabulary    the tokens that are no text
writers       a transcript as txt, srt, vtt or json
values        options and results
"""

from duologue.apps.transcribe.transcriber import OnWindow, transcribe
from duologue.apps.transcribe.values import (
    Gap,
    Progress,
    Segment,
    TranscribeOptions,
    Transcript,
    Word,
)

__all__ = [
    "Gap",
    "OnWindow",
    "Progress",
    "Segment",
    "TranscribeOptions",
    "Transcript",
    "Word",
    "transcribe",
]
