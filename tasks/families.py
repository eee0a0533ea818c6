"""Rows for the table of tasks, with a function for each family of data sets.

Each function knows how its family names its files and what TFDS calls it; where a task
differs, fields of its Row are given.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from prompt_tuning.tasks import accuracy, files, render, scoring
from prompt_tuning.tasks.render import FALSE_TRUE
from prompt_tuning.tasks.sources import Row

JSONL = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
TSV = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}


def fields(*names: str, source: Sequence[str] = ()) -> Callable:
    """Renders these fields, or the fields `source` under these names."""
    return functools.partial(render.fields, names=names, source=source)


def columns(*names: str, label: str = "label") -> dict[str, str]:
    """TFDS's field -> column, for columns with TFDS's own names and the label's."""
    return {name: name for name in names} | {"label": label}


def superglue(
    alias: str,
    folder: str,
    show: Callable,
    labels: tuple[str, ...] = FALSE_TRUE,
    metrics: tuple[Callable, ...] = (accuracy,),
    names: Mapping[str, str] = JSONL,
    flat: Callable = lambda record: [record],
    **more: object,
) -> Row:
    """Files in superglue/FOLDER: JSON lines, which `flat` turns into records."""
    row = Row(
        alias=alias,
        name=f"super_glue_{alias}_v102",
        files={split: f"superglue/{folder}/{name}" for split, name in names.items()},
        read=functools.partial(files.jsonl, flatten=flat),
        tfds=f"super_glue/{alias}:1.0.2",
        render=show,
        labels=labels,
        metrics=metrics,
        prefix=alias,
    )
    return row._replace(**more)


def glue(
    config: str,
    folder: str,
    places: Mapping[str, str],
    labels: tuple[str, ...],
    metrics: tuple[Callable, ...] = (accuracy,),
    names: Mapping[str, str] = TSV,
    headless: Sequence[str] = (),
    **more: object,
) -> Row:
    """Files in glue/FOLDER: tables. `places`: TFDS's name of a field -> its column.

    The model reads the fields in alphabetical order.
    """
    row = Row(
        alias=config,
        name=f"glue_{config}_v002",
        files={split: f"glue/{folder}/{name}" for split, name in names.items()},
        read=functools.partial(files.tsv, columns=places, headless=headless),
        tfds=f"glue/{config}:1.0.0",
        render=fields(*sorted(places.keys() - {"label"})),
        labels=labels,
        metrics=metrics,
        prefix=config,
    )
    return row._replace(**more)


def questions(
    alias: str,
    name: str,
    paths: Mapping[str, str],
    read: Callable = files.mrqa,
    tfds: str = "",
    **more: object,
) -> Row:
    """Questions about a context. T5 puts no name in front of them."""
    row = Row(
        alias=alias,
        name=name,
        files=paths,
        read=read,
        tfds=tfds,
        render=render.question,
        labels=(),
        metrics=(scoring.squad,),
        postprocess=scoring.answers,
    )
    return row._replace(**more)


def mrqa(name: str, file: str, tfds: str) -> Row:
    """An out-of-domain MRQA set; its split is validation, as in the released code."""
    return questions(
        f"mrqa_{name}",
        f"mrqa_{name}_v001_examples",
        {
            "validation": f"mrqa/dev/{file}.jsonl.gz",
            "test": f"mrqa/test/{file}.jsonl.gz",
        },
        tfds=f"mrqa/{tfds}:1.0.0",
        tfds_splits={"validation": "test"},
    )


def squadshift(name: str, file: str) -> Row:
    """A set of SQuADShifts, which neither TFDS nor the released code has."""
    alias = f"squadshifts_{name}"
    path = f"squadshifts/{file}_v1.0.json"
    return questions(alias, alias, {"test": path}, files.squad)
