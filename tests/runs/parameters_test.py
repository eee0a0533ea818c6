"""Counts are the paper's."""

from pathlib import Path

import pytest
from table_4 import TABLE_4

from prompt_tuning import config
from prompt_tuning.runs import parameters

ROOT = Path(__file__).resolve().parents[2]


def test_params_prints_table_4():
    lines = [line.split() for line in parameters.table()][1:]
    assert len(lines) == 30
    for size, (trained, total) in TABLE_4.items():
        rows = [line for line in lines if line[0] == size]
        assert [int(row[1]) for row in rows] == [1, 5, 20, 50, 100, 150]
        assert [int(row[2].replace(",", "")) for row in rows] == list(trained)
        assert [int(row[3].replace(",", "")) for row in rows] == list(total)
    percents = {(line[0], line[1]): line[4] for line in lines}
    assert percents["small", "100"] == "0.06648"
    assert percents["large", "100"] == "0.01307"
    assert percents["xxl", "1"] == "0.00004"


@pytest.mark.parametrize("name", parameters.SIZES)
def test_a_size_is_seven_integers(name):
    text = (ROOT / "gin" / "models" / f"{name}.gin").read_text()
    bound = [line for line in text.splitlines() if line and not line.startswith("#")]
    *integers, path, sight = bound
    assert len(integers) == 7 and path.startswith("INITIAL_CHECKPOINT_PATH")
    assert f"t5_1_1_lm100k_{name}/checkpoint_1100000" in path
    assert sight == "Run.initial_checkpoint_path = %INITIAL_CHECKPOINT_PATH"
    found = config.load([f"gin/models/{name}.gin"]).model
    assert len(found) == 7 and {type(value) for value in found.values()} == {int}
