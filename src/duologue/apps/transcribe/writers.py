"""A transcript as text: txt, srt (SubRip), vtt (WebVTT), json.

txt    one line for each segment
srt    numbered cues; https://en.wikipedia.org/wiki/SubRip describes what players agree on
vtt    https://www.w3.org/TR/webvtt1/
json   Transcript.to_dict on one line

Every text is one line in its cue, without control characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from duologue.apps.transcribe.values import Transcript
from duologue.types import TranscriptFormat

_NO_TEXT = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


class _Cue(NamedTuple):
    start: float
    end: float
    text: str


def write(transcript: Transcript, format: TranscriptFormat, by_word: bool = False) -> str:
    """The transcript in a format, with a line break at the end unless it is empty.

    by_word  srt and vtt: one cue for each word in place of each segment
    """
    if format == "json":
        return json.dumps(transcript.to_dict(), ensure_ascii=False) + "\n"
    cues = _cues(transcript, by_word and format != "txt")
    if format == "srt":
        return "\n".join(
            f"{number}\n{srt_time(cue.start)} --> {srt_time(cue.end)}\n{_srt_text(cue.text)}\n"
            for number, cue in enumerate(cues, 1)
        )
    if format == "vtt":
        blocks = (
            f"\n{vtt_time(cue.start)} --> {vtt_time(cue.end)}\n{_vtt_text(cue.text)}\n"
            for cue in cues
        )
        return "WEBVTT\n" + "".join(blocks)
    return "".join(f"{cue.text}\n" for cue in cues)


def line(text: str) -> str:
    """A text as one line that no terminal obeys."""
    return _NO_TEXT.sub(" ", text).strip()


def srt_time(seconds: float) -> str:
    """HH:MM:SS,mmm."""
    return vtt_time(seconds).replace(".", ",")


def vtt_time(seconds: float) -> str:
    """HH:MM:SS.mmm, of as many digits as the hours need."""
    whole, ms = divmod(round(seconds * 1000), 1000)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:02}:{m:02}:{s:02}.{ms:03}"


def _cues(transcript: Transcript, by_word: bool) -> Iterator[_Cue]:
    for item in transcript.words if by_word else transcript.segments:
        if text := line(item.text):
            yield _Cue(item.start, item.end, text)


def _srt_text(text: str) -> str:
    return text.replace("-->", "->")  # which a reader would take for the line of times


def _vtt_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
