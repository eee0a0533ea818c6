"""What is told, written and drawn of several runs."""

import json

import planted
import pytest

from prompt_tuning.runs import compare, figures, results, summary


def rows(path):
    return compare.rows(results.find([str(path)]))


def test_a_table_a_json_and_two_pictures_are_left(tmp_path, capsys):
    summary.tell(rows(planted.sweep(tmp_path / "sweep")), tmp_path)
    told = capsys.readouterr().out
    assert "70.0 ± 10.0" in told
    for kind in ("json", "png", "pdf"):
        assert str(tmp_path / f"summary.{kind}") in told
    found = json.loads((tmp_path / "summary.json").read_text())
    assert [row["n"] for row in found["rows"]] == [3, 2]


def test_a_line_is_a_setting_with_all_its_runs(tmp_path):
    slow, fast = summary.lines(rows(planted.sweep(tmp_path)))
    assert (slow.name, fast.name) == ("learning_rate 0.1", "learning_rate 0.3")
    assert slow.scores[1] == {0: 0.0, 4: 40.0, 8: 80.0}
    assert len(fast.scores) == 3, "what a failed run has is drawn"


def test_of_very_many_settings_the_best_are_drawn(tmp_path):
    for length in range(1, 19):
        planted.run(
            tmp_path / f"{length}",
            float(length),
            PROMPT_LENGTH=length,
            curve=((8, float(length)),),
        )
    drawn = summary.lines(rows(tmp_path))[: figures.MOST_LINES]
    assert [line.name for line in drawn[:2]] == ["PROMPT_LENGTH 18", "PROMPT_LENGTH 17"]


@pytest.mark.parametrize(
    ("value", "score", "expected"),
    [
        (75.0, 75.0, "kinds accuracy"),
        ({"kinds": {"errors": 3.0}}, -3.0, "kinds errors\n(less is better: negated)"),
        ({"kinds": {"a": 3.0, "b": 5.0}}, 4.0, "development score"),
    ],
)
def test_the_axis_names_the_score(tmp_path, value, score, expected):
    planted.run(tmp_path / "a", value, curve=((8, score),))
    assert summary.score(rows(tmp_path)) == expected


def test_the_title_says_what_all_runs_share(tmp_path):
    planted.run(tmp_path / "a", 1.0)
    assert summary.title(rows(tmp_path)) == "kinds on pocket_nano"
    planted.run(tmp_path / "b", 1.0, INITIAL_CHECKPOINT_PATH="x/other.safetensors")
    assert summary.title(rows(tmp_path)) == "kinds"
