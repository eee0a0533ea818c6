"""Imports seqio and TensorFlow without their chatter; import them from here."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import absl.logging

from prompt_tuning.errors import UserError


@contextlib.contextmanager
def held_stderr() -> Iterator[None]:
    """Holds back what C++ code writes to stderr, and shows it only on an exception."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only, once it has started
with held_stderr():  # it tells of its start whatever the level
    try:
        import seqio
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise UserError(
            f"the task is one of seqio's, which is not installed whole ({error}): `pip "
            "install seqio tensorflow tensorflow-datasets`, or give "
            "MIXTURE_OR_TASK_NAME a file of your own"
        ) from None

    tf.config.set_visible_devices([], "GPU")  # the accelerators are JAX's


def is_no_chatter(record: logging.LogRecord) -> bool:
    """False for what seqio and TFDS log below the level of errors."""
    packages = {"seqio", "tensorflow_datasets"}
    return record.levelno >= logging.ERROR or packages.isdisjoint(
        Path(record.pathname).parts
    )


absl.logging.get_absl_logger().addFilter(is_no_chatter)
for _name in ("tensorflow", "urllib3"):  # urllib3 logs every attempt to download
    logging.getLogger(_name).setLevel(logging.ERROR)

__all__ = ["held_stderr", "is_no_chatter", "seqio", "tf", "tfds"]
