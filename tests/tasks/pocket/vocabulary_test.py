"""The embedded SentencePiece model."""

import pathlib
import runpy

import pytest
import seqio

from prompt_tuning.tasks.pocket import KINDS, MOODS, THINGS

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def vocabulary():
    return seqio.get_mixture_or_task("pocket").output_features["targets"].vocabulary


def test_the_vocabulary_has_2816_pieces_and_t5s_special_ids(vocabulary):
    assert vocabulary.vocab_size == 2816
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.bos_id is None or vocabulary.bos_id < 0
    assert vocabulary.decode([2815]) == "<extra_id_0>"


@pytest.mark.parametrize("word", [*KINDS, *MOODS, THINGS["gem"][40]])
def test_labels_and_names_are_one_piece(word, vocabulary):
    assert len(vocabulary.encode(word)) == 1


@pytest.mark.parametrize(
    "text", ["it was a coat.", "Not_Equivalent: 3.5% <br>?", "naïve Ω 東京 🦆"]
)
def test_any_text_can_be_encoded_and_comes_back(text, vocabulary):
    ids = vocabulary.encode(text)
    assert vocabulary.unk_id not in ids
    assert vocabulary.decode(ids) == text


@pytest.mark.slow
def test_the_shipped_vocabulary_is_what_its_script_makes():
    script = runpy.run_path(str(ROOT / "scripts/pocket_vocabulary.py"))
    shipped = ROOT / "prompt_tuning/pocket/spiece.model"
    assert script["train"]() == shipped.read_bytes()
