"""The launchers end with the same command, here run with stand-ins on PATH."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
FLAGS = ["--gin_file=gin/models/xxl.gin", "--gin.CLASS_LABELS=['a b', 'c']"]


@pytest.fixture
def launch(tmp_path):
    """Runs a launcher; each program it starts tells its arguments and the GPUs."""
    for name in ("gcloud", "srun", "prompt-tuning"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho {name}\nfor x; do echo "$x"; done\n'
            'echo "GPUs ${CUDA_VISIBLE_DEVICES:-all}"\n'
        )
        program.chmod(0o755)

    def run(script, **variables):
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", SCRIPTS / script, *FLAGS],
            env={"PATH": path} | variables,
            capture_output=True,
            text=True,
        )

    return run


def test_a_gpu_box(launch):
    run = launch("launch_gpu_box.sh")
    assert run.stdout.splitlines() == ["prompt-tuning", "train", *FLAGS, "GPUs all"]
    assert "GPUs 0,1" in launch("launch_gpu_box.sh", GPUS="0,1").stdout


def test_slurm(launch):
    lines = launch("launch_slurm.sh").stdout.splitlines()
    assert lines[:-1] == ["srun", "prompt-tuning", "train", *FLAGS]


def test_a_tpu_pod(launch):
    lines = launch("launch_tpu_pod.sh", TPU="slice", ZONE="zone").stdout.splitlines()
    assert lines[:7] == ("gcloud compute tpus tpu-vm ssh slice --zone=zone".split())
    assert lines[7] == "--worker=all"
    # What the shell of each host makes of it.
    command = shlex.split(lines[8].removeprefix("--command="))
    assert command == ["prompt-tuning", "train", *FLAGS]
    project = launch("launch_tpu_pod.sh", TPU="slice", ZONE="zone", PROJECT="mine")
    assert "--project=mine" in project.stdout


def test_a_tpu_pod_without_a_name_is_told(launch):
    run = launch("launch_tpu_pod.sh")
    assert run.returncode != 0 and "set TPU to the name" in run.stderr


@pytest.mark.parametrize("script", sorted(p.name for p in SCRIPTS.glob("*.sh")))
def test_a_launcher_opens_with_its_usage(script):
    text = (SCRIPTS / script).read_text()
    assert f"scripts/{script}" in text.split("set -euo pipefail")[0]
    assert os.access(SCRIPTS / script, os.X_OK)
