"""Builds sdist and wheel, and tests them outside the checkout: `make wheel`.

The wheel is built from the sdist, so that this is whole too. It is installed into a
scratch environment that borrows its dependencies from the Python running this script,
so TensorFlow is not installed twice. prompt_tuning, its tasks, gin files and pocket
come from the wheel alone; the working directory is empty.
"""

import fnmatch
import importlib
import os
import pkgutil
import shutil
import site
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Folders of the checkout, and their places in the wheel.
PACKAGED = {
    "prompt_tuning": "prompt_tuning",
    "tasks": "prompt_tuning/tasks",
    "gin": "prompt_tuning/gin",
}
LEFT_OUT = "prompt_tuning/pocket/pocket_mini_lm[15]0.*"  # as in setup.py
LARGEST = 60_000_000  # bytes of the wheel

# What runs when it is imported, and what needs T5X.
NOT_IMPORTED = ("prompt_tuning.__main__", "prompt_tuning.engines.t5x")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        wheel = build(scratch)
        check_contents(wheel)
        python = install(wheel, scratch)
        try_installed(python, scratch)


def build(scratch: Path) -> Path:
    """Builds from a copy, as an old build/ in the checkout would add removed files."""
    source = scratch / "source"
    for folder in PACKAGED:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=unwanted)
    for name in ("setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    module("build", "--quiet", "--sdist", "--outdir", scratch, source)
    (sdist,) = scratch.glob("*.tar.gz")
    pip("wheel", "--no-deps", "--use-pep517", "--wheel-dir", scratch, sdist)
    (wheel,) = scratch.glob("*.whl")
    module("twine", "check", "--strict", sdist, wheel)
    return wheel


def check_contents(wheel: Path) -> None:
    """Exits unless the wheel holds exactly the files that it should, and is small."""
    expected = {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in PACKAGED.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected = {name for name in expected if not fnmatch.fnmatch(name, LEFT_OUT)}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    if found != expected:
        sys.exit(
            f"{wheel.name} lacks {sorted(expected - found)} and should not hold "
            f"{sorted(found - expected)}; see packages and package_data in setup.py"
        )
    size = wheel.stat().st_size
    print(f"{wheel.name} holds {len(found)} files, {size:,} bytes")
    if size > LARGEST:
        sys.exit(f"{wheel.name} is larger than {LARGEST:,} bytes")


def install(wheel: Path, scratch: Path) -> Path:
    """The Python of a new environment, with the wheel and this Python's packages."""
    venv.create(scratch / "venv", symlinks=True)
    python = scratch / "venv" / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-compile", wheel)
    # Path files inside a borrowed folder are not read, so a checkout installed there in
    # editable mode stays hidden.
    (packages,) = (scratch / "venv").glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def pip(*arguments: object) -> None:
    module("pip", "--quiet", "--disable-pip-version-check", *arguments)


def module(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", name, *map(str, arguments)], check=True)


def try_installed(python: Path, scratch: Path) -> None:
    """Runs the checks below, then the commands a user would try first."""
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    for command in (
        [python, "-I", __file__, "installed"],
        [python.parent / "prompt-tuning", "--help"],
        [python.parent / "prompt-tuning", "tasks"],
        [python, "-m", "prompt_tuning", "tasks"],
    ):
        if subprocess.run(command, cwd=elsewhere, env=environment).returncode:
            sys.exit(f"failed with the wheel installed: {' '.join(map(str, command))}")


def check_installed() -> None:
    """Imports each module, parses each gin file and loads the pocket files."""
    import prompt_tuning

    home = Path(prompt_tuning.__file__).parent
    if not home.is_relative_to(sys.prefix):
        sys.exit(f"prompt_tuning comes from {home}, which is not in {sys.prefix}")
    found = pkgutil.walk_packages(prompt_tuning.__path__, "prompt_tuning.")
    names = [one.name for one in found if one.name not in NOT_IMPORTED]
    for name in names:
        importlib.import_module(name)
    print(f"imported {len(names)} modules of prompt_tuning")
    check_gin()
    check_pocket()


def check_gin() -> None:
    from prompt_tuning import config

    files = sorted(config.GIN_ROOT.glob("gin/**/*.gin"))
    names = [path.relative_to(config.GIN_ROOT).as_posix() for path in files]
    names = [name for name in names if not name.startswith("gin/t5x/")]  # T5X's
    for name in names:
        config.load([name])
    print(f"parsed {', '.join(names)}")


def check_pocket() -> None:
    import sentencepiece
    from safetensors.numpy import load_file

    import prompt_tuning

    pocket = Path(prompt_tuning.__file__).parent / "pocket"
    for path in sorted(pocket.rglob("spiece.model")):
        pieces = sentencepiece.SentencePieceProcessor(str(path))
        print(f"loaded a vocabulary of {pieces.get_piece_size()} pieces")
    models = sorted(pocket.rglob("*.safetensors"))
    if not models:
        sys.exit(f"{pocket} holds no frozen model")
    for path in models:
        parameters = sum(array.size for array in load_file(path).values())
        print(f"loaded {path.name} of {parameters:,} parameters")


if __name__ == "__main__":
    check_installed() if sys.argv[1:] == ["installed"] else main()
