"""Runs of methods that fold to a prompt: it is found, served and exported as one."""

import json
import re
import shutil

import numpy as np
import pytest
import small

from prompt_tuning import exchange
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.serving import prompts

TEMPLATE = {"p_tuning.template": "[P*2] the bird {inputs} [P]", "p_tuning.hidden": 3}
OPTIONS = {
    "residual": {"residual.bottleneck": 5},
    "superpos": {"superpos.rows": 9, "PROMPT_INIT": "sampled_vocab"},
    "p_tuning": TEMPLATE,
    "autoprompt": {"autoprompt.candidates": 3},
    "pez": {},
}
OF_PIECES = "autoprompt", "pez"


def trained(folder, frozen, method, *arguments, **changes):
    length = {"PROMPT_LENGTH": 5} if method == "p_tuning" else {}
    changes = {"TRAIN_STEPS": 4, "EVAL_PERIOD": 2} | length | OPTIONS[method] | changes
    return small.trained(folder, frozen, *arguments, METHOD=method, **changes)


@pytest.fixture(scope="module", params=OPTIONS)
def folder(request, tmp_path_factory, frozen):
    """The second of two runs that were trained in one step."""
    path = tmp_path_factory.mktemp(request.param)
    return trained(path, frozen, request.param, "--sweep=SEED=0,1") / "seed_1"


def test_a_run_is_found_again_with_nothing_but_its_folder(folder, tmp_path, capsys):
    said = json.loads((folder / "prompt.json").read_text())
    assert not said["ships_extra"] and not said["ships_model"]
    assert said["options"].keys() >= OPTIONS[said["method"]].keys() - {"PROMPT_INIT"}
    shapes = {small.prompt(folder.parent / f"seed_{seed}").shape for seed in (0, 1)}
    assert shapes == {(said["length"], 16)}
    small.check_found_again(folder, tmp_path, capsys)


def test_a_state_is_not_made_a_prompt_of_with_another_model(
    folder, frozen, tmp_path, capsys
):
    said = json.loads((folder / "prompt.json").read_text())
    other = small.save_frozen(tmp_path / "other.safetensors", seed=5)
    shutil.copytree(folder, tmp_path / "run")
    config = tmp_path / "run" / "config.gin"
    config.write_text(config.read_text().replace(str(frozen), str(other)))
    flags = f"--gin.MODEL_DIR={tmp_path / 'run'}", f"--output={tmp_path / 'p.npy'}"
    made_of_rows = said["method"] != "residual"
    assert small.command("export", *flags) == (2 if made_of_rows else 0)
    told = "was trained on" in capsys.readouterr().err
    assert told == made_of_rows == (not (tmp_path / "p.npy").exists())


def test_a_state_folds_to_the_prompt_that_was_shipped(folder, tmp_path):
    said = json.loads((folder / "prompt.json").read_text())
    step = exchange.load_prompt(folder / "checkpoints" / str(said["step"]))
    np.testing.assert_allclose(step, small.prompt(folder), rtol=1e-6, atol=1e-6)
    output = tmp_path / "out.npy"
    flags = f"--gin.MODEL_DIR={folder}", f"--output={output}"
    assert small.command("export", *flags) == 0
    np.testing.assert_allclose(np.load(output), step)
    assert exchange.read_description(output).get("in_front") == said.get("in_front")


def test_a_prompt_of_pieces_says_them_and_is_written_as_text(
    folder, frozen, tmp_path, capsys
):
    said = json.loads((folder / "prompt.json").read_text())
    output = tmp_path / "prompt.txt"
    flags = f"--gin.MODEL_DIR={folder}", "--format=text", f"--output={output}"
    if said["method"] not in OF_PIECES:
        assert "tokens" not in said and small.command("export", *flags) == 2
        assert "whose vectors are no pieces" in capsys.readouterr().err
        return
    table_VxD = weights.embeddings(str(frozen))
    np.testing.assert_array_equal(small.prompt(folder), table_VxD[said["tokens"]])
    vocabulary = load_vocabulary(str(frozen.parent / "spiece.model"))
    assert all(map(vocabulary.is_text, said["tokens"]))
    assert said["text"] == vocabulary.decode(said["tokens"])
    assert said["text_tokens"] == vocabulary.encode(said["text"])
    assert small.command("export", *flags) == 0
    assert output.read_text() == said["text"] + "\n"
    differs = said["tokens"] != said["text_tokens"]
    assert ("is not quite the prompt" in capsys.readouterr().err) == differs
    last = tmp_path / "last.npy"
    flags = f"--gin.MODEL_DIR={folder}", "--step=last", f"--output={last}"
    assert small.command("export", *flags) == 0
    own = json.loads(last.with_suffix(".json").read_text())
    np.testing.assert_array_equal(np.load(last), table_VxD[own["tokens"]])


def test_a_finished_sweep_is_not_trained_again(folder, frozen, capsys):
    method = json.loads((folder / "prompt.json").read_text())["method"]
    capsys.readouterr()
    trained(folder.parent, frozen, method, "--sweep=SEED=0,1")
    assert "2 of 2 finished before" in capsys.readouterr().out


def test_it_is_served_beside_other_prompts(folder, frozen):
    vocabulary = load_vocabulary(str(frozen.parent / "spiece.model"))
    model = prompts.Frozen(
        str(frozen), weights.fingerprint(str(frozen)), 16, vocabulary
    )
    prompt_PxD, facts = prompts.read(folder, model)
    np.testing.assert_array_equal(prompt_PxD, small.prompt(folder))
    around = facts.description["method"] == "p_tuning"
    assert facts.place == ("around" if around else "prefix")
    assert facts.leading == len(prompt_PxD) - around


def test_what_stands_around_the_input_is_no_prompt_of_pefts(folder, capsys, tmp_path):
    """Nor to start another from; the others are."""
    around = folder.parent.name.startswith("p_tuning")
    flags = f"--gin.MODEL_DIR={folder}", "--format=peft", f"--output={tmp_path / 'p'}"
    assert small.command("export", *flags) == (2 if around else 0)
    assert ("'around', but PEFT puts" in capsys.readouterr().err) == around


def test_a_run_goes_on_from_its_checkpoint_and_says_what_it_trains(
    frozen, tmp_path, capsys
):
    """In two sittings it ends where it ends in one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(whole, frozen, "residual")
    out = capsys.readouterr().out
    assert "residual      277 parameters" in out and "4 x 16 = 64" in out
    trained(parts, frozen, "residual", TRAIN_STEPS=2)
    trained(parts, frozen, "residual")
    assert small.outcome(whole) == small.outcome(parts)


@pytest.mark.parametrize("method", OF_PIECES)
def test_a_search_goes_on_from_its_checkpoint(frozen, tmp_path, capsys, method):
    """In two sittings it ends with the tokens that it ends with in one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(whole, frozen, method)
    told = capsys.readouterr().out
    assert f"text            {json_of(whole)['text']!r}" in told
    trained(parts, frozen, method, TRAIN_STEPS=2)
    trained(parts, frozen, method)
    assert small.outcome(whole) == small.outcome(parts)
    assert json_of(whole)["tokens"] == json_of(parts)["tokens"]
    rates = {line["learning_rate"] for line in small.lines(whole / "train.jsonl")}
    assert [*rates] == [0.0 if method == "autoprompt" else pytest.approx(0.3)]


def json_of(folder):
    return json.loads((folder / "prompt.json").read_text())


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"p_tuning.template": "[P*3] {inputs}"}, "set PROMPT_LENGTH=3"),
        ({"residual.bottleneck": 3}, "but METHOD is 'p_tuning', which has no such"),
    ],
)
def test_what_contradicts_is_refused_before_training(
    frozen, tmp_path, capsys, flags, problem
):
    about = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path / "run"}
    assert small.main("train", METHOD="p_tuning", **about, **flags) == 2
    assert re.search(problem, capsys.readouterr().err)
