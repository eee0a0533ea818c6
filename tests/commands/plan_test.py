"""`plan` reads a model's file, or what the frozen model says of itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def plan(*flags):
    """Its output, from a process of its own: it makes devices of the CPU's."""
    command = [sys.executable, "-m", "prompt_tuning", "plan", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_embedded_model_is_planned_for_a_mesh():
    lengths = "--gin.TASK_FEATURE_LENGTHS={'inputs': 16, 'targets': 2}"
    result = plan("--mesh=2x2", "--batch=4", lengths, "--gin.PROMPT_LENGTH=5")
    assert result.returncode == 0, result.stderr
    assert "1,162,816 parameters in float32" in result.stdout
    assert "4 examples in 1 parts, inputs 16, targets 2, prompt 5" in result.stdout
    assert "mesh data=2 x model=2" in result.stdout


def test_a_size_or_a_mesh_that_is_none_is_one_plain_message():
    for flag, words in (("--model=huge", "gin/models/huge.gin"), ("--mesh=8", "8x4")):
        result = plan(flag)
        assert result.returncode == 2 and result.stderr.count("\n") == 1
        assert words in result.stderr


def test_a_method_is_planned_by_its_own_shapes_and_labels():
    """WARP's rows are those of the task's label words, which the plan looks up."""
    lengths = "--gin.TASK_FEATURE_LENGTHS={'inputs': 16, 'targets': 2}"
    task = "--gin.MIXTURE_OR_TASK_NAME=pocket_mood"
    result = plan(lengths, "--batch=4", "--gin.METHOD=warp", task)
    assert result.returncode == 0, result.stderr
    assert "values, METHOD=warp" in result.stdout
    assert "shipped   more than a prompt of" in result.stdout
    result = plan(lengths, "--batch=4", "--gin.METHOD=pez", "--gin.PROMPT_LENGTH=5")
    assert "480 values, METHOD=pez" in result.stdout, result.stderr
    refused = plan(lengths, "--gin.METHOD=superpos")
    assert refused.returncode == 2 and "PROMPT_INIT" in refused.stderr
