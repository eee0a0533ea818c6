"""Figure 2: one mixed batch for all tasks, against a model for each. Measured.

    prompt-tuning reproduce fig2 --scale=pocket

A batch of examples of several tasks, each with its task's prompt, goes through the
frozen model once. Tuned models take their own examples each, and memory each. Values
of prompts and weights do not matter to either, so none is trained. See
scripts/bench/many_prompts.py for many more prompts.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prompt_tuning.errors import UserError
from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce.experiment import Experiment, no_cells
from prompt_tuning.reproduce.grid import Cell, Scale
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import NUMBER, TEST, Place, Table, build
from prompt_tuning.serving import model as serving
from prompt_tuning.serving.prompts import Facts
from prompt_tuning.settings import Run
from prompt_tuning.t5.extra import Extra
from prompt_tuning.training import predictor
from prompt_tuning.training.task import encode_rows

MIXED, APART = "one mixed batch", "a model for each task"
RATE, MEMORY = "examples a second", "MB of weights and prompts"
EXAMPLES, ANSWER = 32, 8  # examples of the batch; tokens of each answer
REPEATS = 5


def _derived(scale: Scale, outcomes: Sequence[Outcome]) -> list[Outcome]:
    del outcomes
    return [one for model in scale.models for one in _of(scale, model.name, model)]


def _of(scale: Scale, row: str, model: Any) -> Iterator[Outcome]:
    try:
        loaded = serving.load(model.stages[100], BATCH_SIZE=EXAMPLES)
    except UserError as error:
        for column in (MIXED, APART):
            yield _outcome(row, column, {}, states.FAILED, str(error))
        return
    tasks, length = list(scale.tasks.suite), _length(scale)
    weights = sum(x.nbytes for x in jax.tree.leaves(loaded.params))
    prompts = 4 * length * loaded.network.config.emb_dim * len(tasks)
    texts = [f"is a robin number {i} a bird?" for i in range(EXAMPLES)]
    names = [tasks[i % len(tasks)] for i in range(EXAMPLES)]
    mixed, apart = _mixed(loaded, texts, names, length), _apart(loaded, texts, names)
    for column, run, size in (
        (MIXED, mixed, weights + prompts),
        (APART, apart, weights * len(tasks)),
    ):
        found = {RATE: EXAMPLES / _seconds(run), MEMORY: size / 1e6}
        yield _outcome(row, column, found, states.DONE)


def _length(scale: Scale) -> int:
    return int(scale.settings.get("PROMPT_LENGTH", Run.prompt_length))


def _outcome(
    row: str, column: str, found: dict[str, float], state: str, reason: str = ""
) -> Outcome:
    metrics = {f"{TEST}/{name}": value for name, value in found.items()}
    return Outcome(Cell(row, column, 0, {}, ()), "", state, reason, metrics)


def _mixed(
    model: Any, texts: Sequence[str], names: Sequence[str], length: int
) -> Callable[[], Any]:
    """Answers each text with its task's prompt, in one batch."""
    rng = np.random.default_rng(0)
    for name in set(names):
        prompt_PxD = rng.normal(size=(length, model.network.config.emb_dim))
        facts = Facts(length, "prefix", None, ANSWER, None, Path(), {})
        model.put(name, prompt_PxD.astype(np.float32), facts)
    return lambda: model.generate(texts, names)


def _apart(model: Any, texts: Sequence[str], names: Sequence[str]) -> Callable[[], Any]:
    """Answers the texts of each task with its own model, one after another."""
    inputs_NxT, _ = encode_rows(texts, model.vocabulary)
    make = predictor.make_predict_fn(model.network, model.mesh, ANSWER)
    fn, rows = make(model.params, Extra()), np.array(names)
    parts = [inputs_NxT[rows == name] for name in dict.fromkeys(names)]
    size = max(map(len, parts))
    return lambda: [predictor.predict_in_batches(fn, part, size) for part in parts]


def _seconds(run: Callable[[], Any]) -> float:
    """The median of several runs, after the one that compiles."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _table(scale: Scale, outcomes: Sequence[Outcome]) -> Table:
    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        row, column = outcome.cell.row, outcome.cell.column
        return {(row, f"{column}: {name}"): (name,) for name in (RATE, MEMORY)}

    return build(
        EXPERIMENT.title,
        f"{EXAMPLES} examples of {len(scale.tasks.suite)} tasks, answers of {ANSWER} "
        "tokens, the median of five. One frozen model takes them in one batch, each "
        "with its task's prompt; tuned models take those of their own task each",
        outcomes,
        places,
        form=NUMBER,
    )


EXPERIMENT = Experiment(
    "fig2", "Serving many tasks", "section 1, Figure 2", no_cells, _table, _derived
)
