"""Variants say what the task says, in front of its inputs or targets something more."""

import pytest

from prompt_tuning.frozen import vocabulary
from prompt_tuning.tasks import pocket, pocket_model
from prompt_tuning.tasks.pocket import variants
from prompt_tuning.training.text_task import TextTask

VOCABULARY = vocabulary.load_vocabulary(pocket_model())


def examples(task, count=5):
    return [e for e, _ in zip(task.examples("validation"), range(count), strict=False)]


@pytest.mark.parametrize("name", pocket.SUITE)
def test_a_named_task_has_its_name_in_front(name):
    plain, named = pocket.TASKS[name], pocket.TASKS[f"{name}_named"]
    for one, other in zip(examples(plain), examples(named), strict=True):
        assert other["inputs"] == f"{name.removeprefix('pocket_')} {one['inputs']}"
        assert other["targets"] == one["targets"]
    assert f"{name}_named" in pocket.MIXTURES["pocket_suite"]


@pytest.mark.parametrize("name", pocket.SUITE)
def test_a_sentinel_stands_in_front_of_targets_and_is_not_read(name):
    task = TextTask(pocket.TASKS[f"{name}_sentinel"], VOCABULARY)
    split = task.load("validation")
    first = {int(row[0]) for row in split.examples.targets}
    assert first == {VOCABULARY.vocab_size - 1}, "<extra_id_0>"
    plain = TextTask(pocket.TASKS[name], VOCABULARY).load("validation")
    texts = [VOCABULARY.decode(row.tolist()) for row in plain.examples.targets]
    marked = [VOCABULARY.decode(row.tolist()) for row in split.examples.targets]
    assert marked == [f"<extra_id_0> {text}" for text in texts]
    (metrics,) = split.score(marked)[0].metrics.values()
    (as_plain,) = plain.score(texts)[0].metrics.values()
    assert metrics == as_plain
    without = split.score(texts)[0]
    assert [*without.metrics.values()] == [as_plain], "what the model omits is no error"
    words, said = pocket.TASKS[name], task.label_words()
    if words := TextTask(words, VOCABULARY).label_words():
        assert said == tuple(f"<extra_id_0> {word}" for word in words)


def test_without_sentinel():
    assert variants.without_sentinel("<extra_id_0> food") == "food"
    assert variants.without_sentinel("food") == "food"
