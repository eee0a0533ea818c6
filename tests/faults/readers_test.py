"""One of each kind of file that used to be a traceback, a hang or the wrong answer."""

import gzip
import io
import json
import os
import tracemalloc
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from faults import inputs
from safetensors import numpy as safetensors

from prompt_tuning import config, exchange, partitioning
from prompt_tuning.commands import tasks
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import vocabulary, weights
from prompt_tuning.tasks import DataError, files
from prompt_tuning.training import own_data, task

ADAPTER = "adapter_model.safetensors"


def refused(path, words):
    with pytest.raises(UserError, match=words) as error:
        exchange.load_prompt(path)
    assert str(path) in str(error.value)


# Prompts


def header(shape):
    """A .npy file without data that says that it has a shape."""
    file = io.BytesIO()
    said = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, said)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        header((10**9, 10**9)),
        header((10**30, 1)),
        header((4, 4)),
        header((1, 1)).replace(b"(1, 1)", b"(1, (((")[:-1] + b"'",
        b"\x93NUMPY\1\0\xff\xff",
        b"\x80\4N.",
    ],
)
def test_a_header_that_says_more_than_there_is(tmp_path, content):
    path = tmp_path / "p.npy"
    path.write_bytes(content)
    refused(path, "cannot be read as a prompt")


def test_an_archive_and_a_pickle_are_never_opened(tmp_path):
    path = tmp_path / "p.npy"
    np.savez(tmp_path / "p.npz", prompt=tiny.prompt())
    (tmp_path / "p.npz").rename(path)
    refused(path, "an archive")
    np.save(path, np.array([[object()]]), allow_pickle=True)
    refused(path, "cannot be read as a prompt")


def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "p.npy")
    refused(tmp_path / "p.npy", "a pipe or a device")


def test_a_prompt_in_bfloat16_is_read(tmp_path):
    rounded = tiny.prompt().astype(jnp.bfloat16)
    np.save(tmp_path / "p.npy", rounded)
    loaded = exchange.load_prompt(tmp_path / "p.npy")
    np.testing.assert_array_equal(loaded, rounded.astype(np.float32))
    safetensors.save_file({"prompt": rounded}, tmp_path / "p.safetensors")
    loaded = exchange.load_prompt(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(loaded, rounded.astype(np.float32))


def test_of_pefts_two_prompts_the_encoders_is_taken(tmp_path, capsys):
    """PEFT trains rows for both stacks, and uses the first num_virtual_tokens."""
    folder = inputs.peft(tmp_path / "peft")
    both = np.concatenate([tiny.prompt(), tiny.prompt(seed=2)])
    safetensors.save_file({"prompt_embeddings": both}, folder / ADAPTER)
    for path in (folder, folder / ADAPTER):
        np.testing.assert_array_equal(exchange.load_prompt(path), tiny.prompt())
        assert "encoder's 3 are taken" in capsys.readouterr().err
    about = {"num_virtual_tokens": 6, "num_transformer_submodules": 1}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    np.testing.assert_array_equal(exchange.load_prompt(folder), both)
    about["num_virtual_tokens"] = 4
    (folder / "adapter_config.json").write_text(json.dumps(about))
    refused(folder, "6 rows, but .* num_virtual_tokens 4")


@pytest.mark.parametrize(
    "said", [{"target_length": "5"}, {"label_words": [1]}, {"frozen_fingerprint": 5}]
)
def test_a_description_of_other_types(tmp_path, said):
    (tmp_path / "p.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=rf"p\.json says {next(iter(said))} "):
        exchange.read_description(tmp_path / "p.npy")


# Frozen models


def opened(path, words):
    with pytest.raises(UserError, match=words):
        inputs.tensors(path)


def test_a_type_that_cannot_be_read_is_told(tmp_path):
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    text = json.dumps({"a/kernel": entry}).encode()
    file = tmp_path / "m.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0")
    opened(file, "a/kernel is of type F8_E4M3")


@pytest.mark.parametrize(
    "index", [[], {"weight_map": []}, {"weight_map": {"a": 5}}, {"weight_map": {}}]
)
def test_an_index_of_another_shape_is_told(tmp_path, index):
    folder = inputs.hugging_face(tmp_path / "hf")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    opened(folder, r"index\.json is no index")


@pytest.mark.parametrize("said", [{"d_model": "16"}, {"architectures": 5}])
def test_a_config_of_other_types_is_told(tmp_path, said):
    folder = inputs.hugging_face(tmp_path / "hf")
    (folder / "config.json").write_text(json.dumps(inputs.CONFIG_JSON | said))
    opened(folder, rf"config\.json says {next(iter(said))} .* another type")


ARRAY = "target.decoder.layers_0.mlp.wi_0.kernel"


@pytest.mark.parametrize(
    "change",
    [
        {"chunks": [2**62, 1]},
        {"chunks": [0, 1]},
        {"chunks": [1]},
        {"shape": [10**12, 10**12]},
        {"shape": [-1, 4]},
        {"dtype": "no"},
        {"shape": 5},
    ],
)
def test_tensorstore_sees_no_absurd_header(tmp_path, change):
    folder = inputs.t5x(tmp_path / "t5x")
    file = folder / ARRAY / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    opened(folder, rf"the array {ARRAY} cannot be opened")
    file.write_text("[" * 10_000)
    opened(folder, "more than 100 deep")


@pytest.mark.parametrize(("packer", "pack"), [("zlib", zlib), ("gzip", gzip)])
def test_a_chunk_that_unpacks_to_too_much_is_told(tmp_path, packer, pack):
    folder = inputs.t5x(tmp_path / "t5x")
    file = folder / ARRAY / ".zarray"
    said = json.loads(file.read_text()) | {"compressor": {"id": packer, "level": 1}}
    file.write_text(json.dumps(said))
    for chunk in (folder / ARRAY).glob("[0-9]*"):
        chunk.write_bytes(pack.compress(b"\0" * 10**6))
    opened(folder, r"\.. (unpacks to other|has more) bytes")


def test_an_orbax_tree_that_is_a_list_is_told(tmp_path):
    folder = inputs.orbax(tmp_path / "orbax")
    (folder / "_METADATA").write_text("[]")
    refused(folder, "no checkpoint with a prompt")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_told_by_name(tmp_path, value):
    params = tiny.params()
    params["decoder"]["layers_1"]["mlp"]["wo"]["kernel"][1, 2] = value
    file = tmp_path / "m.safetensors"
    weights.save_frozen(file, params, tiny.CONFIG)
    words = "decoder/layers_1/mlp/wo/kernel has values that are not finite"
    with pytest.raises(UserError, match=words):
        weights.load_frozen(str(file), tiny.MODEL, partitioning.mesh())
    with pytest.raises(UserError, match=words):
        weights.convert(str(file), tiny.MODEL, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("ids", "rows", "warned"),
    [
        (32_100, 32_128, False),  # T5
        (259, 384, False),  # ByT5
        (250_100, 250_112, False),  # mT5
        (259, 2_048, True),
        (2_048, 32_128, True),
    ],
)
def test_more_spare_rows_than_padding_are_warned_of(ids, rows, warned, capsys):
    vocabulary.check_vocabulary(ids, rows)
    assert ("another model's" in capsys.readouterr().err) == warned


# Text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text\nx\n", "has no .inputs. with a text"),
        ("a.json", '{"inputs": "x"}', "a table or one JSON value"),
        ("a.txt", ' [\n {"inputs": "x"}\n]', "a table or one JSON value"),
        ("a.txt", '  {"inputs": NaN}', "NaN is no number"),
        ("a.txt", '{"inputs": "x", "y": 1e999}', "too large a number"),
        ("a.txt", "{" * 100_000, "JSON object"),
        ("a.jsonl", "text", "should be a JSON object"),
        ("a.jsonl", '["x"]', "table or one JSON|has no .inputs"),
        ("a.jsonl", r'{"inputs": "\ud800"}', "half of a pair"),
    ],
)
def test_predict_refuses_what_is_no_text_and_no_object(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as error:
        inputs.answered(tmp_path / name)
    assert name in str(error.value)


def test_predict_reads_what_is_written_otherwise(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"inputs": "x"}\n\n   {"inputs": "y"}\n\n')
    assert inputs.answered(file) == [{"inputs": "x"}, {"inputs": "y"}]
    file = tmp_path / "text"
    file.write_bytes(b"\xef\xbb\xbf[CLS] a\n[1] b\n")
    assert [r["inputs"] for r in inputs.answered(file)] == ["[CLS] a", "[1] b"]


@pytest.mark.parametrize("value", ["NaN", "1e999", "9" * 5_000, "[" * 10_000])
def test_own_data_refuses_values_that_are_no_json(tmp_path, value):
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"inputs": {value}, "targets": "a"}}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: not JSON"):
        own_data.open_own(str(file), None, None, inputs.BYTES, 0)


def test_labels_that_cannot_be_written_are_told_to_any_task():
    pocket = vocabulary.load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
    for words in (["no  never", "no"], ["\uff21", "A"], ["yes", "<extra_id_0>  a  b"]):
        with pytest.raises(UserError, match="cannot write the label"):
            task.label_ids(words, pocket)
    assert len(task.label_ids(["<extra_id_0> yes", "no"], pocket)) == 2


@pytest.mark.parametrize("words", [["{yes}"], ["\U0001f600", "\U0001f601"]])
def test_labels_of_the_same_ids_are_told(shared, words):
    t5 = vocabulary.load_vocabulary(str(shared / "data/t5/spiece.model"))
    with pytest.raises(UserError, match="cannot write the label"):
        task.label_ids(words, t5)


# Official files


def test_a_small_archive_of_many_lines_is_refused(tmp_path):
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n" * 10**8))
    with pytest.raises(DataError, match=r"a\.jsonl\.gz unpacks to more than 100 times"):
        list(files.mrqa(file))


def test_lines_are_read_one_at_a_time(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"{}\r\n\r\n\n{}\r{}\n" + b"x\n" * 10**6)
    tracemalloc.start()
    places = [where.rpartition(" ")[2] for where, _ in files.jsonl(file)][:4]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert places == ["1", "4", "5", "6"]
    assert most < 1.5e8


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"sentence\xff\tlabel\n", r"a\.tsv, line 1: the text is not UTF-8"),
        (files.GIT_LFS, r"a\.tsv is a pointer of Git LFS"),
    ],
)
def test_an_official_file_that_is_none_is_named(tmp_path, content, words):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        list(files.tsv(tmp_path / "a.tsv", inputs.COLUMNS))


@pytest.mark.parametrize("value", ["NaN", "1e999", "9" * 5_000, "[" * 100_000])
def test_an_official_line_that_is_no_json_is_told(tmp_path, value):
    (tmp_path / "a.jsonl").write_text(f'{{"a": {value}}}\n')
    ((_, parse),) = files.jsonl(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="the line is not JSON"):
        parse()


# Settings


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("CLASS_LABELS=[1]", "CLASS_LABELS is .* a list of str"),
        ("MIXTURE_OR_TASK_MODULE=[1]", "a list of str"),
        ("TASK_FEATURE_LENGTHS={'input': 5}", "keys inputs and targets"),
        ("TASK_FEATURE_LENGTHS={'inputs': 0}", "at least 1"),
        ("TASK_FEATURE_LENGTHS={'inputs': 10**9}", "TASK_FEATURE_LENGTHS"),
        ("TASK_FEATURE_LENGTHS={'inputs': 1000000000}", "at most 1000000"),
        ("TASK_FEATURE_LENGTHS={'inputs': True}", "a dict of str to int"),
        ("PROMPT_LENGTH=1000000000", "at most 100000"),
        ("LENGTH_WINDOW=10000000", "at most 10000"),
        ("SEED=-1", "at least 0"),
        ("SEED=9223372036854775808", "at most"),
        ("mesh.model=[1]", "of type int"),
        ("mesh.data=1.5", "of type int"),
        (f"MODEL_DIR={'a' * 256}", "at most 255 bytes"),
        (f"MIXTURE_OR_TASK_NAME=x/{'a' * 256}.csv", "at most 255 bytes"),
        ("PROMPT_STRING='\\ud800'", "whole characters"),
        (f"SEED={'[' * 5_000}", "SEED"),
        (f"CLASS_LABELS={'[' * 5_000}{']' * 5_000}", "CLASS_LABELS"),
    ],
)
def test_settings_without_sense_are_refused(binding, words):
    with pytest.raises(UserError, match=words):
        config.load([], [binding])


@pytest.mark.parametrize("text", ["-1", "x", "1" * 30, "1.5", "²"])
def test_a_limit_is_a_number_of_lines(text):
    import argparse

    parser = argparse.ArgumentParser(exit_on_error=False)
    tasks.add_flags(parser)
    with pytest.raises(argparse.ArgumentError, match="not a number of lines"):
        parser.parse_args([f"--limit={text}"])
