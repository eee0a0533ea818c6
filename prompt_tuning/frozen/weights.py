"""Frozen models: read from any format onto the devices, written in our own.

Our own format is one safetensors file whose names are the paths of the parameter tree
("encoder/layers_0/mlp/wi_0/kernel"), with a JSON of its size and origin beside it, and
the vocabulary, spiece.model, if there is one.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.experimental import multihost_utils
from jax.sharding import Mesh, Sharding

from prompt_tuning import partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, formats
from prompt_tuning.frozen import vocabulary as vocabularies
from prompt_tuning.frozen.formats import safetensors_file
from prompt_tuning.outputs import atomic, write_json
from prompt_tuning.settings import T5Config
from prompt_tuning.t5 import layers
from prompt_tuning.t5.network import Transformer

POCKET = formats.POCKET
VOCABULARY = "spiece.model"


def find_vocabulary(name: str) -> Path | None:
    """The SentencePiece model beside a frozen model's weights, or None.

    Raises:
      UserError: there is no such frozen model here.
    """
    path = Path(formats.find(name))
    if not path.exists() and "://" not in name:
        formats.open_checkpoint(name)  # raises the UserError
    beside = (path if path.is_dir() else path.parent) / VOCABULARY
    return beside if beside.is_file() else None


def load_frozen(
    name: str, model: Transformer, mesh: Mesh, fully_sharded: bool = False
) -> Any:
    """Reads a frozen model's parameters onto the devices, each with its sharding.

    It reads one tensor at a time, and only the parts that this host's devices hold.
    They are cast, or rounded to int8, on the devices.

    Args:
      name: as for formats.open_checkpoint. A prompt in the checkpoint is ignored.

    Raises:
      UserError: the checkpoint is missing or not whole; or tensors are missing, unknown
        or of another shape than `model`'s, and the message lists them, so that no
        parameter stays random; or the JSON beside them contradicts `model` in what no
        shape shows (description.check).
    """
    return place(fitting_tensors(name, model), model, mesh, name, fully_sharded)


def place(
    tensors: Mapping[str, formats.Tensor],
    model: Transformer,
    mesh: Mesh,
    source: str,
    fully_sharded: bool = False,
) -> Any:
    """Puts the parameters of `model` on `mesh`.

    Args:
      tensors: those of the same model in float32, unscanned.
      source: where they come from, for messages.
    """
    in_files, kept, scanned = (
        _Places(
            _flat(partitioning.param_shapes(of)),
            _flat(partitioning.param_shardings(of, mesh, fully_sharded)),
        )
        for of in (_float_model(model), _changed(model, scan_layers=False), model)
    )
    params: dict[str, jax.Array] = {}
    finite: dict[str, jax.Array] = {}
    for key, tensor in tensors.items():
        if tensor.rounded and kept.shapes[key].dtype == jnp.int8:
            arrays = _as_stored(source, key, tensor.rounded, kept)
            finite[key] = _all_finite(arrays[1][1])
        else:
            array = _on_devices(source, key, tensor, in_files.shardings[key])
            arrays = _as_kept(key, array, kept)
            finite[key] = _all_finite(array)
        for name, values in arrays:
            stack, layer = _in_stack(name)
            if stack not in scanned.shapes:  # unscanned, or in no layer
                params[name] = values
                continue
            shape, sharding = scanned.shapes[stack], scanned.shardings[stack]
            if stack not in params:
                params[stack] = jnp.zeros(shape.shape, shape.dtype, device=sharding)
            # In place, so that there is never a second copy of the stack.
            params[stack] = _setter(sharding)(params[stack], values, layer)
    check_finite(source, finite)  # at the end, so that no tensor waits for another
    return traverse_util.unflatten_dict(params, sep="/")


@jax.jit
def _all_finite(array: jax.Array) -> jax.Array:
    return jnp.isfinite(array).all()


def check_finite(source: str, finite: Mapping[str, Any]) -> None:
    """Raises UserError unless all tensors of a checkpoint are {name: all finite}."""
    bad = [key for key, value in jax.device_get(dict(finite)).items() if not value]
    if bad:
        more = f", and so have {len(bad) - 1} other tensors" if bad[1:] else ""
        raise UserError(
            f"{source} is damaged: {bad[0]} has values that are not finite (NaN or "
            f"infinite){more}; copy the checkpoint again, or give a sound one"
        )


class _Places(NamedTuple):
    """The shapes, types and shardings of a model's arrays."""

    shapes: dict[str, jax.ShapeDtypeStruct]
    shardings: dict[str, Sharding]


def _as_kept(
    key: str, array: jax.Array, kept: _Places
) -> Iterable[tuple[str, jax.Array]]:
    """The array cast to its type, or rounded to int8 and followed by its scales."""
    dtype = kept.shapes[key].dtype
    if dtype != jnp.int8:
        return [(key, array.astype(dtype))]
    names = key, f"{key}_scale"
    quantize = _quantizer(tuple(kept.shardings[name] for name in names))
    summed = 1 - layers.CHANNELS[key.rpartition("/")[2]]
    return zip(names, quantize(array, summed), strict=True)


def _as_stored(
    source: str, key: str, rounded: tuple[formats.Tensor, ...], kept: _Places
) -> list[tuple[str, jax.Array]]:
    """An int8 matrix and its scales from a file that has them."""
    kinds = {key: np.int8, f"{key}_scale": jnp.floating}
    return [
        (name, _on_devices(source, name, tensor, kept.shardings[name], kind))
        for (name, kind), tensor in zip(kinds.items(), rounded, strict=True)
    ]


def as_int8(key: str, values: np.ndarray) -> list[np.ndarray]:
    """The int8 matrix and the scales that load_frozen makes of a tensor."""
    summed = 1 - layers.CHANNELS[key.rpartition("/")[2]]
    quantize = jax.jit(layers.quantize, static_argnums=1)
    return [np.asarray(part) for part in quantize(values, summed)]


@functools.cache
def _quantizer(shardings: tuple[Sharding, Sharding]) -> Callable[..., Any]:
    return jax.jit(layers.quantize, static_argnums=1, out_shardings=shardings)


def _in_stack(name: str) -> tuple[str, int]:
    """Where scanned layers hold a parameter: the stack's name, the layer's number."""
    parts = re.split(r"/layers_(\d+)/", name)
    return (f"{parts[0]}/layers/{parts[2]}", int(parts[1])) if parts[1:] else ("", 0)


@functools.cache
def _setter(sharding: Sharding) -> Callable[..., jax.Array]:
    def put(stack: jax.Array, values: jax.Array, layer: int) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(stack, values, layer, axis=0)

    return jax.jit(put, donate_argnums=0, out_shardings=sharding)


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _changed(model: Transformer, **changes: Any) -> Transformer:
    return Transformer(dataclasses.replace(model.config, **changes))


def _float_model(model: Transformer) -> Transformer:
    """The model as files store it: a tensor for each layer, and no scales."""
    return _changed(model, param_dtype="float32", scan_layers=False)


def fitting_tensors(name: str, model: Transformer) -> dict[str, formats.Tensor]:
    """The tensors at `name` by our names, sorted, without a prompt.

    Raises:
      UserError: they do not match `model`, and the message lists how.
    """
    description.check(name, model.config)
    found = formats.without_trained(formats.open_checkpoint(name))
    shapes = _flat(partitioning.param_shapes(_float_model(model)))
    problems = [f"{n} is missing" for n in sorted(shapes.keys() - found.keys())]
    problems += [f"{n} is unknown" for n in sorted(found.keys() - shapes.keys())]
    problems += [
        f"{n} is {found[n].shape} instead of {shapes[n].shape}"
        for n in sorted(shapes.keys() & found.keys())
        if found[n].shape != shapes[n].shape
    ]
    if problems:
        raise UserError(
            f"{name} does not hold the T5 that this run describes ({_size(model)}). "
            f"{len(problems)} tensors differ: {'; '.join(problems[:8])}"
            f"{' ...' if len(problems) > 8 else ''}. Choose the model's own gin file"
            f"{_gin_file(found)}, or another INITIAL_CHECKPOINT_PATH"
        )
    return {key: found[key] for key in sorted(found)}


def _size(model: Transformer) -> str:
    config = model.config
    names = ("vocab_size", "emb_dim", "num_heads", "head_dim", "mlp_dim")
    names += ("num_encoder_layers", "num_decoder_layers")
    return ", ".join(f"{name} {getattr(config, name)}" for name in names)


# emb_dim and mlp_dim tell the sizes of T5 1.1 apart.
_SIZES: dict[tuple[int, ...], str] = {
    (512, 1024): "small",
    (768, 2048): "base",
    (1024, 2816): "large",
    (2048, 5120): "xl",
    (4096, 10240): "xxl",
}


def _gin_file(found: dict[str, formats.Tensor]) -> str:
    """The gin file of the size that was found, for a message."""
    kernel = found.get("encoder/layers_0/mlp/wi_0/kernel")
    size = _SIZES.get(kernel.shape) if kernel else None
    if not size:
        return ""
    rows = found["token_embedder/embedding"].shape[0]
    setting = f" with T5Config.vocab_size={rows}" if rows != 32_128 else ""
    return f" (it looks like gin/models/{size}.gin{setting})"


# What a fingerprint covers besides names and shapes: the norms and the position biases,
# and this many of the embedding's rows at either end.
_SMALL = ("/scale", "/rel_embedding")
_ROWS = 64


def fingerprint(name: str) -> str:
    """A frozen model's identity in 64 hexadecimal digits, whatever its format.

    It is a SHA-256 of all tensors' names and shapes, and of some values in float32:
    equal weights have the same fingerprint in every format that stores them exactly. It
    reads only a few megabytes. So it tells a model from its fine-tuned versions, as
    training changes all weights, but not two files that differ in a single kernel. A
    copy in bfloat16 has another fingerprint, and so does a PyTorch file that repeats a
    tied head as lm_head.weight.

    Raises:
      UserError: as formats.open_checkpoint, or a tensor cannot be read.
    """
    tensors = formats.without_trained(formats.open_checkpoint(name))
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.shape}\n".encode())
        parts = [tensor.all] if key.endswith(_SMALL) else []
        if key.endswith("/embedding"):
            rows, every = tensor.shape[0], slice(None)
            parts = [(slice(0, min(_ROWS, rows)), every)]
            parts += [(slice(max(0, rows - _ROWS), rows), every)]
        for index in parts:
            values = read(name, key, tensor, index)
            digest.update(np.ascontiguousarray(values, "<f4").tobytes())
    return digest.hexdigest()


def embeddings(name: str) -> np.ndarray:
    """The input embeddings [V, D] float32 of a frozen model; no other weight is read.

    Raises:
      UserError: as formats.open_checkpoint; or there are none, or they are damaged.
    """
    tensor = formats.open_checkpoint(name).get(_EMBEDDING)
    if tensor is None:
        raise UserError(
            f"{name} has no {_EMBEDDING}, so it is no T5: give INITIAL_CHECKPOINT_PATH "
            "a frozen model"
        )
    table_VxD = np.asarray(read(name, _EMBEDDING, tensor, tensor.all), np.float32)
    check_finite(name, {_EMBEDDING: np.isfinite(table_VxD).all()})
    return table_VxD


_EMBEDDING = "token_embedder/embedding"


def _on_devices(
    source: str,
    key: str,
    tensor: formats.Tensor,
    sharding: Sharding,
    kind: Any = jnp.floating,
) -> jax.Array:
    """A tensor on its devices, with the file's type, which is of a `kind`."""
    parts: dict[tuple, np.ndarray] = {}

    def part(index: formats.Index) -> np.ndarray:
        where = tuple((s.start, s.stop) for s in index)
        if where not in parts:  # replicas are read once
            parts[where] = read(source, key, tensor, index, kind)
        return parts[where]

    # By its types JAX may pass None for an index; it asserts that it does not.
    return jax.make_array_from_callback(
        tensor.shape,
        sharding,
        part,  # pyright: ignore[reportArgumentType]
    )


def read(
    source: str,
    key: str,
    tensor: formats.Tensor,
    index: formats.Index,
    kind: Any = jnp.floating,
) -> np.ndarray:
    """A part of a tensor, with the file's type; floats if the file has int8 and scales.

    Raises:
      UserError: it cannot be read, or holds no numbers of this kind.
    """
    problem = f"{source} is damaged or out of reach: {key} cannot be read"
    with formats.told(problem, "copy the checkpoint again"):
        return _checked(key, np.asarray(tensor.read(index)), kind)


def _checked(key: str, values: np.ndarray, kind: Any) -> np.ndarray:
    if jnp.issubdtype(values.dtype, kind):
        return values
    if kind is np.int8:
        raise UserError(
            f"{key} is of type {values.dtype}, but has scales, as only int8 has; "
            "convert the model again"
        )
    raise UserError(
        f"{key} is of type {values.dtype}, as in another program's 8-bit weights; "
        "give a checkpoint in float32, bfloat16 or float16 (T5Config."
        "param_dtype=int8 rounds it while it is read)"
    )


def _of_layers(params: Any) -> dict[str, tuple[jax.Array, int | None]]:
    """{name in a file: (array, its layer if it is a stack of scanned layers)}."""
    out = {}
    for key, value in _flat(params).items():
        if "/layers/" not in key:
            out[key] = value, None
            continue
        for layer in range(value.shape[0]):
            out[key.replace("/layers/", f"/layers_{layer}/")] = value, layer
    return out


def _on_host(array: jax.Array, layer: int | None) -> np.ndarray:
    part = array if layer is None else array[layer]
    if jax.process_count() > 1:
        part = multihost_utils.process_allgather(part, tiled=True)
    return np.asarray(part)


def save_frozen(
    path: Path,
    params: Any,
    config: T5Config,
    vocabulary: str | Path | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Writes parameters to `path` (.safetensors), and their size and origin to a JSON.

    One tensor at a time is gathered on every host; one host writes.

    Args:
      vocabulary: the SentencePiece model, which is copied beside the parameters.
      origin: how they were made, for the JSON.
    """
    found = dict(sorted(_of_layers(params).items()))
    shapes = {
        key: (value.shape if layer is None else value.shape[1:], value.dtype)
        for key, (value, layer) in found.items()
    }
    safetensors_file.write(
        path, shapes, (_on_host(value, layer) for value, layer in found.values())
    )
    write_beside(path, config, vocabulary, origin or {})


def write_beside(
    path: Path,
    config: T5Config,
    file: str | Path | None,
    origin: Mapping[str, Any],
) -> None:
    """Writes a model's size and origin, and its vocabulary, beside its weights."""
    about = {"config": dataclasses.asdict(config), **origin}
    write_json(path.with_suffix(".json"), about)
    if file:
        write_vocabulary(path.parent, str(file))


def write_vocabulary(folder: Path, file: str) -> None:
    """Copies a SentencePiece model, here or in a bucket, to where a model's lies."""
    model = vocabularies.read(file)
    with atomic(folder / VOCABULARY) as temporary:
        temporary.write_bytes(model)
