"""MODEL_DIR: a run's folder, with its settings and logs."""

import contextlib
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from prompt_tuning import config, files, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.settings import Run, Settings

# Settings that may change between two starts of one run.
FREE = {"MODEL_DIR", "TRAIN_STEPS", "EVAL_PERIOD", "DATA_DIR", "TFDS_DATA_DIR"}
FREE |= {"MIXTURE_OR_TASK_MODULE", "pretrain.prefix_lm_steps", "mesh.data"}
FREE |= {"mesh.model", "param_shardings.fully_sharded", "TENSORBOARD"}
FREE |= {"pretrain.corpus", "pretrain.tokens"}  # whose digest must stay
FREE |= {"KEEP_STEPS"}
FREE |= {"p_tuning.tokens", "autoprompt.ids", "pez.ids"}  # as the vocabulary says


def make_model_dir(run: Run) -> Path:
    """Makes MODEL_DIR, or raises UserError if it cannot be written."""
    if not run.model_dir:
        raise UserError(
            "MODEL_DIR is not set; give the folder for what this run writes, "
            "--gin.MODEL_DIR=runs/mine"
        )
    if "://" in run.model_dir:
        raise UserError(
            f"MODEL_DIR is {run.model_dir!r}, in a bucket; it must be a folder that "
            "every host sees: mount the bucket (gcsfuse), or use a shared disk"
        )
    path = Path(run.model_dir)
    whole = os.path.realpath(path)
    wrong = sorted({c for c in whole if c in "[]\\" or not _is_utf8(c)})
    if wrong:
        raise UserError(
            f"MODEL_DIR is {whole!r}, but checkpoints cannot be read "
            f"below a folder with {' or '.join(map(repr, wrong))} in its name; give "
            "another"
        )
    return outputs.make_folder(path, "MODEL_DIR")


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


# As outputs.atomic names what is not whole yet: .prompt.npy.x3k_09ab
_HALF_WRITTEN = re.compile(
    r"\.[\w.]+\.(npy|json|jsonl|gin|png|pdf|safetensors|model|writable)\.[a-z0-9_]{8}"
)
LOCK = ".lock"


class AtWork(UserError):
    """Another process is at work in a folder, which is no fault of the run's."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """MODEL_DIR belongs to this run until the block ends; a killed run's rest is swept.

    Raises:
      AtWork: another run is at work there; says which.
    """
    if not outputs.is_writer():
        yield
        return
    lock = path / LOCK
    outputs.check_is_file(lock)
    with lock.open("a+", encoding="utf-8", errors="replace") as file:
        file.seek(0)
        holder = file.read().strip()
        found = re.fullmatch(r"(\d{1,9}) on (\S+)", holder)
        pid, host = found.groups() if found else ("0", socket.gethostname())
        if not _flock(file, int(pid)):
            raise AtWork(
                f"another run is at work in {path} (process {holder}): wait for it, "
                "end it, or give another MODEL_DIR"
            )
        if host != socket.gethostname():
            raise AtWork(
                f"process {holder} is at work in {path}, or died there; if it is not "
                f"running any more, remove {lock} and start again"
            )
        if holder and int(pid) != os.getpid():
            outputs.warn(f"process {holder} ended amid its work in {path}; taken over")
        file.truncate(0)
        file.seek(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        for half in path.iterdir():
            if _HALF_WRITTEN.fullmatch(half.name) and half.is_file():
                half.unlink(missing_ok=True)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def at_work(path: Path) -> str | None:
    """Which process is at work in MODEL_DIR, as "PID on HOST"; None if there is none.

    One on another host is believed to be there, dead or alive.
    """
    try:
        holder = (path / LOCK).read_text("utf-8", errors="replace").strip()
    except OSError:
        return None
    found = re.fullmatch(r"(\d{1,9}) on (\S+)", holder)
    if not found or (
        found[2] == socket.gethostname() and not Path("/proc", found[1]).exists()
    ):
        return None
    return holder


def _flock(file: TextIO, pid: int) -> bool:
    """Takes the lock, which the system frees when this process dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: is the process there?
        return not pid or pid == os.getpid() or not Path("/proc", str(pid)).exists()
    return True


# Its settings, and what else must not change


def keep_settings(path: Path, settings: Settings) -> None:
    """Writes the settings to `path`."""
    with outputs.atomic(path) as temporary:
        temporary.write_text(config.text(settings), encoding="utf-8")


def check_empty(path: Path, results: Sequence[str]) -> None:
    """Raises UserError if a run would start where another one's results are.

    Args:
      results: names of the files that the run makes at its end.
    """
    there = [name for name in results if (path / name).exists()]
    if there:
        raise UserError(
            f"{path} holds the results of a run ({', '.join(there)}), but no "
            "checkpoint to go on from: give another MODEL_DIR, or remove these files "
            "to start there anew"
        )


def check_settings(path: Path, settings: Settings) -> None:
    """Raises UserError unless the settings go on with those in the file `path`."""
    changed = [
        f"{name.lower() if name.isupper() else name} is {new!r} and was {old!r}"
        for name, (old, new) in config.differences(
            kept_settings(path), settings
        ).items()
        if name not in FREE
    ]
    if changed:
        raise UserError(
            f"{path.parent} holds a run with other settings: {'; '.join(changed)}. "
            "Give the same settings to resume it, or another MODEL_DIR"
        )


def kept_settings(path: Path) -> Settings:
    """The settings of a run, from its config.gin.

    Raises:
      UserError: it cannot be read.
    """
    problem = "it is empty"
    try:
        if path.read_text("utf-8").strip():
            return config.load([str(path)])
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    raise UserError(
        f"{path}, the settings of the run in {path.parent}, is damaged ({problem}): "
        "restore it from a copy, or give another MODEL_DIR"
    )


# What a run is made of, besides settings, and what each is called in messages.
MADE_OF = {
    "frozen_fingerprint": "frozen model",
    "frozen_checksum": "frozen model",
    "vocabulary_fingerprint": "vocabulary",
    "label_words": "label words",
    "start_fingerprint": "prompt to start from",
    "data_fingerprint": "training data",
    "eval_data_fingerprint": "validation data",
}


def check_unchanged(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises UserError where a run in `path` was started on something else.

    Args:
      old, new: what the run says of itself; what one of them lacks is not asked.
    """
    changed = dict.fromkeys(
        f"the {called}"
        for name, called in MADE_OF.items()
        if name in old and name in new and old[name] != new[name]
    )
    if changed:
        raise UserError(
            f"{' and '.join(changed)} changed since the run in {path} was started: "
            "give what it was started with to go on with it, or another MODEL_DIR"
        )


def check_same(settings: Any, said: Mapping[str, Any]) -> None:
    """Raises UserError unless all processes have one run's settings and what it says.

    Args:
      said: what the run is made of.
    """
    made_of = {name: called for name, called in MADE_OF.items() if name in said}
    partitioning.check_same(
        {"settings": repr(settings)}
        | {
            called: repr([said[name] for name in made_of if made_of[name] == called])
            for called in made_of.values()
        }
    )


def keep_lines(log: Path, last_step: int, *names: str) -> list[dict]:
    """Drops a log's lines after `last_step`, left by a killed run; returns the rest.

    A line that is none (`read_lines`) is set aside, in the log's name with .damaged
    behind it; not the half of a line that a kill leaves.
    """
    outputs.check_is_file(log)
    if not log.exists():
        return []
    lines, bad = read_lines(log, *names)
    kept = [line for line in lines if line["step"] <= last_step]
    if bad and outputs.is_writer():
        aside = log.with_name(log.name + ".damaged")
        with aside.open("ab") as file:
            file.writelines(line + b"\n" for line in bad)
        outputs.warn(f"{len(bad)} damaged lines of {log} are set aside in {aside.name}")
    with outputs.atomic(log) as temporary:  # being killed here must not lose the log
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return kept


def read_lines(log: Path, *names: str) -> tuple[list[dict], list[bytes]]:
    """A log's lines, sorted by step, and those that are none.

    A line is a JSON object with a step and these `names`. Of several of one step the
    last is taken. Half a line at the end is left out.
    """
    *whole, half = log.read_bytes().split(b"\n")
    whole += [half] if _record(half, names) else []
    lines = [(line, _record(line, names)) for line in whole if line]
    of_steps = {record["step"]: record for _, record in lines if record}
    bad = [line for line, record in lines if record is None]
    return [of_steps[step] for step in sorted(of_steps)], bad


def _record(line: bytes, names: Sequence[str]) -> dict | None:
    try:
        found = files.parse_json(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or type(found.get("step")) is not int:
        return None
    values = [found.get(name) for name in names]
    return found if all(isinstance(x, int | float | dict) for x in values) else None
