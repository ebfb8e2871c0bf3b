"""The benchmarks' own arithmetic: turns, ratios, goals, arrivals. No peer is needed."""

from __future__ import annotations

import importlib
import json
import queue
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from duologue.checkpoint.tensors import check_weights

FOLDER = Path(__file__).parents[2] / "benchmarks"
COMMANDS = sorted(path for path in FOLDER.glob("*.py") if "def main(" in path.read_text("utf-8"))


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmark("harness") is the module benchmarks/harness.py."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_benchmark_answers_help(path: Path) -> None:
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


# --- turns and statistics ----------------------------------------------------------------------


def test_contenders_run_in_turn_after_an_untimed_round(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = benchmark("harness")
    monkeypatch.setattr(harness, "MIN_SAMPLE_S", 0)
    ran: list[str] = []
    contenders = [harness.Contender(name, lambda name=name: ran.append(name)) for name in "AB"]
    times = harness.in_turn(contenders, rounds=3, pause_s=0)
    assert "".join(ran) == "AB" + 3 * "AB"
    assert {name: len(values) for name, values in times.items()} == {"A": 3, "B": 3}


def test_times_are_milliseconds_a_unit_however_often_a_short_task_is_repeated(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = benchmark("harness")
    now = [0.0]

    def run() -> None:
        now[0] += 0.002

    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])
    times = harness.in_turn([harness.Contender("A", run, units=4)], rounds=2, pause_s=0)
    assert times["A"] == pytest.approx([0.5, 0.5])


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds(benchmark: Any) -> None:
    harness = benchmark("harness")
    assert harness.ratio([1, 2, 30], [4, 2, 10]) == 1  # that of the medians is 0.5
    with pytest.raises(ValueError, match="argument"):
        harness.ratio([1, 2], [1])


def test_the_fastest_has_the_smallest_median_of_those_with_the_name(benchmark: Any) -> None:
    harness = benchmark("harness")
    times = {"ours 1": [1.0, 9.0, 9.0], "ours 2": [5.0, 5.0, 5.0], "peer": [2.0, 2.0, 2.0]}
    assert harness.fastest(times) == "peer"
    assert harness.fastest(times, "ours") == "ours 2"
    with pytest.raises(ValueError, match="empty"):
        harness.fastest(times, "nobody")


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1), (0.05, 1), (0.5, 10), (0.51, 11), (0.95, 19), (1, 20)]
)
def test_a_percentile_is_one_of_the_values(benchmark: Any, share: float, expected: int) -> None:
    assert benchmark("harness").percentile(list(range(20, 0, -1)), share) == expected


@pytest.mark.parametrize(("most", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])])
def test_thread_counts_end_with_the_most(benchmark: Any, most: int, counts: list[int]) -> None:
    assert benchmark("harness").thread_counts(most) == counts


def test_a_table_puts_numbers_to_the_right_and_names_to_the_left(benchmark: Any) -> None:
    text = benchmark("harness").table([["who", "ms"], ["a", "10.5"], ["bcde", "9"]])
    assert text.split("\n") == ["who     ms", "a     10.5", "bcde     9"]


# --- goals and results -------------------------------------------------------------------------


def test_a_goal_is_met_at_its_limit_and_on_the_right_side_of_it(benchmark: Any) -> None:
    harness = benchmark("harness")
    judged = harness.judge({"P3": 2.2, "P1": 0.3, "P2": 0.69, "P6": 1.3})
    assert list(judged) == ["P1", "P2", "P3", "P6"]
    assert judged["P1"] == {"value": 0.3, "goal": 0.28, "met": False}
    assert [judged[name]["met"] for name in ("P2", "P3", "P6")] == [False, True, True]
    assert not harness.judge({"P1": -0.1})["P1"]["met"]  # a difference of times, all noise


def test_a_report_writes_figures_goals_and_where_it_ran(benchmark: Any, tmp_path: Path) -> None:
    harness = benchmark("harness")
    report = harness.Report("name", tmp_path, {"rounds": 3})
    report.add("a task", "ms", {"ours": [1.0, 2.0, 3.0], "peer": [2.0, 4.0, 3.0]}, over="peer")
    report.goals["P1"] = 0.2
    report.finish()
    written = json.loads((tmp_path / "name.json").read_text("utf-8"))
    assert written["rounds"] == 3
    assert written["goals"] == {"P1": {"value": 0.2, "goal": 0.28, "met": True}}
    ours, peer = written["figures"]
    assert (ours["median"], ours["min"], ours["max"], ours["ratio"]) == (2.0, 1.0, 3.0, 0.5)
    assert peer["ratio"] == 1
    assert {"machine", "commit", "versions"} <= written.keys()


def test_tiny_sizes_leave_the_results_alone(benchmark: Any, tmp_path: Path) -> None:
    harness = benchmark("harness")
    results, images = benchmark("report").RESULTS, benchmark("plots").IMAGES
    for words, folders in (
        (["--quick"], (None, None)),
        (["--quick", "--output", str(tmp_path)], (tmp_path, tmp_path)),
        ([], (results, images)),
    ):
        arguments = harness.options("A benchmark.", 3).parse_args(words)
        found = harness.output_folder(arguments), harness.output_folder(arguments, images)
        assert found == folders


def test_a_curve_is_drawn(benchmark: Any, tmp_path: Path) -> None:
    series = {"ours": ([1, 2, 4], [10.0, 20.0, 35.0]), "peer": ([1, 2], [9.0, 9.5])}
    path = benchmark("plots").plot("rows", series, ("users", "tokens/s"), tmp_path)
    assert path == tmp_path / "rows.svg"
    assert "<svg" in path.read_text("utf-8")


def test_packages_that_are_not_there_have_no_version(benchmark: Any) -> None:
    found = benchmark("report").surroundings(("numpy", "no-such-package"))
    assert found["versions"].keys() == {"python", "numpy"}


# --- shapes and our engine ---------------------------------------------------------------------


def test_random_weights_fit_their_shape_and_are_the_same_each_time(benchmark: Any) -> None:
    shapes = benchmark("shapes")
    weights, again = shapes.random_weights(shapes.TINY), shapes.random_weights(shapes.TINY)
    check_weights(weights, shapes.TINY, "tiny")
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_a_step_reads_the_decoder_and_the_output_matrix(benchmark: Any) -> None:
    shapes = benchmark("shapes")
    width, hidden, layers = 512, 1024, 8
    attention, cross = 4 * width * width, 2 * width * width
    layer = attention + cross + 3 * width * hidden
    assert shapes.step_bytes(shapes.FLAN) == layers * layer + 32_128 * width


def test_users_of_the_service_get_what_they_would_get_alone(benchmark: Any) -> None:
    ours_module, shapes = benchmark("ours"), benchmark("shapes")
    ours = ours_module.Ours(shapes.TINY, shapes.random_weights(shapes.TINY), "int8", 1)
    sources = [shapes.random_ids(shapes.TINY, 4 + seed, seed) for seed in range(3)]
    alone = [ours.greedy([source], 5)[0] for source in sources]
    assert ours.greedy(sources, 5) == alone
    assert all(len(ids) == 5 for ids in alone)
    service = ours_module.Service(ours, rows=3, num_tokens=5)
    counts = [0, 0, 0]
    for user, source in enumerate(sources):  # each comes one step later
        service.submit(user, source)
        for index, count in service.step():
            counts[index] += count
    assert counts == [3, 2, 1]
    while service.is_busy:
        for index, count in service.step():
            counts[index] += count
    assert counts == [5, 5, 5]


def test_a_reply_ends_where_the_model_ends_it_if_it_may(benchmark: Any) -> None:
    ours_module, shapes = benchmark("ours"), benchmark("shapes")
    ours = ours_module.Ours(shapes.TINY, shapes.random_weights(shapes.TINY), "f32", 1)
    source = [shapes.random_ids(shapes.TINY, 14, seed=2)]
    (whole,) = ours.greedy(source, 8)
    end_id = whole[-1]
    cut = whole[: whole.index(end_id)]
    assert ours.greedy(source, 8, end_id=end_id) == [cut]


def test_the_twin_in_pytorch_says_what_ours_says(benchmark: Any) -> None:
    peers, shapes, ours = benchmark("peers"), benchmark("shapes"), benchmark("ours")
    weights = shapes.random_weights(shapes.TINY)
    sources = [shapes.random_ids(shapes.TINY, 9, seed) for seed in range(2)]
    twin = peers.Twin(shapes.TINY, weights, 1)
    assert twin.greedy(sources, 8) == ours.Ours(shapes.TINY, weights, "f32", 1).greedy(sources, 8)


def test_whoever_is_missing_is_named_with_the_command_that_installs_it(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = benchmark("peers")
    monkeypatch.setattr(peers, "has", lambda name: name == "transformers")
    peers.announce_missing()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("pip install -c constraints.txt ctranslate2")


# --- users -------------------------------------------------------------------------------------


def test_arrivals_are_a_seeded_poisson_process(benchmark: Any) -> None:
    serve = benchmark("serve")
    times = serve.arrivals(5000, 0.05, seed=1)
    assert times == serve.arrivals(5000, 0.05, seed=1)
    assert times != serve.arrivals(5000, 0.05, seed=2)
    gaps = np.diff(times)
    assert times[0] == 0
    assert (gaps > 0).all()
    # Gaps of a Poisson process are exponential: their mean and their spread are equal.
    assert gaps.mean() == pytest.approx(0.05, rel=0.05)
    assert gaps.std() == pytest.approx(0.05, rel=0.1)


def test_a_crowd_brings_sources_of_the_lengths_that_were_asked_for(benchmark: Any) -> None:
    serve, shapes = benchmark("serve"), benchmark("shapes")
    users = serve.crowd(shapes.TINY, serve.Traffic(200, 0.01, (3, 6), 4), seed=1)
    assert {len(user.source) for user in users} == {3, 4, 5, 6}
    assert [user.arrival_s for user in users] == serve.arrivals(200, 0.01, seed=1)


def test_everyone_is_served_by_ours_and_nobody_before_arriving(benchmark: Any) -> None:
    serve, shapes, ours = benchmark("serve"), benchmark("shapes"), benchmark("ours")
    traffic = serve.Traffic(4, 0.002, (3, 6), 5)
    model = ours.Ours(shapes.TINY, shapes.random_weights(shapes.TINY), "int8", 1)
    users = serve.crowd(shapes.TINY, traffic, seed=1)
    stamps = serve.serve_ours(model, traffic)(users)
    assert [len(made) for made in stamps] == [5] * 4
    assert all(made == sorted(made) for made in stamps)
    pairs = zip(users, stamps, strict=True)
    assert all(made[0] >= user.arrival_s for user, made in pairs)


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 1), (1, 4), (2, 4)])
def test_everyone_is_served_behind_a_queue(benchmark: Any, workers: int, most: int) -> None:
    serve, shapes = benchmark("serve"), benchmark("shapes")
    batches: list[int] = []

    def greedy(sources: Sequence[Any], num_tokens: int, on_token: Any) -> None:
        batches.append(len(sources))
        for _ in range(num_tokens):
            for place in range(len(sources)):
                on_token(place)

    traffic = serve.Traffic(6, 0.0001, (3, 6), 5)
    users = serve.crowd(shapes.TINY, traffic, seed=1)
    peer = SimpleNamespace(greedy=greedy)
    stamps = serve.serve_queue(peer, workers, most, traffic)(users)
    assert [len(made) for made in stamps] == [5] * 6
    assert sum(batches) == 6
    assert max(batches) <= most


def test_a_worker_takes_all_who_wait_and_leaves_the_end_to_the_others(benchmark: Any) -> None:
    serve = benchmark("serve")
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for item in (0, 1, 2, None):
        waiting.put(item)
    assert serve.take(waiting, 2) == [0, 1]
    assert serve.take(waiting, 2) == [2]
    assert serve.take(waiting, 2) is None


def test_what_users_see_counts_from_their_arrival(benchmark: Any) -> None:
    serve = benchmark("serve")
    users = [serve.User(0.0, (4,)), serve.User(1.0, (4,))]
    seen = serve.seen(users, [[0.5, 0.6], [1.1, 2.0]])
    assert seen["first token, p50"] == pytest.approx(100)
    assert seen["first token, p95"] == pytest.approx(500)
    assert seen["between tokens, p95"] == pytest.approx(900)
    assert seen["tokens/s"] == pytest.approx(2)


# --- quality -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("f32", "met"), [(30.1, True), (29.9, True), (30.3, False)])
def test_int8_and_float32_may_be_so_far_apart(benchmark: Any, f32: float, met: bool) -> None:
    quality = benchmark("quality")
    bleu = {"f32": f32, "int8": 30.0, "int4": 28.0, None: 1.0}
    rows = {test: {"scores": {"bleu": {"value": bleu[test.precision]}}} for test in quality.TESTS}
    compared = quality.compare(rows, "f32")
    assert compared["precisions"]["bleu"] == {"f32": f32, "int8": 30.0, "int4": 28.0}
    goal = compared["goals"]["P11"]
    assert goal == {"value": pytest.approx(abs(f32 - 30.0)), "goal": 0.2, "met": met}
    assert quality.compare(rows, "int8")["goals"] == {}


def test_all_precisions_are_compared_on_the_same_sentences(benchmark: Any) -> None:
    quality = benchmark("quality")
    compared = [test for test in quality.TESTS if test.precision is not None]
    assert sorted(test.precision for test in compared) == ["f32", "int4", "int8"]
    assert len({(test.file, test.options[:-1]) for test in compared}) == 1
