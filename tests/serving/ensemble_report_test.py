"""What an ensemble scores, on a task whose scores can be counted by hand."""

import json

import numpy as np
import pytest

from prompt_tuning.frozen import weights
from prompt_tuning.frozen.vocabulary import load_vocabulary
from prompt_tuning.serving import ensemble_report
from prompt_tuning.serving.members import Answers
from prompt_tuning.training import own_data
from prompt_tuning.training.task import Lower

VOCABULARY = load_vocabulary(str(weights.POCKET / weights.VOCABULARY))
TARGETS = ["yes", "no", "yes", "no"]
TEXTS = [
    ["yes", "no", "yes", "yes"],  # 3 of 4
    ["yes", "yes", "no", "no"],  # 2 of 4
    ["maybe", "no", "yes", "no"],  # 3 of 4, and an illegal one
]
NAMES = ["a", "b", "c"]


@pytest.fixture
def split(tmp_path):
    rows = [f"text {i},{target}" for i, target in enumerate(TARGETS)]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["inputs,targets", *rows]))
    task = own_data.open_own(str(tmp_path), None, None, VOCABULARY, seed=0)
    return task.load("validation")


def said(count=3, words=("yes", "no")):
    """The answers above; the members' probabilities of "yes" are 0.9, 0.6 and 0.5."""
    yes_Nx1 = np.array([[0.9], [0.6], [0.5]])[:count]
    p_NxMxL = np.stack([yes_Nx1, 1 - yes_Nx1], axis=-1).repeat(4, axis=1)
    return Answers(TEXTS[:count], -np.ones((count, 4)), np.log(p_NxMxL), words)


def test_average_best_and_ensemble(split):
    found, votes = ensemble_report.results(split, NAMES, said())
    task = next(iter(found["best"]["members"]))
    assert json.loads(json.dumps(found)) == found
    accuracies = [found["members"][n]["metrics"][task]["accuracy"] for n in NAMES]
    assert accuracies == [75, 50, 75]
    assert found["average"]["metrics"][task]["accuracy"] == pytest.approx(200 / 3)
    assert found["best"]["members"][task] == "c", "whose macro-F1 is higher"
    assert found["best"]["metrics"][task] == found["members"]["c"]["metrics"][task]
    assert [vote["prediction"] for vote in votes] == ["yes", "no", "yes", "no"]
    assert found["vote"]["metrics"][task]["accuracy"] == 100
    assert found["vote"]["illegal"] == {task: 0}
    assert found["members"]["c"]["illegal"] == {task: 0.25}
    assert found["agreement"]["unanimous"] == 0 and found["ties"] == 0
    assert votes[0]["answers"] == ["yes", "yes", "maybe"]
    assert votes[0]["share"] == pytest.approx(2 / 3) and not votes[0]["tied"]
    # A share of two thirds, and always right.
    assert found["vote"]["ece"] == pytest.approx(1 / 3)


def test_mean_probabilities_and_their_calibration(split):
    found, votes = ensemble_report.results(split, NAMES, said())
    (task,) = found["mean_probability"]["metrics"]
    assert votes[0]["probabilities"] == pytest.approx({"yes": 2 / 3, "no": 1 / 3})
    # "yes" always: half of the examples are right.
    assert found["mean_probability"]["metrics"][task]["accuracy"] == 50
    assert found["mean_probability"]["ece"] == pytest.approx(2 / 3 - 0.5)
    eces = [found["members"][name]["ece"] for name in NAMES]
    assert eces == pytest.approx([0.4, 0.1, 0.0])
    assert found["average"]["ece"] == pytest.approx(0.5 / 3)


def test_one_member_is_its_own_ensemble(split):
    found, _ = ensemble_report.results(split, ["a"], said(1))
    single = found["members"]["a"]["metrics"]
    assert found["vote"]["metrics"] == found["average"]["metrics"] == single
    assert found["best"]["metrics"] == single and found["agreement"]["mean"] == 1


def test_the_best_has_the_least_of_what_should_be_little():
    members = [{"t": {"errors": Lower(3)}}, {"t": {"errors": Lower(1)}}]
    assert ensemble_report.best(["a", "b"], members)["members"] == {"t": "b"}
    mean = ensemble_report.average(members)["t"]["errors"]
    assert mean == 2 and isinstance(mean, Lower)


def test_the_table_says_it_all(split):
    found, _ = ensemble_report.results(split, NAMES, said())
    told = ensemble_report.table(found).splitlines()
    assert told[0] == "validation, 4 examples, 3 prompts in one pass"
    row = next(line for line in told if " accuracy " in line).split()
    assert row[-4:] == ["66.7", "75.0", "100.0", "50.0"]
    assert "same answer   33.3% of the examples for two members, 0.0%" in told[-3]
    assert "33.3 of the vote's share, 16.7 of the mean probability" in told[-2]
    bare = said()._replace(scores_NxMxL=None)
    found, votes = ensemble_report.results(split, NAMES, bare)
    assert "- of the mean probability" in ensemble_report.table(found)
    assert found["mean_probability"] is None and "probabilities" not in votes[0]
