"""Numbers, durations, times and days: tables, round trips, and any text at all."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.apps.assistant.values import KINDS, LANGUAGES, Found, find_values
from duologue.apps.assistant.values.found import words_of

TODAY = date(2026, 3, 4)  # a Wednesday

ENGLISH = words_of("""zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen""")
ENGLISH_TENS = words_of("- - twenty thirty forty fifty sixty seventy eighty ninety")
GERMAN = words_of("""null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn
vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn""")
GERMAN_TENS = words_of("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")


def english(number: int) -> str:
    """A number below 10^9 in words, written from the other side than the reader's tables."""
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            joined = " and " if rest and rest < 100 else " "
            return f"{english(number // size)} {name}" + (joined + english(rest) if rest else "")
    if number < 20:
        return ENGLISH[number]
    return ENGLISH_TENS[number // 10] + (f"-{ENGLISH[number % 10]}" if number % 10 else "")


def german(number: int, is_last: bool = True) -> str:
    """A number below a million as one word."""
    for size, name in ((1000, "tausend"), (100, "hundert")):
        if number >= size:
            rest = number % size
            return german(number // size, False) + name + (german(rest) if rest else "")
    if number == 1 and is_last:
        return "eins"
    if number < 20:
        return GERMAN[number]
    unit = f"{GERMAN[number % 10]}und" if number % 10 else ""
    return unit + GERMAN_TENS[number // 10]


def chinese(number: int) -> str:
    """A number below 10^12, with 零 for gaps."""
    if number == 0:
        return "零"
    text, is_gap = "", False
    for size, name in ((10**8, "亿"), (10**4, "万"), (1, "")):
        group = number // size % 10**4
        if group == 0:
            is_gap = bool(text)
            continue
        if text and (group < 1000 or is_gap):
            text += "零"
        text += chinese_group(group) + name
        is_gap = False
    return text


def chinese_group(number: int) -> str:
    text, is_gap = "", False
    for size, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // size % 10
        if digit == 0:
            is_gap = bool(text)
            continue
        text += ("零" if is_gap else "") + "零一二三四五六七八九"[digit] + name
        is_gap = False
    return text


def only(text: str, kind: str, language: str) -> Found:
    found = find_values(text, kind, language, TODAY)
    assert len(found) == 1, (text, found)
    return found[0]


# --- numbers -----------------------------------------------------------------------------------


@given(st.integers(0, 10**9 - 1))
def test_english_numbers_in_words_are_read_as_they_were_written(number: int) -> None:
    text = english(number)
    assert only(text, "number", "en") == Found(0, len(text), "number", number)


@given(st.integers(0, 10**6 - 1))
def test_german_numbers_in_words_are_read_as_they_were_written(number: int) -> None:
    text = german(number)
    assert only(text, "number", "de") == Found(0, len(text), "number", number)


@given(st.integers(0, 10**12 - 1))
def test_chinese_numbers_in_words_are_read_as_they_were_written(number: int) -> None:
    text = chinese(number)
    assert only(text, "number", "zh") == Found(0, len(text), "number", number)


@given(st.integers(-(10**9), 10**9), st.sampled_from(LANGUAGES))
def test_digits_are_read_with_and_without_separators(number: int, language: str) -> None:
    separator = "." if language == "de" else ","
    for text in (str(number), f"{number:,}".replace(",", separator)):
        assert only(text, "number", language).value == number


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("3.5", "en", 3.5),
        ("3,5", "de", 3.5),
        ("1.000,25", "de", 1000.25),
        ("three point one four", "en", 3.14),
        ("drei Komma eins vier", "de", 3.14),
        ("三点一四", "zh", 3.14),
        ("2 million", "en", 2_000_000),
        ("2,5 Millionen", "de", 2_500_000),
        ("3万", "zh", 30_000),
        ("三百五", "zh", 350),
        ("二零二六", "zh", 2026),
        ("a hundred", "en", 100),
        ("zwei Millionen dreihunderttausend", "de", 2_300_000),
    ],
)
def test_numbers_of_other_forms(text: str, language: str, value: float) -> None:
    assert only(text, "number", language).value == value


# --- durations, times, days ----------------------------------------------------------------------


@given(st.integers(1, 23), st.integers(1, 59), st.sampled_from(LANGUAGES))
def test_hours_and_minutes_add_up(hours: int, minutes: int, language: str) -> None:
    words = {
        "en": f"{english(hours)} hours and {english(minutes)} minutes",
        "de": f"{german(hours, False)} Stunden und {german(minutes, False)} Minuten",
        "zh": f"{chinese(hours)}小时{chinese(minutes)}分钟",
    }
    found = only(words[language], "duration", language)
    assert found.value == hours * 3600 + minutes * 60
    assert (found.start, found.end) == (0, len(words[language]))


@pytest.mark.parametrize(
    ("text", "language", "seconds"),
    [
        ("half an hour", "en", 1800),
        ("an hour and a half", "en", 5400),
        ("two and a half hours", "en", 9000),
        ("a quarter of an hour", "en", 900),
        ("1h 30 min", "en", 5400),
        ("90s", "en", 90),
        ("a week", "en", 604800),
        ("anderthalb Stunden", "de", 5400),
        ("eine halbe Stunde", "de", 1800),
        ("eine Viertelstunde", "de", 900),
        ("zweieinhalb Stunden", "de", 9000),
        ("1,5 Stunden", "de", 5400),
        ("半小时", "zh", 1800),
        ("一个半小时", "zh", 5400),
        ("三刻钟", "zh", 2700),
        ("两个小时零五分钟", "zh", 7500),
        ("两分半", "zh", 150),
    ],
)
def test_durations_of_other_forms(text: str, language: str, seconds: float) -> None:
    assert only(text, "duration", language).value == seconds


@given(st.integers(0, 23), st.integers(0, 59), st.sampled_from(LANGUAGES))
def test_written_times_are_read_in_every_language(hour: int, minute: int, language: str) -> None:
    text = f"{hour}:{minute:02d}"
    assert only(text, "time", language).value == f"{hour:02d}:{minute:02d}"


@given(st.integers(1, 11), st.integers(0, 59))
def test_parts_of_the_day_say_which_half_is_meant(hour: int, minute: int) -> None:
    late, early = f"{hour + 12:02d}:{minute:02d}", f"{hour:02d}:{minute:02d}"
    assert only(f"{hour}:{minute:02d} pm", "time", "en").value == late
    assert only(f"{hour}:{minute:02d} am", "time", "en").value == early
    assert only(f"{hour}:{minute:02d} Uhr nachmittags", "time", "de").value == late
    assert only(f"下午{hour}:{minute:02d}", "time", "zh").value == late


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("half past three", "en", "03:30"),
        ("quarter to four", "en", "03:45"),
        ("ten past five pm", "en", "17:10"),
        ("seven thirty am", "en", "07:30"),
        ("at seven in the evening", "en", "19:00"),
        ("wake me at 7", "en", "07:00"),
        ("noon", "en", "12:00"),
        ("12 am", "en", "00:00"),
        ("halb vier", "de", "03:30"),
        ("viertel nach drei", "de", "03:15"),
        ("dreiviertel vier", "de", "03:45"),
        ("fünf vor halb vier", "de", "03:25"),
        ("acht Uhr abends", "de", "20:00"),
        ("15 Uhr 30", "de", "15:30"),
        ("三点一刻", "zh", "03:15"),
        ("晚上八点半", "zh", "20:30"),
        ("差五分三点", "zh", "02:55"),
        ("凌晨两点", "zh", "02:00"),
        ("中午", "zh", "12:00"),
    ],
)
def test_times_of_other_forms(text: str, language: str, value: str) -> None:
    assert only(text, "time", language).value == value


@pytest.mark.parametrize(
    ("text", "language"),
    [("set it to 50", "en"), ("at 50 percent", "en"), ("auf 20 Grad", "de"), ("三个苹果", "zh")],
)
def test_numbers_that_are_no_times(text: str, language: str) -> None:
    assert find_values(text, "time", language, TODAY) == []


@pytest.mark.parametrize(
    ("text", "language", "day"),
    [
        ("tomorrow", "en", "2026-03-05"),
        ("the day after tomorrow", "en", "2026-03-06"),
        ("on friday", "en", "2026-03-06"),
        ("next Friday", "en", "2026-03-13"),
        ("on wednesday", "en", "2026-03-11"),
        ("in three days", "en", "2026-03-07"),
        ("March 5", "en", "2026-03-05"),
        ("march 3rd", "en", "2027-03-03"),
        ("the 5th of march 2028", "en", "2028-03-05"),
        ("2026-12-24", "en", "2026-12-24"),
        ("übermorgen", "de", "2026-03-06"),
        ("nächsten Freitag", "de", "2026-03-06"),
        ("Freitag nächster Woche", "de", "2026-03-13"),
        ("5. Mai", "de", "2026-05-05"),
        ("5.5.2027", "de", "2027-05-05"),
        ("in einer Woche", "de", "2026-03-11"),
        ("明天", "zh", "2026-03-05"),
        ("大后天", "zh", "2026-03-07"),
        ("下周五", "zh", "2026-03-13"),
        ("星期天", "zh", "2026-03-08"),
        ("三天后", "zh", "2026-03-07"),
        ("3月5日", "zh", "2026-03-05"),
        ("二零二七年三月五日", "zh", "2027-03-05"),
    ],
)
def test_days_relative_to_a_wednesday(text: str, language: str, day: str) -> None:
    assert only(text, "date", language).value == day


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 6))
def test_a_weekday_is_the_coming_one(today: date, weekday: int) -> None:
    names = words_of("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
    found = find_values(f"on {names[weekday]}", "date", "en", today)
    day = date.fromisoformat(found[0].value)
    assert day.weekday() == weekday
    assert timedelta(0) < day - today <= timedelta(7)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_written_days_are_read_whatever_today_is(day: date) -> None:
    written = (
        (day.isoformat(), "en"),
        (f"{day.day}.{day.month}.{day.year}", "de"),
        (f"{day.year}年{day.month}月{day.day}日", "zh"),
    )
    for text, language in written:
        assert only(text, "date", language).value == day.isoformat()


@pytest.mark.parametrize("text", ["30. Februar", "99.99.2026", "February 30", "2026-13-01"])
def test_days_that_there_are_not(text: str) -> None:
    language = "en" if "Feb" in text and "ruary" in text else "de"
    assert find_values(text, "date", language, TODAY) == []


# --- any text ------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    words_of("""two half a an hour hours minutes past to quarter at noon next friday march 5th point
    and     hundred thousand in drei
    halb viertel vor nach uhr eine stunde nächsten am 5. märz einund
    prozent
    三 点 半 十 分 百 万 零 亿 下 周 五 月 号 天 后 个 小 时 刻 钟 差 下午 1 20 3.5 15:30 1,000
    - . , : ’ ß İ ½ ２ ٣ 99999999999999999999""")
)


@given(
    st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=12).map(" ".join)),
    st.sampled_from(KINDS),
    st.sampled_from(LANGUAGES),
)
def test_whatever_is_said_what_is_found_lies_in_it_and_does_not_overlap(
    text: str, kind: str, language: str
) -> None:
    end = 0
    for found in find_values(text, kind, language, TODAY):
        assert end <= found.start < found.end <= len(text)
        assert found.kind == kind
        end = found.end
        if kind == "date":
            date.fromisoformat(found.value)
        if kind == "duration":
            assert found.value >= 0
