"""What the assistant says by itself, and the short things people say to it.

SAYINGS   language -> name -> template
hears     whether a text is one of a few short things: yes, no, cancel, undo, help
correction  what stands behind "no, ..." or "I meant ..."
"""

from __future__ import annotations

import re

SAYINGS: dict[str, dict[str, str]] = {
    "en": {
        "done": "Done.",
        "failed": "That did not work.",
        "problem": "That did not work: {problem}.",
        "not_understood": "I did not understand. Close to that: {list}. Say help for everything.",
        "help": "I can: {list}.",
        "confirm": "Do you really want to {title}?",
        "confirm_again": "Please say yes or no: do you really want to {title}?",
        "cancelled": "All right, I leave it.",
        "nothing": "There is nothing to cancel.",
        "undone": "Taken back: {title}.",
        "no_undo": "There is nothing that I could take back.",
        "ask": "What is the {slot}?",
        "given_up": "I did not get that, so I leave it.",
        "too_long": "That is too long for a command.",
    },
    "de": {
        "done": "Erledigt.",
        "failed": "Das hat nicht geklappt.",
        "problem": "Das hat nicht geklappt: {problem}.",
        "not_understood": "Das habe ich nicht verstanden. Ähnlich: {list}. Sag Hilfe für alles.",
        "help": "Ich kann: {list}.",
        "confirm": "Wirklich {title}?",
        "confirm_again": "Bitte sag ja oder nein: wirklich {title}?",
        "cancelled": "Gut, ich lasse es.",
        "nothing": "Es gibt nichts abzubrechen.",
        "undone": "Zurückgenommen: {title}.",
        "no_undo": "Es gibt nichts, was ich zurücknehmen könnte.",
        "ask": "Was ist {slot}?",
        "given_up": "Das habe ich nicht verstanden, ich lasse es.",
        "too_long": "Das ist zu lang für einen Befehl.",
    },
    "zh": {
        "done": "好了。",
        "failed": "没有成功。",
        "problem": "没有成功：{problem}。",
        "not_understood": "我没听懂。比较接近的是：{list}。说“帮助”看全部。",
        "help": "我会：{list}。",
        "confirm": "确定要{title}吗？",
        "confirm_again": "请说“是”或“不”：确定要{title}吗？",
        "cancelled": "好的，不做了。",
        "nothing": "没有可以取消的。",
        "undone": "已撤销：{title}。",
        "no_undo": "没有可以撤销的。",
        "ask": "{slot}是什么？",
        "given_up": "我没听懂，先不做了。",
        "too_long": "这句话太长，不像命令。",
    },
}

_HEARD = {
    "yes": """yes|yeah|yep|yup|sure|ok|okay|of course|please do|do it|go ahead|yes please|right
        |correct|confirm|ja|jawohl|jo|klar|gern|gerne|natürlich|sicher|bitte|ja bitte|mach das
        |mach es|in ordnung|genau|是|是的|对|对的|好|好的|行|可以|嗯|确定|没错|要|当然""",
    "no": """no|nope|nah|no thanks|no thank you|don't|do not|better not|nein|nee|nö|nein danke
        |lieber nicht|nicht|不|不要|不用|不是|不行|别|不了|算了|不对""",
    "cancel": """cancel|stop|never mind|nevermind|forget it|abort|quit|cancel that|leave it
        |abbrechen|abbruch|stopp|vergiss es|egal|lass es|lass gut sein|schon gut
        |取消|算了|停|停止|不用了|别弄了""",
    "undo": """undo|undo that|undo it|take that back|take it back|revert|revert that|reverse that
        |rückgängig|mach das rückgängig|rückgängig machen|nimm das zurück|mach es rückgängig
        |zurücknehmen|撤销|撤回|撤消|还原|恢复原状""",
    "help": """help|what can you do|what can i say|help me|hilfe|was kannst du|was kannst du alles
        |was kann ich sagen|帮助|你会什么|你能做什么|你会做什么|你能干什么""",
}
_PHRASES = {
    name: frozenset(" ".join(phrase.split()) for phrase in text.split("|"))
    for name, text in _HEARD.items()
}
_POLITE = re.compile(
    r"^(?:please|bitte|请|ok|okay)[,，]?\s+|[,，]?\s*(?:please|bitte|thanks|danke|吧)$"
)
_EDGES = " \t.,!?;:…。，！？；：、\"'"
_CORRECTION = re.compile(
    r"""(?:
        (?:no|nope|sorry|nein|nö|quatsch|不是|不对|不|错了)\s*[,，.。:：!！]+\s*
        (?:i\smeant|i\smean|i\ssaid|make\sit|rather|ich\smeinte|ich\smeine|sondern|lieber|我是说
          |我说的是|改成|是)?
      | i\smeant | i\smean | actually | make\s(?:it|that)
      | ich\smeinte | doch\slieber | mach\s(?:es|das)\slieber
      | 我是说 | 我说的是 | 改成 | 不是，是
    )\s*[,，:：]?\s*(?P<rest>\S.*)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def hears(text: str, what: str) -> bool:
    """Whether a text says nothing but yes, no, cancel, undo or help, in any language."""
    plain = " ".join(text.casefold().strip(_EDGES).split())
    phrases = _PHRASES[what]
    if plain in phrases:
        return True
    return _POLITE.sub("", plain).strip(_EDGES) in phrases


def correction(text: str) -> str | None:
    """What a correction puts right: "ten minutes" of "no, ten minutes"; None for other texts."""
    match = _CORRECTION.fullmatch(text.strip())
    return match["rest"] if match is not None else None
