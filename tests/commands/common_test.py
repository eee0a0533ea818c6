"""Flags become settings, over those that something was trained with."""

import argparse

import pytest
import small

from prompt_tuning.commands import common
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.runs import parts


def arguments(*bindings, **changes):
    """What cli.py makes of flags."""
    flags = {"gin_file": [], "gin_search_paths": "", "data_dir": None}
    flags |= {"tfds_data_dir": None, "bindings": [*bindings]} | changes
    return argparse.Namespace(**flags)


def test_data_folders_are_flags_of_their_own():
    found = common.settings(arguments("SEED=3", data_dir="/d", tfds_data_dir="/t"))
    assert (found.run.data_dir, found.run.tfds_data_dir) == ("/d", "/t")
    assert found.run.seed == 3
    assert common.settings(arguments("DATA_DIR=/d")).run.data_dir == "/d"
    for name in ("DATA_DIR", "Run.data_dir"):
        with pytest.raises(UserError, match=r"--data_dir and --gin\.DATA_DIR are"):
            common.settings(arguments(f"{name}=/d", data_dir="/e"))


def test_what_a_run_was_made_with_holds_until_a_flag_says_otherwise(run):
    flag = f"MODEL_DIR={run}"
    settings, source = common.settings_of_trained(arguments(flag, "DECODING=labels"))
    assert source.path == run and source.said["label_words"] == list(small.LABELS)
    assert settings.run.prompt_length == 4 and settings.run.batch_size == 8
    assert settings.run.decoding == "labels" and settings.model["emb_dim"] == 16


def test_a_prompt_brings_the_settings_of_its_own_run(run, tmp_path):
    other = tmp_path / "config.gin"
    other.write_text("BATCH_SIZE = 9\n")
    for path in (run, run / "prompt.npy", run / "checkpoints" / "8"):
        for more in ([], [f"MODEL_DIR={tmp_path}"]):
            settings, _ = common.settings_of_trained(arguments(*more), str(path))
            assert settings.run.batch_size == 8
            assert settings.run.model_dir == (str(tmp_path) if more else "")


def test_another_prompt_is_believed_before_the_run(run, tmp_path):
    (tmp_path / "p.json").write_text('{"place": "suffix", "length": 7}')
    found = arguments(f"MODEL_DIR={run}")
    settings, source = common.settings_of_trained(found, str(tmp_path / "p.npy"))
    assert settings.run.prompt_place == "suffix" and settings.run.prompt_length == 7
    assert settings.run.mixture_or_task_name == "small_kind"
    assert source.path == tmp_path / "p.npy"


def test_templates_stay_with_the_file_that_they_were_made_for(tmp_path):
    """Zero-shot transfer to a task without columns drops them, to a file does not."""
    said = '{"task": "/data/own.csv", "inputs": "{text}", "targets": "{label}"}'
    (tmp_path / "p.json").write_text(said)

    def templates(*bindings):
        found = arguments(*bindings)
        settings, _ = common.settings_of_trained(found, str(tmp_path / "p.npy"))
        return settings.run.inputs, settings.run.targets

    assert (
        templates() == templates("MIXTURE_OR_TASK_NAME=b.tsv") == ("{text}", "{label}")
    )
    assert templates("MIXTURE_OR_TASK_NAME=cb") == (None, None)
    assert templates("MIXTURE_OR_TASK_NAME=cb", "INPUTS='{a}'") == ("{a}", None)


def test_a_run_of_the_first_version_names_its_modules_as_they_were(tmp_path):
    modules = "Run.mixture_or_task_module = ('tasks.pocket', 'tasks.paper')\n"
    (tmp_path / "config.gin").write_text(modules + "Run.seed = 3\n")
    found = arguments(f"MODEL_DIR={tmp_path}")
    settings, _ = common.settings_of_trained(found)
    assert settings.run.seed == 3
    vocabulary = load_vocabulary(parts.vocabulary_name(settings.run))
    task = parts.open_task(settings.run, vocabulary)
    assert task.name == "pocket_kind" and len(task.label_words()) == 8
