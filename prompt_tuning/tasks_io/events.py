"""Event files for TensorBoard, by clu; it writes them with TensorFlow."""

from collections.abc import Callable, Mapping
from pathlib import Path

from prompt_tuning import outputs
from prompt_tuning.errors import UserError
from prompt_tuning.tasks_io.quiet import seqio as seqio  # TensorFlow, without its logs


def writer(folder: Path) -> Callable[[int, Mapping[str, float | None]], None]:
    """A function of a step and its values, which writes them into `folder`.

    Raises:
      UserError: the package tensorboard is not installed.
    """
    if not outputs.is_writer():
        return lambda step, values: None
    try:
        from clu import metric_writers
    except ModuleNotFoundError as error:
        raise UserError(
            f"TENSORBOARD is True, which needs the package {error.name}: "
            "pip install '.[tensorboard]' in a checkout, or leave TENSORBOARD out"
        ) from None
    files = metric_writers.SummaryWriter(str(folder))

    def write(step: int, values: Mapping[str, float | None]) -> None:
        numbers = {name: x for name, x in values.items() if x is not None}
        files.write_scalars(step, numbers)
        files.flush()  # a run that is killed keeps them

    return write
