"""A dry run says what the run would say, refuses what it would refuse, writes none."""

import subprocess
import sys

import pytest
import small

from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import dry_run


def told(capsys, *runs):
    dry_run.show([small.settings(**settings) for settings in runs])
    return capsys.readouterr().out


def introduction(text):
    return [line for line in text.splitlines() if not line.startswith("prompt-tuning")]


def test_it_introduces_the_run_and_plans_it(frozen, tmp_path, capsys, monkeypatch):
    small.trained(tmp_path / "run", frozen, TRAIN_STEPS=1)
    said = introduction(capsys.readouterr().out)[:4]
    monkeypatch.setattr(weights, "load_frozen", None)  # no weight is read
    settings = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path / "none"}
    found = told(capsys, settings)
    assert introduction(found)[:4] == said
    assert "one step  8 examples in 1 parts, inputs 5, targets 2, prompt 4" in found
    assert "fewest devices" in found
    assert not (tmp_path / "none").exists()


def test_a_text_that_is_longer_than_the_prompt_is_refused_here_too(frozen, capsys):
    with pytest.raises(UserError, match="there are 4: give another text"):
        told(
            capsys,
            {
                "INITIAL_CHECKPOINT_PATH": frozen,
                "MODEL_DIR": "none",
                "wayward.text": "bird bird bird bird bird",
            },
        )


def test_the_command_plans_for_a_mesh_that_is_not_here(frozen, tmp_path):
    settings = {"mesh.data": 4, "mesh.model": 2, "MODEL_DIR": tmp_path / "none"}
    flags = small.flags(INITIAL_CHECKPOINT_PATH=frozen, **settings)
    environment = small.environment()
    environment.pop("XLA_FLAGS", None)
    ended = subprocess.run(
        [sys.executable, "-m", "prompt_tuning", "train", "--dry_run", *flags],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "mesh data=4 x model=2" in ended.stdout
    assert not (tmp_path / "none").exists()


def test_a_sweep_and_other_methods_are_introduced(frozen, capsys):
    one = {"INITIAL_CHECKPOINT_PATH": frozen}
    assert "2 prompts, in one step" in told(
        capsys, one | {"SEED": 0}, one | {"SEED": 1}
    )
    found = told(capsys, one | {"METHOD": "whole"})
    assert "all trained" in found and "METHOD=whole" in found
    assert "  frozen weights                        0.00" in found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MIXTURE_OR_TASK_NAME": "small_kin"}, "small_kind"),
        ({"BATCH_SIZE": 9, "NUM_MICROBATCHES": 2}, "BATCH_SIZE"),
        ({"TRAIN_SPLIT": "test"}, "has no split 'test'"),
        ({"INITIAL_CHECKPOINT_PATH": "nowhere"}, "nowhere"),
    ],
)
def test_what_training_refuses_is_refused(frozen, capsys, settings, message):
    with pytest.raises(UserError, match=message):
        told(capsys, {"INITIAL_CHECKPOINT_PATH": frozen} | settings)
