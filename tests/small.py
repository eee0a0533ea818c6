"""A whole run made small: a task, a text, a frozen model, a command line.

The flags name this module as MIXTURE_OR_TASK_MODULE, as a user would name his own. The
frozen model is random, its vocabulary is pocket's. Nothing here is a test.
"""

import dataclasses
import functools
from pathlib import Path

import seqio
import tensorflow as tf
import tiny

import tasks
from prompt_tuning import checkpoints, cli, network
from tasks import pocket

CONFIG = network.T5Config(
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
LABELS = ("food", "bird", "tool")
FEATURE = seqio.Feature(seqio.SentencePieceVocabulary(
    str(checkpoints.POCKET / "spiece.model"), extra_ids=100), add_eos=True)


def examples(split):
    """24 to train on; 10 to validate, which do not fill batches of 8."""
    count = {"train": 24, "validation": 10}[split]
    labels = [LABELS[i % 3] for i in range(count)]
    inputs = [f"{label} or {split} {i}" for i, label in enumerate(labels)]
    return {"inputs": inputs, "targets": labels}


def texts(split):
    seed, count = {"train": (0, 50), "validation": (1, 20)}[split]
    return {"targets": list(pocket.documents(seed, count))}


def _source(make):
    def dataset(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices(make(split))

    return seqio.FunctionDataSource(dataset, splits=["train", "validation"])


_add = functools.partial(seqio.TaskRegistry.add, preprocessors=[
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
    ])
_add("small_kind",
    source=_source(examples),
    output_features={"inputs": FEATURE, "targets": FEATURE},
    postprocess_fn=functools.partial(tasks.label_index, label_classes=LABELS),
    metric_fns=[tasks.accuracy],
)
_add("small_text", source=_source(texts), output_features={"targets": FEATURE})

def frozen(folder: Path) -> Path:
    """Writes the frozen model and returns its path."""
    path = folder / "frozen.safetensors"
    checkpoints.save_frozen(path, tiny.params(network.Transformer(CONFIG)), CONFIG)
    return path


def flags(**settings):
    """The flags of a run; a setting of None is left out."""
    settings = {
        "MIXTURE_OR_TASK_MODULE": "small",
        "MIXTURE_OR_TASK_NAME": "small_kind",
        "PROMPT_LENGTH": 4,
        "TRAIN_STEPS": 8,
        "EVAL_PERIOD": 4,
        "BATCH_SIZE": 8,
        **{f"T5Config.{k}": v for k, v in dataclasses.asdict(CONFIG).items()},
    } | settings
    return [f"--gin.{k}={v}" for k, v in settings.items() if v is not None]


def main(command, *arguments, **settings):
    return cli.main([command, *arguments, *flags(**settings)])
