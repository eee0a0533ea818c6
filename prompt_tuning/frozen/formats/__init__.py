"""Formats of T5 checkpoints, opened as tensors under our parameter names.

Opening a checkpoint reads only names and shapes. A tensor, or the part of it that a
host needs, is read on demand.
"""

from collections.abc import Mapping
from pathlib import Path

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import (
    hugging_face,
    orbax,
    safetensors_file,
    storage,
    t5x,
    torch_file,
)
from prompt_tuning.frozen.formats.safetensors_file import open_file
from prompt_tuning.frozen.formats.tensors import (
    READ_ERRORS,
    Index,
    Tensor,
    scaled,
    told,
)
from prompt_tuning.t5.layers import CHANNELS

__all__ = [
    "POCKET",
    "READ_ERRORS",
    "Index",
    "Tensor",
    "find",
    "open_checkpoint",
    "open_file",
    "packaged",
    "prompt_of",
    "told",
    "without_trained",
]

POCKET = Path(__file__).parents[2] / "pocket"


def find(name: str) -> str:
    """The path of a frozen model: `name` is a path, or a model in the package."""
    return str(_shipped().get(name, name))


def packaged() -> list[str]:
    """The names of the models in the package."""
    return sorted(_shipped())


def _shipped() -> dict[str, Path]:
    """The files in the package by name. Each folder has models of one vocabulary."""
    return {path.stem: path for path in POCKET.rglob("*.safetensors")}


def open_checkpoint(name: str) -> dict[str, Tensor]:
    """Detects the format of the checkpoint at `name`; its tensors by our names.

    Args:
      name: "pocket_nano", a model in the package; a .safetensors file; or a folder,
        here or in a bucket (gs://...), written by T5X (in the older format with zarr
        arrays, or by Orbax) or by Hugging Face's transformers (.safetensors or
        pytorch_model.bin, in one file or several).

    Raises:
      UserError: there is nothing, it has none of these formats, or it is not whole.
    """
    name = find(name)
    path = Path(name)
    whole = "it must be whole, and a bucket within reach"
    with told(f"the checkpoint {name} cannot be read", whole):
        if path.is_file():  # ours, or one copied from Hugging Face's folder
            torchs = path.suffix in (".bin", ".pt", ".pth")
            opened = torch_file if torchs else safetensors_file
            return _with_scales(hugging_face.renamed(opened.open_file(path)))
        if hugging_face.is_folder(path):
            return hugging_face.renamed(hugging_face.open_folder(path))
        if name.startswith("gs://") or path.is_dir():
            if storage.exists(name, "checkpoint"):
                return t5x.open_folder(name)
            for item in ("", "/default", "/state", "/params"):  # "state" is T5X's
                if storage.exists(name + item, "_METADATA"):
                    orbax.check_ended(name)
                    return orbax.open_folder(name + item)
    raise UserError(
        f"no frozen model at {name!r}{_near(path)}. INITIAL_CHECKPOINT_PATH must be a "
        ".safetensors file, a folder of T5X, Orbax or Hugging Face's transformers, or "
        f"a model in the package: {', '.join(packaged())}"
    )


def _with_scales(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our int8 files' tensors: a matrix and its scales, {name}_scale, are one."""
    tensors = dict(found)
    for name, numbers in found.items():
        channel, scales = CHANNELS.get(name.rpartition("/")[2]), f"{name}_scale"
        if channel is None or scales not in tensors or len(numbers.shape) != 2:
            continue
        if tensors[scales].shape == (numbers.shape[channel],):
            tensors[name] = scaled(numbers, tensors.pop(scales), channel)
    return tensors


def _near(path: Path) -> str:
    """What is there instead, as the end of a message."""
    if not path.exists():
        return ": there is nothing of that name"
    if not path.is_dir():
        return "" if path.is_file() else ": it is neither a file nor a folder"
    steps = sorted(p.name for p in path.glob("checkpoint_*"))
    if steps:
        return f"; give one of the checkpoints in it, such as {steps[-1]}"
    there = sorted(p.name for p in path.iterdir())[:5]
    return f"; it holds {', '.join(there) or 'nothing'}"


# The names of a trained prompt in checkpoints: of our T5X engine, of our training
# states, and of google-research/prompt-tuning.
_PROMPTS = ("prompt", "trained", "trained/prompt", "encoder/prompt/prompt/prompt")


def prompt_of(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """The trained prompt [P, D] in a checkpoint, with or without a frozen model."""
    found = (tensors[name] for name in _PROMPTS if name in tensors)
    return next((tensor for tensor in found if len(tensor.shape) == 2), None)


def without_trained(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors without its prompt and anything else it has trained."""
    prompt = prompt_of(tensors)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor is not prompt and not name.startswith("trained/")
    }
