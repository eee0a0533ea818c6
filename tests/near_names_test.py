"""Which names a misspelt one may mean."""

import pytest

from prompt_tuning import near_names
from prompt_tuning.settings import FIELDS


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("learning_rate", ["schedule.learning_rate"]),
        ("lr", ["schedule.learning_rate"]),
        ("schedule.learning_rte", ["schedule.learning_rate"]),
        ("promt_length", ["PROMPT_LENGTH"]),
        ("qqq", []),
    ],
)
def test_settings_that_are_near_a_name(name, near):
    assert near_names.settings_near(name) == near


def test_only_the_nearest_are_told_and_all_where_none_is_near():
    known = ["PROMPT_LENGTH", "PROMPT_INIT", "SEED"]
    assert near_names.suggest("PROMT_LENGTH", known) == "did you mean PROMPT_LENGTH?"
    told = near_names.suggest("x", known)
    assert told == "there are PROMPT_INIT, PROMPT_LENGTH, SEED"
    assert near_names.suggest("x", []) == "there are none"


def test_what_t5x_names_otherwise_or_alone():
    assert near_names.suggest_setting("RANDOM_SEED") == "T5X's RANDOM_SEED is SEED here"
    told = near_names.suggest_setting("USE_CACHED_TASKS")
    assert told == "T5X's USE_CACHED_TASKS has no counterpart here: leave it out"
    assert not near_names.of_t5x("TRAIN_STEPS")
    ours = {name for name in near_names._OF_T5X.values() if name}
    assert ours <= FIELDS.keys() and not near_names._OF_T5X.keys() & FIELDS.keys()
