"""Event files hold what was written, by TensorBoard's own reading."""

import builtins

import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io import events


def test_what_is_written_is_read_by_tensorboard(tmp_path):
    write = events.writer(tmp_path)
    for step, loss in ((1, 0.5), (2, 0.25)):
        write(step, {"loss": loss})
    read = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    found = [
        (event.step, tensor_util.make_ndarray(event.tensor_proto).item())
        for event in read.Tensors("loss")
    ]
    assert found == [(1, 0.5), (2, 0.25)]


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "clu":
            raise ModuleNotFoundError("No module", name="tensorboard")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"needs the package tensorboard: pip install"):
        events.writer(tmp_path)
