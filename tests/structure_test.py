"""How the house is built: which room may import which, and what lies where."""

import ast
import subprocess
import sys

import pytest
from source import ROOT, imports, tree

# A module imports from its own room and from the rooms in the rows above it.
ORDER = """
errors last_word memory
sections
files method_settings gin_files
settings
outputs interrupts near_names
config partitioning
t5
methods
frozen
training
tasks_io exchange
runs
serving reading
reproduce
engines
commands
cli
__main__
"""
ROWS = {
    room: row for row, line in enumerate(ORDER.split("\n")) for room in line.split()
}
TENSORFLOW = {"seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text", "t5"}
TENSORFLOW |= {"t5x"}
PACKAGED_TASKS = "prompt_tuning.tasks."
MAY_USE_TENSORFLOW = {"tasks_io", "engines"}


def modules(package):
    """{dotted name: path} of a package's modules, those of its rooms included."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / package).rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


OURS, TASKS = modules("prompt_tuning"), modules("tasks")


def room(name):
    """Of prompt_tuning.t5.network: t5; of prompt_tuning.config: config."""
    return name.split(".")[1] if "." in name else ""


def used_by(path):
    """Modules of prompt_tuning that a file imports, the package itself left out."""
    names = [name for name in imports(path) if name.startswith("prompt_tuning.")]
    found = {name if name in OURS else name.rpartition(".")[0] for name in names}
    assert found <= OURS.keys(), "each of them is there"
    return found - {"prompt_tuning"}


# Who imports whom.


def test_every_room_has_a_row():
    rooms = {room(name) for name in OURS} - {""}
    assert rooms == ROWS.keys()


@pytest.mark.parametrize("name", sorted(OURS))
def test_imports_go_one_way(name):
    if name == "prompt_tuning":
        first = [type(node) for node in tree(OURS[name]).body]
        assert not {ast.Import, ast.ImportFrom} & {*first}, (
            "importing prompt_tuning must cost nothing"
        )
        return
    own = room(name)
    others = {other for other in used_by(OURS[name]) if room(other) != own}
    wrong = {other for other in others if ROWS[room(other)] >= ROWS[own]}
    assert not wrong, f"{name} imports {wrong}, which ORDER does not put above it"


@pytest.mark.parametrize("name", sorted(OURS))
def test_only_tasks_io_and_engines_import_tensorflow_or_seqio(name):
    roots = {imported.split(".")[0] for imported in imports(OURS[name])}
    if room(name) not in MAY_USE_TENSORFLOW:
        assert not roots & TENSORFLOW
    tasks = {one for one in imports(OURS[name]) if f"{one}.".startswith(PACKAGED_TASKS)}
    assert not tasks, "a gin file or a flag names a task module"


@pytest.mark.parametrize("name", sorted(TASKS))
def test_tasks_know_no_model(name):
    used = set(imports(TASKS[name]))
    assert not {one.split(".")[0] for one in used} & {"jax", "flax", "optax"}
    ours = {one for one in used if one.startswith("prompt_tuning")}
    assert all(one.startswith("prompt_tuning.tasks") for one in ours)


@pytest.mark.parametrize("name", ["objectives", "batching"])
def test_batches_and_objectives_need_numpy_alone(name):
    path = OURS[f"prompt_tuning.training.{name}"]
    used = {imported.split(".")[0] for imported in imports(path)}
    outside = used - set(sys.stdlib_module_names)
    assert outside <= {"numpy", "prompt_tuning"}
    assert used_by(path) <= {"prompt_tuning.training.batching"}


def private(name):
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("name", sorted(OURS))
def test_private_names_stay_in_their_module(name):
    """Neither `from prompt_tuning.x import _y` nor `x._y` of an imported module x."""
    nodes, wrong, theirs = list(ast.walk(tree(OURS[name]))), [], set()
    for node in nodes:
        match node:
            case ast.Import(names=names):
                theirs |= {alias.asname or alias.name for alias in names}
            case ast.ImportFrom(module=module, names=names):
                if not module.startswith("prompt_tuning"):
                    continue
                wrong += [alias.name for alias in names if private(alias.name)]
                theirs |= {
                    alias.asname or alias.name
                    for alias in names
                    if f"{module}.{alias.name}" in OURS
                }
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attr):
                wrong += [f"{owner}.{attr}"] * (owner in theirs and private(attr))
    assert not wrong


# What runs without what.


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )


def test_all_but_tasks_io_and_engines_imports_without_tensorflow_or_seqio():
    free = [
        name for name in OURS if room(name) not in {*MAY_USE_TENSORFLOW, "__main__"}
    ]
    blocked = python(f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {TENSORFLOW}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
import importlib
for module in {sorted(free)}:
    importlib.import_module(module)
""")
    assert blocked.returncode == 0, blocked.stderr[-2000:]


@pytest.mark.parametrize("name", ["prompt_tuning", "prompt_tuning.training.objectives"])
def test_importing_the_package_or_an_objective_imports_no_jax(name):
    light = python(f"import {name}, sys; sys.exit('jax' in sys.modules)")
    assert light.returncode == 0, light.stderr


# What lies where.


def mirrored(name, path):
    """Where a module's test file may be."""
    first, *rest = name.split(".")
    tests = ROOT / "tests"
    parts = rest if first == "prompt_tuning" else [first, *rest]
    if path.name != "__init__.py":
        folder = tests.joinpath(*parts[:-1])
        # The formats of a checkpoint are tested side by side, in one file.
        return [
            folder / f"{parts[-1]}_test.py",
            folder.with_name(f"{folder.name}_test.py"),
        ]
    # Of a package: beside its folder, or in it.
    folder = tests.joinpath(*parts)
    return [
        folder.with_name(f"{folder.name}_test.py"),
        folder / f"{folder.name}_test.py",
    ]


def has_code(path):
    """More than a docstring."""
    return len(tree(path).body) > 1


WITHOUT_TEST = {
    "prompt_tuning",  # a version, for packaging_test.py; `load`, for serving/model_test
    "prompt_tuning.__main__",  # cli_test.py runs it
    "prompt_tuning.commands.flags",  # cli_test.py gives them
}


@pytest.mark.parametrize("name", sorted(OURS | TASKS))
def test_every_module_has_its_test_file(name):
    path = (OURS | TASKS)[name]
    if name not in WITHOUT_TEST and has_code(path):
        places = mirrored(name, path)
        assert any(place.is_file() for place in places), f"{name} has no {places[0]}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem
)
def test_what_tests_share_lies_in_helper_modules(path):
    shared = {part for name in imports(path) for part in name.split(".")}
    assert not {part for part in shared if part.endswith("_test")}


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
