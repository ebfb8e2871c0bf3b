"""transcribe: sound files to text, subtitles and JSON, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_whisper
from cli_process import Finished, RunCli, assert_refused, lines_of

TIME = r"\d\d:\d\d:\d\d"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    tiny_whisper.publish(folder)
    return folder


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    """A sound of noise that rises and falls, and a silent one."""
    noise = 0.1 * np.random.default_rng(5).standard_normal(16_000 * 4)
    noise *= np.abs(np.sin(np.arange(len(noise)) * 3e-4))
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    soundfile.write(tmp_path / "silence.flac", np.zeros(44_100), 44_100)
    return [tmp_path / "noise.wav", tmp_path / "silence.flac"]


@pytest.fixture
def run(run_cli: RunCli, model: Path) -> RunCli:
    def transcribe(*arguments: str | Path) -> Finished:
        fixed = ("--model", model, "--threads", "1", "--precision", "f32", "--beam", "1")
        done = run_cli("transcribe", *fixed, *arguments)
        done.stderr = re.sub(rb"^duologue: .*: licence not stated\n", b"", done.stderr)
        return done

    return transcribe


def test_text_goes_to_stdout_and_doubts_to_stderr(run: RunCli, sounds: list[Path]) -> None:
    done = run(*sounds)
    found = [json.loads(line) for line in lines_of(run("--format", "json", *sounds))]
    texts = [segment["text"] for result in found for segment in result["segments"]]
    assert texts
    assert len(lines_of(done)) == len(texts)
    assert all(line.isprintable() for line in lines_of(done))
    assert "silence.flac: no speech was found (silence)" in done.stderr.decode()
    assert [result["duration_s"] for result in found] == [4, 1]
    assert found[0]["language"] in tiny_whisper.LANGUAGES
    assert found[1]["gaps"] == [{"start": 0, "end": 1, "reason": "silence", "text": ""}]


def test_subtitles_are_written_to_a_folder(run: RunCli, sounds: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "subtitles"
    done = run("--format", "srt", "--language", "en", "--output", folder, *sounds)
    assert lines_of(done) == []
    assert sorted(path.name for path in folder.iterdir()) == ["noise.srt", "silence.srt"]
    assert (folder / "silence.srt").read_text() == ""
    text = (folder / "noise.srt").read_text()
    assert re.match(rf"1\n{TIME},\d\d\d --> {TIME},\d\d\d\n[^\n]+\n", text)


def test_words_are_cues_of_their_own_in_a_named_file(
    run: RunCli, sounds: list[Path], tmp_path: Path
) -> None:
    target = tmp_path / "a.vtt"
    how = ("--language", "en", "--timestamps", "word", "--translate", "--output", target)
    lines_of(run("--format", "vtt", *how, sounds[0]))
    cues = re.findall(rf"\n({TIME}\.\d\d\d) --> {TIME}\.\d\d\d\n[^\n]+\n", target.read_text())
    assert target.read_text().startswith("WEBVTT\n\n")
    assert len(cues) > 3
    assert cues == sorted(cues)
    assert not list(tmp_path.glob(".*"))


# --- bad input -----------------------------------------------------------------------------------


def test_what_is_no_sound_is_refused_with_its_name(run: RunCli, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    for name, word in {
        "text.wav": "no audio",
        "empty.wav": "empty",
        "nan.wav": "finite",
        "missing.wav": "no such file",
    }.items():
        assert_refused(run(tmp_path / name), name, word)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--language", "xx"], ["'xx'", "en, zh, de"]),
        (["--format", "srt", "--timestamps", "none"], ["srt", "none"]),
        (["--format", "vtt", "other.wav"], ["--output"]),
        (["--output", "out", "sub/noise.flac"], ["noise.flac", "noise.txt"]),
        (["--format", "doc"], ["--format", "txt", "srt", "vtt", "json"]),
    ],
)
def test_options_that_make_no_sense_are_refused(
    run: RunCli, sounds: list[Path], arguments: list[str], words: list[str]
) -> None:
    assert_refused(run(sounds[0], *arguments), *words)


def test_a_model_that_reads_text_is_refused(run_cli: RunCli, sounds: list[Path]) -> None:
    assert_refused(run_cli("transcribe", "--model", "duo-s", sounds[0]), "Whisper")


def test_an_output_that_cannot_be_written_is_named(
    run: RunCli, sounds: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    assert_refused(run("--output", tmp_path / "taken", sounds[1]), "taken")
