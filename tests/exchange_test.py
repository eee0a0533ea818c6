"""What is shipped comes back as it went, and is checked against what it says."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors import numpy as safetensors

import prompt_tuning
from prompt_tuning import config, exchange
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.settings import Adafactor, Run, Settings
from prompt_tuning.t5.extra import (
    AttentionExtra,
    Extra,
    LabelRows,
    LayerExtra,
    LowRank,
)
from prompt_tuning.training import checkpoints, optimizer
from prompt_tuning.training.step import new_state

ADAFACTOR = optimizer.adafactor(0.3, Adafactor())
VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
BYTES = load_vocabulary("byt5")


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# What a prompt says of itself


def described(**changes):
    run = Run(**{"prompt_length": 3, "mixture_or_task_name": "small_kind"} | changes)
    return exchange.description(
        Settings(run=run),
        frozen_model="ab" * 32,
        vocabulary=VOCABULARY,
        label_words=("food", "bird"),
        target_length=2,
        width=16,
    )


def test_a_description_is_json_and_says_what_made_the_prompt():
    said = described(seed=5, prompt_place="suffix", prompt_init="random_uniform")
    assert json.loads(json.dumps(said)) == said
    assert said == {
        "method": "prompt",
        "options": None,
        "frozen_model": "pocket_nano",
        "frozen_fingerprint": "ab" * 32,
        "vocabulary": None,
        "vocabulary_fingerprint": VOCABULARY.fingerprint(),
        "task": "small_kind",
        "module": "prompt_tuning.tasks.pocket prompt_tuning.tasks.paper",
        "data_dir": None,
        "tfds_data_dir": None,
        "inputs": None,
        "targets": None,
        "label_words": ["food", "bird"],
        "target_length": 2,
        "length": 3,
        "width": 16,
        "init": "random_uniform",
        "place": "suffix",
        "decoding": "greedy",
        "wayward_text": None,
        "wayward_weight": None,
        "seed": 5,
        "prompt_tuning": prompt_tuning.__version__,
    }


def test_paths_in_a_description_are_whole_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("frozen.safetensors").touch()
    said = described(initial_checkpoint_path="frozen.safetensors", vocabulary="t5")
    assert said["frozen_model"] == str(tmp_path / "frozen.safetensors")
    assert said["vocabulary"] == "t5"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("frozen_model", "models/a.safetensors"),
        ("vocabulary", "a.model"),
        ("data_dir", "some/data"),
        ("task", "mine/a.csv"),
    ],
)
def test_a_relative_path_is_found_from_any_folder(tmp_path, monkeypatch, key, name):
    """Relative to where the run was started, which is most often above it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / "runs/a/prompt.json").write_text(json.dumps({key: name}))
    monkeypatch.chdir(tmp_path / "elsewhere")
    for path in (tmp_path / "runs/a", Path("../runs/a/prompt.npy")):
        assert exchange.read_description(path)[key] == str(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert exchange.read_description(Path("runs/a"))[key] == name
    (tmp_path / name).unlink()
    assert exchange.read_description(Path("runs/a"))[key] == name


def test_names_of_no_path_stay(tmp_path):
    said = {"task": "cb", "frozen_model": "pocket_nano", "vocabulary": "t5"}
    for name in said.values():
        (tmp_path / name).mkdir()
    (tmp_path / "prompt.json").write_text(json.dumps(said))
    assert exchange.read_description(tmp_path) == said


def test_what_a_prompt_says_are_settings_under_the_users_own():
    said = described(prompt_place="suffix", vocabulary="byt5", method="prepended")
    settings = exchange.said_settings(said)
    run = config.load([], settings).run
    assert run == Run(
        method="prepended",
        vocabulary="byt5",
        mixture_or_task_name="small_kind",
        mixture_or_task_module="prompt_tuning.tasks.pocket prompt_tuning.tasks.paper",
        prompt_length=3,
        prompt_place="suffix",
    )
    over = config.load([], [*settings, "MIXTURE_OR_TASK_NAME=cb"])
    assert over.run == dataclasses.replace(run, mixture_or_task_name="cb")
    assert exchange.said_settings({}) == [], "a released prompt says nothing"


@pytest.mark.parametrize("name", ["it's a folder", 'a "b"', "a, b", "%x", "@y", "7"])
def test_a_path_of_any_spelling_is_said(name):
    said = exchange.said_settings(described(initial_checkpoint_path=name))
    assert config.load([], said).run.initial_checkpoint_path == name


def test_settings_that_contradict_a_prompt_name_both_sides():
    said, path = described(prompt_place="suffix"), Path("p.npy")
    its = Run(prompt_place="suffix", prompt_length=3)
    exchange.check_settings(path, said, Settings(run=its))
    exchange.check_settings(path, {}, Settings(run=Run(method="whole")))
    for changes, message in (
        (
            {"prompt_place": "prefix"},
            "PROMPT_PLACE is 'prefix', but p.npy says 'suffix': leave PROMPT_PLACE out",
        ),
        (
            {"method": "whole"},
            "METHOD is 'whole', but p.npy says 'prompt': leave METHOD out",
        ),
        ({"prompt_length": 5}, "PROMPT_LENGTH is 5, but p.npy says 3: leave PROMPT_LE"),
    ):
        run = dataclasses.replace(its, **changes)
        with pytest.raises(UserError, match=message):
            exchange.check_settings(path, said, Settings(run=run))


def test_another_task_may_be_asked_of_a_prompt():
    run = Run(mixture_or_task_name="cb", prompt_length=3)
    exchange.check_settings(Path("p.npy"), described(), Settings(run=run))


def test_a_prompt_of_another_model_or_vocabulary_is_an_error():
    path, said = Path("p.npy"), described(initial_checkpoint_path="t5_large")
    good = {"frozen_model": "ab" * 32, "name": "mine", "vocabulary": VOCABULARY}
    exchange.check(path, said, **good)
    exchange.check(path, {}, **good | {"frozen_model": "cd" * 32})
    for wrong, message in (
        (
            {"frozen_model": "cd" * 32},
            r"p.npy was trained on t5_large \(fingerprint abababababab\), but the "
            r"frozen model mine is another \(cdcdcdcdcdcd\): give INITIAL_CHECK",
        ),
        ({"vocabulary": BYTES}, "p.npy was trained with another vocabulary .*VOCABUL"),
    ):
        with pytest.raises(UserError, match=message):
            exchange.check(path, said, **good | wrong)


def test_a_description_lies_beside_a_file_or_in_a_run(tmp_path, capsys):
    def written(name, said):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(said))

    (tmp_path / "run/checkpoints/4").mkdir(parents=True)
    assert exchange.read_description(tmp_path / "run") == {}
    written("run/description.json", {"step": None})
    for started in ("run", "run/checkpoints/4"):
        assert exchange.read_description(tmp_path / started) == {"step": None}
    written("run/model.json", {"step": 6})
    assert exchange.read_description(tmp_path / "run") == {"step": 6}
    written("run/prompt.json", {"step": 8})
    for ended in ("run", "run/prompt.npy"):
        assert exchange.read_description(tmp_path / ended) == {"step": 8}
    written("p.json", ["other software's"])
    assert exchange.read_description(tmp_path / "p.npy") == {}
    assert "p.json does not describe" in capsys.readouterr().err
    assert exchange.read_description(tmp_path / "absent.npy") == {}


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_a_damaged_description_is_an_error(tmp_path, content):
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(UserError, match=r"p\.json cannot be read .*or remove it"):
        exchange.read_description(tmp_path / "p.npy")


# What a method folds to


@pytest.mark.parametrize(("model", "prompt"), [(0, 1), (1, 0), (1, 1)])
def test_what_was_folded_is_written_with_what_it_says(tmp_path, model, prompt):
    params, prompt_PxD = tiny.params(), jnp.asarray(tiny.prompt())
    written = exchange.save(
        tmp_path,
        params if model else None,
        tiny.extra(prompt_PxD if prompt else None),
        tiny.CONFIG,
        VOCABULARY,
        {"task": "t", "step": 5},
    )
    expected = ["model.safetensors"] * model + ["prompt.npy"] * prompt
    assert [path.name for path in written] == expected
    said = exchange.read_description(tmp_path)
    assert said["task"] == "t" and said["ships_model"] == bool(model)
    assert said["ships_extra"] is False and exchange.find_extra(tmp_path) is None
    if model:
        assert weights.find_vocabulary(str(written[0])).read_bytes()
        found = safetensors.load_file(written[0])
        table_VxD = params["token_embedder"]["embedding"]
        np.testing.assert_array_equal(found["token_embedder/embedding"], table_VxD)
        about = json.loads((tmp_path / "model.json").read_text())
        assert about["config"]["emb_dim"] == 16 and about["step"] == 5
    if prompt:
        np.testing.assert_array_equal(exchange.load_prompt(tmp_path), tiny.prompt())


EXTRA = Extra(
    encoder=LayerExtra(
        self_attention=AttentionExtra(
            query=LowRank(jnp.ones((1, 16, 2)), jnp.ones((1, 2, 8))),
            key_scale=jnp.ones((1, 8)),
        )
    ),
    decoder=LayerExtra(keys=jnp.ones((2, 3, 2, 4)), values=jnp.zeros((2, 3, 2, 4))),
    label_rows=LabelRows(jnp.array([7, 5]), jnp.ones((2, 16))),
)


def test_what_is_more_than_a_prompt_comes_back_whole(tmp_path):
    given = tmp_path, None, EXTRA, tiny.CONFIG, VOCABULARY, {"task": "t"}
    (path,) = exchange.save(*given)
    assert path == tmp_path / "extra.safetensors" == exchange.find_extra(path)
    said = exchange.read_description(tmp_path)
    assert said == {"task": "t", "ships_model": False, "ships_extra": True}
    found = exchange.load_extra(path)
    assert jax.tree.structure(found) == jax.tree.structure(EXTRA)
    jax.tree.map(np.testing.assert_array_equal, found, EXTRA)
    names = set(safetensors.load_file(path))
    assert {"encoder.self_attention.query.down", "label_rows.ids"} <= names


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"encoder.middle": np.ones(2)}, "holds encoder.middle, which has no place"),
        ({}, "holds no arrays"),
        ({"input_shift": np.full((2, 3), np.nan)}, "input_shift that are not finite"),
        ({"label_rows.ids": np.ones(2)}, "cannot be read"),
    ],
)
def test_an_extra_that_makes_no_sense_is_refused(tmp_path, arrays, problem):
    safetensors.save_file(arrays, tmp_path / "extra.safetensors")
    with pytest.raises(UserError, match=problem):
        exchange.load_extra(tmp_path / "extra.safetensors")


# Prompts


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_a_prompt_comes_back_with_what_made_it(tmp_path, suffix):
    path = tmp_path / "new" / f"prompt{suffix}"
    exchange.save_prompt(path, jnp.asarray(tiny.prompt()), {"task": "t", "step": 5})
    loaded = exchange.load_prompt(path)
    np.testing.assert_array_equal(loaded, tiny.prompt())
    assert loaded.dtype == np.float32
    assert json.loads((tmp_path / "new/prompt.json").read_text()) == {
        "task": "t",
        "step": 5,
    }
    assert len(files(tmp_path)) == 2, "no temporary file stays"


def test_a_prompt_of_an_unknown_kind_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"\.npy or \.safetensors"):
        exchange.save_prompt(tmp_path / "prompt.txt", tiny.prompt(), {})
    assert not files(tmp_path)


def test_a_folder_of_pefts_comes_back_with_what_made_it(tmp_path):
    folder = tmp_path / "new" / "mine"
    said = {"method": "prompt", "place": "prefix", "length": 3, "label_words": ["no"]}
    for _ in range(2):  # a second time over the first
        exchange.save_peft(folder, jnp.asarray(tiny.prompt()), said)
    assert {path.name for path in files(folder)} == {
        exchange.PEFT,
        "adapter_config.json",
    }
    about = json.loads((folder / "adapter_config.json").read_text())
    assert about["num_virtual_tokens"] == 3 and about["token_dim"] == 16
    assert about["num_transformer_submodules"] == 1
    assert (about["peft_type"], about["task_type"]) == ("PROMPT_TUNING", "SEQ_2_SEQ_LM")
    for path in (folder, folder / exchange.PEFT):
        np.testing.assert_array_equal(exchange.load_prompt(path), tiny.prompt())
        assert said.items() <= exchange.read_description(path).items()


def test_what_pefts_folder_says_is_less(tmp_path):
    exchange.save_peft(tmp_path, tiny.prompt(), {"frozen_model": "some/t5"})
    expected = {"method": "prompt", "place": "prefix", "length": 3}
    said = exchange.read_description(tmp_path)
    assert said == expected | {"frozen_model": "some/t5", "format": "pt"}
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json, which says how many are"):
        exchange.load_prompt(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"peft_type": "PREFIX_TUNING"},
            "says peft_type 'PREFIX_TUNING'; only a prompt",
        ),
        ({"task_type": "CAUSAL_LM"}, "says task_type 'CAUSAL_LM'; only a prompt in fr"),
        ({"token_dim": 8}, "holds rows of 16, but adapter_config.* says token_dim 8"),
    ],
)
def test_another_adapter_is_refused(tmp_path, changes, message):
    exchange.save_peft(tmp_path, tiny.prompt(), {})
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(about | changes))
    with pytest.raises(UserError, match=message):
        exchange.load_prompt(tmp_path)


def test_what_peft_would_do_otherwise_is_not_written(tmp_path):
    with pytest.raises(UserError, match="PROMPT_PLACE of this prompt is 'suffix', but"):
        exchange.save_peft(tmp_path, tiny.prompt(), {"place": "suffix"})
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match=r"holds config\.json, which would be read"):
        exchange.save_peft(tmp_path, tiny.prompt(), {})
    assert [path.name for path in files(tmp_path)] == ["config.json"]


def test_what_is_no_prompt_is_an_error(tmp_path):
    path = tmp_path / "p.npy"
    with pytest.raises(UserError, match="no prompt file"):
        exchange.load_prompt(path)
    for array, expected in (
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([["word"]]), "cannot be read"),
    ):
        np.save(path, array)
        with pytest.raises(UserError, match=expected):
            exchange.load_prompt(path)
    np.save(path, tiny.prompt())
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:40], whole[:-4]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} cannot be read as a prompt"):
            exchange.load_prompt(path)
    several = tmp_path / "p.safetensors"
    safetensors.save_file({"a": np.zeros((1, 1)), "b": np.zeros((1, 1))}, several)
    with pytest.raises(UserError, match="one array"):
        exchange.load_prompt(several)


def test_a_prompt_is_read_out_of_a_step_and_out_of_no_other_folder(tmp_path):
    states = checkpoints.manager(tmp_path / "checkpoints")
    state = new_state(jnp.asarray(tiny.prompt()), ADAFACTOR)
    checkpoints.save_state(states, state, 4, 1.0)
    states.wait_until_finished()
    loaded = exchange.load_prompt(tmp_path / "checkpoints/4")
    np.testing.assert_array_equal(loaded, tiny.prompt())
    with pytest.raises(UserError, match="no checkpoint with a prompt; give a fini"):
        exchange.load_prompt(tmp_path / "checkpoints")


def test_a_safetensors_file_alone_says_what_its_json_said(tmp_path):
    said = {"place": "suffix", "length": 3, "label_words": ["no"], "vocabulary": None}
    exchange.save_prompt(tmp_path / "p.safetensors", tiny.prompt(), said)
    (tmp_path / "p.json").unlink()
    assert exchange.read_description(tmp_path / "p.safetensors") == said
    old = {"place": "suffix", "length": "3", "score": "0.5"}  # as 0.1.0 wrote them
    safetensors.save_file({"prompt": tiny.prompt()}, tmp_path / "old.safetensors", old)
    expected = {"place": "suffix", "length": 3, "score": 0.5}
    assert exchange.read_description(tmp_path / "old.safetensors") == expected
    (tmp_path / "none.safetensors").write_bytes(b"none")
    assert exchange.read_description(tmp_path / "none.safetensors") == {}


def test_a_prompt_to_start_from_stood_in_the_same_place():
    path = Path("p.npy")
    for said in ({}, {"place": "suffix"}):
        exchange.check_start(path, said, "suffix")
    with pytest.raises(UserError, match=r"'prefix', but .*p\.npy, says 'suffix': set"):
        exchange.check_start(path, {"place": "suffix"}, "prefix")


# Prompts that are text


def test_a_prompt_of_pieces_says_its_ids_its_text_and_what_that_reads(tmp_path, capsys):
    ids, path = VOCABULARY.encode("the cat is"), tmp_path / "prompt.txt"
    said = exchange.in_words(np.array(ids, np.int32), VOCABULARY)
    assert said == {"tokens": ids, "text": "the cat is", "text_tokens": ids}
    assert json.loads(json.dumps(said)) == said
    read = VOCABULARY.encode(f"{said['text']} a bird")
    assert read == [*said["tokens"], *VOCABULARY.encode("a bird")]
    exchange.save_text(path, said)
    assert (path.read_text(), capsys.readouterr().err) == ("the cat is\n", "")


def test_a_text_that_reads_otherwise_says_so(tmp_path, capsys):
    """The pieces of one word, cut another way."""
    every = {VOCABULARY.piece(i): i for i in range(VOCABULARY.vocab_size)}
    path, ids = tmp_path / "prompt.txt", [every["▁is"], *(every[x] for x in "the")]
    said = exchange.in_words(ids, VOCABULARY)
    assert said["text"] == "isthe" and said["text_tokens"] != ids
    exchange.save_text(path, said)
    assert path.read_text() == "isthe\n"
    told = capsys.readouterr().err
    assert "not quite the prompt: the vocabulary makes" in told
    assert "the prompt has 4, and they differ from position" in told


def test_vectors_that_are_no_pieces_have_no_text(tmp_path):
    with pytest.raises(UserError, match="'prompt', whose vectors are no pieces"):
        exchange.save_text(tmp_path / "prompt.txt", {"method": "prompt"})
    assert not files(tmp_path)


def test_a_prompt_of_another_length_than_it_says_is_refused(tmp_path):
    path = tmp_path / "p.npy"
    length = len(tiny.prompt())
    exchange.save_prompt(path, tiny.prompt(), {"length": length + 1})
    with pytest.raises(UserError, match=f"length is {length + 1}, but it holds"):
        exchange.load_prompt(path)
    exchange.save_prompt(path, tiny.prompt(), {"in_front": length + 1})
    with pytest.raises(UserError, match=f"{length + 1} vectors stand in front"):
        exchange.load_prompt(path)
    exchange.save_prompt(path, tiny.prompt(), {"length": length, "in_front": length})
    assert len(exchange.load_prompt(path)) == length


def test_a_description_is_of_one_file_alone(tmp_path):
    said, other = {"seed": 1, "step": 4}, {"seed": 2, "step": 4}
    exchange.save_prompt(tmp_path / "p.safetensors", tiny.prompt(), said)
    exchange.check_prompt_output(tmp_path / "p.safetensors")  # its own
    with pytest.raises(UserError, match=r"describes .*p\.safetensors, not .*p\.npy"):
        exchange.check_prompt_output(tmp_path / "p.npy")
    (tmp_path / "data.json").write_text("[]")
    with pytest.raises(
        UserError, match=r"data\.json is there, and describes something"
    ):
        exchange.check_prompt_output(tmp_path / "data.npy")
    exchange.check_prompt_output(tmp_path / "new.npy")
    exchange.save_prompt(tmp_path / "p.npy", tiny.prompt(), other)
    with pytest.raises(UserError, match=r"p\.json says seed 2, but .* itself says 1"):
        exchange.read_description(tmp_path / "p.safetensors")
    assert exchange.read_description(tmp_path / "p.npy") == other
