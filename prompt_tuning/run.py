"""A run: all of its settings, and what they build.

Every command of the command line reads the same `Run`, bound by gin. The macros a T5X
user types (MODEL_DIR, TRAIN_STEPS ...) are its fields in capitals (config.py).
"""

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gin
import jax
import numpy as np
from gin import config_parser
from jax.sharding import Mesh

import prompt_tuning
from prompt_tuning import config, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.methods import initializers
from prompt_tuning.t5 import decoding, network, placing
from prompt_tuning.t5.extra import Extra
from prompt_tuning.tasks_io import data, evaluate
from prompt_tuning.training import checkpoints

PLACES = {"prefix": placing.prefix, "suffix": placing.suffix}
INITS = ("class_label", "sampled_vocab", "random_uniform", "string", "file")


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Run:
    """The settings of a run. The defaults are the paper's, on the embedded model.

    model_dir: where everything the run makes goes.
    mixture_or_task_name: a seqio task or mixture, registered by importing
      mixture_or_task_module (one, or several).
    task_feature_lengths: {"inputs": T, "targets": S} in tokens; what is not given is as
      long as the longest example, inputs at most 512.
    vocabulary: a SentencePiece model's path, or "t5", "mt5", "byt5"; by default the
      spiece.model beside the frozen model, or T5's if there is none.
    initial_checkpoint_path: the frozen model, as weights.load_frozen reads it.
    tuning: "prompt", or "model" to train the weights instead (the paper's baseline).
    prompt_length: 100 (paper section 3.2). prompt_init: one of INITS; "string" needs
      prompt_string, "file" needs prompt_file. prompt_place: "prefix" or "suffix".
    class_labels: words for the class-label initialiser; by default the task's own.
    train_steps, batch_size: 30,000 and 32 (paper section 3).
    num_microbatches: parts in which a batch is worked through, to save memory.
    length_window: of so many batches the examples of like lengths go together, so that
      less is padded; 1 keeps batches random (batching.batches).
    eval_period: steps between evaluations, each of which saves (1,000 in the released
      code). decoding: "greedy", or "labels" to score every label instead.
    """

    model_dir: str = ""
    mixture_or_task_name: str = "pocket_kind"
    mixture_or_task_module: str | list[str] | tuple[str, ...] = (
        "tasks.pocket",
        "tasks.paper",
    )
    task_feature_lengths: dict[str, int] | None = None
    vocabulary: str | None = None
    initial_checkpoint_path: str = "pocket_nano"
    tuning: str = "prompt"
    prompt_length: int = 100
    prompt_init: str = "class_label"
    prompt_string: str = ""
    prompt_file: str = ""
    prompt_place: str = "prefix"
    class_labels: list[str] | tuple[str, ...] | None = None
    train_steps: int = 30_000
    batch_size: int = 32
    num_microbatches: int = 1
    length_window: int = 1
    eval_period: int = 1_000
    train_split: str = "train"
    eval_split: str = "validation"
    decoding: str = "greedy"
    data_dir: str | None = None
    tfds_data_dir: str | None = None
    seed: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            kinds = typing.get_args(field.type) or (field.type,)
            kinds = tuple(typing.get_origin(kind) or kind for kind in kinds)
            if not isinstance(getattr(self, field.name), kinds):
                raise UserError(
                    f"{field.name.upper()} is {getattr(self, field.name)!r}; it must "
                    f"be of type {' or '.join(kind.__name__ for kind in kinds)}"
                )
        for name, choices in {
            "tuning": ("prompt", "model"),
            "prompt_init": INITS,
            "prompt_place": tuple(PLACES),
            "decoding": ("greedy", "labels"),
        }.items():
            if getattr(self, name) not in choices:
                raise UserError(
                    f"{name.upper()} is {getattr(self, name)!r}; it must be one of "
                    f"{', '.join(choices)}"
                )
        for name in (
            *("prompt_length", "train_steps", "eval_period"),
            *("num_microbatches", "length_window"),
        ):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name.upper()} is {getattr(self, name)!r}; it must be a whole "
                    "number of at least 1"
                )
        for init in ("string", "file"):
            if self.prompt_init == init and not getattr(self, f"prompt_{init}"):
                raise UserError(
                    f"PROMPT_INIT is {init!r}, but PROMPT_{init.upper()} is not set; "
                    f"give it, --gin.PROMPT_{init.upper()}=..., or another PROMPT_INIT"
                )


class Setup(NamedTuple):
    """What every command needs, built from a Run."""

    mesh: Mesh
    model: network.Transformer
    params: Any  # the pretrained parameters; None where a command makes them
    task: data.Task


def vocabulary_name(run: Run) -> str:
    """What VOCABULARY says, else the file beside the frozen model, else "t5"."""
    beside = weights.find_vocabulary(run.initial_checkpoint_path)
    return run.vocabulary or str(beside or "t5")


def load_vocabulary(run: Run) -> data.seqio.Vocabulary:
    """The vocabulary of `vocabulary_name`."""
    return data.load_vocabulary(vocabulary_name(run))


def vocabulary_file(parts: Setup) -> str | None:
    """The file of the vocabulary in use, to be kept beside weights; bytes have none."""
    vocabulary = parts.task.output_features["targets"].vocabulary
    return getattr(vocabulary, "sentencepiece_model_file", None)


def setup(run: Run, frozen: bool = True) -> Setup:
    """Builds the model and the task; with `frozen`, reads the parameters too."""
    mesh = partitioning.mesh()
    partitioning.check_batch_size(run.batch_size, mesh, run.num_microbatches)
    model = network.Transformer(network.T5Config())
    partitioning.check_mesh(model, mesh)
    if run.tuning == "model" and model.config.param_dtype != "float32":
        raise UserError(
            f"TUNING is model, but T5Config.param_dtype is {model.config.param_dtype}: "
            "weights are trained in float32; keep them so"
        )
    vocabulary = load_vocabulary(run)
    data.check_vocabulary(vocabulary.vocab_size, model.config.vocab_size)
    task = data.get_task(
        run.mixture_or_task_name,
        run.mixture_or_task_module,
        vocabulary,
        run.data_dir,
        run.tfds_data_dir,
    )
    params = None
    if frozen:
        if "inputs" not in task.output_features:
            raise UserError(
                f"{task.name} has no inputs: it is plain text, to `pretrain` on; give "
                "MIXTURE_OR_TASK_NAME a task of inputs and targets"
            )
        params = weights.load_frozen(run.initial_checkpoint_path, model, mesh)
    return Setup(mesh, model, params, task)


def make_model_dir(run: Run) -> Path:
    """Makes MODEL_DIR, or raises UserError if it cannot be written."""
    if not run.model_dir:
        raise UserError(
            "MODEL_DIR is not set; give the folder for what this run makes, "
            "--gin.MODEL_DIR=runs/mine"
        )
    if "://" in run.model_dir:
        raise UserError(
            f"MODEL_DIR is {run.model_dir!r}, in a bucket; it must be a folder that "
            "every host sees: mount the bucket (gcsfuse), or use a shared disk"
        )
    return make_folder(Path(run.model_dir), "MODEL_DIR")


def make_folder(folder: Path, name: str) -> Path:
    """Makes a folder, or raises UserError with its `name` if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with outputs.atomic(folder / ".writable"):
            pass
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{name} {str(folder)!r} cannot be written ({error.strerror}); give a "
            "folder that you may write to"
        ) from None
    return folder


# Settings that may change between two starts of one run.
_FREE = {"Run.model_dir", "Run.train_steps", "Run.eval_period"}
_FREE |= {"Run.data_dir", "Run.tfds_data_dir", "Run.mixture_or_task_module"}
_FREE |= {"pretrain.prefix_lm_steps", "mesh.data", "mesh.model"}


def keep_settings(path: Path, check: bool) -> None:
    """Writes the settings in use to `path`; with `check`, they must be those there.

    Raises:
      UserError: the file there has other settings; it is left as it is.
    """
    if check and path.exists():
        old, new = (
            _values(text)
            for text in (path.read_text("utf-8"), gin.operative_config_str())
        )
        changed = [
            f"{name.removeprefix('Run.')} is {new[name]!r} and was {old[name]!r}"
            for name in sorted(old.keys() & new.keys() - _FREE)
            if new[name] != old[name]
        ]
        if changed:
            raise UserError(
                f"{path.parent} holds a run with other settings: {'; '.join(changed)}. "
                "Give the same settings to go on with it, or another MODEL_DIR"
            )
    config.write_operative_config(path)


def _values(text: str) -> dict[str, Any]:
    """What a configuration binds: {"Run.seed": 0}, whether by a macro or not."""
    bound = {
        f"{statement.selector}.{statement.arg_name}".rstrip("."): statement.value
        for statement in config_parser.ConfigParser(text, gin.config.ParserDelegate())
        if isinstance(statement, config_parser.BindingStatement)
    }

    def resolved(value: Any) -> Any:
        macro = repr(value).removeprefix("%")
        return resolved(bound[macro]) if macro in bound else value

    return {name: resolved(value) for name, value in bound.items() if "." in name}


def input_length(run: Run) -> dict[str, int] | None:
    """TASK_FEATURE_LENGTHS of inputs alone: predictions are as long as they are."""
    lengths = run.task_feature_lengths or {}
    return {"inputs": lengths["inputs"]} if "inputs" in lengths else None


def initial_prompt(run: Run, parts: Setup) -> jax.Array:
    """The prompt [P, D] before training, as PROMPT_INIT says (paper section 3.2)."""
    embedding_VxD = network.embedding_table(parts.params)
    vocabulary = parts.task.output_features["targets"].vocabulary
    match run.prompt_init:
        case "random_uniform":
            init = initializers.random_uniform()
        case "sampled_vocab":
            init = initializers.sampled_vocab(embedding_VxD)
        case "class_label":
            words = run.class_labels or data.class_words(parts.task, run.train_split)
            tokens = [vocabulary.encode(word) for word in words or ()]
            init = initializers.class_labels(embedding_VxD, tokens)
        case "string":
            tokens = vocabulary.encode(run.prompt_string)
            init = initializers.string(embedding_VxD, tokens)
        case "file":
            init = initializers.from_array(
                checkpoints.load_prompt(Path(run.prompt_file))
            )
    shape = run.prompt_length, parts.model.config.emb_dim
    return init(jax.random.key(run.seed), shape)


def description(run: Run, width: int, step: int) -> dict[str, Any]:
    """What made a prompt, for the JSON beside it."""
    return {
        "frozen_model": run.initial_checkpoint_path,
        "task": run.mixture_or_task_name,
        "length": run.prompt_length,
        "width": width,
        "init": run.prompt_init,
        "place": run.prompt_place,
        "seed": run.seed,
        "step": step,
        "prompt_tuning": prompt_tuning.__version__,
    }


def make_predict_fn(
    run: Run, parts: Setup, length: int
) -> Callable[[Any, Any], evaluate.PredictFn]:
    """A function (params, prompt) -> predict_fn for evaluate.py, compiled once.

    Args:
      length: the most tokens of a greedy prediction, EOS included.
    """
    labels = run.decoding == "labels"
    method = decoding.label_scores if labels else decoding.greedy

    def decode(params: Any, inputs_BxT: Any, prompt: Any, last: Any) -> jax.Array:
        extra = Extra() if prompt is None else Extra(PLACES[run.prompt_place](prompt))
        return method(parts.model, params, inputs_BxT, extra, last)

    fn = jax.jit(
        decode,
        static_argnums=() if labels else 3,
        out_shardings=partitioning.replicated(parts.mesh),  # each host has them all
    )

    def with_prompt(params: Any, prompt: Any) -> evaluate.PredictFn:
        def run_model(inputs_NxT: np.ndarray, last: Any) -> np.ndarray:
            rows = partitioning.host_rows(parts.mesh, len(inputs_NxT))
            batch = partitioning.shard_batch({"inputs": inputs_NxT[rows]}, parts.mesh)
            with jax.set_mesh(parts.mesh):
                return jax.device_get(fn(params, batch["inputs"], prompt, last))

        if labels:
            return evaluate.label_predict_fn(parts.task, run_model)
        return lambda inputs_NxT: run_model(inputs_NxT, length)

    return with_prompt
