"""Runs of methods that ship more than a prompt: trained, found again, refused."""

import json

import jax
import numpy as np
import pytest
import small
from safetensors import numpy as safetensors

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.frozen.weights import fingerprint
from prompt_tuning.runs import dry_run
from prompt_tuning.serving import prompts
from prompt_tuning.training import plan

OPTIONS = {
    "lora": {"lora.rank": 3},
    "ia3": {},
    "adapters": {"adapters.kind": "pfeiffer", "adapters.width": 3},
    "prefix_tuning": {"prefix_tuning.hidden": 5},
    "warp": {"warp.places": "(0, 1, -1, -1)"},
    "dept": {"dept.rank": 2, "dept.positions": 3},
    "soft_words": {"soft_words.prompts": 3},
}


def trained(folder, frozen, method, *arguments, **changes):
    changes = {"TRAIN_STEPS": 4, "EVAL_PERIOD": 2} | OPTIONS[method] | changes
    rate = {"schedule.learning_rate": 0.05}
    return small.trained(folder, frozen, *arguments, METHOD=method, **rate, **changes)


# The others are kept and found as these are.
_SLOW = "ia3", "adapters", "dept"
_EACH = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in _SLOW)) for name in OPTIONS
]


@pytest.mark.parametrize("method", _EACH)
def test_a_run_is_found_again_with_nothing_but_its_folder(
    frozen, tmp_path, capsys, method
):
    """Two are trained in one step; the second says what it is, and answers so."""
    folder = trained(tmp_path, frozen, method, "--sweep=SEED=0,1") / "seed_1"
    said = json.loads((folder / "extra.json").read_text())
    assert said["method"] == method and said["ships_extra"] and not said["ships_model"]
    assert (said["options"] or {}).keys() >= OPTIONS[method].keys()
    first, second = (
        exchange.load_extra(folder.parent / name / "extra.safetensors")
        for name in ("seed_0", "seed_1")
    )
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    assert any((a != b).any() for a, b in pairs)
    small.check_found_again(folder, tmp_path, capsys)


@pytest.fixture(scope="module")
def lora(tmp_path_factory, frozen):
    return trained(tmp_path_factory.mktemp("lora"), frozen, "lora")


def test_a_run_goes_on_from_its_checkpoint(lora, frozen, tmp_path, capsys):
    """In two sittings it ends where it ends in one."""
    capsys.readouterr()
    trained(tmp_path, frozen, "lora", TRAIN_STEPS=2)
    assert "lora          576 parameters" in capsys.readouterr().out
    trained(tmp_path, frozen, "lora")
    files = (folder / "extra.safetensors" for folder in (lora, tmp_path))
    one, other = (jax.tree.leaves(exchange.load_extra(file)) for file in files)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["evaluate", "--gin.lora.rank=4"], "lora.rank is 4, but .* says 3: leave"),
        (["evaluate", "--gin.METHOD=ia3"], "METHOD is 'ia3', but .* says 'lora'"),
        (["export", "--output=p.npy"], "trains more than a prompt: take extra.safe"),
        (["inspect", "RUN"], "is of METHOD=lora, which trains more than a prompt"),
    ],
)
def test_what_it_cannot_be_is_refused(lora, capsys, arguments, problem):
    small.check_refused(lora, capsys, arguments, problem)


def test_a_state_alone_is_not_taken_for_it(lora, capsys):
    assert small.command("evaluate", f"--prompt={lora / 'checkpoints' / '4'}") == 2
    assert "which ships extra.safetensors, and that is not" in capsys.readouterr().err


def test_it_does_not_fit_another_model(lora, tmp_path, capsys):
    """A file without its description is taken as the flags say, if it fits."""
    file = tmp_path / "extra.safetensors"
    safetensors.save_file(safetensors.load_file(lora / file.name), file)
    flags = "--gin.INITIAL_CHECKPOINT_PATH=pocket_nano", "--gin.METHOD=lora"
    assert small.command("evaluate", f"--prompt={file}", *flags) == 2
    assert "does not fit the frozen model" in capsys.readouterr().err


def test_it_is_not_served_beside_prompts(lora, frozen):
    vocabulary = load_vocabulary(str(frozen.parent / "spiece.model"))
    model = prompts.Frozen(str(frozen), fingerprint(str(frozen)), 16, vocabulary)
    with pytest.raises(UserError, match="METHOD=lora, which trains more than a prompt"):
        prompts.read(lora, model)


def test_a_mixture_is_told_and_planned_as_one(frozen, capsys, monkeypatch):
    monkeypatch.setattr(plan, "need", lambda *_, **__: plan.Need(1, 1, 1, 1))
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "METHOD": "soft_words"}
    dry_run.show([small.settings(**flags, **OPTIONS["soft_words"])])
    out = capsys.readouterr().out
    assert "prompts       3 of 4 x 16, mixed; init class_label" in out
    assert "soft_words    195 parameters" in out
    assert "prompt 4 x 3" in out


def test_its_plan_says_what_is_trained(frozen, capsys):
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "METHOD": "ia3"}
    dry_run.show([small.settings(**flags)])
    out = capsys.readouterr().out
    assert "ia3           144 parameters" in out
    assert "trained   144 values, METHOD=ia3" in out
