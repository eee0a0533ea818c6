"""Starting TensorFlow and seqio: what is said, and what is not."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import without

from prompt_tuning.tasks_io import quiet

ROOT = Path(__file__).resolve().parents[2]


def test_seqio_is_silent_below_errors_and_others_are_not(caplog):
    def record(path, level):
        return logging.LogRecord("absl", level, path, 1, "message", (), None)

    logger = logging.getLogger("absl")
    for path, level, is_heard in (
        ("/lib/seqio/evaluation.py", logging.WARNING, False),
        ("/lib/seqio/evaluation.py", logging.ERROR, True),
        ("/lib/tensorflow_datasets/core/load.py", logging.INFO, False),
        ("/lib/orbax/checkpoint.py", logging.WARNING, True),
    ):
        assert bool(logger.filter(record(path, level))) == is_heard


def test_a_task_of_seqio_without_seqio_is_a_plain_error(tmp_path):
    flags = "--gin.MODEL_DIR=run", "--gin.MIXTURE_OR_TASK_NAME=cb"
    result = without.run(tmp_path, "train", *flags)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "one of seqio's, which is not installed whole" in result.stderr


def test_starting_writes_nothing_and_leaves_gpus_to_jax():
    started = subprocess.run(
        [
            sys.executable,
            "-c",
            "from prompt_tuning.tasks_io import tasks; import tensorflow as tf;"
            "assert tf.config.get_visible_devices('GPU') == []",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")


def test_held_stderr_is_shown_after_all_when_something_fails(capfd):
    with quiet.held_stderr():
        print("unimportant", file=sys.__stderr__, flush=True)
    with pytest.raises(ImportError), quiet.held_stderr():
        subprocess.run("echo important >&2", shell=True, check=True)
        raise ImportError
    assert capfd.readouterr().err == "important\n"
