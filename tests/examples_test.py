"""The scripts and the notebook of examples/ run, made short."""

import importlib.util

import nbclient
import nbformat
import pytest
from source import ROOT

from prompt_tuning.runs import figures

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
NOTEBOOK = EXAMPLES / "prompt_tuning.ipynb"
# What each says at its end, and a file that it leaves.
SAID = {
    "ensemble": ("mean probability", "summary.json"),
    "figure_3a": ("figure_3a.png", "figure_3a.png"),
    "own_table": ("are wrong", "prompt.npy"),
    "tune_and_read": ("best at step 2", "prompt.npy"),
}


def run(name, folder, **more):
    """Calls the main of a script."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(steps=2, folder=str(folder), **more)


def check(name, tmp_path, capsys, **more):
    run(name, tmp_path / "run", **more)
    said, file = SAID[name]
    assert said in capsys.readouterr().out and (tmp_path / "run" / file).is_file()


def test_a_table_is_tuned_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(figures, "learning_curve", lambda *_: None)
    columns = {"table": None, "text": "text", "label": "label"}
    check("own_table", tmp_path, capsys, model="pocket_nano", **columns)
    assert (tmp_path / "run.csv").read_text().startswith("text,label\npassage: ")


@pytest.mark.slow
def test_a_prompt_is_tuned_and_read(tmp_path, capsys):
    check("tune_and_read", tmp_path, capsys)


@pytest.mark.slow
def test_prompts_answer_together(tmp_path, capsys):
    check("ensemble", tmp_path, capsys, members=2)


@pytest.mark.slow
def test_lengths_are_compared(tmp_path, capsys):
    check("figure_3a", tmp_path, capsys, seeds=1, task="pocket_kind")


def test_every_script_is_tested_and_says_how_to_run_it():
    assert sorted(SAID) == SCRIPTS
    for name in SCRIPTS:
        text = (EXAMPLES / f"{name}.py").read_text()
        assert f"    python examples/{name}.py\n" in text
        assert len(text.splitlines()) <= 80, "to be read in a minute"


def test_the_notebook_is_one_and_was_saved_without_outputs():
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source, cell.id, "exec")
            assert not cell.outputs and cell.execution_count is None


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPS", "2")
    monkeypatch.setenv("RUNS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    said = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stdout"
    ]
    assert "-> " in said[-2] and said[-1].count("{") == 2
