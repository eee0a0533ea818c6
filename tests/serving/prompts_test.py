"""Prompts are what they say, and fit the frozen model; else they are refused."""

import json
import os

import numpy as np
import pytest
import small
from faults import inputs

from prompt_tuning import exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.serving import prompts

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))


@pytest.fixture(scope="module")
def about(frozen):
    fingerprint = weights.fingerprint(str(frozen))
    return prompts.Frozen(str(frozen), fingerprint, 16, VOCABULARY)


def npy(path, length=5, width=16, **said):
    np.save(path, np.ones((length, width), np.float32))
    if said:
        path.with_suffix(".json").write_text(json.dumps(said))
    return path


def refused(path, about, message, **said):
    with pytest.raises(UserError) as error:
        prompts.read(path, about, **said)
    assert message in str(error.value) and str(path) in str(error.value)


def test_a_run_a_step_and_its_file_say_the_same(run, about):
    found = [
        prompts.read(path, about)[1]
        for path in (run, run / "checkpoints" / "8", run / "prompt.npy")
    ]
    for facts in found:
        assert facts.label_words == small.LABELS and facts.task == "small_kind"
        assert (facts.length, facts.place, facts.decoding) == (4, "prefix", "greedy")
        assert facts.target_length == found[0].target_length < 64
    assert [facts.path.name for facts in found] == [run.name, "8", "prompt.npy"]


def test_what_says_nothing_of_itself_is_taken_as_the_caller_says(tmp_path, about):
    path = npy(tmp_path / "p.npy")
    prompt_PxD, facts = prompts.read(path, about)
    assert prompt_PxD.shape == (5, 16) and facts.target_length == prompts.ANSWER
    assert facts.place == "prefix" and facts.label_words is None
    said = {"place": "suffix", "label_words": ["a", "b"], "decoding": "labels"}
    facts = prompts.read(os.fspath(path), about, **said, target_length=3)[1]
    assert (facts.place, facts.decoding, facts.target_length) == ("suffix", "labels", 3)
    assert facts.label_words == ("a", "b")


def test_peft_s_folder_is_read(tmp_path, about):
    prompt_PxD, facts = prompts.read(inputs.peft(tmp_path / "peft"), about)
    assert prompt_PxD.shape == (3, 16) and facts.length == 3


def test_what_does_not_fit_is_refused(tmp_path, run, about):
    refused(npy(tmp_path / "wide.npy", width=8), about, "is 8 wide, but")
    path = npy(tmp_path / "a.npy", place="suffix")
    refused(path, about, "place is to be 'prefix', but", place="prefix")
    path.with_suffix(".json").write_text('{"length": 9}')
    refused(path, about, "says that its length is 9, but it holds 5 vectors")
    said = {"frozen_fingerprint": "ab" * 32, "frozen_model": "other"}
    refused(npy(tmp_path / "b.npy", **said), about, "was trained on other")
    path = npy(tmp_path / "c.npy")
    refused(path, about, "names no label words, so", decoding="labels")


def test_weights_of_its_own_cannot_share_a_frozen_model(tmp_path, about):
    refused(npy(tmp_path / "p.npy", method="prepended"), about, "METHOD=prepended")
    refused(npy(tmp_path / "q.npy", ships_model=True), about, "weights of its own")
    (tmp_path / "run").mkdir()
    said = json.dumps({"method": "whole", "ships_model": True})
    (tmp_path / "run" / "model.json").write_text(said)
    refused(tmp_path / "run", about, "METHOD=whole, which trains weights of its own")


def test_prompts_are_named_or_found_in_a_folder(tmp_path):
    (tmp_path / "one").mkdir()
    npy(tmp_path / "one" / exchange.PROMPT)
    npy(tmp_path / "two.npy", place="suffix")  # its JSON is no prompt
    (tmp_path / "empty").mkdir()
    one, two = str(tmp_path / "one"), str(tmp_path / "two.npy")
    assert prompts.named([str(tmp_path)]) == {"one": one, "two": two}
    assert prompts.named([one, f"b={two}"]) == {"one": one, "b": two}
    for given, message in (
        ([f"a={one}", f"a={two}"], "names 'a' twice"),
        ([f"={one}"], "give each prompt a name"),
        ([str(tmp_path / "empty")], "no run and no prompt file in it"),
        ([two], "which is no folder of prompts"),
    ):
        with pytest.raises(UserError, match=message):
            prompts.named(given)
    npy(tmp_path / "one.npy")
    with pytest.raises(UserError, match="two prompts of one name"):
        prompts.named([str(tmp_path)])


def test_the_frozen_model_is_the_one_that_prompts_say(tmp_path, run, frozen):
    bare = str(npy(tmp_path / "p.npy"))
    settings = prompts.frozen_settings([bare, str(run)])
    assert settings.run.initial_checkpoint_path == str(frozen)
    assert settings.run.prompt_length == 100, "nothing else of it"
    assert prompts.frozen_settings([bare]).run.initial_checkpoint_path == "pocket_nano"
