"""Licences of model cards, which anyone may have written in any way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.checkpoint.card import MAX_BYTES, MAX_NAME, License, front_matter, read_license


def license_of(folder: Path, card: str | bytes) -> License:
    (folder / "README.md").write_bytes(card.encode() if isinstance(card, str) else card)
    return read_license(folder)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        ("license: other\nlicense_name: my-own", "my-own"),
        ("license: other", "other"),
        ("license_name: my-own", "my-own"),
        ("license: mit\nlicense_name: my-own", "mit"),
        ("license: 7", ""),
        ("license: {a: b}", ""),
        ("language: en", ""),
    ],
)
def test_the_licence_is_what_the_front_matter_says(tmp_path: Path, lines: str, name: str) -> None:
    assert license_of(tmp_path, f"---\n{lines}\n---\n# A model\n").name == name


@pytest.mark.parametrize(
    "start", ["---\r\nlicense: mit\r\n---\r\n", "\ufeff---\nlicense: mit\n---"]
)
def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path: Path, start: str) -> None:
    assert license_of(tmp_path, start) == License("mit")


def test_a_folder_without_a_card_states_no_licence(tmp_path: Path) -> None:
    assert read_license(tmp_path) == License()
    assert str(License()) == "not stated"


@pytest.mark.parametrize(
    "card",
    [
        "# license: mit\n",
        "text\n---\nlicense: mit\n---\n",
        "---\nlicense: mit\n",
        "---\nlicense: [mit\n---\n",
        "---\n- license\n---\n",
        "---\nlicense: !!int ''\n---\n",
        "---\nlicense: !!timestamp mit\n---\n",
        "---\nlicense: !!bool mit\n---\n",
        "---\nlicense: !!python/name:os.system\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
        "---\n" + "a: 1\n" * MAX_BYTES + "license: mit\n---\n",
        b"\xff\xfe\x00---\nlicense: mit\n---\n",
        "",
    ],
    ids=range(13),
)
def test_a_broken_card_states_no_licence(tmp_path: Path, card: str | bytes) -> None:
    assert license_of(tmp_path, card) == License()


@given(st.text(alphabet="-!&*?:{}[]<>'\"#|%@,\\ \n\tab0.", max_size=60))
def test_no_front_matter_is_an_error(text: str) -> None:
    assert isinstance(front_matter(f"---\n{text}\n---\n"), dict)


def test_a_name_cannot_steer_a_terminal_or_fill_it(tmp_path: Path) -> None:
    card = '---\nlicense: "mit\\e[2J\\n' + "x" * 500 + '"\n---\n'
    name = license_of(tmp_path, card).name
    assert name.startswith("mit [2J x")
    assert len(name) == MAX_NAME


@pytest.mark.parametrize(
    "name",
    [
        "cc-by-nc-4.0",
        "CC BY-NC-SA 4.0",
        "cc-by-nc-nd-4.0",
        "fair-noncommercial-research-license",
        "some_non_commercial_license",
        "intel-research",
        "apple-amlr",
        "academic-use-only",
        "mit, cc-by-nc-4.0",
    ],
)
def test_names_that_forbid_commercial_use_are_known(name: str) -> None:
    assert License(name).is_non_commercial


@pytest.mark.parametrize(
    "name",
    ["", "mit", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "gemma", "other", "ncsa", "bsd-3"],
)
def test_other_names_do_not_warn(name: str) -> None:
    assert not License(name).is_non_commercial
