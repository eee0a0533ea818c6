"""What a trained prompt says of itself is believed, and contradictions are errors."""

import json
import shutil

import numpy as np
import pytest
import small
from without import without_tensorflow

from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import trained


@pytest.fixture(scope="module")
def suffix(tmp_path_factory, frozen):
    """A run whose prompt stands behind the input."""
    folder = tmp_path_factory.mktemp("suffix")
    return small.trained(folder, frozen, PROMPT_PLACE="suffix", TRAIN_STEPS=4)


def evaluated(capsys, *arguments):
    """What `evaluate` prints, without any setting but those given."""
    capsys.readouterr()
    module = "--gin.MIXTURE_OR_TASK_MODULE=small"
    code = small.cli.main(["evaluate", module, *map(str, arguments)])
    out, err = capsys.readouterr()
    return json.loads(out) if code == 0 else err


def test_a_run_is_evaluated_on_other_devices_than_its_own(suffix, tmp_path, capsys):
    """There are 8 here, which a mesh of 1 x 2 does not use."""
    folder = tmp_path / "run"
    shutil.copytree(suffix, folder)
    kept = (folder / "config.gin").read_text()
    other = kept.replace("mesh.data = -1", "mesh.data = 1")
    other = other.replace("mesh.model = 1", "mesh.model = 2")
    other = other.replace("fully_sharded = False", "fully_sharded = True")
    assert len(other) == len(kept) - 2, "each was there"
    (folder / "config.gin").write_text(other)
    result = evaluated(capsys, f"--gin.MODEL_DIR={folder}")
    expected = json.loads((suffix / "metrics.json").read_text())["trained"]
    assert result["metrics"] == expected["metrics"]
    told = evaluated(capsys, f"--gin.MODEL_DIR={folder}", "--gin.mesh.model=3")
    assert "does not use the 8 devices" in told


def test_a_prompt_alone_says_its_model_its_task_and_its_place(suffix, capsys):
    expected = json.loads((suffix / "metrics.json").read_text())["trained"]
    for path in (suffix / "prompt.npy", suffix, suffix / "checkpoints" / "4"):
        result = evaluated(capsys, f"--prompt={path}")
        assert result["metrics"] == expected["metrics"]
        assert result["illegal"] == expected["illegal"]


@pytest.mark.parametrize(
    "flag, expected",
    [
        ("PROMPT_PLACE=prefix", "PROMPT_PLACE is 'prefix', but .* says 'suffix'"),
        ("METHOD=whole", "METHOD is 'whole', but .* says 'prompt'"),
        ("PROMPT_LENGTH=9", "PROMPT_LENGTH is 9, but .* says 4"),
    ],
)
def test_a_flag_against_it_is_an_error_that_names_both(suffix, flag, expected):
    source = trained.find("", str(suffix / "prompt.npy"))
    settings = trained.base_settings("", source)
    changed = small.config.changed(settings, [flag])
    with pytest.raises(UserError, match=expected):
        trained.load(changed, source)


def test_another_frozen_model_of_the_same_shape_is_an_error(suffix, tmp_path, capsys):
    other = small.save_frozen(tmp_path / "other.safetensors", seed=5)
    flag = f"--gin.INITIAL_CHECKPOINT_PATH={other}"
    error = evaluated(capsys, f"--prompt={suffix}", flag)
    assert "was trained on" in error and f"frozen model {other} is another" in error


def test_the_same_model_in_another_place_is_no_error(suffix, frozen, tmp_path, capsys):
    copy = tmp_path / "copy.safetensors"
    for ending in (".safetensors", ".json"):
        shutil.copy(frozen.with_suffix(ending), copy.with_suffix(ending))
    shutil.copy(frozen.parent / weights.VOCABULARY, tmp_path)
    flag = f"--gin.INITIAL_CHECKPOINT_PATH={copy}"
    assert "metrics" in evaluated(capsys, f"--prompt={suffix}", flag)


def test_another_vocabulary_is_an_error(suffix, capsys):
    error = evaluated(capsys, f"--prompt={suffix}", "--gin.VOCABULARY=byt5")
    assert "was trained with another vocabulary" in error


def test_another_task_may_be_asked_of_a_prompt(suffix, tmp_path, capsys):
    rows = "".join(f"{label} {i},{label}\n" for i in range(9) for label in small.LABELS)
    (tmp_path / "own.csv").write_text("inputs,targets\n" + rows)
    flag = f"--gin.MIXTURE_OR_TASK_NAME={tmp_path / 'own.csv'}"
    assert "own" in evaluated(capsys, f"--prompt={suffix}", flag)["metrics"]


def test_a_prompt_without_a_description_is_taken_as_the_flags_say(
    suffix, frozen, tmp_path, capsys
):
    shutil.copy(suffix / "prompt.npy", tmp_path / "p.npy")
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MIXTURE_OR_TASK_NAME": "small_kind"}
    flags = [f"--gin.{name}={value}" for name, value in flags.items()]
    prompt = f"--prompt={tmp_path / 'p.npy'}"
    assert "metrics" in evaluated(capsys, prompt, *flags, "--gin.PROMPT_PLACE=prefix")


def test_a_damaged_description_is_an_error(suffix, tmp_path, capsys):
    shutil.copy(suffix / "prompt.npy", tmp_path / "p.npy")
    (tmp_path / "p.json").write_text("{")
    assert "cannot be read" in evaluated(capsys, f"--prompt={tmp_path / 'p.npy'}")


def test_prepended_tokens_go_with_the_model_they_were_trained_with(
    frozen, tmp_path, capsys
):
    rate = {"schedule.learning_rate": 0.01}
    folder = small.trained(tmp_path, frozen, METHOD="prepended", TRAIN_STEPS=60, **rate)
    expected = json.loads((folder / "metrics.json").read_text())["trained"]["metrics"]
    assert expected["small_kind"]["accuracy"] > 60
    for flag in (f"--prompt={folder / 'prompt.npy'}", f"--gin.MODEL_DIR={folder}"):
        assert evaluated(capsys, flag)["metrics"] == expected
    alone = tmp_path / "alone" / "prompt.npy"
    alone.parent.mkdir()
    for name in ("prompt.npy", "prompt.json"):
        shutil.copy(folder / name, alone.parent)
    for path in (alone, folder / "checkpoints" / "60"):
        error = evaluated(capsys, f"--prompt={path}")
        assert "goes with the weights that were trained together with it" in error
    flags = [f"--gin.MODEL_DIR={folder}", f"--output={tmp_path / 'out.npy'}"]
    assert small.cli.main(["export", *flags]) == 2
    assert "there is no prompt that is of use without them" in capsys.readouterr().err


@pytest.mark.parametrize("decoding", ["greedy", "labels"])
def test_predicting_needs_no_tensorflow(run, tmp_path, decoding):
    rows = small.lines(run / "predictions.jsonl")
    (tmp_path / "in.txt").write_text("".join(row["inputs"] + "\n" for row in rows))
    told = without_tensorflow(
        tmp_path,
        *("predict", f"--prompt={run}", "--input=in.txt"),
        f"--gin.DECODING={decoding}",
    )
    said = [json.loads(line)["prediction"] for line in told.splitlines()]
    if decoding == "labels":
        assert len(said) == len(rows) and set(said) <= set(small.LABELS)
    else:
        assert said == [row["prediction"] for row in rows]
        assert np.isfinite(small.prompt(run)).all()
