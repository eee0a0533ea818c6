"""What is read beside a prompt: its model's pieces, its labels, its kept steps."""

import planted_prompt
import pytest

from prompt_tuning.frozen import vocabulary, weights
from prompt_tuning.reading import subject
from prompt_tuning.runs import trained


def read(path):
    source = trained.find("", str(path))
    return subject.read(source, trained.base_settings("", source), True, False)


def test_the_pieces_are_the_vocabularys_and_label_words_have_homes(tmp_path):
    planted_prompt.plant(tmp_path / "p.npy")
    one = read(tmp_path / "p.npy")
    assert one.frozen is not None
    assert one.frozen.pieces[:3] == ["<pad>", "</s>", "<unk>"]
    assert one.frozen.table_VxD.shape == (len(one.frozen.pieces), 96)
    assert subject.label_words(one) == subject.homes(one) == planted_prompt.WORDS


@pytest.mark.parametrize("init", ["random_uniform", None])
def test_labels_have_no_home_under_another_initialiser(tmp_path, init):
    planted_prompt.plant(tmp_path / "p.npy", init=init)
    one = read(tmp_path / "p.npy")
    assert subject.label_words(one) == planted_prompt.WORDS
    assert subject.homes(one) == []


def test_steps_of_a_run_are_read_in_order(tmp_path):
    for name in ("400", "20", "300.damaged"):
        step = tmp_path / "checkpoints" / name
        step.mkdir(parents=True)
        planted_prompt.plant(step / "prompt.npy")
    planted_prompt.plant(tmp_path / "prompt.npy")
    assert [*read(tmp_path).steps] == [20, 400]


def test_bytes_have_pieces_too():
    of_bytes = vocabulary.load_vocabulary("byt5")
    assert [of_bytes.piece(i) for i in (0, 1, 2, 3, 258)] == [
        "<pad>",
        "</s>",
        "<unk>",
        "<0x00>",
        "<0xFF>",
    ]


def test_rows_that_fill_up_a_table_are_left_out(tmp_path):
    found = subject.frozen("pocket_nano", vocabulary.load_vocabulary("byt5"))
    assert len(found.pieces) == len(found.table_VxD) == 259
    assert (found.table_VxD == weights.embeddings("pocket_nano")[:259]).all()
