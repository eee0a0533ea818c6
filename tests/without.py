"""The command line where TensorFlow cannot be imported. Nothing here is a test."""

import os
import subprocess
import sys

from source import ROOT

PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "seqio", "tensorflow_datasets"}:
            raise ModuleNotFoundError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocker())
from prompt_tuning import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def without_tensorflow(folder, *arguments):
    """What `prompt-tuning ARGUMENTS` prints in `folder`; it must not fail."""
    result = run(folder, *arguments)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def run(folder, *arguments):
    """The finished process, whatever came of it."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
