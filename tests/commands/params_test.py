"""`params` prints the paper's Table 4."""

from prompt_tuning import cli
from prompt_tuning.runs import parameters


def test_the_table_is_printed(capsys):
    assert cli.main(["params"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == list(parameters.table())
    assert len(lines) == 1 + 5 * 6 and "11,135,741,952" in lines[-2]


def test_it_takes_no_settings(capsys):
    assert cli.main(["params", "--gin.PROMPT_LENGTH=7"]) == 2
    assert "at the paper's lengths: leave --gin" in capsys.readouterr().err
