"""How the house is built: which module may import which, and what lies where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module imports from the rows above its own only. (config.parse reaches down by name,
# with importlib, as gin knows only what has been imported.)
ORDER = """
errors objectives outputs batching
layers prompts losses partitioning config
network optimizer formats
decoding checkpoints
weights train data
evaluate report
run
tuning
commands pretrain listing plan t5x_engine
cli
__main__
"""
ROWS = {
    module: row for row, line in enumerate(ORDER.split("\n")) for module in line.split()
}
# Runs without TensorFlow and seqio.
CORE = """
objectives outputs batching layers prompts losses partitioning config network optimizer
decoding checkpoints train
"""
TENSORFLOW = {"seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text", "t5"}
MAY_USE_TENSORFLOW = {"data", "evaluate"}


def modules(package):
    return {path.stem: path for path in (ROOT / package).glob("*.py")}


def imports(path):
    """Dotted names of what a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():  # absolute: ruff sees to that
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def used_by(path):
    """Modules of prompt_tuning that a file imports."""
    parts = [name.split(".") for name in imports(path)]
    own = {name[1] for name in parts if name[0] == "prompt_tuning" and len(name) > 1}
    return own & modules("prompt_tuning").keys() - {"__init__"}


@pytest.mark.parametrize("module", sorted(modules("prompt_tuning").keys()))
def test_imports_go_one_way(module):
    path = modules("prompt_tuning")[module]
    if module == "__init__":
        assert not list(imports(path)), "importing prompt_tuning must cost nothing"
        return
    assert module in ROWS, f"give {module} a row in ORDER"
    wrong = {other for other in used_by(path) if ROWS.get(other, 0) >= ROWS[module]}
    assert not wrong, f"{module} imports {wrong}, which ORDER does not put above it"


@pytest.mark.parametrize("module", sorted(modules("prompt_tuning").keys()))
def test_only_data_and_evaluate_import_tensorflow_or_seqio(module):
    roots = {name.split(".")[0] for name in imports(modules("prompt_tuning")[module])}
    if module not in MAY_USE_TENSORFLOW:
        assert not roots & TENSORFLOW
    assert "tasks" not in roots, "a gin file or a flag names a task module"


@pytest.mark.parametrize("module", sorted(modules("tasks").keys()))
def test_tasks_know_no_model(module):
    roots = {name.split(".")[0] for name in imports(modules("tasks")[module])}
    assert not roots & {"prompt_tuning", "jax", "flax", "optax"}


def test_objectives_need_numpy_alone():
    outside = {
        name.split(".")[0] for name in imports(modules("prompt_tuning")["objectives"])
    } - set(sys.stdlib_module_names)
    assert outside <= {"numpy"}


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )


def test_the_core_imports_without_tensorflow_or_seqio():
    blocked = python(f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {TENSORFLOW}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
import importlib
for module in {sorted(CORE.split())}:
    importlib.import_module(f"prompt_tuning.{{module}}")
""")
    assert blocked.returncode == 0, blocked.stderr[-2000:]


def test_importing_the_package_imports_no_jax():
    light = python("import prompt_tuning, sys; sys.exit('jax' in sys.modules)")
    assert light.returncode == 0


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(ROOT).as_posix()
        for package in ("prompt_tuning", "tasks")
        for path in modules(package).values()
        if not path.stem.startswith("__")
    ],
)
def test_every_module_has_its_test_file(path):
    test = ROOT / "tests" / f"{Path(path).stem}_test.py"
    assert test.is_file(), f"{path} has no tests/{test.name}"


def test_gin_holds_no_python():
    python_files = list((ROOT / "gin").rglob("*.py"))
    assert not python_files, "an __init__.py here would shadow the package gin-config"


def test_no_file_is_longer_than_500_lines():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for folder in ("prompt_tuning", "tasks", "scripts", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    long = {name: length for name, length in lengths.items() if length > 500}
    assert not long, "find the second noun in it and give that its own module"
