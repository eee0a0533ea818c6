"""Folders of Hugging Face's transformers: T5 models, in our names and layouts."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from prompt_tuning import files as checked
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import safetensors_file, torch_file
from prompt_tuning.frozen.formats.tensors import Tensor

WEIGHTS = "model.safetensors"
# The index if there are several files, the file if there is one, and its opener.
_FILES = (
    (
        f"{WEIGHTS}.index.json",
        WEIGHTS,
        safetensors_file.open_file,
    ),
    ("pytorch_model.bin.index.json", "pytorch_model.bin", torch_file.open_file),
)


def is_folder(path: Path) -> bool:
    """Whether the folder holds weights that transformers saved."""
    return _files(path) is not None


def open_folder(path: Path) -> dict[str, Tensor]:
    """The tensors in the folder, by transformers' names.

    Raises:
      UserError: an index names a file that is not there.
    """
    files = _files(path)
    assert files is not None  # is_folder
    return _open_files(path, *files)


def _files(path: Path) -> tuple | None:
    """The first of _FILES that exists: safetensors before PyTorch's."""
    there = (f for f in _FILES if any((path / name).is_file() for name in f[:2]))
    return next(there, None)


def _open_files(
    folder: Path, index: str, whole: str, open_file: Callable[[Path], dict]
) -> dict[str, Tensor]:
    """The tensors of one file, or of those that an index names."""
    files = {whole}
    if (folder / index).is_file():
        files = _named(folder / index)
    for file in sorted(files):
        if not (folder / file).is_file():
            raise UserError(
                f"{folder / index} names {file}, which is not there: the checkpoint is "
                "not whole; copy the rest of it"
            )
    opened = (open_file(folder / file) for file in sorted(files))
    return functools.reduce(dict.__or__, opened)


def _named(index: Path) -> set[str]:
    """The files that an index names, all of its own folder."""
    found = checked.read_json(index, "copy it again")
    names = found.get("weight_map") if isinstance(found, dict) else None
    names = list(names.values()) if isinstance(names, dict) else []
    if not names or not all(isinstance(n, str) and n == Path(n).name for n in names):
        raise UserError(
            f"{index} is no index: it must have a weight_map of tensors' names to "
            "files beside it; copy it again"
        )
    return set(names)


# Each layer's parts, by their place in it: a norm, and the part it is before.
_PARTS = {
    ("encoder", "0"): ("pre_attention_layer_norm", "attention"),
    ("encoder", "1"): ("pre_mlp_layer_norm", "mlp"),
    ("decoder", "0"): ("pre_self_attention_layer_norm", "self_attention"),
    ("decoder", "1"): ("pre_cross_attention_layer_norm", "encoder_decoder_attention"),
    ("decoder", "2"): ("pre_mlp_layer_norm", "mlp"),
}
_KERNELS = {"q": "query", "k": "key", "v": "value", "o": "out"}
_KERNELS |= {name: name for name in ("wi", "wi_0", "wi_1", "wo")}
_IN_LAYER = re.compile(
    r"(encoder|decoder)\.block\.(\d+)\.layer\.(\d)\.(?:layer_norm|"
    r"(?:SelfAttention|EncDecAttention|DenseReluDense)\.(\w+))\.weight"
)
# The names of one table, of which a file has some or all.
_TABLES = (
    "shared.weight",
    "decoder.embed_tokens.weight",
    "encoder.embed_tokens.weight",
)
_OUTSIDE = {"lm_head.weight": "decoder/logits_dense/kernel"} | {
    name: ours
    for stack in ("encoder", "decoder")
    for name, ours in {
        f"{stack}.final_layer_norm.weight": f"{stack}/{stack}_norm/scale",
        f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
            f"{stack}/relpos_bias/rel_embedding"
        ),
    }.items()
}
# Some old files have it; transformers ignores it too.
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' T5ForConditionalGeneration under our names and layouts.

    Its kernels are [out, in], ours are [in, out]. Unknown names are kept. Without
    lm_head.weight the head is the embedding.
    """
    out = {
        our_name(name): tensor if name == our_name(name) else transposed(tensor)
        for name, tensor in tensors.items()
        if name not in (*_TABLES, _UNUSED)
    }
    tables = [tensors[name] for name in _TABLES if name in tensors]
    return out | ({"token_embedder/embedding": tables[0]} if tables else {})


def our_name(name: str) -> str:
    """Our name of one of transformers' tensors; an unknown name is kept."""
    if match := _IN_LAYER.fullmatch(name):
        stack, layer, place, kernel = match.groups()
        norm, part = _PARTS.get((stack, place), (None, None))
        if part and not kernel:
            return f"{stack}/layers_{layer}/{norm}/scale"
        if part and kernel in _KERNELS:
            return f"{stack}/layers_{layer}/{part}/{_KERNELS[kernel]}/kernel"
    return _OUTSIDE.get(name, name)


def named(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Our tensors as transformers' T5ForConditionalGeneration has them.

    Returns:
      {its name: (our name, the tensor in its layout)}, sorted.
    """
    found = {}
    for key, tensor in tensors.items():
        is_table = key == "token_embedder/embedding"
        name = _TABLES[0] if is_table else their_name(key)
        found[name] = key, tensor if is_table else transposed(tensor)
    return dict(sorted(found.items()))


def their_name(name: str) -> str:
    """Transformers' name of a tensor that we name so: the inverse of our_name."""
    if name in _THEIRS:
        return _THEIRS[name]
    stack, layer, part, *kernel = name.split("/")
    place, (norm, _) = next(
        (place, parts)
        for (in_stack, place), parts in _PARTS.items()
        if in_stack == stack and part in parts
    )
    inside = "layer_norm"
    if part != norm:
        theirs = {ours: theirs for theirs, ours in _KERNELS.items()}
        inside = f"{_MODULES[part]}.{theirs[kernel[0]]}"
    number = layer.removeprefix("layers_")
    return f"{stack}.block.{number}.layer.{place}.{inside}.weight"


_THEIRS = {ours: theirs for theirs, ours in _OUTSIDE.items()}
_MODULES = {"encoder_decoder_attention": "EncDecAttention", "mlp": "DenseReluDense"}
_MODULES |= dict.fromkeys(("attention", "self_attention"), "SelfAttention")


def transposed(tensor: Tensor) -> Tensor:
    """A matrix the other way round; a vector as it is."""
    return Tensor(tensor.shape[::-1], lambda index: tensor.read(index[::-1]).T)
