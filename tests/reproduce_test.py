"""Grids: which run a cell is, what becomes of it, what its table says."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import grids
import planted
import pytest

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import (
    asking,
    cells,
    derived,
    dry_run,
    experiments,
    grid,
    outcomes,
    paper,
    scales,
    sizes,
    table,
    working,
)
from prompt_tuning.reproduce.experiment import Experiment, no_cells
from prompt_tuning.reproduce.experiments import fig1
from prompt_tuning.reproduce.grid import After, Cell
from prompt_tuning.runs import evaluation, results, tune
from prompt_tuning.training import folder


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    return grids.scale(tmp_path_factory.mktemp("models"))


def a_grid(scale, seeds=(0, 1, 2), lengths=(1, 3)):
    (model,) = scale.models
    return tuple(
        cell
        for length in lengths
        for cell in grid.of_tasks(
            scale, "tiny", str(length), model, seeds=seeds, PROMPT_LENGTH=length
        )
    )


def plan(scale, out, of=None, name="planted"):
    return cells.plan(name, a_grid(scale) if of is None else of, scale, out)


def finish(one, development, test=None, **more):
    """Leaves what a finished run that was asked leaves."""
    task = one.settings.run.mixture_or_task_name
    shutil.rmtree(one.folder, ignore_errors=True)
    metrics = {task: {"accuracy": development}}
    curve = (0, 0.0), (2, development)
    planted.run(one.folder, metrics, curve=curve, steps=2)
    folder.keep_settings(one.folder / "config.gin", one.settings)
    if test is not None:
        asked = {"test": {task: {"accuracy": test}}}
        (one.folder / asking.ASKED).write_text(json.dumps(asked))
    for file, text in more.items():
        (one.folder / f"{file}.json").write_text(json.dumps(text))


def fail(one, reason):
    folder.make_model_dir(one.settings.run)
    results.keep_failure(one.settings, reason)


# A planted grid: 1: 60, 70, 80; 3: 90, failed, missing. Untouched: 5 points less.


@pytest.fixture
def planned(scale, tmp_path):
    found = plan(scale, tmp_path)
    for one, score in zip(found, (60.0, 70.0, 80.0, 90.0), strict=False):
        finish(one, score, score - 5)
    fail(found[4], "it diverged")
    return found


def test_the_table_of_a_planted_grid_is_the_one_by_hand(scale, planned):
    found = outcomes.read_all(planned, scale.splits)
    states = [cells.DONE] * 4 + [cells.FAILED, cells.MISSING]
    assert [one.state for one in found] == states
    assert found[0].curve == ((0, 0.0), (2, 60.0))
    made = table.build("planted", "", found)
    assert made.selected["tiny", "1"] == (70.0, 10.0, 3, (), 0)
    assert made.values["tiny", "1"][:3] == pytest.approx((65.0, 10.0, 3))
    assert made.selected["tiny", "3"] == (90.0, None, 1, ("seed 1: it diverged",), 1)


def test_a_run_is_done_once_it_was_asked_all(scale, planned):
    finish(planned[5], 50.0)
    found = outcomes.read(planned[5], scale.splits)
    assert (found.state, found.reason) == ("missing", "not asked yet: grid_one test")
    assert asking.left(planned[5], ("validation", "test")) == [("grid_one", "test")]
    assert outcomes.read(planned[5], ("validation",)).state == cells.DONE


def test_a_run_that_is_begun_or_at_work_says_how_far_it_is(scale, planned):
    one = planned[5]
    planted.run(one.folder, curve=((0, 1.0), (1, 2.0)))
    folder.keep_settings(one.folder / "config.gin", one.settings)
    assert cells.state(one) == (cells.MISSING, "begun: step 1 of 2")
    with folder.locked(one.folder):
        state, reason = cells.state(one)
    assert state == cells.RUNNING and "process" in reason
    (one.folder / folder.LOCK).write_text("999999999 on nowhere.example")
    assert cells.state(one)[0] == cells.RUNNING, "on a host that cannot be asked"


def test_what_the_code_itself_changed_is_told(scale, planned):
    run = dataclasses.replace(planned[0].settings.run, batch_size=7)
    other = dataclasses.replace(planned[0].settings, run=run)
    state, reason = cells.state(planned[0]._replace(settings=other))
    assert state == cells.FAILED and "BATCH_SIZE was 8 and is 7" in reason


def test_runs_on_different_data_do_not_stand_in_one_table(scale, planned):
    said = {"eval_data_fingerprint": "another"}
    (planned[1].folder / "description.json").write_text(json.dumps(said))
    said = {"eval_data_fingerprint": "one"}
    (planned[0].folder / "description.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="read different data for grid_one"):
        outcomes.read_all(planned, scale.splits)


# Which run a cell is


def test_a_folder_is_named_by_row_column_task_seed_and_hash(scale, tmp_path):
    found = plan(scale, tmp_path)
    names = [one.folder.name for one in found]
    assert names[1].startswith("tiny-1-grid_one-seed1-")
    hashes = [name.rpartition("-")[2] for name in names]
    assert len({*hashes}) == 2, "one for all seeds of a setting"
    assert names == [one.folder.name for one in plan(scale, tmp_path)]


def test_settings_and_inputs_make_a_run_and_places_do_not(scale, tmp_path):
    def key(**changes):
        settings = {**scale.settings, **changes}
        return plan(scale._replace(settings=settings), tmp_path)[0].folder.name

    same = key()
    assert key(TRAIN_STEPS=3) != same
    assert key(**{"schedule.learning_rate": 0.1}) != same
    assert key(DATA_DIR="elsewhere", **{"mesh.model": 2}) == same


def test_another_frozen_model_of_the_same_name_makes_another_run(tmp_path):
    changed = []
    for seed in (5, 6):
        cells._fingerprint.cache_clear()
        found = grids.scale(tmp_path)
        grids.model(tmp_path / "lm.safetensors", seed)
        changed.append(plan(found, tmp_path / "out")[0].folder.name)
    cells._fingerprint.cache_clear()
    assert changed[0] != changed[1]


def test_own_files_are_known_by_content(scale, tmp_path):
    file = tmp_path / "own.csv"
    names = []
    for text in ("inputs,targets\na,b\n", "inputs,targets\na,c\n"):
        file.write_text(text)
        cell = Cell("r", "c", 0, {grid.TASK: str(file)}, ())
        names += [plan(scale, tmp_path, [cell])[0].folder.name]
    assert names[0] != names[1]


def test_a_model_that_is_not_there_or_in_a_bucket_has_its_name(scale, tmp_path):
    assert cells._fingerprint("gs://bucket/model") == "gs://bucket/model"
    assert cells._fingerprint("pocket_none") == "pocket_none"


def test_experiments_share_a_run_whichever_made_it_first(scale, tmp_path):
    first = plan(scale, tmp_path)
    finish(first[0], 60.0)
    other = plan(scale, tmp_path, name="other")
    assert other[0].folder == first[0].folder
    assert other[1].folder.parent.name == "other"
    assert cells.label(other[0]).startswith("other/tiny-1-grid_one-seed0-")


def test_cells_are_chosen_by_a_regular_expression(scale, tmp_path):
    found = plan(scale, tmp_path)
    assert cells.select(found, "tiny-3-.*seed[01]") == found[3:5]
    assert cells.select(found, None) == found
    with pytest.raises(UserError, match="no regular expression"):
        cells.select(found, "(")


def test_a_run_of_two_experiments_is_asked_what_both_ask(scale, tmp_path):
    """The first to ask names it; it is not done before it has answered the second."""
    (first, *_), (cell, *_) = plan(scale, tmp_path), a_grid(scale)
    more = cell._replace(asks=("grid_one", "grid_ships"))
    (other,) = cells.plan("other", [more], scale, tmp_path, [first])
    assert other.folder == first.folder, "before either is made"
    finish(first, 60.0, 55.0)
    assert cells.once([first, first]) == [first]
    (both,) = cells.once([first, other])
    assert both.experiment == "planted"
    assert both.cell == first.cell._replace(asks=more.asks)
    (row,) = dry_run.rows([first, other], scale)
    assert row.state == cells.MISSING
    assert row.reason == "not asked yet: grid_ships validation, grid_ships test"


def test_a_run_s_folder_is_read_again_once_a_file_of_it_changes(
    scale, planned, monkeypatch
):
    for _ in range(2):
        outcomes.read_all(planned, scale.splits)
        monkeypatch.setattr(results, "read", lambda path: pytest.fail(f"read {path}"))
    monkeypatch.undo()
    assert outcomes.read(planned[0], scale.splits).facts["seconds"] == 0
    line = {"step": 1, "loss": 1, "seconds": 2, "examples_per_second": 4}
    (planned[0].folder / "train.jsonl").write_text(json.dumps(line) + "\n")
    assert cells.read(planned[0].folder).losses == {1: 1.0}
    assert outcomes.read(planned[0], scale.splits).facts["seconds"] == 2


# Work


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that are trained; those in `failing` fail, none really is."""
    found, failing = [], set()

    def train(group):
        for one in group:
            name = Path(one.run.model_dir).name
            found.append(name)
            results.forget_failure(Path(one.run.model_dir))
            if name in failing:
                raise UserError("it diverged")
            path = Path(one.run.model_dir)
            finish(cells.Planned("", Cell("", "", 0, {}, ()), one, path), 50.0)

    def tried(group):
        tasks = [settings.run.mixture_or_task_name for settings, _ in group]
        return [{"metrics": {task: {"accuracy": 1.0}}} for task in tasks]

    monkeypatch.setattr(tune, "train", train)
    monkeypatch.setattr(evaluation, "tried", tried)
    found.append(failing)
    return found


def test_a_failed_cell_leaves_others_standing_until_it_is_retried(
    scale, tmp_path, trained
):
    found = plan(scale, tmp_path)
    failing, bad = trained.pop(), found[1].folder.name
    failing.add(bad)
    working.work(found, scale.splits)
    states = [outcomes.read(one, scale.splits).state for one in found]
    assert states == ["done", "failed", "done", "done", "done", "done"]
    trained.clear()
    working.work(found, scale.splits)
    assert trained == [], "nothing is repeated, and the failed one is left alone"
    failing.clear()
    working.work(found, scale.splits, retry_failed=True)
    assert trained == [bad]
    assert outcomes.read(found[1], scale.splits).state == cells.DONE


def test_a_run_that_cannot_answer_is_failed_with_its_reason(
    scale, tmp_path, trained, monkeypatch
):
    def tried(group):
        raise RuntimeError("no memory")

    trained.clear()
    monkeypatch.setattr(evaluation, "tried", tried)
    found = plan(scale, tmp_path)[:1]
    working.work(found, scale.splits)
    (one,) = outcomes.read_all(found, scale.splits)
    assert one.state == cells.FAILED
    assert one.reason == "asked grid_one, test: RuntimeError: no memory"


def test_a_cell_waits_for_the_one_that_it_starts_from(scale, tmp_path, trained):
    failing = trained.pop()
    first, second = plan(scale, tmp_path)[0].cell, plan(scale, tmp_path)[3].cell
    start = {"PROMPT_INIT": "file", "PROMPT_FILE": After(first)}
    last = second._replace(settings={**second.settings, **start})
    found = plan(scale, tmp_path, [last, first])
    assert found[0].settings.run.prompt_file == str(found[1].folder)
    failing.add(found[1].folder.name)
    working.work(found, scale.splits)
    assert trained == [found[1].folder.name], "the other has nothing to start from"
    working.work(found, scale.splits, retry_failed=True)
    failing.clear()
    trained.clear()
    working.work(found, scale.splits, retry_failed=True)
    assert trained == [found[1].folder.name, found[0].folder.name]
    changed = first._replace(settings={**first.settings, "PROMPT_LENGTH": 2})
    other = last._replace(settings={**last.settings, "PROMPT_FILE": After(changed)})
    assert plan(scale, tmp_path, [other])[0].folder != found[0].folder


def test_prompt_design_is_asked_like_a_trained_prompt(scale, tmp_path):
    """It is no longer than its text, whatever PROMPT_LENGTH the scale has."""
    design = {"METHOD": "prompt_design", "DECODING": "labels"}
    design |= {"prompt_design.instruction": "name it"}
    tasks = scale.tasks._replace(designed={"grid_one": design})
    scale = scale._replace(tasks=tasks, designed={"prompt_design.examples": 2})
    columns = paper.DESIGN, paper.DESIGN_ALONE
    of = [cell for cell in fig1.cells(scale) if cell.column in columns]
    found = plan(scale, tmp_path, of)
    assert {dry_run.needs(one.settings).flops for one in found} == {0.0}
    working.work(found, scale.splits)
    done = outcomes.read_all(found, scale.splits)
    for one in done:
        assert one.state == cells.DONE, one.reason
        assert {"test/grid_one/score", "validation/grid_one/score"} <= {*one.metrics}
        assert one.facts["trained_parameters"] == one.facts["steps"] == 0
    assert fig1.table(scale, done).columns == columns
    assert table.selecting(done).spread is None


def test_finished_cells_of_other_machines_are_collected(scale, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    mine, theirs = plan(scale, here), plan(scale, there)
    for one, score in ((mine[0], 60.0), (theirs[0], 61.0), (theirs[1], 70.0)):
        finish(one, score, score)
    fail(mine[1], "it diverged")
    fail(theirs[2], "there too")
    assert working.collect([str(there)], here) == 1
    found = outcomes.read_all(plan(scale, here), scale.splits)
    assert [one.state for one in found[:3]] == ["done", "done", "missing"]
    scores = [one.metrics["test/grid_one/score"] for one in found[:2]]
    assert scores == [60.0, 70.0], "what was here is kept"


# Derived


def test_what_is_derived_is_computed_once_and_kept(scale, planned, tmp_path):
    found, calls = outcomes.read_all(planned, scale.splits), []

    def compute(scale, outcomes_):
        calls.append(len(outcomes_))
        cell = Cell("r", "c", 0, {}, ("t",))
        return [outcomes.Outcome(cell, "", "done", "", {"test/t/score": 1.0})]

    one = Experiment("x", "", "", no_cells, lambda s, o: None, compute)
    made = [derived.derive(one, scale, found, tmp_path) for _ in range(2)]
    assert made[0] == made[1] and calls == [6]
    assert made[0][-1].metrics == {"test/t/score": 1.0}
    derived.derive(one, scale, found[:5], tmp_path)
    assert calls == [6, 5], "other outcomes, another result"
    plain = one._replace(derived=None)
    assert derived.derive(plain, scale, found, tmp_path) == found
    assert no_cells(scale) == ()


# Dry run


def test_hours_are_told_by_a_measured_rate_alone(scale, planned):
    *lines, _, _ = dry_run.text(dry_run.rows(planned, scale), scale)
    assert "GB a device" not in lines[0], "one device holds these models"
    assert "done" in lines[1] and "unknown" in lines[1]
    assert any("6 runs: 4 done, 1 failed, 1 missing" in line for line in lines)
    assert "(it diverged)" in lines[5]
    rows = [*dry_run.rows(planned, scale, rate=1e3)]
    assert rows[5].hours == pytest.approx(rows[5].flops / 1e3 / 3600)
    lines = [{"step": 1, "loss": 1, "seconds": 2, "examples_per_second": 4}]
    (planned[0].folder / "train.jsonl").write_text(
        json.dumps(lines[0] | {"flops_per_second": 5e3}) + "\n"
    )
    rows = [*dry_run.rows(planned, scale)]
    assert rows[5].rate == 5e3
    facts = outcomes.read(planned[0], scale.splits).facts
    assert (facts["seconds"], facts["together"]) == (2, 1)


def test_memory_is_that_of_the_compiled_step_and_unknown_for_tuned_models(
    scale, tmp_path
):
    one = plan(scale, tmp_path)[0]
    flops, config_, work = dry_run.needs(one.settings)
    assert flops > 0 and config_ == grids.CONFIG and work.prompt_length
    whole = config.changed(one.settings, ["METHOD=whole"])
    more, *unknown = dry_run.needs(whole)
    assert more > 0 and unknown == [None, None]
    missing = config.changed(one.settings, ["INITIAL_CHECKPOINT_PATH=none"])
    assert dry_run.needs(missing) == (None, None, None)


def test_memory_of_a_model_is_that_of_its_longest_prompt(scale, tmp_path):
    one = plan(scale, tmp_path)[0]
    lengths = 40, 4
    told = [
        config.changed(one.settings, [f"PROMPT_LENGTH={length}"]) for length in lengths
    ]
    tuned = config.changed(one.settings, ["METHOD=whole"])
    planned = [one._replace(settings=settings) for settings in (*told, tuned)]
    needed = [dry_run.needs(one.settings) for one in planned]
    found = [*dry_run._memory(planned, needed, 2)]
    longest, *_ = dry_run._memory(planned[:1], needed[:1], 2)
    (short,) = dry_run._memory(planned[1:2], needed[1:2], 2)
    assert found == [longest, longest, None] and longest > short
    assert short > 4 * outcomes.parameters(grids.CONFIG)
    assert [*dry_run._memory(planned, needed, 1)] == [None] * 3


def test_a_launch_line_makes_the_cell_s_run():
    """What a shell makes of it are flags that say the cell's settings."""
    (one, *_) = experiments.EXPERIMENTS["fig3b"].cells(scales.PAPER)
    planned = cells.plan("fig3b", [one], scales.PAPER, Path("/mnt/runs"))
    (line,) = dry_run.launches(planned, scales.PAPER)
    launcher, *flags = shlex.split(line)
    assert launcher == "scripts/launch_tpu_pod.sh"
    files = [f.partition("=")[2] for f in flags if f.startswith("--gin_file=")]
    values = [f.removeprefix("--gin.") for f in flags if f.startswith("--gin.")]
    assert config.load(files, values) == planned[0].settings


# Scales


def test_quick_is_the_same_grid_made_short():
    short = grid.quick(scales.POCKET)
    assert len(short.seeds) == len(short.models) == 1
    assert len(short.tasks.suite) == len(short.tasks.named) == 2
    for one in experiments.EXPERIMENTS.values():
        few, all_ = one.cells(short), one.cells(scales.POCKET)
        assert bool(few) == bool(all_) and len(few) <= len(all_)
        for cell in few:
            steps = grid.settings_of(short, cell).run.train_steps
            assert steps in (20, short.longer)


def test_the_number_of_parameters_is_that_of_the_gin_file_or_the_model(scale):
    small = scales.PAPER.models[0]
    assert sizes.size(small) == 76_961_152
    assert sizes.size(scale.models[0]) == outcomes.parameters(grids.CONFIG)
    absent = small._replace(settings={}, stages={100: "pocket_none"})
    assert sizes.size(absent) == 0
