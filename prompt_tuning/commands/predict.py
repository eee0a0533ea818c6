"""`predict`: answer lines of text or JSONL; write JSONL."""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prompt_tuning import files
from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for hosts and the prompt, --input and --output."""
    flags.add_hosts(parser)
    flags.add_prompt(parser)
    for name, default in (("--input", "stdin"), ("--output", "stdout")):
        text = f"default: {default}"
        parser.add_argument(
            name, type=flags.path, default="-", metavar="FILE", help=text
        )


def run(args: argparse.Namespace) -> None:
    """Answers each line of --input with a JSON object in a line of --output.

    A line of --input is plain text, or a JSON object with "inputs"; its other fields
    are kept.
    """
    from prompt_tuning import outputs
    from prompt_tuning.commands import common

    records = list(read_inputs(args.input))
    if args.output != "-":
        outputs.check_output(args.output)
    settings, source = common.settings_of_trained(args, args.prompt)
    common.start(args)
    predictions = _predictions(settings, source, [r["inputs"] for r in records])
    lines = "".join(
        json.dumps(record | {"prediction": text}, ensure_ascii=False) + "\n"
        for record, text in zip(records, predictions, strict=True)
    )
    path = Path(args.output)
    if args.output == "-":
        outputs.in_utf8(sys.stdout)
        sys.stdout.write(lines)
    elif path.exists() and not path.is_file():  # such as /dev/null; do not replace it
        path.write_text(lines, encoding="utf-8")
    else:
        with outputs.atomic(Path(os.path.realpath(path))) as temporary:
            temporary.write_text(lines, encoding="utf-8")


def _predictions(settings: Any, source: Any, texts: Sequence[str]) -> Sequence[str]:
    """The model's answer to each text."""
    from prompt_tuning.runs import parts, trained
    from prompt_tuning.training import predictor, task

    run = settings.run
    model, params, extra = trained.load(settings, source)
    if not texts:
        return []
    length = (parts.input_length(run) or {}).get("inputs")
    inputs_NxT, cut = task.encode_rows(texts, model.vocabulary, length)
    if cut:
        print(f"{cut} inputs were cut to {inputs_NxT.shape[1]} tokens", file=sys.stderr)
    words, most = trained.answers(settings, source, model)
    labels_LxS = parts.scored_labels(run, words, model)
    predict_fn = predictor.make_predict_fn(model.network, model.mesh, most, labels_LxS)
    return predictor.predict_texts(
        predict_fn(params, extra), inputs_NxT, run.batch_size, model.vocabulary
    )


def read_inputs(source: str) -> Iterator[dict[str, Any]]:
    """The records of a file, or of standard input for "-"."""
    suffix = Path(source).suffix.lower()
    text = _content(source)
    if suffix in (".csv", ".tsv", ".json") or _is_array(text):
        raise UserError(
            f"the inputs {source!r} are a table or one JSON value; give a text, or a "
            'JSON object such as {"inputs": "..."}, in each line'
        )
    for number, line in enumerate(files.lines_of(text), start=1):
        if suffix == ".jsonl" and not line.strip():
            continue
        if suffix == ".jsonl" or line.lstrip().startswith("{"):
            yield _record(line, f"line {number} of {source}")
        else:
            yield {"inputs": line}


def _content(source: str) -> str:
    try:
        if source == "-":
            data = files.read_stream(sys.stdin.buffer)
        else:
            with Path(source).open("rb") as file:  # which may be a pipe, <(...)
                data = files.read_stream(file)
        files.check_pointer(data, source)
        return files.text_of(data)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the inputs {source!r} cannot be read ({error}); give a UTF-8 file of "
            "text lines or JSON objects, or - for standard input"
        ) from None


def _is_array(text: str) -> bool:
    """Whether it is one JSON array, of objects say; a text may start with a bracket."""
    if not re.match(r"\s*\[\s*[\[{\"\]]", text):
        return False
    try:
        return isinstance(files.parse_json(text), list)
    except ValueError:
        return False


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = files.parse_json(line)
    except ValueError as error:
        raise UserError(
            f"{where} should be a JSON object but is not one ({error}); give one whole "
            "object a line, or plain text"
        ) from None
    if not isinstance(record, dict) or not isinstance(record.get("inputs"), str):
        raise UserError(
            f'{where} has no "inputs" with a text; each object needs one, '
            '{"inputs": "..."}'
        )
    return record
