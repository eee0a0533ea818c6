"""What setup.py declares is what the code imports; `make wheel` tries the rest."""

import hashlib
import importlib.metadata
import itertools
import re
import runpy
import sys

import pytest
import setuptools
from source import ROOT, imports

import prompt_tuning


@pytest.fixture(scope="module")
def setup():
    """The arguments that setup.py gives to setuptools.setup."""
    arguments = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", arguments.update)
        runpy.run_path(str(ROOT / "setup.py"))
    return arguments


def names(requirements):
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def imported(*folders):
    """Distributions that the Python files of `folders` import."""
    known = importlib.metadata.packages_distributions()
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    modules = {name.split(".")[0] for path in files for name in imports(path)}
    helpers = (path.stem for path in (ROOT / "tests").glob("*.py"))
    own = {"prompt_tuning", "faults", *helpers}
    outside = modules - own - set(sys.stdlib_module_names)
    return {module: set(known.get(module, [module])) for module in outside}


def test_the_version_is_the_same_everywhere(setup):
    version = prompt_tuning.__version__
    assert setup["version"] == version
    changes = re.findall(r"^## \[(\d.*)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert changes[0] == version, "the newest section of CHANGELOG.md with a number"
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall("^version: (.*)$", citation, re.M) == [version]


def test_the_licence_is_the_same_everywhere(setup):
    assert setup["license"] == "Apache-2.0"
    assert "license: Apache-2.0\n" in (ROOT / "CITATION.cff").read_text()
    licence = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert licence.startswith("cfc7749b96f63bd3"), "not a word of it is changed"


def test_the_package_says_that_it_has_types(setup):
    assert "py.typed" in setup["package_data"]["prompt_tuning"]
    assert (ROOT / "prompt_tuning" / "py.typed").is_file()


def test_every_folder_of_modules_is_installed(setup):
    inside = {"prompt_tuning": "prompt_tuning", "tasks": "prompt_tuning.tasks"}
    folders = {
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for folder, name in inside.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert set(setup["packages"]) == folders | {"prompt_tuning.gin"}


def test_every_package_imported_is_declared_and_the_other_way_round(setup):
    declared = names(setup["install_requires"])
    found = imported("prompt_tuning", "tasks")
    missing = {module for module, by in found.items() if not by & declared}
    # Who has PyTorch's files has torch, or is told; T5X and the server are extras.
    serve = names(setup["extras_require"]["serve"])
    assert missing == {"torch", "t5x"} | serve
    unused = declared - set().union(*found.values())
    # TFDS and sentencepiece's module of its file format need them undeclared.
    assert unused == {"importlib_resources", "protobuf"}


def test_tests_need_the_test_and_parity_extras_at_most(setup):
    extras = [setup["extras_require"][extra] for extra in ("test", "parity")]
    declared = names(sum(extras, setup["install_requires"])) | {"setuptools"}
    assert not {module for module, by in imported("tests").items() if not by & declared}


def test_every_requirement_is_explained():
    lines = (ROOT / "setup.py").read_text().splitlines()
    install = lines[lines.index("INSTALL = [") + 1 :]
    install = install[: install.index("]")]
    for above, line in itertools.pairwise(install):
        if line.lstrip().startswith('"'):
            assert above.lstrip().startswith("# "), f"say what {line.strip()} is for"
