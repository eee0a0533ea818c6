"""All runs of a sweep are evaluated, but for those that cannot be."""

import planted
import pytest

from prompt_tuning.errors import UserError
from prompt_tuning.runs import evaluation, results

RATE = "schedule.learning_rate"


def test_the_runs_of_a_sweep_are_found_and_a_run_is_none(tmp_path):
    one = planted.run(tmp_path / "sweep" / "one", 1.0)
    assert evaluation.runs_in(str(tmp_path / "sweep")) == [one]
    assert evaluation.runs_in(str(one)) == evaluation.runs_in("") == []
    assert evaluation.runs_in(str(tmp_path / "none")) == []


@pytest.fixture
def evaluated(monkeypatch):
    """Groups that are evaluated, by their folders' names; seed 1 cannot be."""
    found = []

    def evaluate(group):
        each = [settings.run for settings, _ in group]
        found.append([run.model_dir.rpartition("/")[2] for run in each])
        if any(run.seed == 1 for run in each):
            raise UserError("its prompt is damaged")
        return [{"metrics": {"kinds": {"accuracy": 10.0 * run.seed}}} for run in each]

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    return found


def test_one_that_cannot_be_evaluated_leaves_the_others_standing(tmp_path, evaluated):
    sweep = planted.sweep(tmp_path)
    found = evaluation.of_sweep(
        evaluation.runs_in(str(sweep)), lambda path: (results.read(path).settings, None)
    )
    assert [len(group) for group in evaluated] == [5, 1, 1, 1, 1, 1]
    errors = {
        path.rpartition("/")[2]: one["error"]
        for path, one in found["runs"].items()
        if "error" in one
    }
    assert errors == {
        "seed_1-learning_rate_0.1": "its prompt is damaged",
        "seed_1-learning_rate_0.3": "its prompt is damaged",
        "seed_2-learning_rate_0.3": "it is failed: it diverged",
    }
    slow, fast = found["rows"]
    assert (slow["settings"], slow["seeds"]) == ({RATE: 0.1}, [0, 2])
    spread = {"mean": 10.0, "deviation": pytest.approx(200**0.5), "n": 2}
    assert slow["metrics"] == {"kinds accuracy": spread}
    assert fast["metrics"]["kinds accuracy"]["mean"] == 0.0
