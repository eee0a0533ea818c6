"""What `tasks` shows: all tasks, a task's texts, a check of the data."""

import collections
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary
from prompt_tuning.tasks_io import evaluate, tasks
from prompt_tuning.tasks_io.evaluate import text
from prompt_tuning.tasks_io.quiet import seqio, tfds
from prompt_tuning.training import scoring
from prompt_tuning.training.task import KEYS

NAMED = 20  # bad rows that `check` names in each split; it counts all


@runtime_checkable
class Told(Protocol):
    """A data source with more methods than seqio's, for `check`.

    It may also have an `alias`. `published` returns (number of examples, {label:
    percent}), and `read` yields (number of the record, features).
    """

    @property
    def splits(self) -> Sequence[str]: ...
    def at(self, data_dir: str) -> "Told": ...
    def origin(self, split: str) -> str: ...
    def available(self, split: str) -> bool: ...
    def published(self, split: str) -> tuple[int, dict[str, float]] | None: ...
    def read(
        self, split: str, on_error: Callable[[Any], None]
    ) -> Iterator[tuple[int, dict[str, Any]]]: ...


def describe(module: str | Sequence[str]) -> str:
    """A line for each registered task and mixture: its names and label words.

    Args:
      module: imported first, for the tasks that it registers.
    """
    tasks.import_tasks(module)
    names = collections.defaultdict(list)  # one source: names of one task
    for name in seqio.TaskRegistry.names():
        names[id(seqio.TaskRegistry.get(name).source)].append(name)
    for name in seqio.MixtureRegistry.names():
        names[_parts(name)].append(name)
    width = max((len(", ".join(group)) for group in names.values()), default=0)
    return "\n".join(
        f"{', '.join(group):{width}}  {', '.join(_words(group[0]))}".rstrip()
        for group in names.values()
    )


def _parts(name: str) -> tuple:
    """Tasks and rates; mixtures that share them are one mixture with two names."""
    return tuple(seqio.MixtureRegistry.get(name).rate_per_task_name.items())


def _words(name: str) -> tuple[str, ...]:
    parts = seqio.get_subtasks(seqio.get_mixture_or_task(name))
    return scoring.first_words(evaluate.keywords(parts), "label_classes") or ()


def render(
    module: str | Sequence[str],
    vocabulary: Vocabulary,
    name: str,
    split: str,
    data_dir: str | None = None,
    tfds_data_dir: str | None = None,
    limit: int | None = None,
    lengths: Mapping[str, int] | None = None,
) -> Iterator[str]:
    """Yields "inputs<TAB>targets" of a task's examples in order, before tokenising.

    Args:
      module, vocabulary, data_dir, tfds_data_dir, lengths: as open_task takes them.

    Raises:
      UserError: there is no such task, or it has no such split.
    """
    task = tasks.open_task(name, module, vocabulary, data_dir, tfds_data_dir)
    lines = (_lines(part, split, lengths) for part in task.parts(split))
    return itertools.islice(itertools.chain.from_iterable(lines), limit)


def _lines(
    task: seqio.Task, split: str, lengths: Mapping[str, int] | None
) -> Iterator[str]:
    rows = tfds.as_numpy(tasks.examples(task, split, lengths))
    for example in rows:
        yield "\t".join(text(task, example, key) for key in KEYS)


def check(
    module: str | Sequence[str],
    vocabulary: Vocabulary,
    data_dir: str | None = None,
    tfds_data_dir: str | None = None,
) -> Iterator[str]:
    """Yields a report on each task's data: rows, tokens, labels, bad rows.

    The paper's numbers are shown beside ours. Data that would have to be downloaded is
    skipped. Tokens are counted with EOS.

    Args:
      module, vocabulary, data_dir, tfds_data_dir: as open_task takes them.

    Raises:
      UserError: at the end, if there were bad rows.
    """
    tasks.import_tasks(module)
    if tfds_data_dir:
        seqio.set_tfds_data_dir_override(tfds_data_dir)
    seen, bad = set(), 0
    yield f"tokens are counted with the vocabulary {vocabulary.file or 'byt5'}"
    for name in seqio.TaskRegistry.names():
        source = seqio.TaskRegistry.get(name).source
        alias = getattr(source, "alias", name)
        if alias in seen:
            continue
        seen.add(alias)
        yield f"\n{alias}"
        if not isinstance(source, Told):
            yield f"  its own source, a {type(source).__name__}; not checked"
            continue
        source = source.at(data_dir) if data_dir else source
        for split in source.splits:
            if not source.available(split):
                yield f"  {split}: not there ({source.origin(split)})"
                continue
            lines, errors = _check_split(source, split, vocabulary)
            yield f"  {split}: {source.origin(split)}"
            yield from (f"    {line}" for line in lines)
            bad += errors
    if bad:
        raise UserError(f"{bad} rows cannot be read; they are named above")


def _check_split(
    source: Told, split: str, vocabulary: Vocabulary
) -> tuple[list[str], int]:
    """A split's report, and how many of its rows are bad."""
    errors: list[Exception] = []
    records, labels = set(), collections.Counter()
    lengths: dict[str, list[int]] = {key: [] for key in KEYS}
    try:
        for record, features in source.read(split, errors.append):
            records.add(record)
            labels[_label(features)] += 1
            for key in KEYS:
                tokens = vocabulary.encode(features[key].decode())
                lengths[key].append(len(tokens) + 1)
    except ValueError as error:  # about the whole file
        if not getattr(error, "user_message", False):
            raise
        errors.append(error)
    rows, shares = source.published(split) or (None, {})
    lines = [_count(len(lengths["inputs"]), len(records), rows)]
    if records:
        lines += [f"{key}: {_lengths(lengths[key])}" for key in KEYS]
    if records and (shares or len(labels) <= 26):
        lines.append(_shares(labels, shares))
    if errors:
        lines.append(f"{len(errors)} rows cannot be read:")
        lines += [f"  {error}" for error in errors[:NAMED]]
        if len(errors) > NAMED:
            lines.append(f"  and {len(errors) - NAMED} more")
    return lines, len(errors)


def _label(features: dict[str, Any]) -> str:
    """The label word; for free text with a label, whether the text is right."""
    if "label" in features:
        return {0: "False", 1: "True"}.get(features["label"], "none")
    return features["targets"].decode()


def _count(examples: int, records: int, published: int | None) -> str:
    text = f"{examples:,} examples"
    if records != examples:
        text += f" of {records:,} records"
    return text if published is None else f"{text} (paper: {published:,})"


def _lengths(lengths: list[int]) -> str:
    return (
        f"{np.mean(lengths):.1f} tokens on average, 95% have at most "
        f"{np.percentile(lengths, 95, method='higher')}, the longest {max(lengths)}"
    )


def _shares(labels: collections.Counter, published: dict[str, float]) -> str:
    def share(label: str) -> str:
        text = f"{label} {100 * labels[label] / labels.total():.1f}%"
        paper = published.get(label)
        return text if paper is None else f"{text} (paper: {paper}%)"

    return "labels: " + ", ".join(map(share, sorted(labels.keys() | published.keys())))
