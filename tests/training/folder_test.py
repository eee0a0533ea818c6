"""MODEL_DIR: it must be writable, keeps a run's settings, and loses no log."""

import dataclasses
import json
import multiprocessing
import os
import socket

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


def test_a_loop_of_links_is_no_folder(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / "loop" / "run"):
        with pytest.raises(UserError, match=r"MODEL_DIR .* cannot be written"):
            folder.make_model_dir(Run(model_dir=str(path)))


def test_a_bucket_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"'gs://mine/run', in a bucket; .*gcsfuse"):
        folder.make_model_dir(Run(model_dir="gs://mine/run"))
    assert not list(tmp_path.iterdir())


# Its settings


def keep(path, *bindings, check=True):
    """Keeps the settings of a run; with `check`, it must go on with those there."""
    settings = config.load([], bindings)
    whole = dataclasses.asdict(T5Config(**settings.model))
    settings = dataclasses.replace(settings, model=whole)
    if check:
        folder.check_settings(path, settings)
    folder.keep_settings(path, settings)


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
        UserError, match=r"settings: T5Config.emb_dim is 64 and was 96\."
    ):
        keep(path, "SEED=3", "PROMPT_LENGTH=20", "T5Config.emb_dim=64")
    assert path.read_text() == before
    keep(path, "SEED=4", check=False)
    assert path.read_text() != before


def test_what_may_change_is_told_apart_from_what_may_not(tmp_path):
    path = tmp_path / "config.gin"
    keep(path, "SEED=3", check=False)
    free = ["DATA_DIR=there", "EVAL_PERIOD=7", "mesh.data=4", "mesh.model=2"]
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


DAMAGED = [b"\xff\x00", b"{", b"[1]", b'{"step": "2"}', b'{"step": 2}', b"[" * 9_999]
DAMAGED += [b'{"step": 2, "loss": NaN}', b'{"step": 2, "loss": 1e999}']


@pytest.mark.parametrize("bad", DAMAGED)
def test_a_damaged_line_is_set_aside_and_the_rest_stays(tmp_path, bad, capsys):
    log = tmp_path / "train.jsonl"
    good = [json.dumps({"step": i, "loss": 0.5}).encode() for i in (1, 3)]
    log.write_bytes(b"\n".join([good[0], bad, good[1]]))  # its end is lost too
    kept = folder.keep_lines(log, 9, "loss")
    assert [line["step"] for line in kept] == [1, 3]
    assert log.read_bytes() == good[0] + b"\n" + good[1] + b"\n"
    assert (tmp_path / "train.jsonl.damaged").read_bytes() == bad + b"\n"
    assert "1 damaged lines" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\n", b"Run.seed = (", b"\xff", b"\x00" * 9])
def test_settings_that_cannot_be_read_are_not_taken_for_the_same(tmp_path, content):
    path = tmp_path / "config.gin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config.gin.* is damaged .*restore it"):
        keep(path, "SEED=3")
    assert path.read_bytes() == content


def test_what_a_run_was_made_of_must_not_change(tmp_path):
    old = {"frozen_fingerprint": "a", "vocabulary_fingerprint": "b", "task": "x"}
    folder.check_unchanged(tmp_path, old, old | {"data_fingerprint": "c", "task": "y"})
    with pytest.raises(
        UserError, match=r"the vocabulary and the training data changed"
    ):
        new = {"vocabulary_fingerprint": "c", "data_fingerprint": "e"}
        folder.check_unchanged(tmp_path, old | {"data_fingerprint": "d"}, new)


@pytest.mark.parametrize("name", ["a[b]", "[..]", "a\\b"])
def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="checkpoints cannot be read below"):
        folder.make_model_dir(Run(model_dir=str(tmp_path / name / "run")))
    assert not list(tmp_path.iterdir())
    folder.make_model_dir(Run(model_dir=str(tmp_path / "é 日本 {a}*?%41")))


def test_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"MODEL_DIR is .* whole characters, in UTF-8"):
        Run(model_dir=str(tmp_path / "a\udcff" / "run"))


# Who works in it


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_waited_on(tmp_path, make):
    for name in (".lock", "train.jsonl"):
        make(tmp_path / name)
    with pytest.raises(UserError, match=r"\.lock is no file; move it away"):
        folder.locked(tmp_path).__enter__()
    with pytest.raises(UserError, match=r"train\.jsonl is no file"):
        folder.keep_lines(tmp_path / "train.jsonl", 3, "loss")


def _hold(path, locked, end):
    with folder.locked(path):
        locked.set()
        end.wait(60)


def test_a_folder_is_one_runs_alone_until_that_ends(tmp_path, capsys):
    context = multiprocessing.get_context("spawn")
    locked, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, locked, end))
    other.start()
    assert locked.wait(60)
    holder = f"process {other.pid} on {socket.gethostname()}"
    with pytest.raises(UserError, match=f"at work .*{holder}"), folder.locked(tmp_path):
        pass
    other.kill()  # its lock is left
    other.join()
    (tmp_path / ".prompt.npy.x_9ab2cd").touch()
    (tmp_path / ".train.jsonl.x_9ab2cd").touch()
    (tmp_path / ".my.settings").touch()
    with folder.locked(tmp_path):
        assert f"{holder} ended amid its work" in capsys.readouterr().err
        assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()} on ")
    assert [path.name for path in tmp_path.iterdir()] == [".my.settings"]


def test_the_lock_of_another_host_says_how_it_is_cleared(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("12 on elsewhere\n")
    told = rf"12 on elsewhere .*remove {lock}"
    with pytest.raises(UserError, match=told), folder.locked(tmp_path):
        pass
    lock.write_text("damaged")
    with folder.locked(tmp_path):
        pass


def test_who_is_at_work_is_known_without_taking_the_lock(tmp_path):
    assert folder.at_work(tmp_path) is None
    with folder.locked(tmp_path):
        assert folder.at_work(tmp_path) == f"{os.getpid()} on {socket.gethostname()}"
    assert folder.at_work(tmp_path) is None
    lock = tmp_path / folder.LOCK
    lock.write_text(f"999999999 on {socket.gethostname()}\n")
    assert folder.at_work(tmp_path) is None, "it died"
    lock.write_text("12 on another.example\n")
    assert folder.at_work(tmp_path) == "12 on another.example"
