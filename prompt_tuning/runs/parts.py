"""Builds from settings: the mesh, the frozen model, its vocabulary, the task."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from prompt_tuning import methods, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, weights
from prompt_tuning.frozen.vocabulary import (
    Vocabulary,
    check_vocabulary,
    load_vocabulary,
)
from prompt_tuning.serving import predictor
from prompt_tuning.settings import Run, Settings, T5Config
from prompt_tuning.t5 import products
from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import batching, own_data
from prompt_tuning.training.task import Evaluation, Record, Split, Task, label_ids

Measure = Callable[[Any, Extra], tuple[Evaluation, list[Record]]]


class Model(NamedTuple):
    """A frozen model on its devices.

    params: the pretrained parameters; None if a command makes them or needs none.
    """

    mesh: Mesh
    network: Transformer
    params: Any
    vocabulary: Vocabulary


def vocabulary_name(run: Run) -> str:
    """VOCABULARY if it is set, else the file beside the frozen model, else "t5"."""
    beside = weights.find_vocabulary(run.initial_checkpoint_path)
    return run.vocabulary or str(beside or "t5")


def build(settings: Settings, frozen: bool = True) -> Model:
    """Makes the mesh and the network; with `frozen`, reads the parameters too.

    Raises:
      UserError: something is missing, or does not fit the rest.
    """
    run, sharded = settings.run, settings.param_shardings.fully_sharded
    mesh = partitioning.mesh(settings.mesh.data, settings.mesh.model)
    partitioning.check_batch_size(run.batch_size, mesh, run.num_microbatches)
    vocabulary = load_vocabulary(vocabulary_name(run))
    name = run.initial_checkpoint_path
    given = settings.model
    config = description.config(name, given) if frozen else T5Config(**given)
    # What is trained goes on, and is evaluated, as it was begun.
    config = dataclasses.replace(config, dtype=products.chosen(config.dtype))
    network = Transformer(config)
    check_vocabulary(vocabulary.vocab_size, network.config.vocab_size)
    partitioning.check_mesh(network, mesh, sharded)
    params = weights.load_frozen(name, network, mesh, sharded) if frozen else None
    return Model(mesh, network, params, vocabulary)


def resolved(settings: Settings, model: Model) -> Settings:
    """The settings with every field of T5Config set, as the model was built."""
    config = dataclasses.asdict(model.network.config)
    return dataclasses.replace(settings, model=config)


def open_task(run: Run, vocabulary: Vocabulary, name: str | None = None) -> Task:
    """The task of a run, fitted to the frozen model: seqio's or the user's own file.

    Args:
      name: a task to open instead of MIXTURE_OR_TASK_NAME.
    """
    name = name or run.mixture_or_task_name
    if own_data.is_own(name):
        # A fixed seed: the same rows are held out for every SEED.
        return own_data.open_own(name, run.inputs, run.targets, vocabulary, seed=0)
    from prompt_tuning.tasks_io import tasks  # imports TensorFlow

    return tasks.open_task(
        name, run.mixture_or_task_module, vocabulary, run.data_dir, run.tfds_data_dir
    )


def start(run: Run, task: Task, model: Model, prompt: Any = None) -> Any:
    """What the run's method trains, as it is before the first step.

    Args:
      prompt: the array [P, D] of PROMPT_FILE, if the run starts from one.
    """
    words = task.class_words(run.train_split) or ()
    first = methods.Start(words, model.vocabulary.encode, prompt)
    return methods.of(run).init(jax.random.key(run.seed), model.params, first)


def input_length(run: Run) -> dict[str, int] | None:
    """TASK_FEATURE_LENGTHS without targets: evaluation does not cut them."""
    lengths = run.task_feature_lengths or {}
    return {"inputs": lengths["inputs"]} if "inputs" in lengths else None


def scored_labels(run: Run, words: Sequence[str] | None, model: Model) -> Any:
    """The label ids [L, S] to score if DECODING is labels, else None.

    Raises:
      UserError: the task has no label words.
    """
    if run.decoding != "labels":
        return None
    if not words:
        raise UserError(
            f"{run.mixture_or_task_name} names no label words, so there is nothing to "
            "score; decode greedily, or give the task's postprocess_fn the keyword "
            "label_classes"
        )
    return label_ids(words, model.vocabulary)


def make_measure(
    run: Run, model: Model, words: Sequence[str] | None, split: Split
) -> Measure:
    """Makes (params, extra) -> (evaluation on a split, records of its examples).

    Args:
      words: the label words, for DECODING=labels.
    """
    examples = split.examples
    labels_LxS = scored_labels(run, words, model)
    with_extra = predictor.make_predict_fn(
        model.network, model.mesh, examples.lengths["targets"], labels_LxS
    )
    inputs_NxT = batching.pad(examples.inputs, examples.lengths["inputs"])

    def measure(params: Any, extra: Extra) -> tuple[Evaluation, list[Record]]:
        return split.score(
            predictor.predict_texts(
                with_extra(params, extra), inputs_NxT, run.batch_size, model.vocabulary
            )
        )

    return measure


def short_name(run: Run) -> str:
    """The frozen model's name, for a title."""
    return Path(run.initial_checkpoint_path).stem
