"""What the settings build: the mesh, the frozen model, its vocabulary, the task."""

import dataclasses

import pytest
import small

from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import parts
from prompt_tuning.settings import Settings

pytestmark = pytest.mark.usefixtures("compiled_once")


# The vocabulary


def test_the_vocabulary_is_as_set_or_beside_the_weights_or_t5s(tmp_path, frozen):
    def name(**changes):
        return parts.vocabulary_name(small.settings(**changes).run)

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
    assert parts.build(settings, frozen=False).vocabulary.file == str(path)
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, VOCABULARY="byt5")
    assert parts.build(settings, frozen=False).vocabulary.file is None


# The model and the task


def test_build_makes_what_the_settings_say(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, **{"mesh.model": 2})
    model = parts.build(settings)
    assert model.mesh.shape == {"data": 4, "model": 2}
    assert model.network.config == small.CONFIG, "which the file says"
    table_VxD = model.params["token_embedder"]["embedding"]
    assert table_VxD.shape == (2_048, 16)
    assert {shard.data.shape for shard in table_VxD.addressable_shards} == {(1_024, 16)}
    assert parts.build(settings, frozen=False).params is None
    task = parts.open_task(settings.run, model.vocabulary)
    assert task.name == "small_kind" and tuple(task.label_words()) == small.LABELS
    assert parts.open_task(settings.run, model.vocabulary, "small_text").name


def test_settings_are_resolved_to_what_the_file_says(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, SEED=3)
    assert settings.model == {}
    resolved = parts.resolved(settings, parts.build(settings))
    assert resolved.model == dataclasses.asdict(small.CONFIG)
    assert resolved == dataclasses.replace(settings, model=resolved.model)


def test_a_start_has_the_tasks_own_words_in_its_prompt(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen)
    model = parts.build(settings)
    task = parts.open_task(settings.run, model.vocabulary)
    _, prompt_PxD = parts.start(settings.run, task, model)
    table_VxD = model.params["token_embedder"]["embedding"]
    for row, word in zip(prompt_PxD, small.LABELS, strict=False):
        (token,) = model.vocabulary.encode(word)
        assert (row == table_VxD[token]).all()


def test_labels_are_scored_only_where_there_are_some(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, DECODING="labels")
    model = parts.build(settings, frozen=False)
    labels_LxS = parts.scored_labels(settings.run, small.LABELS, model)
    texts = [model.vocabulary.decode(row) for row in labels_LxS.tolist()]
    assert texts == [*small.LABELS]
    with pytest.raises(UserError, match="small_kind names no label words"):
        parts.scored_labels(settings.run, None, model)
    assert parts.scored_labels(Settings().run, small.LABELS, model) is None
