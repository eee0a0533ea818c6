"""What is told, written and drawn of several runs."""

import json

import planted
import pytest

from prompt_tuning.runs import compare, figures, results, summary


def rows(path):
    return compare.rows(results.find([str(path)]))


def test_a_table_a_json_and_pictures_are_left(tmp_path, capsys):
    summary.tell(rows(planted.sweep(tmp_path / "sweep")), tmp_path)
    told = capsys.readouterr().out
    assert "70.0 ± 10.0" in told
    for name in ("summary.json", "summary.png", "scores.png"):
        assert str(tmp_path / name) in told
        assert (tmp_path / name).is_file()
    assert (tmp_path / "summary.pdf").is_file() and (tmp_path / "scores.pdf").is_file()
    found = json.loads((tmp_path / "summary.json").read_text())
    assert [row["n"] for row in found["rows"]] == [3, 2]


def test_a_line_is_a_setting_with_all_its_runs(tmp_path):
    slow, fast = summary.lines(rows(planted.sweep(tmp_path)))
    assert (slow.name, fast.name) == ("learning_rate 0.1", "learning_rate 0.3")
    assert slow.scores[1] == {0: 0.0, 4: 40.0, 8: 80.0}
    assert len(fast.scores) == 3, "what a failed run has is drawn"


def test_runs_that_differ_in_much_are_told_by_their_folders(tmp_path):
    planted.run(tmp_path / "short", 1.0, PROMPT_LENGTH=1, BATCH_SIZE=2)
    planted.run(tmp_path / "long", 2.0, PROMPT_LENGTH=5, BATCH_SIZE=4)
    named = summary.named_rows(rows(tmp_path))
    assert [name for name, _ in named] == [row.name for _, row in named]
    rate = {"schedule.learning_rate": 0.1}
    planted.run(tmp_path / "other", 3.0, PROMPT_LENGTH=9, BATCH_SIZE=8, **rate)
    named = summary.named_rows(rows(tmp_path))
    assert {name for name, _ in named} == {"short", "long", "other"}


def test_the_majority_is_told_if_all_runs_have_the_same(tmp_path):
    planted.run(tmp_path / "a", 1.0, PROMPT_LENGTH=1)
    planted.run(tmp_path / "b", 2.0, PROMPT_LENGTH=5)
    assert summary.majority(rows(tmp_path)) == planted.MAJORITY
    kept = tmp_path / "b" / "metrics.json"
    found = json.loads(kept.read_text())
    found["majority"] = {}
    kept.write_text(json.dumps(found))
    assert summary.majority(rows(tmp_path)) is None


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
