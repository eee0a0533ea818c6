"""`train --dry_run`: what a run would train, and what it needs, from shapes alone."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from prompt_tuning import exchange, methods, partitioning
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import parts, report, transfer, tune
from prompt_tuning.settings import Settings
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import plan


def use_devices(runs: Sequence[Settings]) -> None:
    """Stands virtual devices in for the meshes; to be called before JAX is used."""
    plan.use_virtual_devices(max(math.prod(_mesh(one)) for one in runs))


def _mesh(settings: Settings) -> tuple[int, int]:
    """(data, model); without a size the batch is split over one device."""
    mesh = settings.mesh
    return max(mesh.data, 1), mesh.model


def show(sweep: Sequence[Settings]) -> None:
    """Prints the introduction of a run, and the plan; reads no weights.

    Args:
      sweep: one run's settings, or those of several that one step would train.

    Raises:
      UserError: the run would be refused for its settings, data or shapes.
    """
    run = sweep[0].run
    model = parts.outlined(sweep[0], plan.virtual_mesh(*_mesh(sweep[0])))
    sweep = [methods.worded(one, model.vocabulary) for one in sweep]
    task = parts.open_task(run, model.vocabulary)
    data = tune.read_splits(run, task)
    examples = functools.partial(
        parts.may_be_shown, *data.splits, model.vocabulary.eos_id
    )
    if run.decoding == "labels":
        data.development.labels()  # raises UserError if there are none
    found = transfer.source(sweep[0])
    first = exchange.load_prompt(found.path) if found else None
    shapes = partitioning.param_shapes(model.network)
    trained = jax.eval_shape(
        lambda params: parts.start(
            sweep[0], task, model._replace(params=params), first, examples
        ),
        shapes,
    )
    runs, method = [one.run for one in sweep], methods.of(sweep[0])
    # It may raise UserError.
    parts.penalty(sweep[0], method, trained, shapes, model.vocabulary)
    computed = parts.computed_in(sweep[0], model)
    about = runs, method, trained, shapes, task.name, data.splits, computed
    print(report.introduction(*about))
    if not method.trains:
        return
    config, lengths = model.network.config, data.training.lengths
    print()
    words = task.label_words() or ()
    ids = [model.vocabulary.encode(word) for word in words]
    own = plan.trained(sweep[0], model.network, ids, [*data.training.sizes])
    for line in plan.describe(config, run, _mesh(sweep[0]), lengths, own):
        print(line, flush=True)


def trained(settings: Settings, network: Transformer) -> plan.Trained:
    """What a run would train. Its vocabulary and task are read only if that asks them.

    Raises:
      UserError: the method refuses the settings, or what it asks is not there.
    """
    run = settings.run
    vocabulary: Any = _Asked(lambda: load_vocabulary(parts.vocabulary_name(run)))
    task: Any = _Asked(lambda: parts.open_task(run, vocabulary))

    def label_ids() -> list[Sequence[int]]:
        return [vocabulary.encode(word) for word in task.label_words() or ()]

    def names() -> Sequence[str]:
        return task.tasks(run.train_split)

    settings = methods.worded(settings, vocabulary)
    return plan.trained(settings, network, _Late(label_ids), _Late(names))


class _Asked:
    """An object that is made once something is asked of it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._made = functools.cache(make)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)


class _Late(Sequence):
    """A sequence that is made once it is looked into."""

    def __init__(self, make: Callable[[], Sequence]) -> None:
        self._made = functools.cache(make)

    def __len__(self) -> int:
        return len(self._made())

    def __getitem__(self, index):
        return self._made()[index]
