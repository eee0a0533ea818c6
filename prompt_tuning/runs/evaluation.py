"""Evaluates what runs trained on a split: one of them, or all of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning.errors import UserError
from prompt_tuning.runs import compare, parts, results, sweep, trained
from prompt_tuning.settings import Settings
from prompt_tuning.training import folder, task

Trained = tuple[Settings, trained.Source]


def runs_in(path: str) -> list[Path]:
    """The runs below a folder; none if it is a run or a prompt itself."""
    found = [] if not path else list(results.below(Path(path)))
    return [] if found == [Path(path or ".")] else found


def evaluate(group: Sequence[Trained]) -> list[dict[str, Any]]:
    """Evaluates runs on EVAL_SPLIT, which differ in what sweep.together lets differ.

    The frozen model and the split are read once. With a MODEL_DIR, the predictions go
    to MODEL_DIR/predictions_SPLIT.jsonl.

    Raises:
      UserError: one of them cannot be evaluated.
    """
    first, source = group[0]
    model, *bound = trained.load(first, source)
    run = first.run
    split = parts.open_task(run, model.vocabulary).load(
        run.eval_split, parts.input_length(run)
    )
    split = parts.with_room(split, run, source.said.get("target_length"))
    tasks = source.said.get("tasks") or {}
    measure = parts.make_measure(run, model, split, tasks)
    found = []
    for settings, source in group:
        if found:
            _check_tasks(source, tasks)
            _, *bound = trained.load(settings, source, model)
        found.append(_evaluated(settings, split, measure, *bound))
    return found


def _check_tasks(source: trained.Source, tasks: Mapping[str, Any]) -> None:
    """Raises UserError unless a run has prompts for these tasks, in this order."""
    its = source.said.get("tasks") or {}
    if [*its] != [*tasks]:
        raise UserError(
            f"{source.path} has prompts for {', '.join(its)}, and the run evaluated "
            f"with it for {', '.join(tasks)}: evaluate each alone"
        )


def _evaluated(
    settings: Settings,
    split: task.Split,
    measure: parts.Measure,
    params: Any,
    extra: Any,
) -> dict[str, Any]:
    """What `evaluate` prints of one prompt."""
    run, path = settings.run, None
    if run.model_dir:
        path = folder.make_model_dir(run) / f"predictions_{run.eval_split}.jsonl"
    evaluation, records = measure(params, extra)
    result = {"split": run.eval_split, "examples": len(split.examples)}
    result |= evaluation._asdict() | {"cut": split.examples.cut}
    if path:
        task.write_predictions(records, path)
        result["predictions"] = str(path)
    return result


def of_sweep(
    folders: Sequence[Path], load: Callable[[Path], Trained]
) -> dict[str, Any]:
    """Evaluates the runs of a sweep; one that cannot be leaves the others standing.

    Args:
      load: a run's folder -> its settings, changed by the flags, and its source.

    Returns:
      "rows": the results by setting, as compare.summary has them; "runs": {folder: what
      `evaluate` says of it, or {"error": why it does not}}.
    """
    kept = [results.read(path) for path in folders]
    loaded: dict[int, Trained] = {}
    said: dict[int, dict[str, Any]] = {}
    for i, one in enumerate(kept):
        if one.state != results.DONE:
            said[i] = {"error": f"it is {one.state}: {one.reason}".rstrip(": ")}
            continue
        try:
            loaded[i] = load(one.folder)
        except UserError as error:
            said[i] = {"error": str(error)}
    of_settings = {id(settings): i for i, (settings, _) in loaded.items()}
    for group in sweep.together([settings for settings, _ in loaded.values()]):
        members = [of_settings[id(settings)] for settings in group]
        said |= dict(zip(members, tried([loaded[i] for i in members]), strict=True))
    now = [_with(one, said[i]) for i, one in enumerate(kept)]
    rows = compare.summary(compare.rows(now))["rows"]
    return {"rows": rows, "runs": {str(kept[i].folder): said[i] for i in sorted(said)}}


def tried(group: Sequence[Trained]) -> list[dict[str, Any]]:
    """As `evaluate`; where that fails, each is tried alone."""
    try:
        return evaluate(group)
    except UserError as error:
        if len(group) == 1:
            return [{"error": str(error)}]
        return [found for one in group for found in tried([one])]


def _with(run: results.Result, said: dict[str, Any]) -> results.Result:
    """A run with what was found now in place of what it had found."""
    if "error" in said:
        return run._replace(state=results.FAILED, metrics={}, reason=said["error"])
    counted = any(said["metrics"].values())
    return run._replace(
        metrics=results.flat(said["metrics"]),
        score=task.development_score(said["metrics"]) if counted else None,
    )
