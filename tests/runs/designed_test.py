"""Runs of prompt design: no step is taken, and all else is as with a trained prompt."""

import json
import re

import numpy as np
import pytest
import small

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.frozen.weights import fingerprint
from prompt_tuning.runs import compare, dry_run, results, tune
from prompt_tuning.serving import prompts

DESIGN = {
    "METHOD": "prompt_design",
    "DECODING": "labels",
    "prompt_design.instruction": "the kind is",
    "prompt_design.examples": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frozen):
    """Two runs, of two seeds."""
    path = tmp_path_factory.mktemp("designed")
    return small.trained(path, frozen, "--sweep=SEED=0,1", **DESIGN)


def said_of(path):
    return json.loads((path / "prompt.json").read_text())


def test_the_text_is_training_examples_and_none_that_is_evaluated(folder):
    train, asked = (small.examples(split) for split in ("train", "validation"))
    texts = []
    for seed in (0, 1):
        said = said_of(folder / f"seed_{seed}")
        rows = [
            train[key][row] for row in said["shown"] for key in ("inputs", "targets")
        ]
        assert said["text"] == " ".join(["the kind is", *rows])
        assert len(said["shown"]) == 4
        assert not {train["inputs"][row] for row in said["shown"]} & {*asked["inputs"]}
        assert len({train["targets"][row] for row in said["shown"][:3]}) == 3
        texts.append(said["text"])
    assert texts[0] != texts[1]


def test_a_run_has_no_parameters_and_no_steps(folder, capsys):
    path = folder / "seed_0"
    said = said_of(path)
    assert said["trained_parameters"] == 0 and said["decoding"] == "labels"
    assert said["length"] == len(small.prompt(path)) and said["step"] == 0
    assert not {"train.jsonl", "learning_curve.png"} & {p.name for p in path.iterdir()}
    assert [int(one.name) for one in (path / "checkpoints").iterdir()] == [0]


def test_it_is_found_again_with_nothing_but_its_folder(folder, tmp_path, capsys):
    small.check_found_again(folder / "seed_1", tmp_path, capsys)


def test_its_state_folds_to_the_prompt_that_is_shipped(folder, frozen, tmp_path):
    path = folder / "seed_0"
    step = exchange.load_prompt(path / "checkpoints" / "0")
    np.testing.assert_array_equal(step, small.prompt(path))
    vocabulary = load_vocabulary(str(frozen.parent / "spiece.model"))
    model = prompts.Frozen(str(frozen), fingerprint(str(frozen)), 16, vocabulary)
    served, facts = prompts.read(path, model)
    np.testing.assert_array_equal(served, small.prompt(path))
    assert facts.place == "prefix" and facts.decoding == "labels"
    alone = tmp_path / "alone.npy"
    exchange.save_prompt(alone, served, said_of(path))
    assert prompts.read(alone, model)[1].decoding == "labels", "without its run too"


def test_runs_of_several_seeds_are_compared_and_not_made_twice(folder, frozen, capsys):
    found = results.find([str(folder)])
    (row,) = compare.rows(found)
    assert len(row.done) == 2 and all(run.step == 0 for run in row.done)
    before = [small.prompt(folder / f"seed_{seed}") for seed in (0, 1)]
    capsys.readouterr()
    small.trained(folder, frozen, "--sweep=SEED=0,1", **DESIGN)
    assert "2 of 2 finished before" in capsys.readouterr().out
    after = [small.prompt(folder / f"seed_{seed}") for seed in (0, 1)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_tells_that_nothing_is_trained(frozen, tmp_path, capsys):
    settings = DESIGN | {"DECODING": "greedy", "MODEL_DIR": tmp_path / "none"}
    settings |= {"INITIAL_CHECKPOINT_PATH": frozen, "prompt_design.tokens": 9}
    trained = settings | {"MODEL_DIR": tmp_path / "run"}
    dry_run.show([small.settings(**settings)])
    planned = capsys.readouterr()
    assert "tokens of text; nothing is trained" in planned.out
    assert "fewest devices" not in planned.out
    small.trained(tmp_path / "run", frozen, **trained)
    out, err = capsys.readouterr()
    assert "tokens of text; nothing is trained" in out
    assert "untrained" not in out
    assert "small_kind has label words" in err and "DECODING=labels scores" in err
    assert re.search(r"\d of 4 examples are left out", err)
    small.trained(tmp_path / "run", frozen, **trained)
    assert "nothing left to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"TRAIN_SPLIT": "validation"}, "TRAIN_SPLIT has 0 examples that are whole"),
        ({"MIXTURE_OR_TASK_NAME": "small_both"}, "only show those of its own task"),
        ({"wayward.text": "bird"}, "METHOD is 'prompt_design': leave wayward.text"),
        (
            {"PROMPT_INIT": "file", "PROMPT_FILE": "old.npy"},
            "trains no prompt to start",
        ),
        ({"prompt_design.examples": 25}, "is 25, but TRAIN_SPLIT has 24"),
    ],
)
def test_what_contradicts_is_refused(frozen, tmp_path, monkeypatch, changes, problem):
    monkeypatch.chdir(tmp_path)
    np.save("old.npy", np.zeros((4, 16), np.float32))
    about = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": "run"}
    settings = small.settings(**DESIGN | about | changes)
    with pytest.raises(UserError, match=problem):
        tune.train([settings])
