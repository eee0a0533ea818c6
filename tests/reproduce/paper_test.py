"""The paper's numbers agree with one another where they should."""

import statistics

import pytest
from table_4 import TABLE_4

from prompt_tuning.reproduce import paper, table
from prompt_tuning.reproduce.table import Table


@pytest.mark.parametrize(
    ("column", "exact"),
    [(paper.AVERAGE, 90.49), (paper.BEST, 91.06), (paper.ENSEMBLE, 91.33)],
)
def test_table_3_columns_follow_from_its_cells(column, exact):
    computed = paper.superglue(paper.task_scores(column))
    assert round(computed, 2) == exact
    printed = paper.TABLE_3.values[paper.SCORE, column].mean
    assert abs(computed - printed) < 0.1, "printed to one digit, cut or rounded"
    rows = [v.mean for (row, c), v in paper.TABLE_3.values.items() if c == column]
    assert statistics.fmean(rows[:8]) == pytest.approx(computed)


def test_table_1_has_the_differences_that_it_prints():
    rows = tuple(dict.fromkeys(row for row, _ in paper.TABLE_1.values))
    found = Table("", "", rows, (), {}, paper=paper.TABLE_1.values)
    found = table.with_difference(found, paper.PROMPT, paper.MODEL, "less")
    less = [round(found.paper[row, "less"].mean, 1) for row in rows]
    assert less == [-0.1, 12.5, 1.2, 0.9, 0.4, -1.2, -1.8]


def test_table_4_is_right_but_for_its_slips():
    for size, (trained, total) in TABLE_4.items():
        name = {"xl": "XL", "xxl": "XXL"}.get(size, size.title())
        for i, length in enumerate(paper.LENGTHS_4):
            right = trained[i], total[i], 100 * trained[i] / total[i]
            said = (
                paper.TABLE_4_TRAINED[name][i],
                paper.TABLE_4_TOTAL[name][i],
                paper.TABLE_4_PERCENT[name][i],
            )
            names = ("trained", "total", "percent")
            for what, a, b in zip(names, right, said, strict=True):
                slip = paper.TABLE_4_SLIPS.get((name, length, what))
                assert a == pytest.approx(slip or b, abs=1.01e-5 if a < 1 else 0)
                assert slip is None or slip != b


def test_table_5_in_seconds():
    found = paper.TABLE_5.values
    assert found["Large", "1"] == (197, 130, 3)
    assert found["XXL", "100"] == (3 * 3600 + 51 * 60 + 15, 45 * 60 + 53, 3)
    assert len(found) == 15


def test_labels_sum_to_100_but_for_one():
    sums = {}
    for (row, split), share in paper.TABLES_8_TO_16.values.items():
        key = row.split(",")[0], split
        sums[key] = round(sums.get(key, 0) + share.mean, 1)
    assert {key: x for key, x in sums.items() if x != 100} == {("RTE", "train"): 101}


def test_mrqa_has_as_many_examples_as_its_data():
    names = ("TextbookQA", "RACE", "BioASQ", "RE", "DuoRC", "DROP")
    sizes = [paper.TABLE_7.values[name, paper.VALIDATION].mean for name in names]
    assert sum(sizes) == 9_633
