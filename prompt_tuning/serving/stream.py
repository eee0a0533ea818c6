"""Rows in, answers out, in their order; memory does not grow with their number."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prompt_tuning.errors import UserError
from prompt_tuning.serving.inputs import Row, resolved, text_of
from prompt_tuning.serving.model import Model

CHUNK = 8  # batches whose rows are sorted by length together, after the first


OURS = "prediction", "probabilities", "error"  # fields of an answer, not of a row


def answered(
    model: Model, rows: Iterable[Row], batch_size: int, named: bool
) -> Iterator[list[Any]]:
    """Yields the answers to some rows at a time, the first ones early.

    Each is a dict of the row's own fields and "prediction", also "probabilities" (of
    the prompt's labels) where the prompt's DECODING is labels; or "line" and "error".
    Fields of these names that a row brings, such as an answer of before, are left out.

    Args:
      named: prompts have names, and a row's "task" is one of them; otherwise it is a
        field like any other.

    Raises:
      UserError: no row can be answered.
    """
    coming = resolved(rows, _resolver(model, named))
    sizes = itertools.chain([1], itertools.repeat(CHUNK))
    while chunk := list(itertools.islice(coming, batch_size * next(sizes))):
        good = [row for row in chunk if not row.error]
        said = iter(_predictions(model, good))
        yield [
            {"line": row.line, **_own(row), "error": row.error}
            if row.error
            else {**_own(row), "inputs": row.text, **next(said)}
            for row in chunk
        ]


def _own(row: Row) -> dict[str, Any]:
    return {name: x for name, x in row.fields.items() if name not in OURS}


def _resolver(model: Model, named: bool) -> Callable[[Row], tuple[str, str]]:
    """Gives a row's text and the name of its prompt: its task, or the only one."""
    names = model.names
    only = names[0] if len(names) == 1 else None

    def resolve(row: Row) -> tuple[str, str]:
        name: Any = row.fields.get("task", only) if named or only is None else only
        if name not in names:
            raise UserError(
                f"{row.where} has the task {str(name)[:80]!r}; it must be one of "
                f"{', '.join(map(repr, names))}, the prompts that there are"
                if "task" in row.fields
                else f'{row.where} has no "task"; it must name one of the prompts, '
                f"{', '.join(map(repr, names))}"
            )
        return text_of(row, model.prompt(name).template), name

    return resolve


def _predictions(model: Model, rows: list[Row]) -> list[dict[str, Any]]:
    """What is said of each row."""
    found: list[dict[str, Any]] = [{}] * len(rows)
    for labels in (False, True):
        places = [
            place
            for place, row in enumerate(rows)
            if (model.prompt(row.prompt).decoding == "labels") == labels
        ]
        texts = [rows[place].text for place in places]
        prompts = [rows[place].prompt for place in places]
        if labels:
            said = [
                {"prediction": max(p, key=p.__getitem__), "probabilities": p}
                for p in model.classify(texts, prompts)
            ]
        else:
            said = [{"prediction": x} for x in model.predict(texts, prompts)]
        for place, one in zip(places, said, strict=True):
            found[place] = one
    return found
