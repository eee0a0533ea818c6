"""The table of a planted sweep, and which runs are alike."""

import statistics

import planted
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.runs import compare, results

RATE = "schedule.learning_rate"


def read(*paths):
    return results.find([str(path) for path in paths])


def test_the_table_by_setting_is_the_one_by_hand(tmp_path):
    slow, fast = compare.rows(read(planted.sweep(tmp_path)))
    assert (slow.settings, fast.settings) == ({RATE: 0.1}, {RATE: 0.3})
    assert compare.spread(slow.values("kinds accuracy")) == (70.0, 10.0, 3)
    mean, deviation, n = compare.spread(fast.values("kinds accuracy"))
    assert (mean, n) == (91.0, 2) and deviation == pytest.approx(2**0.5)
    assert [run.settings.run.seed for run in fast.runs] == [0, 1, 2]
    lines = compare.text([slow, fast]).splitlines()
    table = [line.split() for line in lines[2:6]]
    assert table[0] == ["learning_rate", "n", "kinds", "accuracy"]
    assert table[2] == ["0.1", "3", "70.0", "±", "10.0"]
    assert table[3] == ["0.3", "2", "of", "3", "91.0", "±", "1.4"]
    each = [line.split() for line in lines[9:14]]
    assert each[0][1:] == ["8", "60.0"] and each[4][1:] == ["8", "92.0"]
    assert lines[-1].startswith("failed") and lines[-1].endswith("  it diverged")


def test_the_spread_is_that_of_the_standard_library():
    values = [3.0, 4.5, 11.25, 7.0]
    expected = statistics.mean(values), statistics.stdev(values), 4
    assert compare.spread(values) == pytest.approx(expected)
    assert compare.spread([5.0]) == (5.0, None, 1) and compare.spread([]) is None
    assert compare.Spread(5.0, None, 1).told() == "5.0"
    assert compare.Spread(0.9, 0.0123, 2).told(3) == "0.900 ± 0.012"


def test_the_summary_holds_rows_and_runs(tmp_path):
    found = compare.summary(compare.rows(read(planted.sweep(tmp_path))))
    slow, fast = found["rows"]
    assert slow["settings"] == {RATE: 0.1} and slow["seeds"] == [0, 1, 2]
    spread = {"mean": 70.0, "deviation": 10.0, "n": 3}
    assert slow["metrics"] == {"kinds accuracy": spread} and slow["score"] == spread
    assert (fast["n"], fast["seeds"]) == (2, [0, 1])
    assert len(found["runs"]) == 6
    failed = found["runs"][-1]
    assert (failed["state"], failed["reason"]) == ("failed", "it diverged")
    assert failed["settings"] == {"SEED": 2, RATE: 0.3} and failed["metrics"] == {}


def test_one_run_is_a_table_too(tmp_path):
    (row,) = compare.rows(read(planted.run(tmp_path / "a", 75.0)))
    assert row.settings == {} and row.name == "all runs"
    lines = [line.split() for line in compare.text([row]).splitlines()]
    assert lines[4] == ["1", "75.0"] and lines[-1] == [
        f"{row.runs[0].folder}",
        "4",
        "75.0",
    ]


def test_what_only_says_where_a_run_was_made_sets_none_apart(tmp_path):
    planted.run(tmp_path / "a", 1.0, SEED=0, DATA_DIR="/here")
    planted.run(tmp_path / "b", 2.0, SEED=1, DATA_DIR="/there", **{"mesh.data": 4})
    (row,) = compare.rows(read(tmp_path))
    assert len(row.runs) == 2
    # Unless the seed is the same: then it is what they differ in.
    planted.run(tmp_path / "c", 3.0, SEED=1, DATA_DIR="/there", **{"mesh.data": 2})
    found = compare.rows(read(tmp_path))
    assert [row.settings["mesh.data"] for row in found] == [-1, 2, 4]


def test_runs_on_other_data_are_never_averaged(tmp_path):
    planted.run(tmp_path / "a", 1.0, SEED=0)
    other = {"data_fingerprint": "e" * 64}
    planted.run(tmp_path / "b", 2.0, SEED=1, made_of=other)
    found = compare.rows(read(tmp_path))
    assert [dict(row.settings) for row in found] == [
        {"data_fingerprint": "d" * 8},
        {"data_fingerprint": "e" * 8},
    ]
    assert "training data" in compare.text(found)


@pytest.mark.parametrize("method", ["whole", "lora", "prompt_design"])
def test_a_method_without_a_prompt_has_none_to_tell_of(method, tmp_path):
    planted.run(tmp_path / "prompt", 1.0, PROMPT_LENGTH=20)
    planted.run(tmp_path / "other", 1.0, METHOD=method)
    found = compare.rows(read(tmp_path))
    assert [row.settings for row in found] == [
        {"METHOD": name} for name in sorted(("prompt", method))
    ]


def test_what_follows_from_another_frozen_model_is_not_told(tmp_path):
    model = "INITIAL_CHECKPOINT_PATH"
    for name, width in (("pocket_nano", 96), ("pocket_mini", 256)):
        made_of = {"frozen_fingerprint": name, "data_fingerprint": name}
        named = {model: name, "T5Config.emb_dim": width, "made_of": made_of}
        planted.run(tmp_path / name, 1.0, **named)
    found = compare.rows(read(tmp_path))
    told = [{model: "pocket_mini"}, {model: "pocket_nano"}]
    assert [dict(row.settings) for row in found] == told


def test_a_failed_run_that_does_not_know_the_models_size_is_with_its_like(tmp_path):
    size = {"T5Config.emb_dim": 128}
    planted.run(tmp_path / "a", reason="it diverged", SEED=0)
    planted.run(tmp_path / "b", 1.0, SEED=1, **size)
    (row,) = compare.rows(read(tmp_path))
    assert [run.state for run in row.runs] == ["failed", "done"]


def test_numbers_are_sorted_as_numbers(tmp_path):
    for length in (100, 5, 20):
        planted.run(tmp_path / f"{length}", 1.0, PROMPT_LENGTH=length)
    found = compare.rows(read(tmp_path))
    assert [row.settings["PROMPT_LENGTH"] for row in found] == [5, 20, 100]


def test_a_run_does_not_count_twice(tmp_path):
    planted.run(tmp_path / "a", 1.0)
    planted.run(tmp_path / "copy", 1.0)
    with pytest.raises(UserError, match=r"a and .*copy are one run twice"):
        compare.rows(read(tmp_path))


def test_several_metrics_have_the_score_in_front_and_shares_three_digits(tmp_path):
    metrics = {"squad": {"f1": 0.5, "em": 40.0}}
    planted.run(tmp_path / "a", metrics, curve=((8, 20.25),))
    header, _, row = compare.text(compare.rows(read(tmp_path))).splitlines()[2:5]
    assert header.split() == ["n", "score", "squad", "f1", "squad", "em"]
    assert row.split() == ["1", "20.2", "0.500", "40.0"]
