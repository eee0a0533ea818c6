"""What the modules of tasks share."""

from pathlib import Path

import pytest

from prompt_tuning import tasks
from prompt_tuning.frozen import weights


def test_a_label_has_a_place_and_any_other_text_has_none():
    found = [
        tasks.label_index(text, label_classes=("yes", "no"), example={}, is_target=True)
        for text in ("yes", "no", "No", "yes ", "")
    ]
    assert found == [0, 1, -1, -1, -1]


def test_accuracy_is_a_percentage_and_an_illegal_prediction_is_wrong():
    assert tasks.accuracy([0, 1, 1, 0], [0, 1, 0, -1]) == {"accuracy": 50.0}
    assert tasks.accuracy(["a"], ["a"]) == {"accuracy": 100.0}
    with pytest.raises(ValueError, match="shorter"):
        tasks.accuracy([0, 1], [0])


def test_there_is_no_accuracy_without_labels():
    assert tasks.accuracy([-1, -1], [0, 1]) == {}
    assert tasks.accuracy([-1, 0], [-1, 0]) == {"accuracy": 100.0}


def test_an_error_of_the_data_is_for_the_user():
    error = tasks.DataError("line 3")
    assert error.user_message and isinstance(error, ValueError)


def test_the_packages_vocabulary_is_found():
    assert Path(tasks.pocket_model()) == weights.POCKET / weights.VOCABULARY
