"""What `pretrain` trains on: a task of texts, a .txt file of one's own, or a corpus."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.runs import parts
from prompt_tuning.settings import Run, Settings
from prompt_tuning.training import batching, corpus, objectives, own_text, packing

LENGTHS = {"inputs": 64, "targets": 32}  # tokens, unless TASK_FEATURE_LENGTHS is set
# (the number of the first batch) -> an endless iterator of batches
Batches = Callable[[int], Iterator[batching.Batch]]


class Text(NamedTuple):
    """Text to pre-train on.

    training, held_out: batches of span corruption, then of prefix LM.
    said: what must not change between two starts of a run.
    origin: what the text is called in the description of what is made of it.
    """

    training: Batches
    held_out: Batches
    said: Mapping[str, str]
    origin: Mapping[str, Any]


def open_text(settings: Settings, vocabulary: Vocabulary) -> Text:
    """The text that the settings name.

    Raises:
      UserError: it cannot be read, or is none, or is too short.
    """
    run = settings.run
    _check_lengths(run)
    if settings.pretrain.corpus:
        return _of_corpus(settings, vocabulary)
    training, held_out = _documents(run, vocabulary)

    def of(documents: Sequence[np.ndarray]) -> Batches:
        return functools.partial(
            _stages,
            documents,
            _shape(run),
            vocabulary.vocab_size,
            settings.pretrain.span_corruption_steps,
            run.seed,
        )

    said = {
        "data_fingerprint": batching.fingerprint(training),
        "eval_data_fingerprint": batching.fingerprint(held_out),
    }
    return Text(of(training), of(held_out), said, {"task": run.mixture_or_task_name})


def _check_lengths(run: Run) -> None:
    """Raises UserError for lengths that hold no text."""
    _, inputs, targets = _shape(run)
    try:
        objectives.raw_length(inputs, targets)
    except ValueError as error:
        raise UserError(
            f"the text does not fit TASK_FEATURE_LENGTHS: {error}; give other lengths"
        ) from None


def _shape(run: Run) -> tuple[int, int, int]:
    """B, T and S."""
    lengths = LENGTHS | (run.task_feature_lengths or {})
    return run.batch_size, lengths["inputs"], lengths["targets"]


def _documents(
    run: Run, vocabulary: Vocabulary
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The token ids of the texts to train on and of those held out, without EOS."""
    name = run.mixture_or_task_name
    if own_text.is_text(name):
        return own_text.documents(name, vocabulary)
    task = parts.registered(run, vocabulary, name)
    return task.documents(run.train_split), task.documents(run.eval_split)


def _stages(
    documents: Sequence[np.ndarray],
    shape: tuple[int, int, int],
    vocab_size: int,
    switch: int,
    seed: int,
    start_step: int,
) -> Iterator[batching.Batch]:
    """Batches of span corruption up to number `switch`, then of prefix LM."""
    _, inputs, targets = shape
    corruption = functools.partial(objectives.span_corruption, vocab_size=vocab_size)
    continuation = functools.partial(objectives.prefix_lm, input_length=inputs)

    def of(
        objective: objectives.Objective, longest: int, start: int
    ) -> Iterator[batching.Batch]:
        return objectives.batches(documents, objective, longest, *shape, seed, start)

    if start_step < switch:
        corrupted = of(corruption, objectives.raw_length(inputs, targets), start_step)
        yield from itertools.islice(corrupted, switch - start_step)
    yield from of(continuation, inputs + targets - 2, max(start_step, switch))


# A corpus


def _of_corpus(settings: Settings, vocabulary: Vocabulary) -> Text:
    run, chosen = settings.run, settings.pretrain
    if run.mixture_or_task_name != Run.mixture_or_task_name:
        raise UserError(
            f"MIXTURE_OR_TASK_NAME is {run.mixture_or_task_name!r}, but pretrain.corpus"
            " is the text to train on: leave one of them out"
        )
    names = [chosen.corpus] if isinstance(chosen.corpus, str) else chosen.corpus
    folder = Path(chosen.tokens or Path(run.model_dir, "tokens"))
    tokens = corpus.tokenised(names, folder, vocabulary)
    size, switch = vocabulary.vocab_size, chosen.span_corruption_steps
    try:
        training, held_out = (
            functools.partial(
                _packed_stages,
                *_packed(part, _shape(run), size, run.seed),
                switch,
            )
            for part in (tokens.training, tokens.held_out)
        )
    except ValueError as error:
        raise UserError(
            f"the corpus does not fit TASK_FEATURE_LENGTHS: {error}; give other lengths"
        ) from None
    digests = tokens.said["sha256"]
    said = {
        "data_fingerprint": digests["training"],
        "eval_data_fingerprint": digests["held_out"],
    }
    origin = {name: tokens.said[name] for name in ("files", "documents", "training")}
    return Text(training, held_out, said, {"corpus": origin})


def _packed(
    tokens: np.ndarray, shape: tuple[int, int, int], vocab_size: int, seed: int
) -> tuple[Batches, Batches]:
    """Batches of each of the two objectives, from the one of a number on.

    Rows of both are of the length that fills inputs and targets.
    """
    _, inputs, targets = shape
    corruption = functools.partial(
        objectives.span_corruption_of_rows, vocab_size=vocab_size
    )
    continuation = functools.partial(objectives.prefix_lm_of_rows, input_length=inputs)

    def of(number: int, length: int, objective: packing.Objective) -> Batches:
        own = seed, number
        take = packing.rows(tokens, length, own)
        return functools.partial(packing.batches, take, objective, shape, own)

    return (
        of(0, objectives.raw_length(inputs, targets), corruption),
        of(1, inputs + targets - 2, continuation),
    )


def _packed_stages(
    corruption: Batches, continuation: Batches, switch: int, start_step: int
) -> Iterator[batching.Batch]:
    """As _stages; each objective counts its batches from 0."""
    if start_step < switch:
        batches = corruption(start_step)
        for _ in range(switch - start_step):
            yield next(batches)
    yield from continuation(max(0, start_step - switch))
