"""Tasks of texts: what seqio makes of the same task, and without seqio at all."""

import functools
import json

import numpy as np
import pytest
import small
import without

from prompt_tuning import cli
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import parts
from prompt_tuning.tasks import TextTask, accuracy, label_index, pocket, pocket_model
from prompt_tuning.tasks_io import tasks
from prompt_tuning.training import text_task

OURS = pocket.__name__
POCKET = load_vocabulary(pocket_model())
ANSWERED = [name for name in pocket.TASKS if name != "pocket_text"]


@functools.cache
def both(name):
    return [
        open_one(name, OURS, POCKET)
        for open_one in (text_task.open_text, tasks.open_task)
    ]


def rows(examples, key):
    """Ids, with their type, as they go into batches."""
    return [(row.dtype, row.tolist()) for row in getattr(examples, key)]


@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("lengths", [None, {"inputs": 12, "targets": 2}])
def test_examples_are_those_of_seqio(name, lengths):
    ours, theirs = both(name)
    assert isinstance(ours, text_task.TextTask) and ours.splits == theirs.splits
    for split in ours.splits:
        found, expected = (t.load(split, lengths).examples for t in (ours, theirs))
        for key in ("inputs", "targets"):
            assert rows(found, key) == rows(expected, key)
        for key in ("split", "lengths", "cut", "sizes", "rates"):
            assert getattr(found, key) == getattr(expected, key)
        assert bool(lengths) == (found.cut["inputs"] > 0)


@pytest.mark.parametrize("name", ANSWERED)
def test_words_and_scores_are_those_of_seqio(name):
    ours, theirs = both(name)
    assert ours.label_words() == theirs.label_words()
    for split in (*ours.splits, "no such split"):
        assert ours.class_words(split) == theirs.class_words(split)
        assert ours.tasks(split) == theirs.tasks(split)
    found, expected = (task.load("validation") for task in (ours, theirs))
    assert found.label_words == expected.label_words
    assert [*found.unlabelled] == [*expected.unlabelled] == []
    right = [POCKET.decode(row.tolist()) for row in found.examples.targets]
    # Two of three are other examples' targets; of the rest, one of seven is no word.
    planted = [*right[1:], right[0]]
    planted[::3] = right[::3]
    planted[::7] = ["no such word"] * len(planted[::7])
    (metrics, illegal), records = found.score(planted)
    assert ((metrics, illegal), records) == expected.score(planted)
    assert 0 < np.mean([*metrics[name].values()]) < 100
    assert {record["task"] for record in records} == {name}


def test_plain_text_is_that_of_seqio(monkeypatch):
    few = pocket.TASKS["pocket_text"]._replace(
        name="few_texts",
        examples=lambda split: ({"targets": t} for t in pocket.documents(3, 40)),
    )
    monkeypatch.setitem(pocket.TASKS, few.name, few)
    ours, theirs = both(few.name)
    found, expected = ours.documents("train"), theirs.documents("train")
    assert len(found) == 40
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.tolist() == other.tolist()
    for task in (ours, theirs):
        with pytest.raises(UserError, match="no texts of two tokens or more in a spli"):
            task.documents("test")
        with pytest.raises(UserError, match="few_texts has no inputs"):
            task.load("train")


def examples(split):
    for number, word in enumerate(("good", "bad", "good") * 4):
        yield {"inputs": f"film {number}", "targets": word}


TONE = TextTask(
    "tone",
    {"train": 12},
    examples,
    functools.partial(label_index, label_classes=("good", "bad")),
    (accuracy,),
)


@pytest.mark.parametrize(
    ("changes", "split", "message"),
    [
        ({}, "test", "tone has no split 'test'; it has train"),
        ({"examples": lambda split: iter(())}, "train", "tone has no examples"),
        (
            {"postprocess_fn": functools.partial(label_index, label_classes=["good"])},
            "train",
            "example 1 of train has the target 'bad'",
        ),
    ],
)
def test_what_a_user_can_get_wrong_is_told(changes, split, message):
    with pytest.raises(UserError, match=message):
        text_task.TextTask(TONE._replace(**changes), POCKET).load(split)


def test_free_text_needs_no_postprocessing_but_metrics():
    task = text_task.TextTask(TONE._replace(postprocess_fn=None), POCKET)
    said = ["good"] * 12
    evaluation, _ = task.load("train").score(said)
    assert evaluation == ({"tone": {"accuracy": pytest.approx(200 / 3)}}, {})
    assert task.label_words() is task.class_words("train") is None
    bare = text_task.TextTask(TONE._replace(metric_fns=()), POCKET)
    with pytest.raises(UserError, match="tone has no metrics"):
        bare.load("train").score(said)


# Whole runs.

RUN = {"MIXTURE_OR_TASK_NAME": "pocket_kind", "MIXTURE_OR_TASK_MODULE": OURS}
RUN |= {"TRAIN_STEPS": 2, "EVAL_PERIOD": 2, "BATCH_SIZE": 64}


def train(folder, frozen):
    return small.flags(MODEL_DIR=folder, INITIAL_CHECKPOINT_PATH=frozen, **RUN)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, frozen):
    folder = tmp_path_factory.mktemp("texts")
    assert cli.main(["train", *train(folder, frozen)]) == 0
    return folder


def test_a_run_leaves_what_it_leaves_with_seqio(trained, tmp_path, frozen, monkeypatch):
    opened = []

    def by_seqio(run, vocabulary, name):
        opened.append(name)
        return tasks.open_task(name, run.mixture_or_task_module, vocabulary)

    monkeypatch.setattr(parts, "registered", by_seqio)
    assert cli.main(["train", *train(tmp_path, frozen)]) == 0
    assert opened
    for name in ("prompt.npy", "metrics.json", "predictions.jsonl"):
        found = (trained / name).read_bytes()
        assert found == (tmp_path / name).read_bytes(), name


def test_a_run_needs_neither_tensorflow_nor_seqio(tmp_path, frozen, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # one device, and code that is fast
    folder = tmp_path / "run"
    without.without_tensorflow(tmp_path, "train", *train(folder, frozen))
    scores = json.loads((folder / "metrics.json").read_text())
    prompt = f"--prompt={folder / 'prompt.npy'}"
    said = without.without_tensorflow(
        tmp_path, "evaluate", prompt, *train(tmp_path / "again", frozen)
    )
    assert "accuracy" in said and scores
    inputs = tmp_path / "lines.txt"
    inputs.write_text("passage: a b c topic:\n")
    out = without.without_tensorflow(
        *(tmp_path, "predict", prompt, f"--input={inputs}"),
        *small.flags(INITIAL_CHECKPOINT_PATH=frozen, **RUN),
    )
    assert out.count("\n") == 1
