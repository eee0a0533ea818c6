"""`compare` on planted runs, in a process where TensorFlow cannot be imported."""

import json

import planted
import pytest
import without

from prompt_tuning import cli


def test_a_sweep_is_told_written_and_drawn_without_tensorflow(tmp_path):
    planted.sweep(tmp_path / "sweep")
    told = without.without_tensorflow(tmp_path, "compare", "sweep")
    assert "0.3            2 of 3      91.0 ± 1.4" in told
    assert "it diverged" in told
    for kind in ("json", "png", "pdf"):
        assert (tmp_path / "sweep" / f"summary.{kind}").is_file()


def test_runs_of_several_folders_are_written_where_one_says(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    planted.sweep(tmp_path / "sweep")
    alone = planted.run(tmp_path / "alone", 99.0, PROMPT_LENGTH=5)
    assert cli.main(["compare", "sweep", str(alone), "--output=out/new"]) == 0
    rows = json.loads((tmp_path / "out/new/summary.json").read_text())["rows"]
    assert [row["settings"]["PROMPT_LENGTH"] for row in rows] == [5, 100, 100]
    assert cli.main(["compare", "sweep", "alone"]) == 0
    assert (tmp_path / "summary.png").is_file()
    assert not (tmp_path / "sweep/summary.json").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none"], "there is no folder 'none'"),
        (["."], "there is no run in '.'"),
        ([".", "--gin.SEED=1"], "leave --gin and --gin_file out"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path, monkeypatch, capsys, arguments, problem
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *arguments]) == 2
    assert problem in capsys.readouterr().err
