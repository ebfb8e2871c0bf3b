"""sentiment, intent and calibrate: files, dialogues and label sets, as a user runs them."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import COMMAND, RunCli, assert_refused, environment, lines_of

from duologue.checkpoint.store import load_config
from duologue.evaluation.calibration import LEAST_ROWS

Folders = Callable[..., Path]
TURNS = [
    {"role": "user", "text": "the food was cold"},
    {"role": "agent", "text": "hello how are you"},
    {"role": "kb", "text": "a table"},
    {"role": "user", "text": "this film was great"},
]


@pytest.fixture
def model(tiny_model_folder: Folders) -> list[str]:
    return ["--threads", "1", "--model", str(tiny_model_folder())]


def write_rows(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "review"])
        writer.writerows([number, f"the food was cold, {number} times"] for number in range(count))


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_stopped_is_resumed_to_the_same_file(
    run_cli: RunCli, model: list[str], tmp_path: Path, stop: signal.Signals
) -> None:
    source, target = tmp_path / "reviews.csv", tmp_path / "out.csv"
    write_rows(source, 3000)
    command = ["sentiment", *model, str(source), "--column", "review", "-o", str(target)]
    process = subprocess.Popen(
        [*COMMAND, *command], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    )
    partial = tmp_path / "out.csv.partial"
    while not partial.exists() or partial.stat().st_size < 5000:
        assert process.poll() is None
    process.send_signal(stop)
    _, told = process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[stop]
    assert (stop == signal.SIGKILL) != (b"--resume goes on" in told)
    assert not target.exists()
    kept = len(rows_of(partial))
    assert 1 < kept < 3000
    assert_refused(run_cli(*command), "out.csv.partial", "--resume goes on")
    done = run_cli(*command, "--resume")
    assert done.returncode == 0, done.stderr
    rows = rows_of(target)
    assert [row[:2] for row in rows] == rows_of(source)
    assert rows[0][2:] == ["sentiment", "sentiment_probability", "sentiment_error"]
    assert {row[2] for row in rows[1:]} <= {"negative", "positive"}
    assert not partial.exists()
    other = tmp_path / "other.csv"
    run_cli(*command[:-1], str(other))
    assert other.read_bytes() == target.read_bytes()


def test_intents_of_a_file_are_labelled_in_the_same_way(
    run_cli: RunCli, model: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "my card"}\n{"text": ""}\n', encoding="utf-8")
    command = ["intent", *model, "--label-set", "bank", "a.jsonl", "-o", "b.jsonl"]
    done = run_cli(*command, "--into", "wish")
    assert done.returncode == 0, done.stderr
    assert b"a.jsonl, line 2: the text is empty" in done.stderr
    first, second = map(json.loads, (tmp_path / "b.jsonl").read_text().splitlines())
    assert first["wish"]["label"] in {"card_arrival", "card_lost", "balance"}
    assert second == {"text": "", "wish": {"error": "the text is empty"}}


def test_files_and_texts_are_not_confused(
    run_cli: RunCli, model: list[str], tmp_path: Path
) -> None:
    write_rows(tmp_path / "a.csv", 1)
    assert_refused(run_cli("sentiment", *model, "a.csv"), "a.csv: is a file", "-o")
    assert_refused(run_cli("sentiment", *model, "hi", "-o", "b.csv"), "need one file")
    assert_refused(run_cli("sentiment", *model, "a.csv", "-o", "b.txt"), "must end in .csv")
    assert_refused(run_cli("sentiment", *model, "a.csv", "-o", "b.csv", "--json"), ".jsonl")
    assert_refused(run_cli("sentiment", *model, "a.csv", "-o", "b.csv"), "no column 'text'")
    assert lines_of(run_cli("sentiment", *model, "none.csv"))


# --- label sets, sentences, dialogues ------------------------------------------------------------


def test_label_sets_are_chosen_by_name(run_cli: RunCli, model: list[str]) -> None:
    three = run_cli("sentiment", *model, "--json", "--label-set", "sentiment3", "hello")
    labels = json.loads(lines_of(three)[0])["probabilities"]
    assert list(labels) == ["negative", "neutral", "positive"]
    unknown = run_cli("sentiment", *model, "--label-set", "x", "hello")
    assert_refused(unknown, "unknown label set 'x'; there are bank, sentiment, sentiment3")


def test_each_sentence_gets_a_line_below_its_text(run_cli: RunCli, model: list[str]) -> None:
    text = "The food was cold. Was it great?"
    whole, *below = lines_of(run_cli("sentiment", *model, "--sentences", text))
    assert whole.split("\t")[:2] == lines_of(run_cli("sentiment", *model, text))[0].split("\t")
    assert [line.split("\t")[2] for line in below] == ["The food was cold.", "Was it great?"]
    assert all(line.startswith("  ") for line in below)


def test_the_words_that_a_label_needed_are_shown_and_kept(
    run_cli: RunCli, model: list[str], tmp_path: Path
) -> None:
    text = "the food was cold, and the service was slow"
    result = json.loads(lines_of(run_cli("sentiment", *model, "--json", "--explain", text))[0])
    assert result["influence"]
    (line,) = lines_of(run_cli("sentiment", *model, "--explain", text))
    assert f'"{result["influence"][0]["text"]}" (' in line
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}), encoding="utf-8")
    run_cli("sentiment", *model, "--explain", "a.jsonl", "-o", "b.jsonl")
    kept = json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8"))["sentiment"]
    assert [span["text"] for span in kept["influence"]] == [
        span["text"] for span in result["influence"]
    ]


@pytest.mark.parametrize("is_one_line", [True, False])
def test_a_dialogue_is_drawn_with_a_line_for_each_speaker(
    run_cli: RunCli, model: list[str], tmp_path: Path, is_one_line: bool
) -> None:
    rows = [{"turns": TURNS}] if is_one_line else TURNS
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    command = ["sentiment", *model, "--dialogue", "d.jsonl"]
    user, agent = lines_of(run_cli(*command, "--plot", "d.svg"))
    assert [user.split()[0], agent.split()[0]] == ["user", "agent"]
    assert [len(line.split()[1]) for line in (user, agent)] == [2, 1]
    points = [json.loads(line) for line in lines_of(run_cli(*command, "--json"))]
    assert [point["turn"] for point in points] == [0, 1, 3]
    assert float(user.split()[2]) == pytest.approx(points[2]["level"], abs=6e-3)
    drawn = (tmp_path / "d.svg").read_text(encoding="utf-8")
    assert drawn.count("<circle") == 3
    assert drawn.count("<polyline") == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "has no turns"),
        ("{", "line 1: no valid JSON"),
        ("[]", "line 1: no JSON object"),
        ('{"role": "user"}', "line 1: a turn needs a role and a text"),
        ('{"text": "a"}', "line 1: a turn has the role None"),
        ('{"turns": 3}', "line 1: turns is no list"),
        ('{"turns": [{"role": "user", "text": "a"}]}\n{"turns": []}', "line 2: a second dialogue"),
    ],
)
def test_files_that_are_no_dialogue_are_refused(
    run_cli: RunCli, model: list[str], tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "d.jsonl").write_text(content, encoding="utf-8")
    assert_refused(run_cli("sentiment", *model, "--dialogue", "d.jsonl"), problem)


# --- calibration ---------------------------------------------------------------------------------


def test_calibration_is_written_into_the_model_and_evaluated(
    run_cli: RunCli, model: list[str], tmp_path: Path
) -> None:
    rows = [
        {"split": split, "text": f"the food was cold {n}", "label": ["negative", "positive"][n % 2]}
        for n in range(20)
        for split in ("valid", "test")
    ]
    rows.append({"split": "valid", "text": "hello", "label": "neutral"})
    data = tmp_path / "r.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = run_cli("calibrate", *model, "--label-set", "sentiment", "--data", data, "-o", "made")
    title, _, whole, unknown = lines_of(done)
    assert title == "sentiment: calibration error of 20 rows"
    assert whole.split()[:2] == ["all", "20"]
    assert unknown.split()[:2] == ["unknown", "20"]
    assert unknown.split()[2:] == whole.split()[2:]
    assert b"1 rows have a label that is not in sentiment" in done.stderr
    temperature = json.loads((tmp_path / "made" / "config.json").read_text())["calibration"]
    assert list(temperature) == ["sentiment"]
    before, after = (
        json.loads(lines_of(run_cli("evaluate", "--json", "--data", data, *extra))[0])
        for extra in (
            model,
            ["--threads", "1", "--model", "made", "--plot", "r.svg", "--precision", "int8"],
        )
    )
    assert after["settings"]["temperature"] == temperature["sentiment"]
    assert before["settings"]["temperature"] == 1
    assert after["scores"]["accuracy"] == before["scores"]["accuracy"]
    assert after["scores"]["ece"]["value"] < before["scores"]["ece"]["value"]
    assert (tmp_path / "r.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "calibrated   sentiment" in "\n".join(lines_of(run_cli("info", "made")))


def test_each_language_with_enough_rows_is_calibrated_by_itself(
    run_cli: RunCli, model: list[str], tmp_path: Path
) -> None:
    texts = {"en": "the food was good", "zh": "我想订一张桌子"}
    rows = [
        {"split": "valid", "text": f"{text} {n}", "label": "positive" if n % often else "negative"}
        for text, often in ((texts["en"], 2), (texts["zh"], 5))
        for n in range(LEAST_ROWS)
    ]
    rows += [{"split": "valid", "text": "Great!", "label": "positive"}]
    data = tmp_path / "r.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    command = ["calibrate", *model, "--label-set", "sentiment", "--data", data, "-o", "made"]
    values = json.loads(lines_of(run_cli(*command, "--json"))[0])
    config = load_config(tmp_path / "made")
    by_language = config.calibration_by_language["sentiment"]
    assert set(by_language) == set(texts)
    assert by_language["en"] != by_language["zh"]
    assert values["label_set"] == "sentiment"
    fits = {fit["language"]: fit for fit in values["fits"]}
    assert {name: fit["rows"] for name, fit in fits.items()} == {
        "all": 2 * LEAST_ROWS + 1,
        "en": LEAST_ROWS,
        "zh": LEAST_ROWS,
        "unknown": 1,
    }
    assert fits["zh"]["temperature"] == by_language["zh"]
    assert fits["unknown"]["temperature"] == fits["all"]["temperature"]
    assert fits["all"]["temperature"] == config.calibration["sentiment"]
    assert "sentiment (en, zh)" in "\n".join(lines_of(run_cli("info", "made")))
    report = json.loads(
        lines_of(run_cli("evaluate", "-m", "made", "--data", data, "--split", "valid", "--json"))[0]
    )
    assert report["settings"]["temperature_by_language"] == by_language
    ece = report["scores"]["ece"]["value"]
    assert ece == pytest.approx(fits["all"]["error_after"], abs=1e-3)


def test_calibration_refuses_what_it_cannot_fit_to(
    run_cli: RunCli, model: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "r.jsonl"
    row = {"split": "valid", "source": "a", "target": "b", "src_lang": "en", "tgt_lang": "zh"}
    data.write_text(json.dumps(row), encoding="utf-8")
    command = ["calibrate", *model, "--data", str(data), "-o", "made", "--label-set"]
    assert_refused(run_cli(*command, "sentiment"), "'translate', which has no labels")
    data.write_text('{"split": "valid", "text": "a", "label": "odd"}', encoding="utf-8")
    assert_refused(run_cli(*command, "sentiment"), "no row has a label of sentiment")
    assert_refused(run_cli(*command, "x"), "unknown label set 'x'")
    assert not (tmp_path / "made").exists()
