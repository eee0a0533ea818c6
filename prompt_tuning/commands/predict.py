"""`predict`: answer lines of text, JSONL or a table; write JSONL."""

import argparse
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError

SETTINGS = ("MODEL_DIR", "DECODING", "BATCH_SIZE", "INPUTS", "INITIAL_CHECKPOINT_PATH")
EXAMPLES = r"""
# a line of text
echo "hypothesis: max hid the lamp. premise: tess joked that max hid the lamp." \
    | prompt-tuning predict --gin.MODEL_DIR=runs/mine

# a table with a column inputs; probabilities of the label words
prompt-tuning predict --prompt=runs/mine --gin.DECODING=labels \
    --input=texts.csv --output=answers.jsonl

# two prompts in one batch; each row's task names its own
prompt-tuning predict --input=mixed.jsonl \
    --prompts cb=runs/mine short=runs/sweep/prompt_length_1-seed_0
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts and prompts, --input and --output."""
    flags.add_hosts(parser)
    flags.add_prompt(parser)
    flags.add_prompts(parser)
    for name, default in (("--input", "stdin"), ("--output", "stdout")):
        text = f"default: {default}"
        parser.add_argument(
            name, type=flags.path, default="-", metavar="FILE", help=text
        )


def run(args: argparse.Namespace) -> None:
    """Answers each row of --input with a JSON object in a line of --output.

    A row is a line of plain text, a JSON object, or one of a table with a header; its
    fields are kept, but for those that an answer has. With --prompts its "task" is the
    name of the one to answer with. A row that cannot be answered is given its "error";
    the others are answered, and the exit code is 2.
    """
    from prompt_tuning import outputs
    from prompt_tuning.commands import common
    from prompt_tuning.serving import inputs, stream

    rows = inputs.read(args.input)
    first = list(itertools.islice(rows, 1))  # what cannot be read is refused at once
    if args.output != "-":
        outputs.check_output(args.output)
    if args.prompts:
        paths, settings = common.settings_of_prompts(args)
        common.start(args)
        model = _mixed(args, settings, paths)
    else:
        settings, source = common.settings_of_trained(args, args.prompt)
        common.start(args)
        model = _single(settings, source, bool(first))
    batch_size = settings.run.batch_size
    model.compile([], batch_size)  # batches of one size
    count, errors = 0, []
    with _writer(args.output) as write:
        all_rows, named = itertools.chain(first, rows), bool(args.prompts)
        for said in stream.answered(model, all_rows, batch_size, named):
            write("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said))
            count += len(said)
            errors += [one["error"] for one in said if "error" in one]
            errors[1:] = [""] * len(errors[1:])  # their number is enough
    if model.truncated:
        print(f"{model.truncated} inputs were cut {_to(model)}", file=sys.stderr)
    if errors:
        raise UserError(
            f"{len(errors)} of {count} rows were not answered, and have their error in "
            f"the output; the first: {errors[0]}"
        )


def _to(model: Any) -> str:
    limits = {model.limit(name) for name in model.names}
    return f"to {limits.pop()} tokens" if len(limits) == 1 else "for their prompts"


def _single(settings: Any, source: Any, answers: bool) -> Any:
    """The model with a run's prompt alone, or the model that the run trained.

    Args:
      answers: whether there is anything to answer; if not, the task is not looked at.
    """
    import numpy as np

    from prompt_tuning import exchange
    from prompt_tuning.runs import parts, trained
    from prompt_tuning.serving import prompts
    from prompt_tuning.serving.model import Model

    run = settings.run
    frozen, params, extra = trained.load(settings, source)
    model = frozen._replace(params=params)
    alone = not extra.is_prompt and extra.bank is None
    model = Model(settings, model._replace(extra=extra) if alone else model)
    words, most = trained.answers(settings, source, frozen) if answers else (None, 1)
    if answers:
        parts.scored_labels(run, words, frozen)  # raises, if there are none to score
    prompt_PxD = np.zeros((0, frozen.network.config.emb_dim))
    if extra.prompt is not None and not alone:
        prompt_PxD = np.asarray(extra.prompt.vectors)
    facts = prompts.Facts(
        length=extra.prompt_length,
        place=exchange.place(source.said, run.prompt_place),
        label_words=tuple(words) if words else None,
        target_length=most,
        task=run.mixture_or_task_name,
        path=source.path,
        description=source.said,
        decoding=run.decoding,
        template=run.inputs,
        in_front=source.said.get("in_front"),
    )
    if extra.bank is not None:
        tasks = source.said["tasks"].items()
        for (name, its), own_PxD in zip(tasks, extra.bank.vectors, strict=True):
            about = {"task": name, "label_words": its and tuple(its)}
            own = facts._replace(length=len(own_PxD), **about)
            model.put(name, np.asarray(own_PxD), prompts.check(own))
        return model
    # One that is not alone goes with all inputs, and is only counted here.
    model.put("prompt", prompt_PxD, facts)
    return model


def _mixed(args: argparse.Namespace, settings: Any, paths: Mapping[str, str]) -> Any:
    """The frozen model with all of the prompts."""
    from prompt_tuning.commands import common
    from prompt_tuning.runs import parts
    from prompt_tuning.serving.model import Model

    said = {
        "place": common.given(args, "prompt_place", "prefix", "suffix"),
        "decoding": common.given(args, "decoding", "greedy", "labels"),
    }
    model = Model(settings, parts.build(settings))
    for name, path in paths.items():
        model.add(name, path, **said)
    return model


@contextlib.contextmanager
def _writer(output: str) -> Iterator[Callable[[str], Any]]:
    """A function that writes text to --output; a file appears whole or not at all."""
    from prompt_tuning import outputs

    path = Path(output)
    if output == "-":
        outputs.in_utf8(sys.stdout)
        yield lambda text: print(text, end="", flush=True)
    elif path.exists() and not path.is_file():  # such as /dev/null; do not replace it
        with path.open("w", **_TEXT) as file:
            yield lambda text: print(text, end="", file=file, flush=True)
    else:
        final = Path(os.path.realpath(path))
        with outputs.atomic(final) as temporary, temporary.open("w", **_TEXT) as file:
            yield file.write


_TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace"}
