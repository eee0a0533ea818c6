"""A run's settings, the folder it may write, and what the settings build."""

import numpy as np
import pytest
import small

from prompt_tuning import config, run
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.t5 import network
from prompt_tuning.tasks_io import data, evaluate


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return small.save_frozen(tmp_path_factory.mktemp("model") / "frozen.safetensors")


@pytest.fixture(scope="module")
def parts(frozen):
    return run.setup(small.settings(INITIAL_CHECKPOINT_PATH=frozen))


# The vocabulary


def test_the_vocabulary_is_as_set_or_beside_the_weights_or_t5s(tmp_path, frozen):
    def name(**changes):
        return run.vocabulary_name(small.settings(**changes))

    assert name(INITIAL_CHECKPOINT_PATH=frozen) == str(frozen.parent / "spiece.model")
    assert name(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY="mt5") == "mt5"
    assert name() == str(weights.POCKET / "spiece.model")
    (tmp_path / "x.safetensors").touch()
    for path in (tmp_path, tmp_path / "x.safetensors", "gs://bucket/checkpoint_1"):
        assert name(INITIAL_CHECKPOINT_PATH=path) == "t5"
    with pytest.raises(UserError, match="no frozen model at 'nowhere'"):
        name(INITIAL_CHECKPOINT_PATH="nowhere")


def test_weights_are_kept_with_the_vocabulary_in_use(tmp_path, frozen):
    """Not with that of the model which INITIAL_CHECKPOINT_PATH still names."""
    path = tmp_path / "other.model"
    path.write_bytes((weights.POCKET / "spiece.model").read_bytes())
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY=path)
    assert run.vocabulary_file(run.setup(settings, frozen=False)) == str(path)
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY="byt5")
    assert run.vocabulary_file(run.setup(settings, frozen=False)) is None


# Model


def test_setup_builds_what_the_settings_say(frozen):
    settings = small.settings(
        INITIAL_CHECKPOINT_PATH=frozen, PROMPT_PLACE="suffix", **{"mesh.model": 2}
    )
    mesh, model, params, task = run.setup(settings)
    assert mesh.shape == {"data": 4, "model": 2}
    assert model.config == small.CONFIG
    assert task.name == "small_kind" and data.label_words(task) == small.LABELS
    assert table(run.Setup(mesh, model, params, task)).shape == (2_048, 16)
    assert run.setup(settings, frozen=False).params is None
