"""Vocabularies: every id and every text as seqio has them; what is no vocabulary."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from prompt_tuning.errors import UserError
from prompt_tuning.frozen import vocabulary
from prompt_tuning.tasks import pocket

ROOT = Path(__file__).resolve().parents[2]
POCKET = str(ROOT / "prompt_tuning" / "pocket" / "spiece.model")
T5 = ROOT.parent / "shared" / "data" / "t5" / "spiece.model"
IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
NAMES = ["pocket", "t5", "small", "own sentinels", "byt5"]


def train_spiece(folder, **options):
    """A SentencePiece model of its own, without pieces for bytes."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat and a dog sat on the mat yes no maybe"] * 9),
        model_prefix=str(folder / "m"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return str(folder / "m.model")


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    """{name: (ours, seqio's)}."""
    small = train_spiece(tmp_path_factory.mktemp("small"), **IDS)
    own = [f"▁<extra_id_{i}>" for i in reversed(range(4))]
    folder = tmp_path_factory.mktemp("own")
    with_own = train_spiece(folder, user_defined_symbols=own, **IDS)
    seqios = {
        "pocket": seqio.SentencePieceVocabulary(POCKET, extra_ids=100),
        "small": seqio.SentencePieceVocabulary(small, extra_ids=100),
        "own sentinels": seqio.SentencePieceVocabulary(with_own),
        "byt5": seqio.ByteVocabulary(),
    }
    if T5.is_file():
        seqios["t5"] = seqio.SentencePieceVocabulary(str(T5), extra_ids=100)
    return {
        name: (
            vocabulary.load_vocabulary(
                getattr(theirs, "sentencepiece_model_file", "byt5")
            ),
            theirs,
        )
        for name, theirs in seqios.items()
    }


@pytest.fixture(params=NAMES)
def pair(request, vocabularies):
    if request.param not in vocabularies:
        pytest.skip("there is no ../shared beside this checkout")
    return vocabularies[request.param]


WORDS = """<extra_id_0> <extra_id_3> <extra_id_99> <extra_id_100> ▁<extra_id_1>
<pad> </s> <unk> <0x41> ▁ the cat premise: ﬁ é"""
SPACES = "| |  |\n|\t|\0|\r\n|\u3000|\u200b|\ufeff|\u0301"
fragments = st.sampled_from(WORDS.split() + SPACES.split("|"))
texts = st.lists(fragments | st.text(max_size=5), max_size=8).map("".join)
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def test_any_text_has_the_ids_of_seqio_and_of_its_tokenising_for_training(pair):
    ours, theirs = pair
    assert ours.vocab_size == theirs.vocab_size
    assert ours.eos_id == theirs.eos_id
    if isinstance(theirs, seqio.ByteVocabulary):
        encode_tf = theirs.encode_tf
    else:
        encode_tf = theirs.tf_tokenizer.tokenize  # which encode_tf makes every time

    @quick
    @given(texts)
    def check(text):
        ids = ours.encode(text)
        assert ids == list(theirs.encode(text))
        in_training = encode_tf(tf.constant(text)).numpy().tolist()
        assert ids == in_training or is_tie(theirs.tokenizer, ids, in_training)

    check()


def is_tie(processor, ids, other):
    """Whether two ways to cut a text into pieces are worth the same.

    TensorFlow's copy of SentencePiece adds up in another order, so that AAA may be
    AA, A here and A, AA there.
    """
    scores = [sum(map(processor.get_score, each)) for each in (ids, other)]
    return sorted(ids) == sorted(other) and scores[0] == pytest.approx(scores[1])


def test_any_ids_have_the_text_of_seqio(pair):
    ours, theirs = pair
    special = st.sampled_from([0, 1, 2, 3, 258, 259, ours.vocab_size - 1, 10**6])
    ids = st.lists(special | st.integers(0, ours.vocab_size + 200), max_size=12)

    @quick
    @given(ids | texts.map(ours.encode))
    def check(ids):
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(np.array([*ids, 1, 7], np.int32)) == ours.decode(ids)

    check()


def test_ids_and_text_are_those_seqio_always_gave(vocabularies):
    """By hand, so that a change of seqio or SentencePiece shows as one."""
    pocket, _ = vocabularies["pocket"]
    assert pocket.vocab_size == 2816
    assert pocket.encode("<extra_id_0>") == [2815] == pocket.encode(" <extra_id_0>")
    glued, apart = pocket.encode("<extra_id_0>hello"), pocket.encode("hello")
    assert glued[0] == 2815 and glued[1:] != apart
    assert pocket.encode("<extra_id_0> hello") == [2815, *apart]
    assert pocket.decode([2812, 2816]) == "<extra_id_3> ⁇ "
    small, _ = vocabularies["small"]
    assert 2 in small.encode("é")
    of_bytes, _ = vocabularies["byt5"]
    assert of_bytes.encode("aé") == [100, 0xC3 + 3, 0xA9 + 3]
    assert of_bytes.decode([100, 0xC3 + 3, 100, 258, 1, 100]) == "aa"


def test_what_is_text(vocabularies):
    """Neither special ids nor sentinels, nor bytes where they are parts of others."""
    pocket, _ = vocabularies["pocket"]
    pieces = [pocket.piece(i) for i in range(2816) if pocket.is_text(i)]
    assert not {"<pad>", "</s>", "<unk>", "<0x41>", "▁<extra_id_0>"} & {*pieces}
    assert {"▁the", "a", ".", "▁"} <= {*pieces} and len(pieces) == 2816 - 3 - 256 - 100
    own, _ = vocabularies["own sentinels"]
    assert not own.is_text(own.encode("<extra_id_1>")[-1])
    of_bytes, _ = vocabularies["byt5"]
    assert all(map(of_bytes.is_text, of_bytes.encode("A text, in bytes.")))
    assert not any(map(of_bytes.is_text, [0, 1, 2, *of_bytes.encode("é\n")]))


def test_the_sentinels_are_added_as_seqio_adds_them(vocabularies):
    theirs = sentencepiece_model_pb2.ModelProto.FromString(
        vocabularies["pocket"][1].sp_model
    )
    ours = sentencepiece_model_pb2.ModelProto.FromString(
        Path(POCKET).read_bytes() + vocabulary._sentinels()
    )
    assert ours == theirs


def test_t5s_vocabulary_has_the_papers_ids(shared):
    t5 = vocabulary.load_vocabulary(str(shared / "data" / "t5" / "spiece.model"))
    assert t5.vocab_size == 32_100
    assert t5.encode("not_equivalent") == [59, 834, 15, 1169, 15592]
    assert t5.encode("<extra_id_0>") == [32_099]


def test_sentinels_that_a_vocabulary_has_are_not_added_again(vocabularies):
    """mT5's file has them; 100 more would be too many for its embedding."""
    own, _ = vocabularies["own sentinels"]
    assert own.vocab_size < 100
    assert own.decode(own.encode("<extra_id_0>")) == "<extra_id_0>"
    assert own.encode("<extra_id_0>")[-1] == own.encode("<extra_id_1>")[-1] + 1


def test_a_vocabulary_says_which_it_is(vocabularies):
    pocket, _ = vocabularies["pocket"]
    assert pocket.file == POCKET
    expected = hashlib.sha256(Path(POCKET).read_bytes()).hexdigest()
    assert pocket.fingerprint() == expected
    of_bytes, _ = vocabularies["byt5"]
    assert (of_bytes.file, of_bytes.fingerprint()) == (None, "byt5")


def test_a_bucket_is_read_as_a_file_is(tmp_path, monkeypatch):
    """file:// stands in for gs://, which tensorstore reads in the same way."""
    (tmp_path / "spiece.model").write_bytes(Path(POCKET).read_bytes())
    there, missing = f"file://{tmp_path}/spiece.model", f"file://{tmp_path}/other.model"
    monkeypatch.setitem(vocabulary.NAMED, "t5", there)
    for name in ("t5", there):
        assert vocabulary.load_vocabulary(name).encode("a") == [271]
    with pytest.raises(UserError, match=r"other\.model cannot be read .*no such file"):
        vocabulary.load_vocabulary(missing)


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_an_unreadable_vocabulary_is_a_user_error(tmp_path, content):
    path = tmp_path / "spiece.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        vocabulary.load_vocabulary(str(path))


def test_a_vocabulary_without_t5s_special_ids_is_a_user_error(tmp_path):
    path = train_spiece(tmp_path)  # SentencePiece's own: unk 0, bos 1, eos 2
    with pytest.raises(UserError, match="pad_id=0"):
        vocabulary.load_vocabulary(path)


def test_a_text_that_is_none_is_a_user_error(pair):
    with pytest.raises(UserError, match=r"'\\ud800' at character 2"):
        pair[0].encode("a\ud800")


def test_a_vocabulary_larger_than_the_embedding_is_a_user_error():
    vocabulary.check_vocabulary(32_100, 32_128)
    vocabulary.check_vocabulary(2_048, 2_048)
    with pytest.raises(UserError, match=r"32100 ids.*embeds 2048"):
        vocabulary.check_vocabulary(32_100, 2_048)


def test_a_trained_vocabulary_is_the_same_each_time_and_takes_any_text(tmp_path):
    texts = [*pocket.documents(0, 300)]
    model = vocabulary.train(texts, 500, coverage=1.0)
    assert model == vocabulary.train(iter(texts), 500, coverage=1.0)
    (tmp_path / "spiece.model").write_bytes(model)
    made = vocabulary.load_vocabulary(str(tmp_path / "spiece.model"))
    assert made.vocab_size == 500 + vocabulary.EXTRA_IDS
    for text in ("the cat ran", "Other: 3.5% 東京"):
        assert made.decode(made.encode(text)) == text
    assert len(made.encode("the")) == 1


def test_loading_imports_neither_jax_nor_tensorflow():
    code = f"""
import sys
from prompt_tuning.frozen.vocabulary import load_vocabulary
load_vocabulary({POCKET!r}).encode("the cat")
print([name for name in ("jax", "tensorflow", "seqio") if name in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr
