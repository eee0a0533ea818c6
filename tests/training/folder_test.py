"""MODEL_DIR: it must be writable, keeps a run's settings, and loses no log."""

import dataclasses
import json

import pytest

from prompt_tuning import config
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run, T5Config
from prompt_tuning.training import folder

# The folder


def test_the_model_dir_is_made_with_the_folders_above_it(tmp_path):
    made = folder.make_model_dir(Run(model_dir=str(tmp_path / "a" / "b")))
    assert made.is_dir() and not list(made.iterdir())
    assert folder.make_model_dir(Run(model_dir=str(made))) == made  # and again


def test_a_model_dir_must_be_set_and_writable(tmp_path):
    with pytest.raises(UserError, match="MODEL_DIR is not set"):
        folder.make_model_dir(Run())
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "mine")
    with pytest.raises(UserError, match=f"MODEL_DIR '{below}' .*Not a directory"):
        folder.make_model_dir(Run(model_dir=below))


def test_a_bucket_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"'gs://mine/run', in a bucket; .*gcsfuse"):
        folder.make_model_dir(Run(model_dir="gs://mine/run"))
    assert not list(tmp_path.iterdir())


# Its settings


def keep(path, *bindings, check=True):
    """Keeps the settings of a run that was started with these bindings."""
    settings = config.load([], bindings)
    whole = dataclasses.asdict(T5Config(**settings.model))
    folder.keep_settings(path, dataclasses.replace(settings, model=whole), check)


def test_a_setting_may_be_given_in_another_way(tmp_path):
    path = tmp_path / "config.gin"
    # A value too long for a line of gin, and one of several lines.
    long = f"INITIAL_CHECKPOINT_PATH=/{'a' * 100}"
    labels = f"CLASS_LABELS={['word' * 5] * 8}"
    keep(path, "SEED=3", "BATCH_SIZE=16", long, labels, check=False)
    keep(path, "Run.seed=3", "X=16", "BATCH_SIZE=%X", labels, long, "DECODING=greedy")
    keep(path, "SEED=3", "BATCH_SIZE=16", long, labels, "MODEL_DIR=moved")
    keep(path, "SEED=3", "BATCH_SIZE=16", long, labels, "TRAIN_STEPS=9")
    run = config.load([str(path)]).run
    assert run.train_steps == 9 and run.seed == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_changed_setting_is_named_and_the_old_ones_are_kept(tmp_path):
    path = tmp_path / "config.gin"
    keep(path, "SEED=3", "PROMPT_LENGTH=20", check=False)
    before = path.read_text()
    with pytest.raises(
        UserError, match="prompt_length is 100 and was 20; seed is 4 an"
    ):
        keep(path, "SEED=4")
    with pytest.raises(
        UserError, match=r"settings: T5Config.emb_dim is 64 and was 128\."
    ):
        keep(path, "SEED=3", "PROMPT_LENGTH=20", "T5Config.emb_dim=64")
    assert path.read_text() == before
    keep(path, "SEED=4", check=False)
    assert path.read_text() != before


def test_what_may_change_is_told_apart_from_what_may_not(tmp_path):
    path = tmp_path / "config.gin"
    keep(path, "SEED=3", check=True)  # the first start: nothing is there to differ
    free = ["DATA_DIR=there", "EVAL_PERIOD=7", "mesh.data=4", "mesh.model=2"]
    free += ["pretrain.skill_task=mine"]
    keep(path, "SEED=3", *free, "param_shardings.fully_sharded=True")
    for other in ("METHOD=whole", "BATCH_SIZE=8", "adafactor.weight_decay=0"):
        with pytest.raises(UserError, match=f"{other.split('=')[0].lower()} is "):
            keep(path, "SEED=3", other)


# Its logs


def test_keep_lines_drops_what_a_killed_run_left(tmp_path):
    log = tmp_path / "train.jsonl"
    assert folder.keep_lines(log, 5) == []
    whole = "".join(json.dumps({"step": i, "loss": 0.5}) + "\n" for i in range(1, 5))
    log.write_text(whole + '{"step": 5, "lo')
    assert [line["step"] for line in folder.keep_lines(log, 9)] == [1, 2, 3, 4]
    assert log.read_text() == whole
    assert len(folder.keep_lines(log, 2)) == 2 == len(log.read_text().splitlines())
    assert list(tmp_path.iterdir()) == [log]
