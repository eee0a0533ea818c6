"""A scale small enough for tests: one random model, tasks of a few texts. No test here.

The tasks are texts, so TensorFlow is needed for the mixture alone.
"""

import functools

import tiny

from prompt_tuning.frozen import weights
from prompt_tuning.reproduce.grid import Model, Scale, Tasks, Transfer
from prompt_tuning.t5.network import Transformer
from prompt_tuning.tasks import TextTask, accuracy, label_index, scoring
from prompt_tuning.tasks.pocket import variants

CONFIG = tiny.OF_WORDS
LABELS = ("food", "bird", "tool")
SPLITS = {"train": 24, "validation": 8, "test": 8}


def _labelled(split, word):
    first = list(SPLITS).index(split) * 100
    for number in range(first, first + SPLITS[split]):
        label = LABELS[number % 3]
        yield {"inputs": f"{word} {label} {number}", "targets": label}


def _asked(split, word):
    for example in _labelled(split, word):
        yield {**example, "answers": [example["targets"]]}


def _task(name, examples, postprocess, metrics, **keywords):
    return TextTask(
        f"grid_{name}",
        SPLITS,
        functools.partial(examples, word=name),
        functools.partial(postprocess, **keywords),
        metrics,
    )


def _kinds(name, *more):
    return _task(name, _labelled, label_index, (accuracy, *more), label_classes=LABELS)


def _questions(name):
    return _task(name, _asked, scoring.answers, (scoring.squad,))


def f1(targets, predictions):
    """Another metric, where a table asks for one of this name."""
    return {"f1": accuracy(targets, predictions)["accuracy"]}


_SUITE = [_kinds("one", f1), _kinds("two")]
TASKS = {
    task.name: task
    for task in (
        *_SUITE,
        *map(variants.named, _SUITE),
        *map(variants.with_sentinel, _SUITE),
        _questions("village"),
        _questions("ships"),
        _kinds("mrpc", f1),
    )
}
MIXTURES = {"grid_suite": [f"{task.name}_named" for task in _SUITE]}


def model(path, seed=0):
    """Writes a random frozen model, and returns its path as text."""
    network = Transformer(CONFIG)
    vocabulary = weights.POCKET / weights.VOCABULARY
    weights.save_frozen(path, tiny.params(network, seed), CONFIG, vocabulary)
    return str(path)


def scale(folder, **changes):
    """The scale, its frozen models written into `folder`."""
    stages = {0: "sc.safetensors", 100: "lm.safetensors"}
    paths = {of: model(folder / name, of) for of, name in stages.items()}
    found = Scale(
        name="pocket",  # as the report has words for it
        models=(Model("tiny", {"INITIAL_CHECKPOINT_PATH": paths[100]}, paths),),
        tasks=Tasks(
            suite={"one": "grid_one"},
            sentinel={"one": "grid_one_sentinel"},
            named={"one": "grid_one_named", "two": "grid_two_named"},
            mixture="grid_suite",
            question="grid_one",
            domains={"ships": "grid_ships"},
            paraphrases=(Transfer("QQP", "MRPC", "grid_one", "grid_mrpc"),),
            timed="grid_one",
            described={"one": "grid_one", "village": "grid_village"},
            source="grid_two",
            own={"grid_two": {"PROMPT_INIT": "sampled_vocab"}},
        ),
        settings={
            "MIXTURE_OR_TASK_MODULE": "grids",
            "TASK_FEATURE_LENGTHS": {"inputs": 12, "targets": 4},
            "PROMPT_LENGTH": 3,
            "TRAIN_STEPS": 2,
            "EVAL_PERIOD": 2,
            "BATCH_SIZE": 8,
        },
        whole={"schedule.learning_rate": 0.01},
        mixed={},
        seeds=(0,),
        members=(0, 1),
        lengths=(1, 3),
        timed=(3,),
        longer=4,
    )
    return found._replace(**changes)
