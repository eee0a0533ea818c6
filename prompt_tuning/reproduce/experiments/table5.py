"""Table 5: how long until a run is within 1% of its final score, by prompt length.

prompt-tuning reproduce table5 table5_steps --scale=pocket
"""

import functools
from collections.abc import Sequence

from prompt_tuning.reproduce import cells as states
from prompt_tuning.reproduce import paper
from prompt_tuning.reproduce.experiment import Experiment
from prompt_tuning.reproduce.grid import Cell, Scale, of_tasks
from prompt_tuning.reproduce.outcomes import Outcome
from prompt_tuning.reproduce.table import NUMBER, SECONDS, Place, Table, build

STEPS, TIME = "steps", "seconds"
NEAR = 0.99  # of the configuration's mean score: "within 1%"


def _cells(scale: Scale) -> tuple[Cell, ...]:
    return tuple(
        cell
        for model in scale.models
        for length in scale.timed
        for cell in of_tasks(
            scale,
            model.name,
            str(length),
            model,
            [scale.tasks.timed],
            PROMPT_LENGTH=length,
        )
    )


def converged(
    curve: Sequence[tuple[int, float]], final: float, near: float = NEAR
) -> int | None:
    """The first step whose score is within 1% of `final`; None if none is."""
    return next((step for step, score in curve if score >= near * final), None)


def with_times(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, with steps and seconds to convergence among their metrics.

    Convergence is to the mean over seeds of a configuration's best scores (Table 5's
    caption). Of runs in one step each takes its share of the time.
    """
    best: dict[Place, list[float]] = {}
    for one in outcomes:
        if one.state == states.DONE and one.curve:
            scores = [score for _, score in one.curve]
            best.setdefault((one.cell.row, one.cell.column), []).append(max(scores))
    return [_with_time(one, best) for one in outcomes]


def _with_time(one: Outcome, best: dict[Place, list[float]]) -> Outcome:
    scores = best.get((one.cell.row, one.cell.column))
    if one.state != states.DONE or not scores:
        return one
    step = converged(one.curve, sum(scores) / len(scores))
    if step is None:  # a seed that stays below its configuration's mean
        reason = "never within 1% of the mean over seeds"
        return one._replace(state=states.FAILED, reason=reason)
    a_step = one.facts["seconds_a_step"] / (one.facts["together"] or 1)
    split = "validation"  # convergence is of the curve, which has no other
    metrics = {f"{split}/{STEPS}": float(step), f"{split}/{TIME}": step * a_step}
    return one._replace(metrics={**one.metrics, **metrics})


def _table(scale: Scale, outcomes: Sequence[Outcome], metric: str, title: str) -> Table:
    def places(outcome: Outcome) -> dict[Place, tuple[str, ...]]:
        return {(outcome.cell.row, outcome.cell.column): (metric,)}

    times = metric == TIME
    more = (
        "Seconds are the median step's, without evaluation; of runs trained in one "
        "step, each has its share"
    )
    return build(
        title,
        f"Until within 1% of the mean score of its configuration on the development "
        f"split of {scale.tasks.timed}, evaluated every "
        f"{scale.settings.get('EVAL_PERIOD', 1_000):,} steps; columns are prompt "
        f"lengths. {more if times else ''}".strip(),
        with_times(outcomes),
        places,
        **(paper.TABLE_5.beside() if times else {}),
        form=SECONDS if times else NUMBER,
    )


def _experiment(name: str, title: str, metric: str) -> Experiment:
    table = functools.partial(_table, metric=metric, title=title)
    return Experiment(name, title, "appendix A, Table 5", _cells, table)


EXPERIMENTS = (
    _experiment("table5", "Time to convergence", TIME),
    _experiment("table5_steps", "Steps to convergence", STEPS),
)
