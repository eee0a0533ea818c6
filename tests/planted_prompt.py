"""A planted prompt over pocket_nano: pieces plus noise. Nothing here is a test."""

import numpy as np

from prompt_tuning import exchange
from prompt_tuning.frozen import vocabulary, weights

WORDS = ["food", "tool", "bird"]
REPEATED = "plant"


def plant(path, words=(*WORDS, REPEATED, REPEATED), noise=0.1, **said):
    """Writes a prompt of twice these words' embeddings plus noise; returns it."""
    pieces = vocabulary.load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    ids = [pieces.encode(word)[0] for word in words]
    rows_PxD = weights.embeddings("pocket_nano")[ids]
    around_PxD = noise * np.random.default_rng(0).normal(size=rows_PxD.shape)
    prompt_PxD = (2 * rows_PxD + around_PxD).astype(np.float32)
    about = {"frozen_model": "pocket_nano", "label_words": WORDS, "init": "class_label"}
    about["frozen_fingerprint"] = weights.fingerprint("pocket_nano")
    exchange.save_prompt(path, prompt_PxD, about | said)
    return prompt_PxD
