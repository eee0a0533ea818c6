"""Flags become settings, over those that something was trained with."""

import argparse

import small

from prompt_tuning.commands import common


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


def test_what_a_run_was_made_with_holds_until_a_flag_says_otherwise(run):
    flag = f"MODEL_DIR={run}"
    settings, source = common.settings_of_trained(arguments(flag, "DECODING=labels"))
    assert source.path == run and source.said["label_words"] == list(small.LABELS)
    assert settings.run.prompt_length == 4 and settings.run.batch_size == 8
    assert settings.run.decoding == "labels" and settings.model["emb_dim"] == 16


def test_another_prompt_is_believed_before_the_run(run, tmp_path):
    (tmp_path / "p.json").write_text('{"place": "suffix", "length": 7}')
    found = arguments(f"MODEL_DIR={run}")
    settings, source = common.settings_of_trained(found, str(tmp_path / "p.npy"))
    assert settings.run.prompt_place == "suffix" and settings.run.prompt_length == 7
    assert settings.run.mixture_or_task_name == "small_kind"
    assert source.path == tmp_path / "p.npy"
