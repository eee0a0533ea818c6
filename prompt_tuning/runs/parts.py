"""Builds from settings: the mesh, the frozen model, its vocabulary, the task."""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from prompt_tuning import exchange, methods, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, weights
from prompt_tuning.frozen.vocabulary import (
    Vocabulary,
    check_vocabulary,
    load_vocabulary,
)
from prompt_tuning.methods import prompt as prompts
from prompt_tuning.settings import Run, Settings, T5Config, Wayward
from prompt_tuning.t5 import products
from prompt_tuning.t5.extra import Extra
from prompt_tuning.t5.network import Transformer
from prompt_tuning.training import (
    batching,
    folder,
    losses,
    own_data,
    plan,
    predictor,
    progress,
    text_task,
)
from prompt_tuning.training.task import (
    KEYS,
    Evaluation,
    Record,
    Registered,
    Split,
    Task,
    check_finite,
    check_words,
    label_ids,
)

Measure = Callable[[Any, Extra], tuple[Evaluation, list[Record]]]


class Model(NamedTuple):
    """A frozen model on its devices.

    params: the pretrained parameters; None if a command makes them or needs none.
    extra: what goes with all inputs, of a method that trains more than a prompt.
    """

    mesh: Mesh
    network: Transformer
    params: Any
    vocabulary: Vocabulary
    extra: Extra = Extra()


def vocabulary_name(run: Run) -> str:
    """VOCABULARY if it is set, else the file beside the frozen model, else "t5".

    Raises:
      UserError: beside the model there is a vocabulary of another kind alone.
    """
    name = run.initial_checkpoint_path
    beside = weights.find_vocabulary(name)
    if run.vocabulary or beside:
        return run.vocabulary or str(beside)
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    there = [other for other in _OTHERS if (folder / other).is_file()]
    if there and path.exists():
        raise UserError(
            f"{folder} has {there[0]}, but no {weights.VOCABULARY}, the SentencePiece "
            "model that is read here: copy that too from where the model is from, or "
            "give VOCABULARY its path (for a ByT5, VOCABULARY=byt5)"
        )
    return "t5"


# Vocabularies in transformers' folders that are none of SentencePiece.
_OTHERS = ("tokenizer.json", "vocab.json", "tokenizer_config.json")


def build(settings: Settings, frozen: bool = True) -> Model:
    """Makes the mesh and the network; with `frozen`, reads the parameters too.

    Raises:
      UserError: something is missing, or does not fit the rest.
    """
    mesh = partitioning.mesh(settings.mesh.data, settings.mesh.model)
    if not frozen:
        return _checked(settings, mesh, T5Config(**settings.model))
    model = outlined(settings, mesh)
    name, sharded = _name(settings), settings.param_shardings.fully_sharded
    params = weights.load_frozen(name, model.network, mesh, sharded)
    return model._replace(params=params)


def outlined(settings: Settings, mesh: Mesh) -> Model:
    """The frozen model on `mesh` as its file describes it, without its parameters.

    Raises:
      UserError: as `build`.
    """
    return _checked(settings, mesh, description.config(_name(settings), settings.model))


def _name(settings: Settings) -> str:
    return settings.run.initial_checkpoint_path


def _checked(settings: Settings, mesh: Mesh, config: T5Config) -> Model:
    """A model without parameters, whose parts fit one another."""
    run = settings.run
    # What is trained goes on, and is evaluated, as it was begun.
    config = dataclasses.replace(config, dtype=products.chosen(config.dtype))
    network = Transformer(config)
    partitioning.check_batch_size(run.batch_size, mesh, run.num_microbatches)
    vocabulary = load_vocabulary(vocabulary_name(run))
    check_vocabulary(vocabulary.vocab_size, config.vocab_size)
    partitioning.check_mesh(network, mesh, settings.param_shardings.fully_sharded)
    return Model(mesh, network, None, vocabulary)


def checksum(params: Any) -> str:
    """A digest of all values of all parameters, however they are split over devices."""
    sums = jax.device_get(jax.tree.map(_sum_of_bits, params))
    named = [
        (jax.tree_util.keystr(path, simple=True), int(total))
        for path, total in jax.tree.leaves_with_path(sums)
    ]
    return hashlib.sha256(repr(named).encode()).hexdigest()


@jax.jit
def _sum_of_bits(x: jax.Array) -> jax.Array:
    """The sum of all bit patterns modulo 2**32, each times an odd number of its place.

    An odd factor loses nothing: no value can change alone without changing the sum.
    """
    kind = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis in range(x.ndim):
        along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        place = place * jnp.uint32(0x9E3779B1) + along
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def resolved(settings: Settings, model: Model) -> Settings:
    """The settings with every field of T5Config set, as the model was built.

    Texts that are options of the method have their token ids.
    """
    config = dataclasses.asdict(model.network.config)
    settings = methods.worded(settings, model.vocabulary)
    return dataclasses.replace(settings, model=config)


def computed_in(settings: Settings, model: Model) -> str:
    """The type that a run computes in, for its introduction."""
    return products.told(settings.model.get("dtype", model.network.config.dtype))


def keep(
    path: Path,
    settings: Settings,
    said: Mapping[str, Any],
    started: bool,
    results: Sequence[str],
) -> None:
    """Writes a run's settings, and what it says of itself, into its folder.

    Args:
      started: a run was started there; its settings and what it is made of must match.
      results: names of the files that the run makes at its end. Those of another run
        would be taken for its own.

    Raises:
      UserError: they do not match, or another run's results are there; nothing is
        written then.
    """
    kept = path / "config.gin"
    if not started:
        folder.check_empty(path, results)
    else:
        if kept.exists():
            folder.check_settings(kept, settings)
        old = exchange.read_description(path / exchange.DESCRIPTION)
        folder.check_unchanged(path, old, said)
    folder.keep_settings(kept, settings)
    outputs.write_json(path / exchange.DESCRIPTION, said)


def open_task(run: Run, vocabulary: Vocabulary, name: str | None = None) -> Task:
    """The task of a run, fitted to the frozen model: a module's or the user's own file.

    Args:
      name: a task to open instead of MIXTURE_OR_TASK_NAME.
    """
    name = name or run.mixture_or_task_name
    if own_data.is_own(name):
        # A fixed seed: the same rows are held out for every SEED.
        return own_data.open_own(name, run.inputs, run.targets, vocabulary, seed=0)
    check_no_templates(run, name)
    return registered(run, vocabulary, name)


def registered(run: Run, vocabulary: Vocabulary, name: str) -> Registered:
    """The task of this name in MIXTURE_OR_TASK_MODULE, fitted to the frozen model."""
    texts = text_task.open_text(name, run.mixture_or_task_module, vocabulary)
    if texts:
        return texts
    from prompt_tuning.tasks_io import tasks  # imports TensorFlow

    return tasks.open_task(
        *(name, run.mixture_or_task_module, vocabulary),
        *(run.data_dir, run.tfds_data_dir, run.task_feature_lengths),
    )


def check_no_templates(run: Run, name: str) -> None:
    """Raises UserError for templates beside a task that has no columns."""
    given = [key for key in ("inputs", "targets") if getattr(run, key) is not None]
    if given:
        raise UserError(
            f"{' and '.join(given).upper()} can only be given for a .csv, .tsv or "
            f".jsonl file or a folder of them, and MIXTURE_OR_TASK_NAME is {name!r}, "
            "which is none: leave them out, or give the file's path"
        )


def start(
    settings: Settings,
    task: Task,
    model: Model,
    prompt: Any = None,
    examples: Callable[[], Sequence[methods.Example]] = tuple,
) -> Any:
    """What the run's method trains, as it is before the first step.

    Args:
      prompt: the array [P, D] of PROMPT_FILE, if the run starts from one.
      examples: gives those that an input may show.
    """
    run = settings.run
    words = run.class_labels or task.class_words(run.train_split) or ()
    if run.prompt_init == "class_label":
        check_words(words, model.vocabulary)
    labels = task.label_words() or ()
    tasks = task.tasks(run.train_split)
    about = words, model.vocabulary.encode, prompt, labels, examples, tasks
    first = methods.Start(*about)
    return methods.of(settings).init(jax.random.key(run.seed), model.params, first)


def said(
    run: Run,
    model: Model,
    method: methods.Method,
    trained: Any,
    extra: Extra,
    words: Mapping[str, Sequence[str] | None],
) -> dict[str, Any]:
    """What a description says of what is trained, beside the settings.

    Args:
      extra: what it folds to.
      words: {task: its label words, if it has any}, of those that are trained on.
    """
    own = method.says(trained, model.vocabulary.decode) if method.says else {}
    count = {"trained_parameters": method.count(trained)}
    if extra.bank is not None:
        own |= {"tasks": {task: its and list(its) for task, its in words.items()}}
    return count | own | prompts.said(run, extra)


def may_be_shown(
    training: batching.Examples, evaluated: batching.Examples, eos_id: int
) -> list[methods.Example]:
    """The training examples that an input may show: whole, and not evaluated.

    Raises:
      UserError: they are of several tasks, and inputs of one must show no others.
    """
    if len(training.sizes) > 1:
        raise UserError(
            f"the examples of {training.split} are of {', '.join(training.sizes)}, and "
            "an input can only show those of its own task: give one of these "
            "MIXTURE_OR_TASK_NAME"
        )
    # One that may have been cut is as long as the longest there can be.
    most = {key: training.lengths[key] - bool(training.cut[key]) for key in KEYS}
    asked = {row.tobytes() for row in evaluated.inputs}
    rows = zip(training.inputs, training.targets, strict=True)
    return [
        methods.Example(row, _without(eos_id, inputs), _without(eos_id, targets))
        for row, (inputs, targets) in enumerate(rows)
        if len(inputs) <= most["inputs"] and len(targets) <= most["targets"]
        if inputs.tobytes() not in asked
    ]


def _without(eos_id: int, row: np.ndarray) -> np.ndarray:
    return row[:-1] if len(row) and row[-1] == eos_id else row


def penalty(
    settings: Settings,
    method: methods.Method,
    trained: Any,
    frozen: Any,
    vocabulary: Vocabulary,
) -> losses.Penalty | None:
    """What holds the prompt near wayward.text; None without such a text.

    Args:
      trained, frozen: what the method trains and what stays, or their shapes.

    Raises:
      UserError: the text does not fit the prompt, the method or the vocabulary.
    """
    text, weight = settings.wayward.text, settings.wayward.weight
    if not text:
        if weight != Wayward().weight:
            raise UserError(
                f"wayward.weight is {weight}, but there is no text to hold the prompt "
                "near: give --gin.wayward.text=..., or leave the weight out"
            )
        return None
    _, extra = jax.eval_shape(method.fold, trained, frozen)
    prompt = method.trains and extra.prompt is not None and extra.is_prompt
    if not method.shares or not prompt:
        raise UserError(
            f"wayward.text holds the prompt of a frozen model near a text, and METHOD "
            f"is {settings.run.method!r}: leave wayward.text out, or set METHOD=prompt"
        )
    ids, length = vocabulary.encode(text), settings.run.prompt_length
    if not 0 < len(ids) <= length:
        raise UserError(
            f"wayward.text is {len(ids)} pieces long, and each is for a position of "
            f"the prompt, of which there are {length}: give another text, or "
            "PROMPT_LENGTH"
        )
    if vocabulary.decode(ids) != text:
        raise UserError(
            f"wayward.text is {text!r}, which the vocabulary turns into "
            f"{vocabulary.decode(ids)!r}: give a text that it can write"
        )
    return losses.near_text(ids, weight)


def input_length(run: Run) -> dict[str, int] | None:
    """TASK_FEATURE_LENGTHS without targets: evaluation does not cut them."""
    lengths = run.task_feature_lengths or {}
    return {"inputs": lengths["inputs"]} if "inputs" in lengths else None


def with_room(split: Split, run: Run, longest: int | None) -> Split:
    """The split, with room for the answers to tasks that have neither labels nor words.

    Their targets are placeholders, which say nothing of how long an answer is.

    Args:
      longest: the most tokens of an answer, EOS included, as what was trained says; it
        is not asked where TASK_FEATURE_LENGTHS says it.

    Raises:
      UserError: neither says it.
    """
    free = [name for name in split.unlabelled if not split.label_words.get(name)]
    longest = (run.task_feature_lengths or {}).get("targets", longest)
    if not free:
        return split
    if longest is None:
        raise UserError(
            f"the split {run.eval_split!r} of {free[0]} has no answers, and nothing "
            "says how long one may be: give TASK_FEATURE_LENGTHS with targets"
        )
    lengths = {**split.examples.lengths, "targets": longest}
    examples = dataclasses.replace(split.examples, lengths=lengths)
    return dataclasses.replace(split, examples=examples)


def scored_labels(run: Run, words: Sequence[str] | None, model: Model) -> Any:
    """The label ids [L, S] to score if DECODING is labels, else None.

    Raises:
      UserError: there are no label words.
    """
    if run.decoding != "labels":
        return None
    if not words:
        raise UserError(
            f"{run.mixture_or_task_name} names no label words, so there is nothing to "
            "score: decode greedily (DECODING=greedy)"
        )
    return label_ids(words, model.vocabulary)


def make_measure(
    run: Run, model: Model, split: Split, tasks: Collection[str] = ()
) -> Measure:
    """Makes (params, extra) -> (evaluation on a split, records of its examples).

    With DECODING=labels each example's own task's labels are scored.

    Args:
      tasks: those of a bank of prompts, in its order.

    Raises:
      UserError: a task has no labels to score. A measure raises it for a bank that has
        no prompt for a task of the split.
    """
    examples, labels_LxS, own_NxL = split.examples, None, None
    if run.decoding == "labels":
        words, own_NxL = split.labels()
        labels_LxS = label_ids(words, model.vocabulary)
    with_extra = predictor.make_predict_fn(
        model.network, model.mesh, examples.lengths["targets"], labels_LxS
    )
    inputs_NxT = batching.pad(examples.inputs, examples.lengths["inputs"])

    def measure(params: Any, extra: Extra) -> tuple[Evaluation, list[Record]]:
        tasks_N = _places(examples, tasks) if extra.bank is not None else None
        texts = predictor.predict_texts(
            *(with_extra(params, extra), inputs_NxT, run.batch_size),
            *(model.vocabulary, own_NxL, tasks_N),
        )
        evaluation, records = split.score(texts)
        check_finite(evaluation.metrics)
        return evaluation, records

    return measure


def _places(examples: batching.Examples, tasks: Collection[str]) -> np.ndarray:
    """The place among `tasks` of each example's task, int32 [N].

    Raises:
      UserError: an example's task is none of them.
    """
    missing = [name for name in examples.sizes if name not in tasks]
    if missing:
        raise UserError(
            f"there is a prompt for each of {', '.join(tasks)}, and none for "
            f"{', '.join(missing)} of {examples.split}: take one of theirs to try "
            "there (`export --task`), or train a mixture with it"
        )
    places = np.array([[*tasks].index(name) for name in examples.sizes], np.int32)
    return np.repeat(places, list(examples.sizes.values()))


def work(
    model: Model,
    learning_rates: Sequence[Callable[[int], Any]],
    prompt_length: int,
    weights: bool,
    more_losses: int = 0,
    encodings: int = 1,
) -> progress.Work:
    """What a run's steps do, for its log.

    Args:
      learning_rates: step (from 0) -> the rate, for each state that is trained.
      weights: the model's weights are trained too.
      more_losses: those that a step computes besides the one it has a gradient of.
      encodings: how many times it encodes an input.
    """
    config = model.network.config
    flops = plan.flops_of(config, prompt_length, weights, more_losses, encodings)
    return progress.Work(learning_rates, flops, progress.device_rate(config.dtype))


def events(path: Path) -> Callable[[int, Mapping[str, float | None]], None]:
    """Writes a step's values into a folder for TensorBoard."""
    from prompt_tuning.tasks_io import events  # imports TensorFlow

    return events.writer(path)


def short_name(run: Run) -> str:
    """The frozen model's name, for a title."""
    return Path(run.initial_checkpoint_path).stem
