"""What stands in a file's place, in the user's terminal, and in a model's folder."""

import io
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
import small
import tiny
from faults import inputs
from flax import serialization
from safetensors import numpy as safetensors
from source import ROOT

from prompt_tuning import cli, exchange
from prompt_tuning import files as checked
from prompt_tuning.commands import params
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import vocabulary, weights
from prompt_tuning.runs import parts, trained
from prompt_tuning.settings import Run, Settings

POINTER = checked.GIT_LFS + b"v1\noid sha256:00\nsize 1\n"


# Files


def beside(folder, name):
    """What reads `name` in `folder`, which `make` has made."""
    return {
        "p.json": lambda: exchange.read_description(folder / "p.npy"),
        "adapter_config.json": lambda: exchange.load_prompt(folder),
        "m.json": lambda: inputs.tensors(folder / "m.safetensors"),
        "config.json": lambda: inputs.tensors(folder),
    }[name]


MADE = {
    "p.json": inputs.npy,
    "adapter_config.json": inputs.peft,
    "m.json": inputs.ours,
    "config.json": inputs.hugging_face,
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("kind", ["pipe", "folder", "lost link", "pointer"])
def test_what_stands_beside_a_file_counts_whatever_it_is(tmp_path, name, kind):
    """It is not taken for absent, which would mean other settings."""
    folder = tmp_path / "x"
    MADE[name](folder)
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    elif kind == "lost link":
        (folder / name).symlink_to("nowhere")
    else:
        (folder / name).write_bytes(POINTER)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        beside(folder, name)()


@pytest.mark.parametrize("ocdbt", [False, True])
def test_a_pipe_in_a_folder_of_orbax_is_not_waited_on(tmp_path, ocdbt):
    folder = inputs.orbax(tmp_path / "x", use_ocdbt=ocdbt)
    data = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] not in "._")
    data[0].unlink()
    os.mkfifo(data[0])
    with pytest.raises(UserError):
        exchange.load_prompt(folder)


@pytest.mark.parametrize("name", ["_METADATA", "_CHECKPOINT_METADATA"])
def test_what_orbax_says_of_a_folder_is_bounded(tmp_path, name):
    folder = inputs.orbax(tmp_path / "x")
    os.truncate(folder / name, 2**40)
    with pytest.raises(UserError):
        exchange.load_prompt(folder)


def test_an_index_of_t5x_is_bounded_and_must_name_parameters(tmp_path):
    folder = inputs.t5x(tmp_path / "x", lambda values: False)
    os.truncate(folder / "checkpoint", 2**40)
    with pytest.raises(UserError, match="checkpoint has 1,099,511,627,776 bytes"):
        inputs.tensors(folder)
    (folder / "checkpoint").write_bytes(POINTER)
    with pytest.raises(UserError, match="checkpoint is a pointer of Git LFS"):
        inputs.tensors(folder)
    empty = serialization.msgpack_serialize({"optimizer": {"target": None}})
    (folder / "checkpoint").write_bytes(empty)
    with pytest.raises(UserError, match="index names no parameters"):
        inputs.tensors(folder)


@pytest.mark.parametrize("id_", ["gzip", "zlib"])
@pytest.mark.parametrize("cut", [2, 5, 9])
def test_a_chunk_is_a_whole_stream(tmp_path, id_, cut):
    """TensorStore does not miss the checksum at its end."""
    array = "target.decoder.layers_0.mlp.wi_0.kernel"
    folder = inputs.t5x(tmp_path / "x", lambda values: values.shape == (16, 24))
    header = folder / array / ".zarray"
    said = json.loads(header.read_text()) | {"compressor": {"id": id_, "level": 1}}
    header.write_text(json.dumps(said))
    packer = zlib.compressobj(wbits={"gzip": 31, "zlib": 15}[id_])
    values = tiny.params()["decoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
    for chunk, place in (("0.0", (0, 0)), ("0.1", (0, 12)), ("1.0", (8, 0))):
        part = values[place[0] : place[0] + 8, place[1] : place[1] + 12]
        packer = zlib.compressobj(wbits={"gzip": 31, "zlib": 15}[id_])
        data = packer.compress(np.ascontiguousarray(part).tobytes()) + packer.flush()
        (folder / array / chunk).write_bytes(data)
    part = np.ascontiguousarray(values[8:, 12:]).tobytes()
    packer = zlib.compressobj(wbits={"gzip": 31, "zlib": 15}[id_])
    data = packer.compress(part) + packer.flush()
    (folder / array / "1.1").write_bytes(data)
    _, found = inputs.tensors(folder)
    np.testing.assert_array_equal(found["decoder/layers_0/mlp/wi_0/kernel"], values)
    (folder / array / "1.1").write_bytes(data[:-cut])
    with pytest.raises(UserError, match=r"1\.1 is no whole stream"):
        inputs.tensors(folder)
    (folder / array / "1.1").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=r"1\.1"):
        inputs.tensors(folder)


@pytest.mark.parametrize("length", [None, "3", True, 0, 1.5])
def test_peft_says_how_many_rows_are_the_prompt(tmp_path, length):
    folder = inputs.peft(tmp_path / "x")
    about = {"num_virtual_tokens": length, "num_transformer_submodules": 2}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"says num_virtual_tokens .* PEFT writes"):
        exchange.load_prompt(folder)


@pytest.mark.parametrize("said", [{"task": 5}, {"length": "3"}, {"place": ["suffix"]}])
def test_what_a_description_says_of_settings_has_their_types(tmp_path, said):
    (tmp_path / "p.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"p\.json says .*makes no sense"):
        exchange.read_description(tmp_path / "p.npy")


def test_a_description_that_cannot_be_is_told_with_its_file(tmp_path):
    for said in ({"place": "behind"}, {"task": "a\0b"}, {"length": 0}):
        (tmp_path / "p.json").write_text(json.dumps(said))
        source = trained.find("", str(tmp_path / "p.npy"))
        with pytest.raises(UserError, match=r"what .*p\.npy says of itself cannot be"):
            trained.base_settings("", source)


def test_the_settings_of_our_own_file_are_names_and_values(tmp_path):
    file = inputs.ours(tmp_path / "x")
    file.with_suffix(".json").write_text('{"config": 5}')
    with pytest.raises(UserError, match=r"m\.json says config 5"):
        inputs.tensors(file)


@pytest.mark.parametrize("name", ["in", "in.jsonl"])
def test_predict_answers_no_pointer_and_no_binary(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(UserError, match=r"in.* is a pointer of Git LFS"):
        inputs.answered(tmp_path / name)
    (tmp_path / name).write_bytes("a text".encode("utf-16-le"))
    with pytest.raises(UserError, match=r"in.* cannot be read .*zero byte"):
        inputs.answered(tmp_path / name)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no such device")
def test_an_endless_device_is_left_at_once():
    with pytest.raises(UserError, match="zero byte"):
        inputs.answered("/dev/zero")


# A model's folder


def built(folder, **changes):
    run = Run(initial_checkpoint_path=str(folder), batch_size=8, **changes)
    return parts.build(Settings(run=run))


@pytest.fixture
def model(tmp_path):
    """A model's folder without a vocabulary."""
    small.save_frozen(tmp_path / "x" / "m.safetensors")
    for path in (tmp_path / "x").glob("spiece.model"):
        path.unlink()
    return tmp_path / "x" / "m.safetensors"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_of_another_kind_is_told(model, name):
    model.with_name(name).write_text("{}")
    with pytest.raises(UserError, match=rf"{name}, but no spiece.model.* VOCABULARY"):
        built(model)
    spiece = str(weights.POCKET / "spiece.model")
    assert built(model, vocabulary=spiece).vocabulary.file == spiece


def test_a_vocabulary_out_of_reach_is_told_in_our_words(model, monkeypatch):
    import tensorstore

    def no_network(*args, **more):
        raise ValueError("UNAVAILABLE: CURL error: Could not resolve host\nstack")

    monkeypatch.setattr(tensorstore.KvStore, "open", no_network)
    with pytest.raises(UserError, match=r"network.*spiece\.model beside ") as error:
        built(model)
    assert "CURL" not in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_model_is_told_before_its_vocabulary_is_looked_for(model):
    model.write_bytes(POINTER)
    with pytest.raises(UserError, match=r"m\.safetensors is a pointer of Git LFS"):
        built(model)
    rows = {"shared.weight": np.ones((4, 2), np.float32)}
    rows |= {"encoder.final_layer_norm.weight": np.ones(2, np.float32)}
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    safetensors.save_file(rows | {name: np.ones((2, 2), np.float32)}, model)
    model.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="not hold a whole T5: it has no decoder"):
        built(model)


def test_torchs_file_may_be_given_by_its_own_name(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(POINTER)
    with pytest.raises(UserError, match=r"model\.bin is a pointer of Git LFS"):
        inputs.tensors(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_prompt_that_is_not_finite_is_none(tmp_path, value):
    rows = tiny.prompt()
    rows[1, 2] = value
    np.save(tmp_path / "p.npy", rows)
    safetensors.save_file({"prompt": rows}, tmp_path / "p.safetensors")
    for name in ("p.npy", "p.safetensors"):
        with pytest.raises(UserError, match="not finite"):
            exchange.load_prompt(tmp_path / name)


def test_a_vocabulary_whose_pieces_are_no_text_is_damaged(tmp_path):
    data = (weights.POCKET / "spiece.model").read_bytes()
    (tmp_path / "spiece.model").write_bytes(data.replace(b"the", b"t\x9fe", 1))
    with pytest.raises(UserError, match=r"spiece\.model cannot be read .*utf-8"):
        vocabulary.load_vocabulary(str(tmp_path / "spiece.model"))


# Terminals and users


class Terminal(io.TextIOWrapper):
    """Standard output in some encoding."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def shown(self):
        return self.buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", rb"\xb1 \u2028"), ("latin-1", b"\xb1 \\u2028"), ("utf-8", None)],
)
def test_a_terminal_may_lack_a_character(monkeypatch, encoding, shown):
    text = "\xb1 \u2028"
    terminal, errors = Terminal(encoding), Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", errors)

    def run(args):
        print(text, end="")
        raise UserError(text)

    monkeypatch.setattr(params, "run", run)
    assert cli.main(["params"]) == 2
    assert terminal.shown() == (shown or text.encode())
    errors.shown().decode(encoding)


def test_answers_are_in_utf_8_in_any_terminal(run, tmp_path, monkeypatch):
    (tmp_path / "in").write_text("é \U0001f600\n", encoding="utf-8")
    terminal = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert small.main("predict", "--input", tmp_path / "in", MODEL_DIR=run) == 0
    assert json.loads(terminal.shown().decode("utf-8"))["inputs"] == "é \U0001f600"


def test_what_is_written_does_not_depend_on_the_locale(tmp_path, monkeypatch):
    """A description may quote what ASCII lacks."""
    code = (
        "import sys; from pathlib import Path; from prompt_tuning import outputs;"
        "outputs.write_json(Path(sys.argv[1]), {'a': '\\xe9'})"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "0"}
    environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.json")],
        env=environment,
        check=True,
    )
    assert json.loads((tmp_path / "a.json").read_bytes().decode()) == {"a": "é"}


def test_a_user_without_a_home_has_no_cache_and_no_error(tmp_path):
    code = """
import os, pwd, sys
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None)
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

def nobody(uid):
    raise KeyError(uid)

pwd.getpwuid = pwd.getpwnam = nobody
import jax
from prompt_tuning import cli
code = cli.main(["plan", "--batch=1", "--mesh=~"])
assert code == 2, code  # no mesh, told after all has started
code = cli.main(["convert", "--output", sys.argv[1]])
assert jax.config.jax_compilation_cache_dir is None
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.safetensors")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "m.json",
        "m.safetensors",
        "spiece.model",
    }


def test_a_tilde_is_the_home_in_every_flag_of_a_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    output = "--output=~/m.safetensors"
    assert cli.main(["convert", output]) == 0
    assert (tmp_path / "m.safetensors").is_file()
    (tmp_path / "a.gin").write_text("NO = 1\n")
    for flag, said in (
        ("--gin_file=~/a.gin", "binds NO"),
        ("--gin.INITIAL_CHECKPOINT_PATH=~/no", f"{tmp_path}/no"),
    ):
        assert cli.main(["convert", output, flag]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "text").write_text("a\n")
    for flags in (["--prompt=~/p.npy", "--input=~/text"], ["--input=~/in"]):
        assert cli.main(["predict", *flags]) == 2
        assert f"{tmp_path}/" in capsys.readouterr().err
