"""`evaluate`: evaluate a trained prompt on a split."""

import argparse
import json

from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts and the prompts, and --split."""
    flags.add_hosts(parser)
    flags.add_prompt(parser)
    parser.add_argument(
        "--prompts",
        nargs="+",
        type=flags.path,
        metavar="PATH",
        help="several prompts of one task, evaluated together: see `ensemble`",
    )
    flags.add_split(parser)


def run(args: argparse.Namespace) -> None:
    """Prints the metrics as a JSON object.

    With a MODEL_DIR, the predictions go to MODEL_DIR/predictions_SPLIT.jsonl. Of
    several prompts, they are those of `ensemble`.
    """
    from prompt_tuning.commands import common, ensemble
    from prompt_tuning.runs import parts, trained
    from prompt_tuning.training import folder, task

    if args.prompts:
        if args.prompt:
            raise UserError("--prompt and --prompts are both given; leave one out")
        found, files = ensemble.evaluate(args, args.prompts)
        print(json.dumps(found | files, indent=2))
        return
    if args.split:
        args.bindings.append(f"EVAL_SPLIT={args.split!r}")
    settings, source = common.settings_of_trained(args, args.prompt)
    common.start(args)
    run = settings.run
    model, params, extra = trained.load(settings, source)
    data = parts.open_task(run, model.vocabulary)
    split = data.load(run.eval_split, parts.input_length(run))
    measure = parts.make_measure(run, model, split)
    path = None
    if run.model_dir:
        path = folder.make_model_dir(run) / f"predictions_{run.eval_split}.jsonl"
    evaluation, records = measure(params, extra)
    result = {"split": run.eval_split, "examples": len(split.examples)}
    result |= evaluation._asdict() | {"cut": split.examples.cut}
    if path:
        task.write_predictions(records, path)
        result["predictions"] = str(path)
    print(json.dumps(result, indent=2))
