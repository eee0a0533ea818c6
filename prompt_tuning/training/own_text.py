"""The user's own plain text to pre-train on: a .txt file with one text a line."""

from pathlib import Path

import numpy as np

from prompt_tuning import files
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import Vocabulary

SUFFIX = ".txt"
HELD_OUT = 100  # one text in 100, and at least one, is held out to measure the loss


def is_text(name: str) -> bool:
    """Whether a task's name is the name of a text file."""
    return Path(name).suffix.lower() == SUFFIX


def documents(
    path: str, vocabulary: Vocabulary
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The token ids of the texts to train on and of those held out, without EOS.

    The choice of held-out texts is always the same. Texts of one token are left out.

    Raises:
      UserError: the file cannot be read, or has fewer than two texts.
    """
    try:
        file = files.regular(Path(path), files.MOST_TEXT)
        lines = list(files.lines_of(files.text_of(file.read_bytes())))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); give a file of plain UTF-8 text, one "
            "text a line"
        ) from None
    rows = [np.array(vocabulary.encode(line), np.int32) for line in lines]
    rows = [row for row in rows if len(row) > 1]
    if len(rows) < 2:
        raise UserError(
            f"{path} has {len(rows)} texts of two tokens or more; at least two are "
            "needed, one of them to measure the loss on"
        )
    order = np.random.default_rng(0).permutation(len(rows))
    held = set(order[: max(1, len(rows) // HELD_OUT)].tolist())
    training = [row for index, row in enumerate(rows) if index not in held]
    return training, [rows[index] for index in sorted(held)]
