"""The paper's numbers of each task."""

import pytest

from prompt_tuning.tasks import paper
from prompt_tuning.tasks.published import PUBLISHED


@pytest.mark.parametrize("alias", PUBLISHED)
def test_they_are_of_a_task_its_splits_and_its_labels(alias):
    row = paper.ROWS[alias]
    for split, (examples, shares) in PUBLISHED[alias].items():
        assert split in row.files
        assert examples > 0
        assert set(shares) in ({*row.labels}, {"False", "True"}, set())
        if shares and (alias, split) != ("rte", "train"):  # a slip of the paper's
            assert sum(shares.values()) == pytest.approx(100, abs=0.11)


def test_the_mrqa_sets_add_up():
    sizes = [PUBLISHED[alias] for alias in PUBLISHED if alias.startswith("mrqa")]
    assert sum(each["validation"][0] for each in sizes) == 9_633
