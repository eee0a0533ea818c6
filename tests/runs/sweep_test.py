"""Which settings a sweep makes of one run's."""

import pytest

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.runs.sweep import sweep

BASE = config.load([], ["MODEL_DIR=runs/x", "PROMPT_LENGTH=7"])


def test_every_combination_has_its_settings_and_a_folder_of_its_own():
    found = sweep(BASE, ["SEED=0, 1", "schedule.learning_rate=0.3,0.1"])
    told = [(s.run.seed, s.schedule.learning_rate, s.run.model_dir) for s in found]
    assert told == [
        (seed, rate, f"runs/x/seed_{seed}-learning_rate_{rate}")
        for seed in (0, 1)
        for rate in (0.3, 0.1)
    ]
    assert all(s.run.prompt_length == 7 for s in found)


def test_what_is_no_word_in_a_value_is_none_in_the_folder():
    (found,) = sweep(BASE, ["PROMPT_FILE=a b/c:d.npy"])
    assert found.run.prompt_file == "a b/c:d.npy"
    assert found.run.model_dir == "runs/x/prompt_file_a_b_c_d.npy"


@pytest.mark.parametrize(
    "text", ["TRAIN_STEPS=1,2", "SEED", "SEED=", "schedule=1", "T5Config.dtype=a"]
)
def test_what_cannot_be_swept_is_an_error(text):
    with pytest.raises(UserError, match=r"--sweep is .* SEED, PROMPT_INIT"):
        sweep(BASE, [text])


def test_a_swept_value_is_checked_like_any_other():
    with pytest.raises(UserError, match="SEED is -1"):
        sweep(BASE, ["SEED=0,-1"])
