"""`reproduce` from its flags to its tables, on a scale made for tests."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import grids
import pytest
from source import ROOT

from prompt_tuning import cli
from prompt_tuning.reproduce import experiments, pictures, scales
from prompt_tuning.runs import figures
from prompt_tuning.training import checkpoints, plan


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    return grids.scale(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def known(scale, monkeypatch):
    monkeypatch.setitem(scales.SCALES, "tiny", scale)
    monkeypatch.setattr(figures, "learning_curve", lambda *_: None)
    monkeypatch.setattr(pictures, "draw", lambda *_: "")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


def main(*arguments):
    return cli.main(["reproduce", *map(str, arguments), "--scale=tiny"])


def finished(out):
    """{run: when its results were written}."""
    return {p.parent: p.stat().st_mtime_ns for p in out.glob("*/*/metrics.json")}


# Cells of several experiments are the same runs, so that five of them do for all.
EACH = "tiny-(prompt|model)_tuning|random_uniform|-span_corruption-|fig3d.*-0-|table"
RUNS = ["fig1/tiny-model_tuning", "fig1/tiny-prompt_tuning"]
RUNS += ["fig3b/tiny-random_uniform", "fig3c/tiny-span_corruption"]
RUNS += ["table3/one-average"]


def test_a_cell_of_every_experiment_is_run(out, capsys):
    assert main("all", "--out", out, "--only", EACH) == 0
    told, errors = capsys.readouterr()
    assert "failed" not in errors
    report = json.loads((out / "report.json").read_text())
    made = [one["name"] for one in report["experiments"]]
    assert made == list(experiments.GROUPS["all"])
    assert all(one["cells"] for one in report["experiments"])
    assert f"report  {out / 'report.html'}" in told
    runs = [f"{p.parent.name}/{p.name}".partition("-grid")[0] for p in finished(out)]
    assert sorted(runs) == RUNS


def test_a_prompt_that_only_others_start_from_is_asked_nothing(out, capsys):
    assert main("spot", "--out", out, "--only", "trained_first|from_") == 0
    report = json.loads((out / "report.json").read_text())
    (one,) = report["experiments"]
    assert "from grid_two" in one["rows"] and "trained first" not in one["rows"]
    assert "are asked grid_two" not in capsys.readouterr().out


def test_a_method_and_the_prompt_stand_in_one_table(out):
    """The prompt at the usual rate is the run that the other experiments have made."""
    only = "methods/tiny-(prompt|ia3)_at_0.3"
    before = finished(out)
    assert main("methods", "--out", out, "--only", only) == 0
    added = finished(out).keys() - before.keys()
    assert len(added) == 1, "the prompt's is that of fig1"
    (one,) = json.loads((out / "report.json").read_text())["experiments"]
    cells = {(c["row"], c["column"]): c["test"] for c in one["cells"]}
    assert cells["tiny: prompt", "learning rate"]["mean"] == 0.3
    assert cells["tiny: prompt", "trained parameters"]["mean"] == 3 * 16
    values = 2 * 16 * (1 + 2 * 1) + 24 * 2
    assert cells["tiny: ia3", "trained parameters"]["mean"] == values
    assert cells["tiny: ia3", "score"]["n"] == 1


def test_the_same_command_trains_nothing_again(out, capsys):
    before = finished(out)
    assert main("fig1", "fig3b", "table1", "--out", out, "--only", EACH) == 0
    assert finished(out) == before
    assert "in one step" not in capsys.readouterr().out


def test_a_dry_run_lists_what_is_done_and_missing(scale, out, capsys, monkeypatch):
    monkeypatch.setitem(scales.SCALES, "tiny", scale._replace(devices=2))
    monkeypatch.setattr(plan, "use_virtual_devices", lambda devices: None)
    monkeypatch.setattr(plan, "need", lambda *_, **__: plan.Need(1, 1, 1, 2_000_000))
    assert main("fig3b", "fig3a", "--out", out, "--dry_run") == 0
    told = capsys.readouterr().out
    assert "4 runs: 2 done, 2 missing" in told, "class labels are the default length"
    done = [line for line in told.splitlines() if line.startswith("done")]
    assert "0.00  fig3a/tiny-3-grid_one-seed0-" in done[0]
    assert "fig3b/tiny-random_uniform-grid_one-seed0-" in done[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["fig9"], "there is no experiment 'fig9'; there are all, fig3"),
        (["fig1", "--seeds=0,0"], "different whole numbers"),
        (["fig1", "--only=("], "no regular expression"),
        (["fig1", "--jobs=0"], "--jobs is 0"),
        (["fig1", "--gin.SEED=1"], "its own: leave --gin"),
        (["fig1", "--scale=huge"], "no scale 'huge'; there are pocket, paper, english"),
    ],
)
def test_what_cannot_be_is_refused(flags, message, tmp_path, capsys):
    scale = [] if "--scale=huge" in flags else ["--scale=tiny"]
    assert cli.main(["reproduce", *flags, *scale, f"--out={tmp_path}"]) == 2
    assert message in capsys.readouterr().err


def test_a_killed_grid_goes_on(scale, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(scales.SCALES, "tiny", scale._replace(seeds=(0, 1)))
    save, count = checkpoints.save_state, itertools.count(1)

    def saving(*arguments, **more):
        if next(count) == 7:  # of the second length, at its end
            raise KeyboardInterrupt
        return save(*arguments, **more)

    monkeypatch.setattr(checkpoints, "save_state", saving)
    arguments = "fig3a", "--out", tmp_path
    assert main(*arguments) == 130
    before = finished(tmp_path)
    assert len(before) == 2
    assert main(*arguments) == 0
    after = finished(tmp_path)
    assert len(after) == 4 and before.items() <= after.items()
    assert "resuming from step 0" in capsys.readouterr().out


# Slow: all cells, and kills at random

PROGRAM = """
import sys
from pathlib import Path
import grids
from prompt_tuning import cli
from prompt_tuning.reproduce import scales
models, *arguments = sys.argv[1:]
scale = grids.scale(Path(models), seeds=(0, 1), lengths=(1, 2, 3, 4))
scales.SCALES["tiny"] = scale
sys.exit(cli.main(["reproduce", "--scale=tiny", *arguments]))
"""


@pytest.mark.slow
def test_killed_at_random_ten_times_no_finished_run_is_lost_or_repeated(
    tmp_path_factory, tmp_path
):
    models = tmp_path_factory.mktemp("killed")
    program = [sys.executable, "-c", PROGRAM, str(models), "fig3a", "--out"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path}
    rng = random.Random(0)
    before, ended = {}, None
    for kill in range(11):
        process = subprocess.Popen([*program, str(tmp_path)], env=environment, cwd=ROOT)
        if kill < 10:
            time.sleep(rng.uniform(6, 20))
            os.kill(process.pid, signal.SIGKILL)
        ended = process.wait(timeout=500)
        after = finished(tmp_path)
        assert before.items() <= after.items(), "lost, or made again"
        before = after
    assert ended == 0 and len(before) == 8
    logs = [(p.parent / "train.jsonl") for p in tmp_path.glob("*/*/metrics.json")]
    steps = [[json.loads(line)["step"] for line in p.open()] for p in logs]
    assert steps == [[1, 2]] * 8


@pytest.mark.slow
def test_every_cell_of_every_experiment_is_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "use_virtual_devices", lambda devices: None)
    assert main("all", "--out", tmp_path) == 0
    assert "failed" not in capsys.readouterr().err
    assert main("all", "--out", tmp_path, "--dry_run") == 0
    told = capsys.readouterr().out.splitlines()
    (total,) = [line for line in told if " runs: " in line]
    assert total.endswith(" done") and "," not in total, total
