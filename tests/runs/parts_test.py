"""What settings build."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny

from prompt_tuning import config, methods
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.runs import parts
from prompt_tuning.t5 import placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import batching
from prompt_tuning.training.task import Split


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


def test_answers_that_nobody_knows_have_the_room_that_is_known_of_them():
    """ReCoRD's test split has a placeholder of two tokens, and answers of many."""
    lengths, rows = {"inputs": 9, "targets": 2}, [np.array([5, 1])]
    counts = {"inputs": 0, "targets": 0}, {"record": 1}, {"record": 1.0}
    examples = batching.Examples("test", rows, rows, lengths, *counts)
    known = Split(examples, score=list)
    split = dataclasses.replace(known, unlabelled=["record"])
    labels = dataclasses.replace(split, label_words={"record": ["yes", "no"]})
    run = small.settings(EVAL_SPLIT="test").run
    room = parts.with_room(split, run, 12).examples
    assert room.lengths == {"inputs": 9, "targets": 12} and examples.lengths == lengths
    wish = small.settings(TASK_FEATURE_LENGTHS={"targets": 20}).run
    assert parts.with_room(split, wish, 12).examples.lengths["targets"] == 20
    for one in (known, labels):
        assert parts.with_room(one, run, None) is one
    with pytest.raises(UserError, match="'test' of record has no answers, and nothing"):
        parts.with_room(split, run, None)


def test_the_frozen_models_file_says_its_shape(frozen):
    """No flag names a size."""
    model = parts.build(
        small.settings(INITIAL_CHECKPOINT_PATH=frozen, **{"mesh.model": 2})
    )
    assert model.mesh.shape == {"data": 4, "model": 2}
    assert model.network.config == small.CONFIG
    assert model.params["token_embedder"]["embedding"].shape == (2_816, 16)


def test_weights_are_split_over_all_devices_where_asked(frozen):
    sharded = {"param_shardings.fully_sharded": True, "mesh.model": 2}
    for changes, share in (({"mesh.model": 2}, 2), (sharded, 8)):
        settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, **changes)
        kernel = parts.build(settings).params["encoder"]["layers_0"]["mlp"]["wi_0"]
        (shard, *_) = kernel["kernel"].addressable_shards
        assert shard.data.size == kernel["kernel"].size // share


def test_all_of_the_models_shape_is_kept_with_the_run(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen)
    resolved = parts.resolved(settings, parts.build(settings))
    assert resolved.model["emb_dim"] == 16 and "emb_dim" not in settings.model
    assert resolved.run == settings.run


def test_tasks_are_seqios_or_files_of_ones_own(tmp_path, frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen)
    model = parts.build(settings)
    task = parts.open_task(settings.run, model.vocabulary)
    assert task.name == "small_kind" and task.label_words() == small.LABELS
    rows = "".join(f"good {i},yes\nbad {i},no\n" for i in range(20))
    (tmp_path / "own.csv").write_text("inputs,targets\n" + rows)
    splits = []
    for seed in (0, 1):
        own = small.settings(MIXTURE_OR_TASK_NAME=tmp_path / "own.csv", SEED=seed).run
        task = parts.open_task(own, model.vocabulary)
        assert task.label_words() == ("yes", "no")
        splits.append(task.load("validation").examples.inputs)
    # Prompts of different seeds are measured on the same rows.
    assert all(map(np.array_equal, *splits))


def test_a_split_is_measured_greedily_or_by_its_labels(frozen):
    illegal = {}
    for decoding in ("greedy", "labels"):
        settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, DECODING=decoding)
        model = parts.build(settings)
        task = parts.open_task(settings.run, model.vocabulary)
        split = task.load("validation")
        measure = parts.make_measure(settings.run, model, split)
        evaluation, records = measure(model.params, Extra())
        illegal[decoding] = evaluation.illegal["small_kind"]
        assert [r["inputs"] for r in records] == small.examples("validation")["inputs"]
    assert illegal == {"greedy": 1.0, "labels": 0.0}
    silent = dataclasses.replace(split, label_words={})
    with pytest.raises(UserError, match=r"^small_kind names no label words"):
        parts.make_measure(settings.run, model, silent)


def test_each_task_of_a_mixture_is_measured_with_its_own_prompt(frozen):
    """Found by its name, whatever its place in the split."""
    wanted = {"INITIAL_CHECKPOINT_PATH": frozen, "MIXTURE_OR_TASK_NAME": "small_both"}
    run = small.settings(**wanted).run
    model = parts.build(small.settings(**wanted))
    split = parts.open_task(run, model.vocabulary).load("validation")
    own = {"small_mood": tiny.prompt(seed=3), "small_kind": 2 * tiny.prompt(seed=4)}
    measure = parts.make_measure(run, model, split, own)
    bank = placing.prefix(np.stack([*own.values()]))
    _, records = measure(model.params, Extra(bank=bank))
    assert [*split.examples.sizes] == [*own][::-1]
    for name, prompt_PxD in own.items():
        _, alone = measure(model.params, tiny.extra(prompt_PxD))
        there = [row["prediction"] for row in records if row["task"] == name]
        assert there == [row["prediction"] for row in alone if row["task"] == name]
    less = parts.make_measure(run, model, split, ["small_kind", "small_free"])
    with pytest.raises(UserError, match="none for small_mood of validation"):
        less(model.params, Extra(bank=bank))


def predictions(settings, task):
    model = parts.build(settings)
    split = parts.open_task(settings.run, model.vocabulary, task).load("validation")
    evaluation, records = parts.make_measure(settings.run, model, split)(
        model.params, Extra()
    )
    return evaluation, [record["prediction"] for record in records]


def test_in_a_mixture_each_example_is_scored_among_its_own_tasks_labels(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, DECODING="labels")
    both, said = predictions(settings, "small_both")
    assert both.illegal == {"small_kind": 0.0, "small_mood": 0.0}
    alone = [predictions(settings, task) for task in ("small_kind", "small_mood")]
    assert said == alone[0][1] + alone[1][1]
    assert len({*said}) > 2, "the model should not say one label of each alone"
    assert both.metrics == alone[0][0].metrics | alone[1][0].metrics


@pytest.mark.parametrize("name", ["small_mixed", "small_free"])
def test_a_task_without_labels_to_score_is_named(frozen, name):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, DECODING="labels")
    with pytest.raises(UserError, match=r"^small_free names no label words"):
        predictions(settings, name)


@pytest.mark.parametrize("template", ["INPUTS", "TARGETS"])
def test_templates_beside_a_seqio_task_are_refused(frozen, template):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, **{template: "{a}"})
    model = parts.build(settings)
    with pytest.raises(UserError, match=f"{template} can only be given for a .*small"):
        parts.open_task(settings.run, model.vocabulary)


def test_class_words_that_the_vocabulary_cannot_write_are_named(frozen):
    for words in (["food", "a  b"], ["\uff21"]):
        settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, CLASS_LABELS=words)
        model = parts.build(settings)
        task = parts.open_task(settings.run, model.vocabulary)
        with pytest.raises(UserError, match=f"label {re.escape(repr(words[-1]))}"):
            parts.start(settings, task, model)
        random = config.changed(settings, ["PROMPT_INIT=sampled_vocab"])
        assert parts.start(random, task, model).shape == (4, 16)


def test_a_start_has_the_tasks_own_words_in_its_prompt(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen)
    model = parts.build(settings)
    task = parts.open_task(settings.run, model.vocabulary)
    prompt_PxD = parts.start(settings, task, model)
    table_VxD = model.params["token_embedder"]["embedding"]
    for row, word in zip(prompt_PxD, small.LABELS, strict=False):
        (token,) = model.vocabulary.encode(word)
        assert (row == table_VxD[token]).all()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"wayward.weight": 0.5}, "wayward.weight is 0.5, but there is no text"),
        ({"wayward.text": "a bird, a tool"}, "is 5 pieces long.*there are 4: give"),
        ({"wayward.text": "' '"}, "is 0 pieces long"),
        ({"wayward.text": "bird \uff21"}, "which the vocabulary turns into 'bird A'"),
        ({"wayward.text": "bird", "METHOD": "whole"}, "METHOD is 'whole': leave"),
        ({"wayward.text": "bird", "METHOD": "prepended"}, "METHOD is 'prepended'"),
    ],
)
def test_a_text_that_no_prompt_can_be_held_near_is_refused(frozen, changes, problem):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen, **changes)
    model, method = parts.build(settings), methods.of(settings)
    task = parts.open_task(settings.run, model.vocabulary)
    trained = parts.start(settings, task, model)
    with pytest.raises(UserError, match=problem):
        parts.penalty(settings, method, trained, model.params, model.vocabulary)


def test_a_text_of_the_prompts_length_at_most_holds_it(frozen):
    settings = small.settings(INITIAL_CHECKPOINT_PATH=frozen)
    model, method = parts.build(settings), methods.of(settings)
    about = method, jnp.zeros((4, 16)), model.params, model.vocabulary
    assert parts.penalty(settings, *about) is None
    held = config.changed(settings, ["wayward.text=bird tool"])
    _, extra = method.fold(about[1], model.params)
    found = parts.penalty(held, *about)(model.params, extra)
    rows = model.params["token_embedder"]["embedding"]
    ids = np.array(model.vocabulary.encode("bird tool"))
    assert found == pytest.approx(0.01 * float((rows[ids] ** 2).sum()) / len(ids))


def test_the_checksum_is_of_every_value_in_its_place(tmp_path, frozen):
    """By hand, in integers without a limit; whatever the shardings."""
    params = {
        "a": np.array([[1.5, -2.0, 3.25], [0.0, 1e-9, 7.0]], np.float32),
        "b": {"c": jnp.array([1.0, 2.0], jnp.bfloat16), "d": np.int8([-1])},
    }
    bits = params["a"].view(np.uint32)
    places = [row * 0x9E3779B1 + column for row in range(2) for column in range(3)]
    total = sum(
        value * (2 * place + 1)
        for value, place in zip(bits.ravel().tolist(), places, strict=True)
    )
    assert int(parts._sum_of_bits(params["a"])) == total % 2**32
    whole = parts.checksum(params)
    for index in np.ndindex(2, 3):
        changed = params["a"].copy()
        changed[index] = np.nextafter(changed[index], np.float32(9))
        assert parts.checksum(params | {"a": changed}) != whole
    assert parts.checksum(params | {"a": params["a"][::-1].copy()}) != whole
    assert parts.checksum({"b": params["b"], "e": params["a"]}) != whole

    def model(**changes):
        flags = {"INITIAL_CHECKPOINT_PATH": frozen, "mesh.model": 2} | changes
        return parts.build(small.settings(**flags)).params

    split = model(**{"param_shardings.fully_sharded": True})
    assert parts.checksum(split) == parts.checksum(jax.device_get(split))


def test_a_run_whose_settings_were_lost_gets_them_again(tmp_path):
    settings = config.load([], ["SEED=3"])
    said = {"data_fingerprint": "a"}
    for started in (False, True):
        parts.keep(tmp_path, settings, said, started, results=())
        (tmp_path / "config.gin").unlink()
    with pytest.raises(UserError, match="the training data changed"):
        parts.keep(tmp_path, settings, {"data_fingerprint": "b"}, True, results=())
    assert not (tmp_path / "config.gin").exists()
    assert json.loads((tmp_path / "description.json").read_text()) == said
