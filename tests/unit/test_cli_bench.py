"""How `duologue bench` shows its figures to people."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from duologue.benchmark import Decoding, Encoding, Figures, Reading, Times
from duologue.cli.bench import _notes, _number, _table

REPLY = Times(median_ms=128.0, min_ms=64.0, max_ms=256.0, runs=7)
ONE = Decoding(1, 32, 64, 2.0, 500.0, REPLY)
MANY = Decoding(16, 32, 64, 2.0, 8000.0, REPLY)
READ = Times(1.234, 1.0, 12.3, 9)
FIGURES = Figures(
    one_user=ONE,
    many_users=MANY,
    encoding=(Encoding(512, 0, 0, READ), Encoding(20, 400, 400, READ)),
    bytes_per_token=6144.0,
    peak_process_bytes=90_000_000,
    reading=Reading(4_500_000, 15.0, 20.0, 0.75, 20.0),
)


def rows(figures: Figures) -> dict[str, list[str]]:
    """Name -> cells of each line."""
    lines = [re.split(r"  +", line.strip()) for line in _table(figures).split("\n")[1:]]
    return {line[0]: line[1:] for line in lines}


def test_the_least_stands_before_the_most_in_times_and_in_rates() -> None:
    found = rows(FIGURES)
    assert found["1 user: ms a token"] == ["2.00", "1.00", "4.00", "7"]
    assert found["1 user: tokens/s"] == ["500", "250", "1,000", "7"]
    assert found["16 users: ms a token"] == ["2.00", "1.00", "4.00", "7"]
    assert found["16 users: tokens/s"] == ["8,000", "4,000", "16,000", "7"]
    assert found["read 20 tokens after 400: ms"] == ["1.23", "1.00", "12.3", "9"]


def test_single_figures_have_their_units() -> None:
    found = rows(FIGURES)
    assert found["remembering: bytes a token"] == ["6,144"]
    assert found["process at most: MB"] == ["90.0"]
    assert found["weights of a step: MB"] == ["4.50"]
    assert found["share of that: %"] == ["75.0"]


def test_one_user_has_one_pair_of_rows() -> None:
    names = [name for name in rows(replace(FIGURES, many_users=ONE)) if "user" in name]
    assert names == ["1 user: ms a token", "1 user: tokens/s"]


def test_a_turn_for_which_all_was_read_again_says_so() -> None:
    again = replace(FIGURES, encoding=(Encoding(20, 400, 0, READ),))
    assert "read 20 tokens after 400, all read again: ms" in rows(again)


@pytest.mark.parametrize(("same", "num_notes"), [(20.0, 1), (60.0, 2)])
def test_weights_in_a_cache_are_pointed_out(same: float, num_notes: int) -> None:
    reading = replace(FIGURES.reading, same_bytes_gb_per_s=same)
    notes = list(_notes(replace(FIGURES, reading=reading)))
    assert len(notes) == num_notes
    assert ("cache, which" in notes[-1]) == (num_notes == 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (1.236, "1.24"), (12.34, "12.3"), (123.4, "123"), (9876.5, "9,876")],
)
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert _number(value) == text
