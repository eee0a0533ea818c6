"""Writes docs/settings.md: every setting, from the code that declares it.

    PYTHONPATH=. python scripts/settings_page.py

tests/docs_test.py compares the page with what this makes.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prompt_tuning.sections import called
from prompt_tuning.settings import SECTIONS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """\
# Settings

Made by `scripts/settings_page.py` from `prompt_tuning/settings.py`.

Code has the defaults, which are the paper's where the paper says any. A gin file has
what differs, and a flag changes one setting of a command:

```sh
prompt-tuning train --gin_file=gin/runs/prompt_tune.gin --gin.MODEL_DIR=runs/slower \\
    --gin.schedule.learning_rate=0.1 --gin.TASK_FEATURE_LENGTHS="{'inputs': 64}"
```

- A file is named by its path from the repository root (`gin/runs/prompt_tune.gin`),
  even when the package is installed, or by its path from where you are. `--gin_file`
  may be given again; no two files of a command may set the same name.
- Values are Python's literals; on the command line a text needs no quotes of its own. A
  name that is none is an error, which tells those near it.
- Names in capitals are of the run, and T5X's where T5X has one. The others have their
  section in front, in files as on the command line.
- What a run was made with lies in its folder as `config.gin`, and is a gin file too.

A number's range stands behind its type. The column "paper" has the section or table of
Lester et al. (2021) that the setting or its default is from, where the code says one.
"""

# What more there is to say than the code's own line does.
MORE = {
    "MIXTURE_OR_TASK_NAME": "see [tasks](tasks.md), "
    "[a task of your own](own_task.md) and [pocket](pocket.md)",
    "INPUTS": "of a file of your own, and of nothing else; by default its column "
    "`inputs`",
    "TARGETS": "by default its column `targets`",
    "TASK_FEATURE_LENGTHS": "what is cut is counted and reported",
    "INITIAL_CHECKPOINT_PATH": "see [frozen models](frozen_models.md)",
    "METHOD": "see [methods](methods.md); `TUNING=model` is an earlier name of "
    "`METHOD=whole`",
    "DATA_DIR": "the flag `--data_dir` says the same",
    "TFDS_DATA_DIR": "the flag `--tfds_data_dir` says the same",
    "NUM_MICROBATCHES": "on one CPU, a random batch whose lengths differ is worked "
    "through in parts of 4 of like lengths, for the same update "
    "([speed](speed.md#padding))",
    "LENGTH_WINDOW": "16, say, exchanges examples among so many batches",
    "EVAL_SPLIT": "for `evaluate`, the flag `--split=test` says the same",
    "KEEP_STEPS": "to read how a prompt moved ([reading](reading.md#over-training))",
    "DECODING": "of a mixture, those of each example's own task; `predict` with one "
    "prompt, which is told no task, scores all, and tells their probabilities",
    "TENSORBOARD": 'needs `pip install ".[tensorboard]"`',
    "T5Config.dropout_rate": "the released code trained prompts with 0.1",
    "T5Config.dtype": "the released code has `bfloat16`; `auto` is in "
    "`gin/runs/prompt_tune.gin` and `pretrain.gin`, and looks for `avx512_bf16` or "
    "`amx_bf16` among the CPU's flags",
    "T5Config.param_dtype": "of frozen weights; "
    "[what that costs](frozen_models.md#what-smaller-weights-cost)",
    "T5Config.attention": "cuDNN's on a GPU with `bfloat16` activations",
    "schedule.decay_factor": "see `steps_per_decay`",
    "autoprompt.ids": "see [prompts that are text](methods.md#prompts-that-are-text)",
    "pez.ids": "see [prompts that are text](methods.md#prompts-that-are-text)",
    "wayward.text": "see [reading](reading.md#what-a-reading-is-worth)",
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for name in SECTIONS for line in section(name))])


def section(name: str) -> Iterator[str]:
    """The heading, what the section is for, and its table."""
    kind, _ = SECTIONS[name]
    yield f"## {name}\n"
    yield escaped(inspect.cleandoc(kind.__doc__ or "")) + "\n"
    yield "| setting | type | default | meaning | paper |\n|---|---|---|---|---|"
    yield from (row(name, field) for field in dataclasses.fields(kind))
    yield ""


def row(section: str, field: dataclasses.Field) -> str:
    """A line of the table."""
    name = called(section, field.name)
    meaning, paper = without_source(field.metadata["text"])
    meaning = "; ".join(filter(None, (escaped(meaning), MORE.get(name, ""))))
    default = "" if field.default in (None, "", ()) else f"`{field.default!r}`"
    return f"| `{name}` | {type_of(field)} | {default} | {meaning} | {paper} |"


def without_source(text: str) -> tuple[str, str]:
    """A setting's text, and the part of the paper that it names: "3.2", or "".

    The words in brackets are taken out of the text; others stay where they are.
    """
    found = re.findall(r"paper section ([\d.]*\d)|paper's (Figure \S*\w\)?)", text)
    text = re.sub(r" \(paper section [\d.]+\)", "", text)
    return text, ", ".join(filter(None, (one for pair in found for one in pair)))


def type_of(field: dataclasses.Field) -> str:
    """In a few words: "int, 1 to 100"; "list of str"."""
    kinds = typing.get_args(field.type) or (field.type,)
    if typing.get_origin(field.type) in (list, tuple, dict):
        kinds = (field.type,)
    names = dict.fromkeys(name for kind in kinds if (name := one_type(kind)))
    return " or ".join(names) + of_range(field.metadata)


def one_type(kind: Any) -> str:
    """A type's name; "" of None, which only means that there is no value."""
    if kind is type(None):
        return ""
    of = [item.__name__ for item in typing.get_args(kind) if item is not ...]
    match typing.get_origin(kind):
        case None:
            return kind.__name__
        case origin if origin is dict:
            return f"dict of {of[0]} to {of[1]}"
        case _:
            return f"list of {of[0]}"


def of_range(rules: Any) -> str:
    """A number's range: ", 1 or more", or ", from 0 to 1", where it has one."""
    least, most, below = (rules.get(key) for key in ("least", "most", "below"))
    if below is not None:
        return f", from {least} to less than {below}"
    if least is None:
        return ""
    # A large bound is there to catch slips, and nobody's choice.
    if most is None or most > 10**3:
        return f", {least} or more"
    return f", from {least} to {most}"


def escaped(text: str) -> str:
    """Text as Markdown shows it unchanged, in a cell too."""
    return re.sub(r"([|*_<\\])", r"\\\1", text)


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
