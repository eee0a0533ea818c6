"""Names of files and places, and how large a prompt's file may be."""

from collections.abc import Mapping
from typing import Any

PROMPT, MODEL = "prompt.npy", "model.safetensors"  # in MODEL_DIR
EXTRA = "extra.safetensors"  # of a method that trains more than a prompt
DESCRIPTION = "description.json"  # written when a run starts
MOST_BYTES = 2**30  # of a prompt's file; 100 vectors of the largest T5 have 2 MB


def place(said: Mapping[str, Any], usual: str) -> str:
    """Where a prompt stands: `usual`, unless its description says it is divided."""
    return usual if said.get("in_front") is None else "around"
