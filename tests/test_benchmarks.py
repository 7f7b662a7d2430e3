"""The benchmark harness: contenders in separate processes, ratios, the report; not timings."""

import json
import re

import pytest
import torch
from benchmarks import gpu, report, step
from benchmarks.race import Contender, Row, compare, race


def counting(step):
    """The setup of a contender for ``race``."""
    total = 0

    def run():
        nonlocal total
        total += step
        print("a contender may print")
        return {"total": total}

    return run


def test_contenders_take_turns_and_keep_their_own_state(capfd):
    found = race(
        {
            "one": Contender("tests.test_benchmarks:counting", {"step": 1}),
            "ten": Contender("tests.test_benchmarks:counting", {"step": 10}),
        },
        rounds=3,
        warm=1,
    )
    assert [answer["total"] for answer in found["one"]] == [2, 3, 4]
    assert [answer["total"] for answer in found["ten"]] == [20, 30, 40]
    assert all(answer["seconds"] >= 0 for answer in found["one"])
    assert all(answer["peak"] > 2**20 for answer in found["one"])
    assert "a contender may print" in capfd.readouterr().err


def test_a_contender_that_fails_ends_the_race():
    with pytest.raises(SystemExit, match="contender broken exited"):
        race({"broken": Contender("tests.test_benchmarks:nothing")}, rounds=1)


def test_the_ratio_is_the_median_of_the_rounds():
    row = compare("work", [1, 2, 4], [2, 8, 4], "s", "≥ 2")
    assert (row.ours, row.baseline, row.ratio) == (2, 4, 2)  # of 2, 4 and 1
    assert (row.low, row.high) == (1.5, 3)
    assert row.met


@pytest.mark.parametrize(
    ("ours", "ratio", "target", "met"),
    [
        (1, 2.9, "≥ 3", False),
        (1, 3.0, "≥ 3", True),
        (0.5, None, "≤ 0.4", False),
        (0.3, None, "≤ 0.4", True),
        (1, 2.0, "", None),
    ],
)
def test_targets(ours, ratio, target, met):
    assert Row("work", ours, None, "s", ratio, ratio, ratio, target).met is met


def test_the_report_can_be_read_again(tmp_path):
    rows = {
        "step": [compare("step", [1, 1], [3, 3], "ms", "≥ 3", "a note")],
        "startup": [Row("help", 0.3, None, "s", None, None, None, "≤ 0.4", "a machine")],
    }
    report.write(tmp_path, rows)
    assert report.read(tmp_path) == rows
    [first, _] = json.loads((tmp_path / "results.json").read_text())
    assert {"name", "ours", "baseline", "unit", "ratio", "low", "high", "target", "machine"} <= set(
        first
    )
    table = (tmp_path / "results.md").read_text()
    assert "| step (a note) | 1 | 3 | ms | 3.00 [3.00, 3.00] | ≥ 3 | met |" in table
    assert "| help | 0.3 |  | s |  | ≤ 0.4 | met |" in table
    assert (tmp_path / "results.png").stat().st_size > 1000


def test_the_plot_shows_targets_that_are_missed():
    rows = [compare("loader", [1, 1], [8, 8], "ms", "≥ 50")]

    [axes] = report.plot(rows).axes
    assert axes.get_xlim()[1] > 50


def test_traffic_is_what_operators_read_and_write():
    values = torch.ones(1000, requires_grad=True)

    # In thousands of values: relu moves 2, the sum 1, the backward pass of relu 3.
    moved = step.traffic(lambda x: [x.relu()], values)
    assert moved == pytest.approx(4 * 6000, rel=0.01)


def test_what_a_gpu_machine_lacks_is_pinned_and_without_what_it_has():
    names = {line.split("==")[0] for line in gpu.lacking()}
    assert {"mlflow", "pydantic", "ruamel-yaml", "safetensors", "pytest", "pluggy"} <= names
    assert not {"skyseg", *gpu.THERE, *gpu.WITHOUT} & names
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in gpu.lacking())


def test_a_gpu_run_goes_on_after_a_failed_step_and_keeps_what_it_has(tmp_path, monkeypatch):
    steps = [
        gpu.Step("first", "echo one", 20),
        gpu.Step("second", "echo two; exit 3", 20),
        gpu.Step("third", "echo three; sleep 60", 1),
    ]
    monkeypatch.setattr(gpu, "steps", lambda work, there: steps)
    monkeypatch.setattr(gpu, "WHEELS", tmp_path / "none")

    assert gpu.main(tmp_path / "out") == 1

    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["exit_code"] for row in rows] == [0, 3, 124]
    texts = [(tmp_path / "out" / f"{step.name}.txt").read_text() for step in steps]
    assert texts == ["one\n", "two\n", "three\n"]
    assert not (tmp_path / "out" / "work").exists()
