"""The command line: flags, exit codes, and every error a user meets first."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small

from prompt_tuning import cli
from prompt_tuning.errors import UserError
from prompt_tuning.runs import trained, tune
from prompt_tuning.t5.network import Transformer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return small.save_frozen(tmp_path_factory.mktemp("model") / "frozen.safetensors")


@pytest.fixture
def started(monkeypatch):
    """The settings of each `train` and `evaluate`, which do not run."""
    runs = []

    def evaluate(settings, source):
        runs.append(settings.run)
        raise UserError("enough")

    monkeypatch.setattr(tune, "train", lambda sweep: runs.append(sweep[0].run))
    monkeypatch.setattr(trained, "load", evaluate)
    return runs


def python(*arguments, cwd=ROOT):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
    )


# Flags


def test_help_of_every_command_loads_nothing_heavy():
    result = python(
        "-c",
        """
import sys
from prompt_tuning import cli
from prompt_tuning.commands import parsing
for command in (None, *parsing.COMMANDS):
    try:
        cli.main([command, "--help"] if command else ["--help"])
    except SystemExit as end:
        assert end.code == 0
heavy = {"jax", "tensorflow", "seqio", "numpy", "gin"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
""",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("usage: prompt-tuning") == 15
    assert "--gin.MODEL_DIR" in result.stdout and "--data_dir" in result.stdout


def test_as_a_module_it_says_what_is_wrong_in_one_line_and_nothing_else(tmp_path):
    command = "-m prompt_tuning evaluate --gin.TRAIN_STEP=5"
    result = python(*command.split(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    expected = "prompt-tuning: error: --gin.TRAIN_STEP"
    assert result.stderr.startswith(expected) and "TRAIN_STEPS" in result.stderr
    assert result.stderr.count("\n") == 1


def test_flags_become_settings(started, tmp_path, monkeypatch):
    (tmp_path / "mine.gin").write_text("TRAIN_STEPS = 7\nSEED = 3\n")
    monkeypatch.chdir("/")
    flags = [
        "--gin_file=gin/runs/prompt_tune.gin",
        "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 8}",
        "--data_dir=/official",
        "--gin.MODEL_DIR=runs/my run",
        "--tfds_data_dir",
        "/tfds",
        "--gin.TRAIN_STEPS=9",
    ]
    assert cli.main(["train", *flags]) == 0
    search = ["--gin_file=mine.gin", f"--gin_search_paths=/none,{tmp_path}"]
    assert cli.main(["train", *search]) == 0
    first, second = started
    assert first.task_feature_lengths == {"inputs": 64, "targets": 8}
    assert (first.data_dir, first.tfds_data_dir) == ("/official", "/tfds")
    assert (first.model_dir, first.train_steps) == ("runs/my run", 9)
    assert first.prompt_length == 20  # the file's
    assert (second.train_steps, second.seed) == (7, 3)
    assert second.data_dir is None and second.prompt_length == 100  # nothing is left


def test_a_trained_runs_settings_are_read_from_its_folder(started, tmp_path):
    (tmp_path / "config.gin").write_text('PROMPT_PLACE = "suffix"\nSEED = 3\n')
    (tmp_path / "other.gin").write_text("SEED = 5\n")
    flag = f"--gin.MODEL_DIR={tmp_path}"
    assert cli.main(["evaluate", flag, "--gin.SEED=4"]) == 2
    assert cli.main(["evaluate", flag, f"--gin_file={tmp_path / 'other.gin'}"]) == 2
    assert cli.main(["train", flag]) == 0
    found = [(run.prompt_place, run.seed) for run in started]
    assert found == [("suffix", 4), ("suffix", 5), ("prefix", 0)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "required: COMMAND"),
        (["trian"], "no command 'trian'; did you mean train?"),
        (["x"], "no command 'x'; there are train, evaluate, "),
        (["train", "--model_dir=x"], "unknown argument '--model_dir=x'.*--gin.NAME=V"),
        (["train", "--model_dir=x"], "did you mean --gin.MODEL_DIR=x?"),
        (["train", "--gin.SEED", "3"], "unknown argument '--gin.SEED'"),
        (["train", "--learning_rate=1"], "mean --gin.schedule.learning_rate=1?"),
        (["train", "--lora.rnk=4"], "did you mean --gin.lora.rank=4?"),
        (["train", "--sweeep=SEED=0,1"], "did you mean --sweep?"),
        (["train", "--qqq"], "--gin.NAME=VALUE; prompt-tuning train --help"),
        (["train", "seed=3"], "unknown argument 'seed=3'; .*--gin.NAME=VALUE; prom"),
        (["export"], "required: --output"),
        (["export", "--output=p.npy", "--step=7"], "invalid choice: '7'"),
    ],
)
def test_arguments_that_are_none(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    (error,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert re.search(message, error), error


# Exit codes


def test_exit_codes(monkeypatch, capsys):
    def main(error):
        def raises(sweep):
            raise error

        monkeypatch.setattr(tune, "train", raises)
        return cli.main(["train"])

    assert main(UserError("a; b; c")) == 2
    assert capsys.readouterr().err == "prompt-tuning: error: a; b; c\n"
    assert main(KeyboardInterrupt()) == 130
    assert "the same command to resume" in capsys.readouterr().err
    with pytest.raises(ValueError, match="our own mistake"):
        main(ValueError("our own mistake"))  # is not a user's, and keeps its traceback


def test_a_reader_that_goes_away_is_no_error(monkeypatch):
    """`prompt-tuning tasks | head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["tasks"]) == 0


# Errors


def fails(capfd, command, *arguments, **settings):
    """The message of a command that must fail with one line and no traceback."""
    capfd.readouterr()
    assert small.main(command, *arguments, **settings) == 2
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert err.startswith("prompt-tuning: error: ") and err.count("\n") == 1, err
    return err.removeprefix("prompt-tuning: error: ")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"MIXTURE_OR_TASK_NAME": "small_kin"}, "'small_kin'; near it: small_kind"),
        (
            {"MIXTURE_OR_TASK_MODULE": "my.tasks"},
            "no module 'my.tasks'; prompt_tuning.tasks.pocket",
        ),
        ({"PROMPT_LENGHT": 3}, "PROMPT_LENGHT; did you mean PROMPT_LENGTH"),
        ({"T5Config.emb_dims": 3}, "'emb_dims'; did you mean T5Config.emb_dim"),
        ({"PROMPT_INIT": "zeros"}, "PROMPT_INIT; 'zeros'; class_label"),
        ({"BATCH_SIZE": 12}, "BATCH_SIZE is 12; multiple of 8; 8 devices; 8 would do"),
        ({"BATCH_SIZE": 8, "NUM_MICROBATCHES": 2}, "BATCH_SIZE is 8; 16 would do"),
        ({"mesh.data": 3}, "data=3; 8 devices"),
        ({"EVAL_SPLIT": "test"}, "small_kind; 'test'; it has train, validation"),
        ({"T5Config.emb_dim": 32}, "T5Config.emb_dim is 32; frozen.json; 16"),
        ({"T5Config.num_encoder_layers": 2}, "num_encoder_layers is 2; says; 1"),
        ({"T5Config.vocab_size": 2_000}, "vocab_size is 2000; 2816"),
        ({"METHOD": "both"}, "METHOD is 'both'; prompt, whole, prepended"),
        ({"METHOD": "prompts"}, "METHOD is 'prompts'; did you mean prompt?"),
        ({"DECODING": "label"}, "DECODING is 'label'; did you mean labels?"),
        ({"VOCABULARY": "none.model"}, "vocabulary none.model; SentencePiece"),
        ({"INITIAL_CHECKPOINT_PATH": "no"}, "no frozen model at 'no'; pocket_nano"),
        ({"MODEL_DIR": "{tmp}/file/x"}, "MODEL_DIR '{tmp}/file/x'; Not a dir; give"),
        ({"MODEL_DIR": None}, "MODEL_DIR is not set; --gin.MODEL_DIR="),
        (
            {"PROMPT_INIT": "file", "PROMPT_FILE": "{tmp}/wide.npy"},
            "shape is (4, 32); needs (4, 16); frozen model of the same width",
        ),
        (
            {"PROMPT_INIT": "file", "PROMPT_FILE": "{tmp}/none.npy"},
            "no prompt file at {tmp}/none.npy; give",
        ),
        (
            {
                "MIXTURE_OR_TASK_MODULE": "prompt_tuning.tasks.paper",
                "MIXTURE_OR_TASK_NAME": "cb",
                "Run.data_dir": "{tmp}",
            },
            "{tmp}; CB/train.jsonl",
        ),
        (
            {"TASK_FEATURE_LENGTHS": {"inputs": 0}},
            "TASK_FEATURE_LENGTHS; 0; at least 1",
        ),
        ({"MIXTURE_OR_TASK_NAME": "small_text"}, "small_text has no inputs; pretrain"),
    ],
)
def test_what_train_cannot_use(frozen, tmp_path, capfd, settings, words):
    (tmp_path / "file").touch()
    np.save(tmp_path / "wide.npy", np.zeros((4, 32), np.float32))
    given = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path / "run"} | {
        name: value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value
        for name, value in settings.items()
    }
    message = fails(capfd, "train", **given)
    for word in words.replace("{tmp}", str(tmp_path)).split("; "):
        assert word in message, f"{word!r} is not in {message!r}"


def test_a_vocabulary_larger_than_the_embedding(tmp_path, capfd):
    config = dataclasses.replace(small.CONFIG, vocab_size=2_000)
    path = small.save_frozen(tmp_path / "few.safetensors", Transformer(config))
    given = {"INITIAL_CHECKPOINT_PATH": path, "MODEL_DIR": tmp_path / "run"}
    message = fails(capfd, "train", **given)
    assert "2816 ids" in message and "embeds 2000; give VOCABULARY" in message


def test_a_gin_file_that_is_not_there(capfd):
    message = fails(capfd, "train", "--gin_file=gin/runs/prompt_tun.gin")
    assert "did you mean gin/runs/prompt_tune.gin?" in message


def test_what_evaluate_and_predict_cannot_use(frozen, tmp_path, capfd):
    wide, good = tmp_path / "wide.npy", tmp_path / "good.npy"
    np.save(wide, np.zeros((4, 32)))
    np.save(good, np.zeros((4, 16)))
    flags = {"INITIAL_CHECKPOINT_PATH": frozen}
    for command in ("evaluate", "predict --input=" + os.devnull):
        command = command.split()
        message = fails(capfd, *command, "--prompt", wide, **flags)
        assert f"{wide} is 32 wide, but {frozen} needs 16" in message
        assert "give --prompt=FILE, or the MODEL_DIR" in fails(capfd, *command)
        message = fails(capfd, *command, MODEL_DIR=tmp_path)
        assert f"{tmp_path} holds no prompt.npy" in message
    inputs = {
        b'{"inputs": "a"}\n{"inputs": \n': "line 2 of {} should be a JSON object",
        b'a\n\n{"input": "a"}': 'line 3 of {} has no "inputs"',
        b'{"inputs": ["a"]}': 'line 1 of {} has no "inputs" with a text',
        b"\xff\xfe": "the inputs '{}' cannot be read (.*UTF-8",
    }
    path = tmp_path / "in.txt"
    predict = "predict", "--prompt", good, "--input", path
    assert "cannot be read" in fails(capfd, *predict, **flags)
    for content, expected in inputs.items():
        path.write_bytes(content)
        message = fails(capfd, *predict, **flags)
        for part in expected.format(path).split(".*"):
            assert part in message
    path.write_text("a\n")
    message = fails(capfd, *predict, "--output", tmp_path, **flags)
    assert "is a folder" in message
    message = fails(capfd, *predict, "--output", path / "out.jsonl", **flags)
    assert f"'{path}' cannot be written" in message


def test_what_export_cannot_use(frozen, tmp_path, capfd):
    output = "--output", tmp_path / "p.npy"
    assert "no checkpoints in" in fails(capfd, "export", *output, MODEL_DIR=tmp_path)
    assert "no checkpoints in ''; give" in fails(capfd, "export", *output)
    (tmp_path / "checkpoints").mkdir()
    message = fails(capfd, "export", *output, MODEL_DIR=tmp_path)
    assert "holds no whole checkpoint yet" in message
    flags = {"INITIAL_CHECKPOINT_PATH": frozen, "MODEL_DIR": tmp_path / "run"}
    assert small.main("train", TRAIN_STEPS=1, **flags) == 0
    message = fails(capfd, "export", *output, PROMPT_LENGTH=9, **flags)
    assert "PROMPT_LENGTH is 9" in message and "says 4" in message
    message = fails(capfd, "export", "--output", tmp_path / "p.txt", **flags)
    assert "saved as .npy or .safetensors" in message
    assert not list(tmp_path.glob("p.*")) and not list(tmp_path.glob(".p*"))
    flags["MODEL_DIR"] = tmp_path / "whole"
    assert small.main("train", TRAIN_STEPS=1, METHOD="whole", **flags) == 0
    message = fails(capfd, "export", *output, METHOD="whole", **flags)
    assert "trains the weights: there is no prompt" in message
