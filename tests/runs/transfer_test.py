"""SPoT: which prompt a run starts from."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import small

from prompt_tuning.errors import UserError
from prompt_tuning.runs import transfer
from prompt_tuning.settings import Run, Settings, Transfer

RNG = np.random.default_rng(0)


def similarity(one, other):
    """By its definition: the mean of the cosines of all pairs."""
    found = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in one for b in other]
    return np.mean(found)


def settings(**options):
    return Settings(Run(prompt_init="transfer"), transfer=Transfer(**options))


def save(folder, name, prompt_PxD, task=None):
    np.save(folder / f"{name}.npy", prompt_PxD)
    if task:
        said = json.dumps({"method": "prompt", "task": task})
        (folder / f"{name}.json").write_text(said)


@pytest.fixture
def bank(tmp_path):
    folder = tmp_path / "bank"
    folder.mkdir()
    for name, task in (("a", "kind"), ("b", "mood"), ("c", "mood"), ("d", None)):
        save(folder, name, RNG.normal(size=(5, 8)).astype(np.float32), task)
    return folder


def digest(prompt_PxD):
    return hashlib.sha256(prompt_PxD.astype("<f4").tobytes()).hexdigest()


def test_the_similarity_is_the_mean_cosine_of_all_pairs():
    one, other = RNG.normal(size=(4, 8)), RNG.normal(size=(6, 8)) + 0.5
    found = transfer.similarity(one, other)
    assert found == pytest.approx(similarity(one, other))
    assert transfer.similarity(one, 3 * other) == pytest.approx(found)


def test_the_nearest_of_a_bank_is_taken(bank, tmp_path):
    probe = np.load(bank / "c.npy") + 0.3 * RNG.normal(size=(5, 8))
    save(tmp_path, "probe", probe)
    options = {"bank": str(bank), "probe": str(tmp_path / "probe.npy")}
    found = transfer.source(settings(**options))
    assert found.path == bank / "c.npy"
    expected = {p: similarity(np.load(p), probe) for p in bank.glob("*.npy")}
    assert found.similarity == pytest.approx(max(expected.values()))
    said = transfer.said(settings(**options))
    assert said == {
        "started_from": str(bank / "c.npy"),
        "start_fingerprint": digest(np.load(bank / "c.npy")),
        "similarity": found.similarity,
    }


def test_one_is_taken_by_its_name_or_its_task(bank):
    for name, file in (("b", "b.npy"), ("kind", "a.npy"), ("d", "d.npy")):
        found = transfer.source(settings(bank=str(bank), task=name))
        assert found == (bank / file, None)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"task": "mood"}, r"several of .* of a \(of kind\), b \(of mood\)"),
        ({"task": "none"}, "none of the prompts"),
        ({}, "needs transfer.bank"),
        ({"task": "a", "probe": "b"}, "either transfer.task"),
        ({"bank": "nowhere", "task": "a"}, "'nowhere', which holds no finished run"),
    ],
)
def test_what_names_no_prompt_or_several_is_refused(bank, options, problem):
    with pytest.raises(UserError, match=problem):
        transfer.source(settings(**{"bank": str(bank)} | options))


def test_options_that_nothing_reads_are_refused():
    unread = dataclasses.replace(settings(bank="runs"), run=Run())
    with pytest.raises(UserError, match="set PROMPT_INIT=transfer, or leave them"):
        transfer.source(unread)


def test_prompts_of_another_width_are_no_bank(bank, tmp_path):
    save(tmp_path, "wide", RNG.normal(size=(5, 9)))
    options = {"bank": str(bank), "probe": str(tmp_path / "wide.npy")}
    with pytest.raises(UserError, match=r"8 wide, but .* is 9"):
        transfer.source(settings(**options))


def test_a_run_starts_from_the_prompt_of_another_task(frozen, tmp_path, capsys):
    bank = tmp_path / "bank"
    source = small.trained(bank / "mood", frozen, MIXTURE_OR_TASK_NAME="small_mood")
    start = {
        "PROMPT_INIT": "transfer",
        "transfer.bank": bank,
        "transfer.task": "small_mood",
    }
    folder = small.trained(tmp_path / "kind", frozen, **start)
    said = json.loads((folder / "prompt.json").read_text())
    assert said["init"] == "transfer" and said["started_from"] == str(source)
    file = {"PROMPT_INIT": "file", "PROMPT_FILE": source}
    other = small.trained(tmp_path / "other", frozen, **file)
    np.testing.assert_array_equal(small.prompt(folder), small.prompt(other))
    for name in (folder, other):
        described = json.loads((name / "prompt.json").read_text())
        assert described["start_fingerprint"] == digest(small.prompt(source))
        assert described["started_from"] == str(source)
    # Another prompt in that place: the runs would not have started there.
    np.save(source / "prompt.npy", small.prompt(source) + 1)
    for name, of_start in ((folder, start), (other, file)):
        again = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": name, "TRAIN_STEPS": 9}
        assert small.main("train", **of_start, **again) == 2
        assert "the prompt to start from changed since" in capsys.readouterr().err
