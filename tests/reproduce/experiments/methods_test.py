"""The comparison of methods: its sizes, its chosen rates, its table by hand."""

import pytest

from prompt_tuning import methods as registry
from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import experiments, grid, report, scales, told
from prompt_tuning.reproduce.experiments import methods
from prompt_tuning.reproduce.grid import Cell
from prompt_tuning.reproduce.outcomes import Outcome

POCKET = scales.POCKET
NANO = next(one for one in POCKET.models if one.name == "pocket_nano")


def test_methods_are_asked_by_name_alone():
    assert [one.name for one in experiments.named(["methods"])] == ["methods"]
    assert "methods" not in experiments.GROUPS["all"]


# Sizes


def test_each_method_has_its_own_size_and_the_prompt_s():
    """On pocket_nano, by hand: D 96, H K 128, 3 + 2 layers, a prompt of 20."""
    found = {one.name: one for one in methods.variants(POCKET, NANO)}
    plain = {name.partition(" (")[0] for name in found}
    left_out = {"prompt_design", "multitask"}  # which train nothing, or mixtures
    assert plain == {*registry.NAMES} - left_out
    values = {name: one.values for name, one in found.items()}
    assert values["prompt"] == 20 * 96
    assert values["lora"] == 8 * values["lora (rank 1)"] // 1
    assert values["lora (rank 1)"] == 2 * (96 + 128) * (3 + 2 * 2)
    assert values["dept (rank 1, length 16)"] == 16 * 96 + 256 + 96
    assert values["warp (length 18)"] == values["prompt"]
    assert values["soft_words (length 7)"] == 7 * 96 * 3
    assert (values["autoprompt"], found["autoprompt"].rated) == (20, False)
    assert "ia3" in found and "whole" in found
    sized = [name for name in found if name.startswith(("ia3", "whole", "prepended"))]
    assert len(sized) == 3, "no setting makes these as small as the prompt"
    near = [n for name, n in values.items() if "(" in name]
    assert near and all(0.5 < n / values["prompt"] < 2 for n in near)


def test_the_nearest_size_is_found_option_by_option():
    def count(given):
        rank, length = given.get("rank", 8), given.get("length", 20)
        if rank > 15:
            raise UserError("too high a rank")
        return 100 * rank + 10 * length

    assert methods.nearest(count, ["rank", "length"], 1_000) == {}
    assert methods.nearest(count, ["rank", "length"], 1_040) == {"length": 24}
    assert methods.nearest(count, ["rank", "length"], 620) == {"rank": 4, "length": 22}
    assert methods.nearest(count, ["rank"], 9_999) == {"rank": 15}
    assert methods.nearest(count, ["none"], 5) == {}


def test_methods_that_train_the_model_do_so_in_everyone_s_batches_and_steps():
    paper = methods._of_weights(scales.PAPER)
    assert paper["T5Config.param_dtype"] == "float32"
    assert paper["BATCH_SIZE"] == 32, "not the 128 of model tuning"
    pocket = methods._of_weights(POCKET)
    steps = "TRAIN_STEPS", "EVAL_PERIOD"
    assert [pocket[name] for name in steps] == [400, 50], "not model tuning's 1,600"
    lora = {one.name: one for one in methods.variants(POCKET, NANO)}["lora"]
    assert lora.settings == {"METHOD": "lora"}


# Cells


def test_each_size_has_each_rate_task_and_seed():
    cells = experiments.EXPERIMENTS["methods"].cells(POCKET)
    there = [one for one in POCKET.models if methods.variants(POCKET, one)]
    sizes = [one for model in there for one in methods.variants(POCKET, model)]
    rates = sum(len(POCKET.rates) if one.rated else 1 for one in sizes)
    each = len(POCKET.tasks.compared) * len(POCKET.seeds)
    assert len(cells) == rates * each
    of_nano = [c for c in cells if c.row == NANO.name]
    prompt = [c for c in of_nano if c.column == "prompt at 0.3"]
    assert len(prompt) == each
    run = grid.settings_of(POCKET, prompt[0])
    assert run.schedule.learning_rate == 0.3 and run.run.method == "prompt"
    whole = next(c for c in of_nano if c.column.startswith("whole"))
    stage = grid.settings_of(POCKET, whole).run.initial_checkpoint_path
    assert stage == NANO.stages[100], "the same frozen model as the others"


def test_a_model_that_is_not_there_is_left_out():
    absent = grid.Model("pocket_none", {}, {100: "pocket_none"})
    scale = POCKET._replace(models=(absent,))
    assert methods.variants(scale, absent) == []
    assert experiments.EXPERIMENTS["methods"].cells(scale) == ()


# A planted grid. LoRA, two tasks and seeds, development (test): at 0.01 means of 60
# and 70 (50 and 52), at 0.1 80 and 60 (90 and 90), at 0.3 one seed of 99.


def outcome(column, seed, task, development, test, state="done", **more):
    scores = {f"validation/{task}/score": development, f"test/{task}/score": test}
    cell = Cell(NANO.name, column, seed, {}, (task,))
    facts = {"trained_parameters": 3_072}
    folder = f"{column}-{task}-seed{seed}"
    if state != "done":
        return Outcome(cell, folder, state, more.get("reason", ""))
    return Outcome(cell, folder, state, metrics=scores, facts=facts)


def both(column, seed, *scores):
    """A score of development and test for each of two tasks."""
    return [outcome(column, seed, t, *s) for t, s in zip("ab", scores, strict=True)]


PLANTED = [
    *both("lora (rank 1) at 0.01", 0, (50, 40), (70, 60)),
    *both("lora (rank 1) at 0.01", 1, (70, 52), (70, 52)),
    *both("lora (rank 1) at 0.1", 0, (80, 90), (80, 90)),
    *both("lora (rank 1) at 0.1", 1, (60, 90), (60, 90)),
    *both("lora (rank 1) at 0.3", 0, (99, 99), (99, 99)),
    outcome("lora (rank 1) at 0.3", 1, "a", 0, 0, "failed", reason="it diverged"),
    outcome("lora (rank 1) at 0.3", 1, "b", 0, 0, "missing"),
    *both("design", 0, (30, 31), (30, 31)),
    outcome("ia3 at 0.1", 0, "a", 0, 0, "missing"),
]
ROW = f"{NANO.name}: lora (rank 1)"


@pytest.fixture
def table():
    return experiments.EXPERIMENTS["methods"].table(POCKET, PLANTED)


def test_the_best_rate_on_development_stands_in_the_table(table):
    """0.1, of mean 70 with both seeds: more is known of it than of 0.3."""
    failed = ("0.3, seed 1: it diverged",)
    assert table.selected[ROW, "score"] == (70, pytest.approx(200**0.5), 2, failed, 0)
    assert table.values[ROW, "score"] == (90, 0, 2, failed, 0)
    assert table.values[ROW, methods.RATE].mean == 0.1
    assert table.values[ROW, methods.COUNT].mean == 3_072
    assert table.rows == (ROW, f"{NANO.name}: design", f"{NANO.name}: ia3")


def test_what_is_not_measured_has_neither_rate_nor_count(table):
    row = f"{NANO.name}: ia3"
    assert table.values[row, "score"].missing == 1
    assert (row, methods.RATE) not in table.values
    assert row not in table.axis.at
    assert (f"{NANO.name}: design", methods.RATE) not in table.values


def test_a_rate_that_is_not_done_yet_is_told_as_missing():
    later = [outcome("lora (rank 1) at 0.03", i, "a", 0, 0, "missing") for i in (0, 1)]
    found = experiments.EXPERIMENTS["methods"].table(POCKET, [*PLANTED, *later])
    assert found.selected[ROW, "score"].missing == 2


def test_a_model_with_nothing_done_has_no_rows():
    cell = PLANTED[-1].cell._replace(row="pocket_micro")
    more = PLANTED[-1]._replace(cell=cell)
    found = experiments.EXPERIMENTS["methods"].table(POCKET, [*PLANTED, more])
    assert all(row.startswith(NANO.name) for row in found.rows)


def test_the_page_writes_scores_with_their_spread_and_counts_plainly(table):
    (development, test) = told.grids(table)
    lines = {c: [x.text for x in development.cells[ROW, c]] for c in table.columns}
    assert lines["score"][0] == "70.0 ± 14.1 (2)"
    assert lines[methods.COUNT] == ["3,072"] and lines[methods.RATE] == ["0.1"]
    assert test.cells[ROW, methods.COUNT] == development.cells[ROW, methods.COUNT]
    section = report.Section("methods", "", "", table, PLANTED)
    made = report.build("pocket", [section], "")
    assert made.models[NANO.name] == 1_162_816
    units = [line.split(",")[3] for line in report.to_csv(made).splitlines()]
    assert {*units[1:]} == {"percent", "number"}
