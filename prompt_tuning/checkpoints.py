"""Files: frozen models, training states, prompts.

A frozen model is a T5X checkpoint, or one safetensors file whose names are the paths of
the parameter tree ("encoder/layers_0/mlp/wi_0/kernel"), with a JSON of its size and
origin beside it. A training state is an Orbax checkpoint of step, prompt and optimizer:
never of the frozen weights. A prompt is a .npy (or .safetensors) file with a JSON of
what made it beside it.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from flax import serialization, traverse_util
from orbax.checkpoint import checkpoint_managers
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.network import T5Config, Transformer

POCKET = Path(__file__).parent / "pocket"

# A NamedTuple with a field `trained`: train.TrainState.
State = TypeVar("State")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write; it becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


# Frozen models


def frozen_path(name: str) -> Path:
    """Where a frozen model is: `name` is a file, or a model the package ships."""
    shipped = POCKET / f"{name}.safetensors"
    return shipped if shipped.exists() else Path(name)


def save_frozen(path: Path, params: Any, config: T5Config, **origin: Any) -> None:
    """Writes parameters to `path` (.safetensors), their size and origin to a JSON."""
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    with atomic(path) as temporary:
        safetensors.save_file({k: np.asarray(v) for k, v in flat.items()}, temporary)
    description = {"config": dataclasses.asdict(config)} | origin
    write_json(path.with_suffix(".json"), description)


def load_frozen(name: str, model: Transformer, mesh: jax.sharding.Mesh) -> Any:
    """Reads a frozen model's parameters, each placed as its sharding says.

    Args:
      name: "pocket_nano"; the path of a safetensors file that `pretrain` wrote; or the
        folder of a T5X checkpoint such as T5 1.1's, here or in a bucket (gs://...).

    Raises:
      UserError: nothing there, not whole, or tensors that are missing, too many or of
        another shape than `model`'s; all are listed. Nothing stays random.
    """
    path = frozen_path(name)
    if path.is_file():
        found = _read_safetensors(path)
    elif name.startswith("gs://") or (path / "checkpoint").is_file():
        found = _read_t5x(name)
    else:
        shipped = ", ".join(sorted(p.stem for p in POCKET.glob("*.safetensors")))
        raise UserError(
            f"no frozen model at {name!r}; INITIAL_CHECKPOINT_PATH must be a "
            ".safetensors file that `prompt-tuning pretrain` wrote, the folder of a "
            f"T5X checkpoint, or a model in the package: {shipped}"
        )
    shapes = traverse_util.flatten_dict(partitioning.param_shapes(model), sep="/")
    problems = [f"{n} is missing" for n in sorted(shapes.keys() - found.keys())]
    problems += [f"{n} is unknown" for n in sorted(found.keys() - shapes.keys())]
    problems += [
        f"{n} is {found[n].shape} instead of {shapes[n].shape}"
        for n in sorted(shapes.keys() & found.keys())
        if found[n].shape != shapes[n].shape
    ]
    if problems:
        raise UserError(
            f"{path} does not hold the T5 that this run describes ({_size(model)}). "
            f"{len(problems)} tensors differ: {'; '.join(problems[:8])}"
            f"{' ...' if len(problems) > 8 else ''}. Choose the model's own gin file, "
            "or another INITIAL_CHECKPOINT_PATH"
        )
    tree = traverse_util.unflatten_dict(found, sep="/")
    return jax.device_put(tree, partitioning.param_shardings(model, mesh))


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); make it anew"
        ) from None


def _read_t5x(folder: str) -> dict[str, np.ndarray]:
    """The arrays of a T5X checkpoint: an index in msgpack, the large ones in zarr."""
    if folder.startswith("gs://"):
        bucket, _, inside = folder.removeprefix("gs://").partition("/")
        store = {"driver": "gcs", "bucket": bucket, "path": inside.rstrip("/") + "/"}
    else:
        store = {"driver": "file", "path": f"{Path(folder).resolve()}/"}
    context = ts.Context({"gcs_request_retries": {"max_retries": 3}})
    what = "its index"
    try:
        index = (
            ts.KvStore.open(store, context=context).result().read("checkpoint").result()
        )
        tree = serialization.msgpack_restore(index.value)["optimizer"]["target"]
        flat = traverse_util.flatten_dict(
            tree, sep="/", is_leaf=lambda _, node: "kvstore" in node
        )
        arrays, reads = {}, {}
        for name, leaf in flat.items():
            if isinstance(leaf, np.ndarray):
                arrays[name] = leaf
                continue
            what = name
            inside = store["path"] + leaf["kvstore"]["path"].rstrip("/").split("/")[-1]
            # A chunk that is not there is an error, not zeros.
            spec = {
                "driver": leaf["driver"],
                "kvstore": store | {"path": inside + "/"},
                "fill_missing_data_reads": False,
            }
            reads[name] = ts.open(spec, context=context).result().read()
        for what, read in reads.items():
            arrays[what] = np.asarray(read.result())
    except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise UserError(
            f"the T5X checkpoint {folder} cannot be read, at {what} "
            f"({str(error).splitlines()[0][:200]}); the folder must hold a whole "
            "checkpoint_N, and a bucket must be within reach"
        ) from None
    return arrays


def _size(model: Transformer) -> str:
    config = model.config
    names = ("vocab_size", "emb_dim", "num_heads", "head_dim", "mlp_dim")
    names += ("num_encoder_layers", "num_decoder_layers")
    return ", ".join(f"{name} {getattr(config, name)}" for name in names)


# Training states


def manager(directory: Path, read_only: bool = False) -> ocp.CheckpointManager:
    """Keeps the last state and the one with the best development score.

    States are written in the background, each under a temporary name until it is whole.
    With `read_only`, what a run beside this one is writing is left alone.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(1),
                checkpoint_managers.BestN(get_metric_fn=_score, n=1),
            ]
        ),
        best_fn=_score,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
    )
    return ocp.CheckpointManager(
        epath.Path(directory.resolve()),
        item_handlers=ocp.StandardCheckpointHandler(),
        options=options,
    )


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def save_state(
    states: ocp.CheckpointManager, state: State, step: int, score: float
) -> None:
    """Starts writing `state` with its development score."""
    states.save(
        step, args=ocp.args.StandardSave(state._asdict()), metrics={"score": score}
    )


def restore_state(states: ocp.CheckpointManager, like: State, step: int) -> State:
    """The state saved at `step`, with the shapes and shardings of `like`."""
    try:
        saved = states.item_metadata(step).tree["trained"]
        problem = _difference(saved, like.trained)
        if not problem:  # asked first, as Orbax tells of it at great length
            target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
            tree = states.restore(step, args=ocp.args.StandardRestore(target))
            return type(like)(**tree)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = str(error).partition("\n")[0].partition(". ")[0][:200]
    raise UserError(
        f"the checkpoint of step {step} in {states.directory} does not fit this run "
        f"({problem}): it is damaged, or the prompt's length or the optimizer differs. "
        "Use the settings it was made with, or another MODEL_DIR"
    )


def _difference(saved: Any, wanted: Any) -> str:
    """The arrays of other shapes, as text."""
    saved, wanted = (
        {jax.tree_util.keystr(path): tuple(x.shape) for path, x in leaves}
        for leaves in map(jax.tree.leaves_with_path, (saved, wanted))
    )
    return ", ".join(
        f"it is {saved[name]} instead of {wanted[name]} {name}".rstrip()
        for name in sorted(saved.keys() & wanted.keys())
        if saved[name] != wanted[name]
    )


def best_step(states: ocp.CheckpointManager) -> int:
    """The kept step with the highest score; of equal ones the last."""
    return max(
        states.all_steps(), key=lambda step: (_score(states.metrics(step)), step)
    )


# Prompts


def save_prompt(path: Path, prompt_PxD: Any, description: dict[str, Any]) -> None:
    """Writes a prompt as `path` (.npy or .safetensors) and what made it as JSON.

    Each of the two files appears whole or not at all.
    """
    prompt_PxD = np.asarray(prompt_PxD, np.float32)
    with atomic(path) as temporary:
        if path.suffix == ".safetensors":
            metadata = {k: str(v) for k, v in description.items()}
            safetensors.save_file({"prompt": prompt_PxD}, temporary, metadata)
        elif path.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, prompt_PxD)
        else:
            raise UserError(f"a prompt is saved as .npy or .safetensors, not as {path}")
    write_json(path.with_suffix(".json"), description)


def load_prompt(path: Path) -> np.ndarray:
    """Reads a prompt [P, D] float32 from a .npy or .safetensors file."""
    try:
        if path.suffix == ".safetensors":
            (array,) = safetensors.load_file(path).values()
        else:
            array = np.load(path, allow_pickle=False)
        prompt = np.asarray(array, np.float32)
    except FileNotFoundError:
        raise UserError(
            f"no prompt file at {path}; give the path of a .npy or .safetensors file "
            "that `train` or `export` wrote"
        ) from None
    except (OSError, EOFError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read as a prompt ({error}); it must be a .npy or "
            ".safetensors file with one array [length, width]"
        ) from None
    if prompt.ndim != 2 or not prompt.size or not np.isfinite(prompt).all():
        finite = "finite" if np.isfinite(prompt).all() else "not finite"
        raise UserError(
            f"{path} holds an array of shape {prompt.shape}, {finite}; a prompt is one "
            "finite array [length, width]"
        )
    return prompt
