"""`tasks` lists what there is, prints texts, checks data."""

import os
import sys
from pathlib import Path

from prompt_tuning import cli


def test_tasks_lists_the_packages_own_and_those_of_a_module_here(
    tmp_path, monkeypatch, capsys
):
    assert cli.main(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert "pocket_kind" in listed and "rte" in listed and "entailment" in listed
    monkeypatch.setattr(sys, "path", list(filter(os.path.isabs, sys.path)))
    monkeypatch.chdir(tmp_path)
    Path("my_tasks.py").write_text(
        "import seqio\nseqio.MixtureRegistry.add('mine', [('cb', 1), ('rte', 2)])\n"
    )
    assert cli.main(["tasks", "--gin.MIXTURE_OR_TASK_MODULE=my_tasks"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "mine"


def test_texts_are_printed(capsys):
    flags = "--render=pocket_kind", "--split=validation", "--limit=2"
    assert cli.main(["tasks", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.count("\t") == 1 for line in lines)
    for flags, problem in (
        (["--check", "--render=pocket_kind"], "--render and --check are both given"),
        (["--check", "--limit=2"], "--limit is for --render=TASK"),
        (["--split=test"], "--split is for --render=TASK"),
    ):
        assert cli.main(["tasks", *flags]) == 2
        assert problem in capsys.readouterr().err
    assert cli.main(["tasks", "--render=pocket_kin"]) == 2
    assert "near it: pocket_kind" in capsys.readouterr().err
