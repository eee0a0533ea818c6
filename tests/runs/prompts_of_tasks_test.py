"""A run of multitask prompt tuning on a mixture: each task is answered by its own."""

import json

import numpy as np
import pytest
import small
from safetensors import numpy as safetensors

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.runs import dry_run, trained
from prompt_tuning.training import plan

NAMES = "small_kind", "small_mood"
SETTINGS = {
    "METHOD": "multitask",
    "MIXTURE_OR_TASK_NAME": "small_both",
    "TRAIN_STEPS": 4,
    "EVAL_PERIOD": 2,
    "schedule.learning_rate": 0.1,
}


def started(folder, frozen, *arguments, **changes):
    return small.trained(folder, frozen, *arguments, **SETTINGS | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frozen):
    """The second of two runs that were trained in one step."""
    path = tmp_path_factory.mktemp("multitask")
    return started(path, frozen, "--sweep=SEED=0,1") / "seed_1"


def bank(folder):
    return exchange.load_extra(folder / "extra.safetensors").bank.vectors


def own_metrics(folder):
    return json.loads((folder / "metrics.json").read_text())["trained"]["metrics"]


def exported(folder, output, task):
    flags = f"--gin.MODEL_DIR={folder}", f"--output={output}", f"--task={task}"
    assert small.command("export", *flags) == 0
    return output


def evaluated(capsys, *arguments):
    capsys.readouterr()
    assert small.command("evaluate", *arguments) == 0
    return json.loads(capsys.readouterr().out)["metrics"]


def test_a_run_ships_a_prompt_for_each_task(folder):
    said = json.loads((folder / "extra.json").read_text())
    assert said["tasks"] == {
        NAMES[0]: [*small.LABELS],
        NAMES[1]: ["glad and calm", "sad"],
    }
    assert said["trained_parameters"] == 4 * 16 + 2 * (4 + 16)
    vectors_KxPxD = bank(folder)
    assert vectors_KxPxD.shape == (2, 4, 16)
    assert not np.allclose(*vectors_KxPxD), "each learns from its own examples"
    assert not np.allclose(vectors_KxPxD, bank(folder.parent / "seed_0"))


def test_it_is_found_again_with_nothing_but_its_folder(folder, tmp_path, capsys):
    assert evaluated(capsys, f"--prompt={folder}") == own_metrics(folder)
    rows = small.lines(folder / "predictions.jsonl")
    source = tmp_path / "in.jsonl"
    asked = [{name: row[name] for name in ("task", "inputs")} for row in rows]
    source.write_text("".join(json.dumps(one) + "\n" for one in asked))
    flags = f"--gin.MODEL_DIR={folder}", f"--input={source}"
    assert small.command("predict", *flags) == 0
    said = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["prediction"] for one in said] == [one["prediction"] for one in rows]


def test_all_runs_of_its_sweep_are_evaluated(folder, capsys):
    capsys.readouterr()
    assert small.command("evaluate", f"--prompt={folder.parent}") == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert {path: one["metrics"] for path, one in runs.items()} == {
        str(path): own_metrics(path) for path in (folder.parent / "seed_0", folder)
    }


def test_a_task_s_prompt_is_exported_and_taken_for_a_prompt(folder, tmp_path, capsys):
    name, path = NAMES[1], tmp_path / "own.npy"
    np.testing.assert_allclose(
        np.load(exported(folder, path, name)), bank(folder)[1], rtol=1e-6
    )
    said = exchange.read_description(path)
    assert said["task"] == name and "tasks" not in said
    assert "score" not in said, "it was that of all tasks"
    assert evaluated(capsys, f"--prompt={path}") == {name: own_metrics(folder)[name]}
    flags = f"--prompt={path}", "--gin.DECODING=labels"
    (tmp_path / "in.txt").write_text("food 3\n")
    assert small.command("predict", *flags, f"--input={tmp_path / 'in.txt'}") == 0
    assert json.loads(capsys.readouterr().out)["prediction"] in ("glad and calm", "sad")


def test_the_mean_is_exported_for_another_task(folder, tmp_path):
    path = exported(folder, tmp_path / "mean.npy", "mean")
    np.testing.assert_allclose(np.load(path), bank(folder).mean(axis=0), rtol=1e-5)
    assert exchange.read_description(path)["mean_of"] == [*NAMES]


@pytest.mark.slow
def test_another_task_starts_from_it(folder, frozen, tmp_path):
    path = exported(folder, tmp_path / "mean.npy", "mean")
    small.trained(
        tmp_path / "target",
        frozen,
        **{"METHOD": "multitask", "PROMPT_INIT": "file", "PROMPT_FILE": path},
        **{"TRAIN_STEPS": 1, "EVAL_PERIOD": 1},
    )
    first = exchange.load_prompt(tmp_path / "target" / "checkpoints" / "0")
    np.testing.assert_array_equal(first, np.load(path))


def test_a_run_goes_on_from_its_checkpoint(folder, frozen, tmp_path, capsys):
    """In two sittings, the first of them on eight devices, it ends as in one."""
    capsys.readouterr()
    mesh = {"mesh.data": 4, "mesh.model": 2}
    started(tmp_path, frozen, SEED=1, TRAIN_STEPS=2, **mesh)
    out = capsys.readouterr().out
    assert "prompts       2 of 4 x 16, one for each task" in out
    assert "multitask     104 parameters" in out
    started(tmp_path, frozen, SEED=1)
    np.testing.assert_allclose(bank(tmp_path), bank(folder), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["export", "--output=p.npy"], "small_kind, small_mood: write one of them"),
        (["export", "--output=p.npy", "--task=cb"], "--task is 'cb', .* or mean"),
        (["inspect", "RUN"], "has a prompt for each of small_kind, small_mood"),
        (["evaluate", "--prompts", "RUN"], "has a prompt for each of small_kind"),
        (
            ["evaluate", "--gin.MIXTURE_OR_TASK_NAME=small_free"],
            "and none for small_free of validation",
        ),
    ],
)
def test_what_it_cannot_be_is_refused(folder, capsys, arguments, problem):
    small.check_refused(folder, capsys, arguments, problem)


def test_it_does_not_start_another_run_as_it_is(folder):
    with pytest.raises(UserError, match="--task=small_kind --output=FILE"):
        exchange.load_prompt(folder)


def test_a_row_without_its_task_is_not_answered(folder, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("food 3\n")
    flags = f"--gin.MODEL_DIR={folder}", f"--input={tmp_path / 'in.txt'}"
    assert small.command("predict", *flags) == 2
    assert 'has no "task"; it must name one of' in capsys.readouterr().err


def test_prompts_without_their_tasks_names_are_refused(folder, tmp_path, frozen):
    file = tmp_path / "extra.safetensors"
    safetensors.save_file(safetensors.load_file(folder / file.name), file)
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, METHOD="multitask")
    with pytest.raises(UserError, match="prompts of 2 tasks, but its description na"):
        trained.load(settings, trained.find("", str(file)))


def test_a_run_with_one_prompt_has_no_task_to_choose(tmp_path):
    with pytest.raises(UserError, match="has one prompt for whatever it was trained"):
        exchange.load_task(tmp_path / "checkpoints" / "4", {}, "small_kind")


def test_its_plan_counts_its_tasks(frozen, capsys, monkeypatch):
    monkeypatch.setattr(plan, "need", lambda *_, **__: plan.Need(1, 1, 1, 1))
    dry_run.show([small.settings(INITIAL_CHECKPOINT_PATH=frozen, **SETTINGS)])
    out = capsys.readouterr().out
    assert "trained   104 values, METHOD=multitask" in out
    assert "targets 4, prompt 4" in out
