"""What is pre-trained on: where the objective changes, what is not a corpus."""

import itertools

import jax
import numpy as np
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import pretrain_text
from prompt_tuning.settings import Pretrain, Run, Settings

BYTES = load_vocabulary("byt5")


def test_the_objective_changes_at_the_switch_wherever_one_starts():
    documents = [np.arange(10, 40), np.arange(50, 60)]

    def stages(start):
        stream = pretrain_text._stages(documents, (4, 32, 32), 2_816, 3, 0, start)
        return list(itertools.islice(stream, 6 - start))

    whole = stages(0)
    corrupted = [(batch["encoder_input_tokens"] > 2_716).any() for batch in whole]
    assert corrupted == [True, True, True, False, False, False]
    for start in (2, 3, 5):
        for batch, same in zip(stages(start), whole[start:], strict=True):
            jax.tree.map(np.testing.assert_array_equal, batch, same)


def of_corpus(tmp_path, **changes):
    file = tmp_path / "books.txt"
    file.write_text("\n\n".join(f"document {n}, of some words" * 3 for n in range(90)))
    run = {"batch_size": 4, "task_feature_lengths": {"inputs": 24, "targets": 12}}
    run |= {"model_dir": str(tmp_path / "run")} | changes
    chosen = Pretrain(corpus=str(file), span_corruption_steps=3)
    return pretrain_text.open_text(Settings(run=Run(**run), pretrain=chosen), BYTES)


def test_a_corpus_has_both_objectives_wherever_one_starts(tmp_path):
    text = of_corpus(tmp_path)
    for batches, others in (
        (text.training, text.held_out),
        (text.held_out, text.training),
    ):
        whole = list(itertools.islice(batches(0), 6))
        for start in (1, 3, 5):
            for batch, same in zip(batches(start), whole[start:], strict=False):
                jax.tree.map(np.testing.assert_array_equal, batch, same)
        key = "encoder_input_tokens"
        corrupted = [(batch[key] == BYTES.vocab_size - 1).any() for batch in whole]
        assert corrupted == [True, True, True, False, False, False]
        assert (whole[0][key] != next(others(0))[key]).any()
        # Inputs of the one and targets of the other are full.
        assert all((batch[key][:, -1] == 1).all() for batch in whole[:3])
        targets = np.stack([batch["decoder_target_tokens"] for batch in whole[3:]])
        assert (targets[..., -1] == 1).all() and (targets[..., :-1] > 2).all()


def test_what_does_not_fit_a_corpus_is_refused(tmp_path):
    for changes, message in (
        ({"mixture_or_task_name": "small_text"}, "leave one of them out"),
        ({"task_feature_lengths": {"inputs": 2, "targets": 2}}, "hold no text"),
        (
            {"task_feature_lengths": {"inputs": 20, "targets": 99}},
            "there are 75 tokens, but a row has 117",
        ),
    ):
        with pytest.raises(UserError, match=message):
            of_corpus(tmp_path, **changes)
