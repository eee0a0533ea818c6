"""`evaluate` on a run of a small model."""

import json
from pathlib import Path

import numpy as np
import small


def test_evaluate_repeats_the_runs_own_numbers(run, capsys):
    # The settings are those of MODEL_DIR/config.gin; no flag repeats them.
    assert small.cli.main(["evaluate", f"--gin.MODEL_DIR={run}"]) == 0
    result = json.loads(capsys.readouterr().out)
    expected = json.loads((run / "metrics.json").read_text())
    assert result["metrics"] == expected["trained"]["metrics"]
    assert result["illegal"] == expected["trained"]["illegal"]
    assert (result["split"], result["examples"]) == ("validation", 10)
    written = Path(result["predictions"])
    assert written.read_bytes() == (run / "predictions.jsonl").read_bytes()
    written.unlink()


def test_evaluate_another_prompt_on_another_split(run, frozen, tmp_path, capsys):
    np.save(tmp_path / "p.npy", np.zeros((7, 16)))
    arguments = ["evaluate", "--prompt", tmp_path / "p.npy", "--split=train"]
    assert small.main(*arguments, INITIAL_CHECKPOINT_PATH=frozen) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["split"], result["examples"]) == ("train", 24)
    assert "predictions" not in result
