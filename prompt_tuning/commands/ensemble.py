"""`ensemble`: let several prompts answer a split together."""

import argparse
from collections.abc import Sequence
from typing import Any

from prompt_tuning.commands import flags

SETTINGS = ("MODEL_DIR", "DECODING", "BATCH_SIZE")
EXAMPLES = r"""
# the runs of a sweep: average, best, vote and mean probability
prompt-tuning ensemble runs/sweep

# on the test split; numbers and votes go into a folder
prompt-tuning ensemble runs/sweep --split=test --gin.MODEL_DIR=runs/ensemble

# a prompt's file, one run of a sweep and a step of another
prompt-tuning ensemble runs/mine/prompt.npy runs/sweep/prompt_length_5-seed_1 \
    runs/mine/checkpoints/0
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the prompts, the flags for hosts and --split."""
    parser.add_argument(
        "prompts",
        nargs="+",
        metavar="RUN",
        type=flags.path,
        help="runs, steps of them or prompt files of one task; a sweep's folder stands "
        "for its runs",
    )
    flags.add_hosts(parser)
    flags.add_split(parser)


def run(args: argparse.Namespace) -> None:
    """Prints average, best and ensemble of the prompts, as the paper's Table 3.

    With a MODEL_DIR, the numbers go to MODEL_DIR/ensemble.json and the votes to
    MODEL_DIR/ensemble_SPLIT.jsonl.
    """
    from prompt_tuning.serving import ensemble_report

    found, files = evaluate(args, args.prompts)
    print(ensemble_report.table(found))
    for name, path in files.items():
        print(f"{name:<13} {path}")


def evaluate(
    args: argparse.Namespace, paths: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The results on EVAL_SPLIT, and the files that they were written to."""
    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.runs import parts, trained
    from prompt_tuning.serving import ensemble_report, members
    from prompt_tuning.training import folder, task

    flags.bind(args, "--split", "EVAL_SPLIT", args.split)
    paths = members.expand(paths)
    settings, source = common.settings_of_trained(args, paths[0])
    common.start(args)
    settings = trained.on_these_devices(settings, source.mesh)
    run = settings.run
    place = common.settings(args).run.prompt_place  # not the first prompt's
    loaded = members.load(settings, paths, place)
    data = parts.open_task(run, loaded.model.vocabulary)
    split = data.load(run.eval_split, parts.input_length(run))
    split = parts.with_room(split, run, source.said.get("target_length"))
    labels_alone = run.decoding == "labels"
    answers = members.answer(loaded, split, run.batch_size, labels_alone)
    found, records = ensemble_report.results(split, paths, answers)
    if not run.model_dir:
        return found, {}
    path = folder.make_model_dir(run)
    votes = path / f"ensemble_{run.eval_split}.jsonl"
    task.write_predictions(records, votes)
    outputs.write_json(path / "ensemble.json", found)
    return found, {"results": str(path / "ensemble.json"), "votes": str(votes)}
