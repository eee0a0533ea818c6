"""Several prompts in one step: as if each were alone, and a sweep of them."""

import json
import shutil

import numpy as np
import pytest
import small
from small import lines, outcome, prompt, trained

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.runs import tune
from prompt_tuning.training import checkpoints
from prompt_tuning.training.folder import kept_settings

SWEEP = "--sweep=SEED=0,1", "--sweep=schedule.learning_rate=0.3,0.1"
FOLDERS = [f"seed_{s}-learning_rate_{r}" for s in (0, 1) for r in (0.3, 0.1)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, frozen):
    return trained(tmp_path_factory.mktemp("sweep"), frozen, *SWEEP)


SUMMARY = ["scores.pdf", "scores.png", "summary.json", "summary.pdf", "summary.png"]


def test_prompts_tuned_together_end_as_those_tuned_alone(run, swept, tmp_path, frozen):
    assert sorted(path.name for path in swept.iterdir()) == sorted(FOLDERS + SUMMARY)
    alone = trained(tmp_path, frozen, SEED=1, **{"schedule.learning_rate": 0.1})
    for joint, folder in ((FOLDERS[0], run), (FOLDERS[3], alone)):
        joint = swept / joint
        assert {p.name for p in joint.iterdir()} == {p.name for p in folder.iterdir()}
        np.testing.assert_allclose(prompt(joint), prompt(folder), rtol=1e-4, atol=1e-5)
        losses = [
            [x["loss"] for x in lines(f / "train.jsonl")] for f in (joint, folder)
        ]
        np.testing.assert_allclose(*losses, rtol=1e-4)
        scores = [
            [x["score"] for x in lines(f / "eval.jsonl")] for f in (joint, folder)
        ]
        assert scores[0] == scores[1]
    different = {prompt(swept / folder).tobytes() for folder in FOLDERS}
    assert len(different) == 4


def test_a_prompt_of_a_sweep_is_a_run_like_any_other(swept, frozen, capsys):
    folder = swept / FOLDERS[3]
    made = json.loads((folder / "prompt.json").read_text())
    assert made["seed"] == 1
    assert small.cli.main(["evaluate", f"--gin.MODEL_DIR={folder}"]) == 0
    result = json.loads(capsys.readouterr().out)
    expected = json.loads((folder / "metrics.json").read_text())["trained"]
    assert result["metrics"] == expected["metrics"]
    # And goes on alone.
    rate = {"SEED": 1, "schedule.learning_rate": 0.1}
    before = (folder / "prompt.npy").read_bytes()
    trained(folder, frozen, **rate)
    assert "finished at step 8; nothing left to do" in capsys.readouterr().out
    assert (folder / "prompt.npy").read_bytes() == before


def test_a_sweep_tells_its_scores_by_setting_and_their_mean_over_seeds(
    swept, frozen, capsys
):
    """The same command again trains nothing, and tells the same."""
    trained(swept, frozen, *SWEEP)
    out = capsys.readouterr().out
    assert "4 of 4 finished before" in out and "frozen model" not in out
    kept = json.loads((swept / "summary.json").read_text())
    for row in kept["rows"]:
        rate = row["settings"]["schedule.learning_rate"]
        values = [
            json.loads((swept / folder / "metrics.json").read_text())["trained"]
            for folder in FOLDERS
            if folder.endswith(f"_{rate}")
        ]
        values = [one["metrics"]["small_kind"]["accuracy"] for one in values]
        mean, deviation = np.mean(values), np.std(values, ddof=1)
        found = row["metrics"]["small_kind accuracy"]
        assert found == pytest.approx({"mean": mean, "deviation": deviation, "n": 2})
        line = next(x for x in out.splitlines() if x.startswith(f"{rate} "))
        assert line.split() == [*f"{rate} 2 {mean:.1f} ± {deviation:.1f}".split()]


def test_a_sweep_killed_between_two_saves_goes_on_from_the_last_common_step(
    swept, tmp_path, frozen, monkeypatch, capsys
):
    # The third prompt's third save.
    with small.interrupted(monkeypatch, checkpoints, "save_state", 11):
        flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path}
        assert small.main("train", *SWEEP, **flags) == 130
    trained(tmp_path, frozen, *SWEEP)
    assert "resuming from step 4" in capsys.readouterr().out
    for folder in FOLDERS:
        assert outcome(tmp_path / folder) == outcome(swept / folder)


def test_a_sweep_grows(swept, tmp_path, frozen, capsys):
    shutil.copytree(swept, tmp_path / "sweep")
    before = {f: outcome(tmp_path / "sweep" / f) for f in FOLDERS}
    trained(tmp_path / "sweep", frozen, "--sweep=SEED=0,1,2", *SWEEP[1:])
    out = capsys.readouterr().out
    assert "4 of 6 finished before" in out and "2 prompts, in one step" in out
    assert {f: outcome(tmp_path / "sweep" / f) for f in FOLDERS} == before
    assert (tmp_path / "sweep" / "seed_2-learning_rate_0.1" / "prompt.npy").exists()


def test_prompts_at_different_steps_are_not_tuned_together(swept, tmp_path):
    for name in FOLDERS[:2]:
        shutil.copytree(swept / name, tmp_path / name)
    shutil.rmtree(tmp_path / FOLDERS[0] / "checkpoints")
    for name in ("metrics.json", "prompt.npy"):
        (tmp_path / FOLDERS[0] / name).unlink()
    both = [
        config.changed(
            kept_settings(tmp_path / name / "config.gin"),
            [f"MODEL_DIR={str(tmp_path / name)!r}", "TRAIN_STEPS=16"],
        )
        for name in FOLDERS[:2]
    ]
    with pytest.raises(UserError, match=r"None in .* 8 in .* a run of their own"):
        tune.train(both)


def test_models_are_not_tuned_together(frozen, tmp_path):
    runs = [
        small.settings(
            METHOD="whole",
            SEED=seed,
            INITIAL_CHECKPOINT_PATH=frozen,
            MODEL_DIR=tmp_path / f"{seed}",
        )
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="start a run for each"):
        tune.train(runs)
