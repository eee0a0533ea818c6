"""Ends runs at chosen moments, starts them again, and compares what they leave.

    python scripts/faults/kills.py --rounds=50 --signals KILL TERM INT

A round takes one kind of run and one moment: a call of one of our functions, the
middle of a file or of a line that is being written, some milliseconds into a save.
There the process gets the signal; in every second round its second start gets it too,
at another moment. The last start must end well, and all that it leaves must be, byte
for byte, what an unbroken run left. Prints a table, and what differed; ends with 1 if
anything did.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SIZE = {
    **{"emb_dim": 16, "num_heads": 2, "head_dim": 8, "mlp_dim": 24},
    **{"num_encoder_layers": 1, "num_decoder_layers": 1},
}


class Moment(NamedTuple):
    """When a run is ended.

    what: the kind of moment, for the table.
    place: "module:function", or the name of a file that appears by being renamed.
    call: at which call of it, or renaming.
    then: "before" or "after" it; or seconds after it has begun; or "half", where half
      of what was written is lost, if the process does not live to see it.
    """

    what: str
    place: str
    call: int = 1
    then: str | float = "before"


FOLDER, STATES = "prompt_tuning.training.folder", "prompt_tuning.training.checkpoints"
PROGRESS = "prompt_tuning.training.progress"
DECODE = "prompt_tuning.training.predictor"
PARTS = "prompt_tuning.runs.parts"


def _files(what, *names):
    thens = "before", "half", "after"
    return [Moment(what, name, 1, then) for name in names for then in thens]


STARTING = [
    Moment("starting", f"{PARTS}:build"),
    Moment("starting", f"{PARTS}:build", 1, "after"),
    Moment("starting", f"{STATES}:manager", 1, "after"),
    *_files("starting", "config.gin"),
]
RESTORING = [
    Moment("restoring", f"{STATES}:restore_last"),
    Moment("restoring", f"{STATES}:restore_last", 1, "after"),
    Moment("restoring", f"{FOLDER}:keep_lines", 1),
    Moment("restoring", f"{FOLDER}:keep_lines", 1, "after"),
    Moment("restoring", f"{STATES}:restore_last", 1, 0.05),
]
SAVING = [
    Moment("saving", f"{STATES}:save_state", call, then)
    for call, thens in (
        (1, ("before", "after", 0.01, 0.04)),
        (2, (0.0, 0.005, 0.02, 0.03, 0.06, 0.1)),
        (3, ("before", "after", 0.015, 0.05, 0.08)),
    )
    for then in thens
]
SAVED = [
    Moment("saved, not finished", f"{STATES}:finish"),
    Moment("saved, not finished", f"{STATES}:finish", 1, 0.001),
    Moment("saved, not finished", f"{STATES}:finish", 1, 0.01),
    Moment("saved, not finished", f"{STATES}:finish", 1, "after"),
]
DELETING = [
    Moment("deleting a state", "shutil:rmtree", call, "half") for call in (1, 2)
]
STEPS = [
    Moment("a line of a log", f"{PROGRESS}:Progress.step", call, then)
    for call, then in ((1, "after"), (3, "before"), (5, "half"), (8, "half"))
]
EVALUATING = [
    Moment("evaluating", f"{DECODE}:predict_texts", call, then)
    for call, then in ((1, "before"), (2, 0.002), (2, "after"), (3, "before"))
]
DESCRIBED = _files("starting", "description.json")
OUTPUTS = _files("writing outputs", "predictions.jsonl", "metrics.json")
OUTPUTS += _files("writing outputs", "learning_curve.png")
PROMPT = _files("writing outputs", "prompt.npy", "prompt.json")
MODEL = _files("writing outputs", "model.safetensors", "model.json")
FROZEN = _files(
    "writing outputs",
    "span_corruption.safetensors",
    "frozen.safetensors",
    "frozen.json",
)
ALWAYS = STARTING + SAVING + SAVED + STEPS + RESTORING + DELETING


def _flags(**settings):
    return [f"--gin.{name}={value}" for name, value in settings.items()]


def _tuning(made, **more):
    settings = {
        "INITIAL_CHECKPOINT_PATH": made / "frozen.safetensors",
        "MIXTURE_OR_TASK_NAME": made / "rows.jsonl",
        "PROMPT_LENGTH": 4,
        "DECODING": "labels",
        **{"TRAIN_STEPS": 10, "EVAL_PERIOD": 3, "BATCH_SIZE": 8},
    }
    return ["train", *_flags(**settings | more)]


def _pretraining(made):
    sizes = {f"T5Config.{name}": value for name, value in SIZE.items()}
    settings = {
        "MIXTURE_OR_TASK_NAME": made / "own.txt",
        "VOCABULARY": made / "spiece.model",
        **{"pretrain.span_corruption_steps": 6, "pretrain.prefix_lm_steps": 4},
        **{"EVAL_PERIOD": 3, "BATCH_SIZE": 8},
    }
    return ["pretrain", *_flags(**settings | sizes)]


# {kind of run: (its command, given what `make` made; its moments)}
RUNS = {
    "prompt": (_tuning, ALWAYS + EVALUATING + DESCRIBED + OUTPUTS + PROMPT),
    "sweep": (
        lambda made: [*_tuning(made), "--sweep=SEED=0,1"],
        ALWAYS + EVALUATING + DESCRIBED + OUTPUTS + PROMPT,
    ),
    "whole": (
        lambda made: _tuning(made, METHOD="whole"),
        ALWAYS + EVALUATING + DESCRIBED + OUTPUTS + MODEL,
    ),
    "pretrain": (_pretraining, ALWAYS + FROZEN),
}


def make(folder):
    """Writes what the runs read: labelled rows, a text, a random frozen model."""
    import jax

    from prompt_tuning import partitioning
    from prompt_tuning.frozen import weights
    from prompt_tuning.settings import T5Config
    from prompt_tuning.t5 import network

    draw = random.Random(0)
    words = {"yes": "red warm sun day".split(), "no": "blue cold moon night".split()}
    rows, both = [], words["yes"] + words["no"]
    for _ in range(120):
        label = draw.choice(list(words))
        text = draw.choices(words[label], k=draw.randint(2, 5)) + draw.choices(
            both, k=2
        )
        rows.append({"inputs": " ".join(text), "targets": label})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.txt").write_text("\n".join(row["inputs"] for row in rows))
    model = network.Transformer(T5Config(**SIZE))
    params = partitioning.init_params(model, jax.random.key(0), partitioning.mesh())
    vocabulary = weights.POCKET / weights.VOCABULARY
    weights.save_frozen(folder / "frozen.safetensors", params, model.config, vocabulary)


# In the process that is ended


def arm(moment, number):
    """Sends this process the signal at the moment."""
    if number != signal.SIGKILL and moment.then == "half":
        moment = moment._replace(then="before")

    def end():
        os.kill(os.getpid(), number)
        if number == signal.SIGKILL:
            time.sleep(60)  # another thread may be the one that gets it

    if ":" in moment.place:
        _arm_call(moment, end)
    else:
        _arm_file(moment, end)


def _arm_call(moment, end):
    module, _, names = moment.place.partition(":")
    *owners, name = names.split(".")
    owner = __import__(module, fromlist=["it"])
    for one in owners:
        owner = getattr(owner, one)
    function, calls = getattr(owner, name), [0]

    def armed(*args, **kwargs):
        calls[0] += 1
        if calls[0] != moment.call:
            return function(*args, **kwargs)
        if moment.then == "before":
            end()
        if isinstance(moment.then, float):
            threading.Timer(moment.then, end).start()
        if moment.then == "half" and name == "rmtree":
            files = sorted(path for path in Path(args[0]).rglob("*") if path.is_file())
            for path in files[: len(files) // 2]:
                path.unlink()
            end()
        found = function(*args, **kwargs)
        if moment.then == "half" and name == "step":
            for log in args[0].logs:
                log.write_bytes(log.read_bytes()[:-9])
            end()
        if moment.then == "after":
            end()
        return found

    setattr(owner, name, armed)


def _arm_file(moment, end):
    replace, calls = os.replace, [0]

    def armed(source, target, **kwargs):
        found = Path(target).name == moment.place
        calls[0] += found
        due = found and calls[0] == moment.call
        if due and moment.then == "half":
            os.truncate(source, os.path.getsize(source) // 2)
        if due and moment.then != "after":
            end()
        replace(source, target, **kwargs)
        if due and moment.then == "after":
            end()

    os.replace = armed


def child(moment, number, arguments):
    """`prompt-tuning` with these arguments, ended at the moment."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    os.environ["EPATH_USE_TF"] = "false"
    if moment:
        arm(moment, number)
    sys.argv[1:] = arguments
    from prompt_tuning import cli

    cli.console()


# In the process that watches


def start(made, command, folder, moment=None, number=0):
    """Runs a command once; returns its exit code and what it wrote on stderr."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(made / "compiled"),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    program = [sys.executable, __file__, "--child", json.dumps([moment, number])]
    ended = subprocess.run(
        [*program, *command, f"--gin.MODEL_DIR={folder}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ended.returncode, ended.stderr


def left(folder):
    """{path: bytes} of what a run left, but for its states' own files and the path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if "checkpoints" in name.parts[:-2] or path.is_dir():
            continue
        text = path.read_bytes().replace(bytes(folder), b"MODEL_DIR")
        if path.name == "train.jsonl":  # steps take other times
            text = json.dumps([_same(json.loads(line)) for line in text.splitlines()])
            text = text.encode()
        found[str(name)] = text
    states = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("checkpoints/*")
    )
    return found | {"states": "\n".join(states).encode()}


def _same(line):
    from prompt_tuning.training import progress

    return {k: v for k, v in line.items() if k not in progress.SPEED}


def problem(code, errors, number, last):
    """What is wrong with the way in which a start ended; "" if nothing is."""
    if "Traceback" in errors or "*** " in errors:
        return f"a traceback: {errors[-600:]}"
    if last or code == 0:
        return "" if code == 0 else f"exit status {code}: {errors[-600:]}"
    right = -number if number == signal.SIGKILL else 128 + number
    if code != right:
        return f"exit status {code} instead of {right}: {errors[-600:]}"
    told = errors.strip().splitlines()[-1:] or [""]
    if number != signal.SIGKILL and "run the same command to resume" not in told[0]:
        return f"its last line is {told[0]!r}"
    return ""


def a_round(made, kind, moments, number, folder, unbroken):
    """Ends a run at each of the moments in turn; returns (ended how often, problem)."""
    command, ends = RUNS[kind][0](made), 0
    for moment in (*moments, None):
        code, errors = start(made, command, folder, moment, number)
        ends += code != 0
        found = problem(code, errors, number, moment is None)
        if found:
            return ends, f"ended at {moment}: {found}"
    got = left(folder)
    names = [n for n in sorted(got | unbroken) if got.get(n) != unbroken.get(n)]
    return ends, f"differs in {', '.join(names)}" if names else ""


def plan(count, seed):
    """(kind of run, what is tried, its moments) of each round: all kinds in turn."""
    draw = random.Random(seed)
    whats = dict.fromkeys(m.what for _, moments in RUNS.values() for m in moments)
    rounds = [
        (kind, what, turn)
        for turn in range(count)
        for what in whats
        for kind, (_, moments) in RUNS.items()
        if any(moment.what == what for moment in moments)
    ]
    for number, (kind, what, turn) in enumerate(rounds[:count]):
        group = [moment for moment in RUNS[kind][1] if moment.what == what]
        random.Random(f"{seed} {kind} {what}").shuffle(group)
        moment = group[turn % len(group)]
        other = draw.choice([m for m in RUNS[kind][1] if m.what != "starting"])
        if what == "restoring":  # which is what a second start does
            yield kind, what, [other, moment]
        else:
            yield kind, what, [moment, other] if number % 2 else [moment]


def rounds_of(folder, signals, rounds, seed):
    """Yields for each round: the signal, the kinds of run and moment, ends, problem."""
    make(folder)
    unbroken = {}
    for kind, (command, _) in RUNS.items():
        code, errors = start(folder, command(folder), folder / kind)
        assert code == 0, errors
        unbroken[kind] = left(folder / kind)
    for name in signals:
        number = signal.Signals[f"SIG{name}"]
        for turn, (kind, what, moments) in enumerate(plan(rounds, seed)):
            own = folder / f"{name}_{turn}"
            told = a_round(folder, kind, moments, number, own, unbroken[kind])
            yield name, kind, what, *told
            shutil.rmtree(own)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="of each signal")
    parser.add_argument("--signals", nargs="*", default=["KILL", "TERM", "INT"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    table, problems = collections.defaultdict(collections.Counter), 0
    with tempfile.TemporaryDirectory() as folder:
        told = rounds_of(Path(folder), args.signals, args.rounds, args.seed)
        for name, kind, what, ends, problem in told:
            table[name, what].update(rounds=1, ended=ends, equal=not problem)
            if problem:
                problems += 1
                print(f"{name} {kind}: {problem}", flush=True)
    print("| signal | moment | rounds | ended | equal |")
    print("| --- | --- | ---: | ---: | ---: |")
    for (name, what), row in table.items():
        numbers = (str(row[column]) for column in ("rounds", "ended", "equal"))
        print(f"| SIG{name} | {what} | {' | '.join(numbers)} |")
    return int(bool(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        when, which = json.loads(sys.argv[2])
        child(when and Moment(*when), which, sys.argv[3:])
    else:
        raise SystemExit(main())
