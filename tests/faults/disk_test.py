"""A disk that is full, a folder that goes away: one line, and the same command goes on.

Each in a process of its own, as a user's is: what was being saved must not keep it.
"""

import subprocess
import sys

import pytest
import small
from small import environment, outcome, trained

# Does something to MODEL_DIR when step 4 has been reported.
AT_STEP_4 = """
import os, shutil, sys
from pathlib import Path
from prompt_tuning import cli
from prompt_tuning.training.progress import Progress
report, act = Progress.step, sys.argv.pop(1)
folder = Path(next(a for a in sys.argv if "MODEL_DIR" in a).partition("=")[2])
def reported(self, step, *rest):
    report(self, step, *rest)
    if step == 4:
        exec(act)
Progress.step = reported
cli.console()
"""
FILL = """
try:
    with open(folder.parent / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
except OSError:
    pass
"""


def ended(act, frozen, folder):
    """What a run wrote on stderr, to whose folder that happened."""
    flags = small.flags(INITIAL_CHECKPOINT_PATH=frozen, MODEL_DIR=folder)
    found = subprocess.run(
        [sys.executable, "-c", AT_STEP_4, act, "train", *flags],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert found.returncode == 2, found.stderr[-2000:]
    assert "Traceback" not in found.stderr
    return found.stderr.strip().splitlines()[-1]


def test_a_folder_that_was_removed_is_told_and_made_anew(run, frozen, tmp_path):
    told = ended("shutil.rmtree(folder)", frozen, tmp_path / "run")
    assert "cannot" in told and "the same command goes on" in told
    trained(tmp_path / "run", frozen)
    assert outcome(tmp_path / "run") == outcome(run)


@pytest.mark.slow
def test_a_run_goes_on_when_a_full_disk_has_room_again(run, frozen, tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        told = ended(FILL, frozen, tmp_path / "run")
        assert "No space left on device" in told and "make room" in told
        (tmp_path / "filler").unlink()
        trained(tmp_path / "run", frozen)
        assert outcome(tmp_path / "run") == outcome(run)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
