"""Pre-training a small model: two stages, going on, and what is made of the result."""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny
from safetensors.numpy import load_file

from prompt_tuning import partitioning
from prompt_tuning.runs import pretrain
from prompt_tuning.training import progress

# No period ends where the objective changes.
FLAGS = {
    "MIXTURE_OR_TASK_NAME": "small_text",
    "TASK_FEATURE_LENGTHS": {"inputs": 24, "targets": 16},
    "EVAL_PERIOD": 9,
    "pretrain.span_corruption_steps": 12,
    "pretrain.prefix_lm_steps": 12,
    "pretrain.kept": [2],
    "pretrain.skill_task": "small_kind",
}


def main(folder, **changes):
    return small.main("pretrain", **FLAGS | {"MODEL_DIR": folder} | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert main(folder) == 0
    return folder


def log(folder):
    return small.lines(folder / "train.jsonl")


def made(folder):
    """What must be the same, however a run came to its end."""
    names = "span_corruption.safetensors", "frozen.safetensors", "frozen.json"
    names += ("prefix_lm_2.safetensors",)
    return [(folder / name).read_bytes() for name in names], log(folder)


def test_both_stages_leave_a_model_and_what_made_it(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.gin", "description.json", "checkpoints", "train.jsonl"),
        *("span_corruption.safetensors", "span_corruption.json"),
        *("prefix_lm_2.safetensors", "prefix_lm_2.json"),
        *("frozen.safetensors", "frozen.json", "spiece.model"),
    }
    assert [line["step"] for line in log(run)] == [*range(1, 25)]
    description = json.loads((run / "frozen.json").read_text())
    assert description["config"]["emb_dim"] == 16
    assert (description["span_corruption"], description["prefix_lm"]) == (12, 12)
    assert description["task"] == "small_text" and 0 <= description["skill"] <= 100
    between = json.loads((run / "prefix_lm_2.json").read_text())
    assert (between["span_corruption"], between["prefix_lm"]) == (12, 2)
    names = "span_corruption", "prefix_lm_2", "frozen"
    files = [load_file(run / f"{name}.safetensors") for name in names]
    for first, last in itertools.pairwise(files):
        assert all(not np.array_equal(first[name], last[name]) for name in last)


def test_the_loss_falls_in_both_stages(run):
    losses = [line["loss"] for line in log(run)]
    for stage in (losses[:12], losses[12:]):
        assert np.mean(stage[-3:]) < np.mean(stage[:3]) - 0.2, losses


def test_a_run_goes_on_with_the_same_settings_only(run, tmp_path, monkeypatch, capsys):
    with small.interrupted(monkeypatch, progress.Progress, "step", 20):
        assert main(tmp_path, **{"pretrain.prefix_lm_steps": 9}) == 130
    before = log(tmp_path)
    assert len(before) == 19 and not (tmp_path / "frozen.safetensors").exists()
    for name, new, old in (
        ("pretrain.span_corruption_steps", 13, 12),
        ("T5Config.emb_dim", 32, 16),
    ):
        assert main(tmp_path, **{name: new}) == 2
        assert f"{name} is {new} and was {old}" in capsys.readouterr().err
    assert log(tmp_path) == before
    for kept in ([0], [-1], [10_000]):
        assert main(tmp_path, **{"pretrain.kept": kept}) == 2
        assert f"pretrain.kept has {kept[0]}, but LM adap" in capsys.readouterr().err
    assert main(tmp_path) == 0  # the second stage may be longer than it was to be
    assert made(tmp_path) == made(run)
    assert f"frozen model: {tmp_path / 'frozen.safetensors'}" in capsys.readouterr().out


def test_with_a_cooldown_the_number_of_steps_stays(tmp_path, capsys):
    flags = {"pretrain.span_corruption_steps": 2, "pretrain.kept": []}
    flags |= {"inverse_square_root.cooldown_steps": 2, "pretrain.prefix_lm_steps": 2}
    assert main(tmp_path, **flags) == 0
    capsys.readouterr()
    assert main(tmp_path, **flags | {"pretrain.prefix_lm_steps": 4}) == 2
    assert "prefix_lm_steps is 4 and was 2, but the learn" in capsys.readouterr().err
    assert main(tmp_path, **flags) == 0


def test_parts_of_a_batch_change_nothing_but_rounding(tmp_path):
    flags = {"pretrain.span_corruption_steps": 2, "pretrain.prefix_lm_steps": 1}
    flags |= {"pretrain.kept": [], "BATCH_SIZE": 16}
    found = []
    for parts in (1, 2):
        path = tmp_path / str(parts)
        assert main(path, **flags, NUM_MICROBATCHES=parts) == 0
        found.append([line["loss"] for line in log(path)])
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_a_model_is_adapted_from_its_weights(run, tmp_path, capsys):
    """LM adaptation of a model of span corruption alone, as of the public T5 1.1."""
    initial = run / "span_corruption.safetensors"
    flags = {"pretrain.span_corruption_steps": 0, "pretrain.prefix_lm_steps": 2}
    flags |= {"pretrain.kept": [], "inverse_square_root.first_step": 12}
    assert main(tmp_path / "on", **flags, **{"pretrain.initial": initial}) == 0
    assert main(tmp_path / "new", **flags) == 0
    (first, _), (fresh, _) = log(tmp_path / "on"), log(tmp_path / "new")
    assert first["loss"] < 0.9 * fresh["loss"], "it began with other weights"
    before, after = load_file(initial), load_file(tmp_path / "on/frozen.safetensors")
    scale = "encoder/encoder_norm/scale"
    assert 0 < np.abs(after[scale] - before[scale]).max() < 0.3
    # The same command goes on with it, and not from another model.
    other = {"pretrain.initial": run / "frozen.safetensors"}
    capsys.readouterr()
    assert main(tmp_path / "on", **flags, **other) == 2
    assert "pretrain.initial" in capsys.readouterr().err
    assert main(tmp_path / "x", **flags, INITIAL_CHECKPOINT_PATH=initial) == 2
    message = capsys.readouterr().err
    assert "would begin from random weights" in message and str(initial) in message
    assert not (tmp_path / "x").exists()


def test_a_prompt_is_tuned_on_the_result(run, tmp_path):
    flags = {"INITIAL_CHECKPOINT_PATH": run / "frozen.safetensors"}
    assert small.main("train", MODEL_DIR=tmp_path, TRAIN_STEPS=1, **flags) == 0
    assert np.load(tmp_path / "prompt.npy").shape == (4, 16)


def test_other_text_or_another_vocabulary_is_named(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    said = json.loads((folder / "description.json").read_text())
    for name, called in (
        ("data_fingerprint", "the training data"),
        ("eval_data_fingerprint", "the validation data"),
        ("vocabulary_fingerprint", "the vocabulary"),
    ):
        changed = json.dumps(said | {name: "another"})
        (folder / "description.json").write_text(changed)
        kept = (folder / "config.gin").read_text()
        assert main(folder, EVAL_PERIOD=7) == 2  # which alone might change
        assert f"{called} changed since the run" in capsys.readouterr().err
        assert (folder / "config.gin").read_text() == kept
    assert made(folder) == made(run)


def test_the_text_must_be_text(tmp_path, capsys):
    assert main(tmp_path, MIXTURE_OR_TASK_NAME="small_kind") == 2
    error = capsys.readouterr().err
    assert "small_kind has no texts" in error and "pocket_text" in error
    assert error.count("\n") == 1
    assert main(tmp_path, EVAL_SPLIT="test") == 2
    assert "in a split 'test'" in capsys.readouterr().err


def test_a_text_file_is_pre_trained_on(tmp_path, capsys):
    text = tmp_path / "own.txt"
    text.write_text("\n".join(small.texts("train")["targets"]))
    flags = {"MIXTURE_OR_TASK_NAME": text, "pretrain.skill_task": "''"}
    assert main(tmp_path / "run", **flags) == 0
    made = json.loads((tmp_path / "run" / "frozen.json").read_text())
    assert made["task"] == str(text) and "skill" not in made
    losses = [line["loss"] for line in log(tmp_path / "run")]
    assert np.mean(losses[9:12]) < np.mean(losses[:3]) - 0.2


def test_a_corpus_is_pre_trained_on(tmp_path, capsys):
    file, folder = tmp_path / "own.txt", tmp_path / "run"
    file.write_text("\n\n".join(small.texts("train")["targets"] * 5))
    flags = {"pretrain.corpus": file, "MIXTURE_OR_TASK_NAME": "pocket_kind"}
    flags |= {"pretrain.skill_task": "''"}
    assert main(folder, **flags) == 0
    about = json.loads((folder / "frozen.json").read_text())
    assert "task" not in about and about["corpus"]["files"][0]["name"] == "own.txt"
    assert about["corpus"]["documents"] == 250
    losses = [line["loss"] for line in log(folder)]
    assert np.mean(losses[9:12]) < np.mean(losses[:3]) - 0.2
    before = made(folder)
    (folder / "tokens").rename(tmp_path / "moved")
    flags |= {"pretrain.tokens": tmp_path / "moved"}
    assert main(folder, **flags) == 0 and made(folder) == before
    capsys.readouterr()
    file.write_text("\n\n".join(small.texts("train")["targets"] * 6))
    assert main(folder, **flags | {"pretrain.tokens": tmp_path / "tokens"}) == 2
    assert "the training data" in capsys.readouterr().err


def test_the_held_out_loss_is_per_target_token():
    params = jax.tree.map(jnp.zeros_like, partitioning.param_shapes(tiny.MODEL))
    starts = []

    def held_out(step):
        starts.append(step)
        return itertools.repeat(tiny.batch())

    loss = pretrain._held_out_loss(tiny.MODEL, held_out)(params, 7)
    assert starts == [7]
    np.testing.assert_allclose(loss, np.log(tiny.CONFIG.vocab_size), rtol=1e-5)


def test_the_held_out_loss_of_a_stage_is_not_of_the_next():
    corrupted = 100
    for number in (1, 60, 95, 100, 101, 300):
        first = pretrain._measured_from(number, corrupted)
        measured = {i < corrupted for i in range(first, first + pretrain.MEASURED)}
        assert measured == {number <= corrupted}, number
    assert pretrain._measured_from(2, 2) == 0  # there are no more batches of it
