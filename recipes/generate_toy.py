"""Write the toy corpus that recipes/tiny.yaml and recipes/tiny-gru.yaml train on.

    python recipes/generate_toy.py runs/toy

writes two files of generated rows, split into train, valid and test, the same on every machine:

    orders.jsonl    translate: short orders in English, German and Chinese, all six directions;
                    numbers are written out, and the word order differs between the languages
    chats.jsonl     dialogue: someone says their name and age and asks for them turns later,
                    so that a good reply needs the memory

Sentences are combinations of a few parts. A combination that occurs in valid or test never occurs
in train: what is measured is whether the rule was learned, not the sentences.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SIZES = {"orders": (12_000, 300, 300), "chats": (4_000, 200, 200)}


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


EN_ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
EN_TENS = words("- - twenty thirty forty fifty sixty seventy eighty ninety")
DE_ONES = words(
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
    "sechzehn siebzehn achtzehn neunzehn"
)
DE_TENS = words("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
ZH_DIGITS = "零一二三四五六七八九"

DAYS = [
    ("Monday", "Montag", "星期一"),
    ("Tuesday", "Dienstag", "星期二"),
    ("Wednesday", "Mittwoch", "星期三"),
    ("Thursday", "Donnerstag", "星期四"),
    ("Friday", "Freitag", "星期五"),
    ("Saturday", "Samstag", "星期六"),
    ("Sunday", "Sonntag", "星期日"),
]
THINGS = [
    ("chairs", "Stühle", "把椅子"),
    ("tables", "Tische", "张桌子"),
    ("apples", "Äpfel", "个苹果"),
    ("books", "Bücher", "本书"),
    ("flowers", "Blumen", "朵花"),
    ("letters", "Briefe", "封信"),
    ("keys", "Schlüssel", "把钥匙"),
    ("tickets", "Karten", "张票"),
]
WHO = [
    ("I need", "brauche ich", "我"),
    ("we need", "brauchen wir", "我们"),
    ("they need", "brauchen sie", "他们"),
]
NAMES = words(
    "Anna Ben Clara David Emma Felix Greta Henry Ida Jonas Klara Leo Mia Noah Olga Paul Rosa Sam "
    "Tina Uwe Vera Walter Yara Zoe"
)


def english(number: int) -> str:
    """1 to 999 in English words."""
    hundreds, rest = divmod(number, 100)
    parts = [EN_ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        parts += [EN_TENS[rest // 10]] + ([EN_ONES[rest % 10]] if rest % 10 else [])
    elif rest:
        parts += [EN_ONES[rest]]
    return " ".join(parts)


def german(number: int) -> str:
    """2 to 999 in German, one word: the ones come before the tens."""
    hundreds, rest = divmod(number, 100)
    word = f"{DE_ONES[hundreds]}hundert" if hundreds else ""
    if rest >= 20:
        ones = f"{DE_ONES[rest % 10]}und" if rest % 10 else ""
        return word + ones + DE_TENS[rest // 10]
    return word + ("eins" if rest == 1 else DE_ONES[rest] if rest else "")


def chinese(number: int) -> str:
    """1 to 999 in Chinese characters."""
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    text = f"{ZH_DIGITS[hundreds]}百" if hundreds else ""
    if tens:
        text += f"{ZH_DIGITS[tens]}十" if tens > 1 or hundreds else "十"
    elif hundreds and ones:
        text += "零"
    return text + (ZH_DIGITS[ones] if ones else "")


def order(source: random.Random) -> tuple[str, Row]:
    """One order in two of the three languages, and what is ordered."""
    day, thing, who = source.choice(DAYS), source.choice(THINGS), source.choice(WHO)
    hour, number = source.randint(2, 12), source.randint(2, 999)
    texts = {
        "en": f"On {day[0]} at {english(hour)} o'clock {who[0]} {english(number)} {thing[0]}.",
        "de": f"Am {day[1]} um {german(hour)} Uhr {who[1]} {german(number)} {thing[1]}.",
        "zh": f"{who[2]}{day[2]}{chinese(hour)}点需要{chinese(number)}{thing[2]}。",
    }
    src_lang, tgt_lang = source.sample(sorted(texts), 2)
    row = {
        "task": "translate",
        "source": texts[src_lang],
        "target": texts[tgt_lang],
        "src_lang": src_lang,
        "tgt_lang": tgt_lang,
    }
    return texts["en"], row


def chat(source: random.Random) -> tuple[str, Row]:
    """A dialogue whose later replies depend on its first turn, and that turn."""
    name, age = source.choice(NAMES), source.randint(2, 99)
    told = f"My name is {name} and I am {english(age)} years old."
    questions = [
        ("What is my name?", f"Your name is {name}."),
        ("How old am I?", f"You are {english(age)} years old."),
        ("Can you help me?", "Of course. What do you want to know?"),
    ]
    source.shuffle(questions)
    said = [(told, f"Nice to meet you, {name}."), *questions]
    turns = [
        {"role": role, "text": text}
        for exchange in said
        for role, text in zip(("user", "agent"), exchange, strict=True)
    ]
    return told, {"task": "dialogue", "turns": turns, "lang": "en"}


def rows(name: str, make: Callable[[random.Random], tuple[str, Row]]) -> Iterator[Row]:
    """Rows of all splits; what a row is about occurs in one split only."""
    source = random.Random(name)
    seen: set[str] = set()
    train, valid, test = SIZES[name]
    splits = [("valid", valid), ("test", test), ("train", train)]
    made: dict[str, list[Row]] = {}
    for split, size in splits:
        held_out = frozenset(seen)
        made[split] = []
        while len(made[split]) < size:
            key, row = make(source)
            if key not in held_out:
                seen.add(key)
                made[split].append({"split": split, **row, "set": name})
    for split in ("train", "valid", "test"):
        yield from made[split]


def main() -> None:
    """Write the files into the folder given on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python recipes/generate_toy.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("orders", order), ("chats", chat)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows(name, make):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{folder / name}.jsonl")


if __name__ == "__main__":
    main()
