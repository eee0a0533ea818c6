import re

from prompt_tuning.runs import report


def test_the_table_has_straight_columns():
    rows = [
        ("pocket_kind", "accuracy", 16.666, 20, 91.25),
        ("cb", "mean_3class_f1", None, 5.0, 100.0),
    ]
    lines = report.table(rows, ["pretrained model", "tuned model"]).splitlines()
    assert len(lines) == 4 and set(lines[1]) == {"-"}
    split = [re.split(r"  +", line) for line in (lines[0], *lines[2:])]
    assert split == [
        ["task", "metric", "majority class", "pretrained model", "tuned model"],
        ["pocket_kind", "accuracy", "16.7", "20.0", "91.2"],
        ["cb", "mean_3class_f1", "-", "5.0", "100.0"],
    ]
    assert len({len(line) for line in lines}) == 1, "the last numbers end together"
    starts = [line.index(row[1]) for line, row in zip(lines[2:], rows, strict=True)]
    assert starts == [lines[0].index("metric")] * 2
    ends = [re.search(r"(16\.7|-)  ", line).end() for line in lines[2:]]
    assert ends == [lines[0].index("majority class") + len("majority class") + 2] * 2


def test_a_table_without_rows_is_its_header():
    assert report.table([]).splitlines()[0].split("  ")[0] == "task"
