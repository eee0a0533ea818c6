"""README and docs: links lead somewhere, commands parse, made pages are fresh."""

import ast
import functools
import re
import runpy

import pages
import pytest
from source import ROOT, tree

from prompt_tuning import config
from prompt_tuning.commands import parsing
from prompt_tuning.errors import UserError
from prompt_tuning.frozen.formats import packaged
from prompt_tuning.settings import FIELDS
from prompt_tuning.tasks import pocket

every_page = pytest.mark.parametrize("path", pages.PAGES, ids=pages.name)
PLACEHOLDERS = {"FLAGS", "..."}
OTHERS = set("awk cd cp curl echo eval jupyter git grep pre-commit printf".split())


def script(name):
    """The names of a script in scripts/."""
    return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))


# Links.


@every_page
def test_links_lead_to_files_and_headings(path):
    for link in pages.links(path):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT) and target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in set(pages.anchors(target)), f"{link}: no such heading"


def test_every_page_is_in_the_index_and_in_readme():
    blocks = pages.blocks(ROOT / "docs" / "index.md")
    listed = {line for block in blocks for line in block.text.splitlines()}
    there = {path.stem for path in pages.PAGES if path.parent.name == "docs"}
    assert there - {"index"} <= listed
    linked = set(pages.links(ROOT / "README.md"))
    assert {f"docs/{name}.md" for name in there - {"index", "api"}} <= linked


def expanded(name):
    """a/{b,c}.x as a/b.x and a/c.x."""
    found = re.search(r"\{(.*?)\}", name)
    choices = found[1].split(",") if found else [""]
    return [name.replace(found[0] if found else "", one) for one in choices]


@every_page
def test_files_that_are_named_are_there(path):
    folders = "docs examples gin prompt_tuning scripts tasks tests".split()
    for code in pages.inline_code(path):
        named = code.split()[0] if code.split() else ""
        if named.split("/")[0] in folders and re.fullmatch(
            r"[\w./{},-]+/[\w./{},-]+", named
        ):
            for one in expanded(named):
                assert (ROOT / one).exists(), code


# Commands.


@functools.cache
def targets():
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))


@functools.cache
def extras():
    """Those that setup.py declares."""
    for node in tree(ROOT / "setup.py").body:
        match node:
            case ast.Assign(targets=[ast.Name(id="EXTRAS")], value=ast.Dict(keys=keys)):
                return {ast.literal_eval(key) for key in keys}
    return set()


def check_settings(words):
    """Flags and settings of `prompt-tuning` are there; gives the settings."""
    words = [word for word in words if word not in PLACEHOLDERS]
    args = parsing.parse(words)  # exits for an unknown flag
    for sweep in getattr(args, "sweep", ()):
        assert sweep.partition("=")[0] in FIELDS, sweep
    return args, config.load(args.gin_file, args.bindings)


def check_t5x(words):
    """T5X's files are there, and a macro is a setting or in one of them."""
    files = [word.partition("=")[2] for word in words if word.startswith("--gin_file=")]
    text = "".join((ROOT / file).read_text() for file in files)
    for macro in re.findall(r"--gin\.(\w+)=", " ".join(words)):
        assert macro in FIELDS or re.search(rf"\b{macro}\b", text), macro


def check_script(file, words):
    """A script is there, and says each flag."""
    text = (ROOT / file).read_text()
    for flag in re.findall(r"--(\w+)", " ".join(words)):
        assert flag in text, f"{file} does not say {flag}"


def check_installed(words):
    for found in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(found.split(",")) <= extras(), found


def check(words):
    match [words[0].removeprefix(".venv/bin/"), *words[1:]]:
        case ["prompt-tuning", *rest] | ["python", "-m", "prompt_tuning", *rest]:
            check_settings(rest)
        case ["python", "-m", module, *rest] if module.startswith("t5x."):
            check_t5x(rest)
        case ["python", file, *rest] if file.startswith(("scripts/", "examples/")):
            check_script(file, rest)
        case ["python", "-m", "pytest", *rest]:
            assert all((ROOT / word).exists() for word in rest if "/" in word), rest
        case ["make", *rest]:
            assert {word for word in rest if "=" not in word} <= targets(), rest
        case ["pip", "install", *rest] | ["python", "-m", "pip", "install", *rest]:
            check_installed(rest)
        case ["sbatch", *rest] | rest if any("scripts/" in word for word in rest):
            files = [word for word in rest if word.startswith("scripts/")]
            assert all((ROOT / file).is_file() for file in files), files
        case [program, *_]:
            assert program in OTHERS, f"what is {program}?"


@every_page
def test_commands_parse(path):
    for block in pages.blocks(path):
        for words in pages.commands(block):
            try:
                check(words)
            except (UserError, SystemExit, AssertionError) as error:
                raise AssertionError(f"{block.place}: {' '.join(words)}") from error


@every_page
def test_commands_in_the_text_are_there(path):
    for code in pages.inline_code(path):
        match code.split():
            case ["prompt-tuning", command, *_] if (
                command.isalpha() and command.islower()
            ):
                assert command in parsing.COMMANDS, code
            case ["make", target, *_] if "=" not in target:
                assert target in targets(), code
            case ["pip", "install", *words]:
                check_installed(words)


def lacking(words):
    """What a checkout alone does not have of a command's inputs, or ""."""
    match words:
        case ["prompt-tuning", *rest]:
            args, settings = check_settings(rest)
        case ["python", "-m", *_] | ["sbatch", *_]:
            return words[0]
        case _:
            return ""
    run = settings.run
    frozen, task = run.initial_checkpoint_path, run.mixture_or_task_name
    if args.data_dir:
        return f"--data_dir={args.data_dir}"
    if frozen not in packaged() and not frozen.startswith("runs/"):
        return frozen
    return "" if task in {*pocket.TASKS, *pocket.MIXTURES} else task


@every_page
def test_what_needs_more_than_a_checkout_is_marked(path):
    for block in pages.blocks(path):
        missing = [words for words in pages.commands(block) if lacking(words)]
        what = f"{block.place}: say what {missing} need: <!-- needs: ... -->"
        assert block.needs or not missing, what


@every_page
def test_python_is_python(path):
    for block in pages.blocks(path):
        if block.language == "python":
            compile(block.text, block.place, "exec")


def test_the_task_of_texts_is_one():
    found = pages.blocks(ROOT / "docs" / "own_task.md")
    (code,) = (block.text for block in found if "TASKS = " in block.text)
    made = {}
    exec(code, made)
    task = made["TASKS"]["tone"]
    rows = list(task.examples("train"))
    assert len(rows) == task.splits["train"] == 2
    assert task.postprocess_fn(rows[1]["targets"]) == 1


# What is made by scripts.


def test_the_settings_page_is_fresh():
    made = script("settings_page")
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    again = "stale: PYTHONPATH=. python scripts/settings_page.py"
    assert page == made["page"](), again
    assert made["MORE"].keys() <= FIELDS.keys()
    assert all(f"\n| `{name}` |" in page for name in FIELDS)


def test_the_picture_is_fresh():
    made = script("prompt_picture")["picture"]()
    assert (ROOT / "docs" / "prompt.svg").read_text(encoding="utf-8") == made


# Messages.


def template(node):
    """A text of the source with … for what is filled in; None of other nodes."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            parts = (template(value) for value in values)
            return "".join("…" if part is None else part for part in parts)
    return None


def documentation(module):
    """The nodes of a module's docstrings."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant() as text), *_]:
                    yield text


@functools.cache
def texts():
    """Every text of the code, outside of docstrings."""
    found = set()
    for folder in ("prompt_tuning", "tasks"):
        for path in (ROOT / folder).rglob("*.py"):
            module = tree(path)
            left_out = {id(node) for node in documentation(module)}
            nodes = (node for node in ast.walk(module) if id(node) not in left_out)
            found |= {template(node) for node in nodes} - {None}
    return found


def messages():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(.*?)` \|", page, re.M)


@pytest.mark.parametrize("message", messages())
def test_each_message_is_in_the_code(message):
    pattern = ".*".join(map(re.escape, message.split("…")))
    assert len(message.replace("…", "")) > 12, "so short that it would match anything"
    assert any(re.search(pattern, text, re.S) for text in texts())
