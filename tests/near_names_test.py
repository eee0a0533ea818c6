"""Which names a misspelt one may mean."""

import pytest

from prompt_tuning import near_names


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
