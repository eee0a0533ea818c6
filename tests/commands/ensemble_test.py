"""`ensemble` of two runs of a small model."""

import json

import small


def test_runs_answer_together_as_the_first_was_made(run, frozen, tmp_path, capsys):
    step = next((run / "checkpoints").glob("[0-9]*"))
    flags = [f"--gin.MODEL_DIR={tmp_path}", "--split=train"]  # no other setting
    assert small.cli.main(["ensemble", str(run), str(step), *flags]) == 0
    told = capsys.readouterr().out
    assert "train, 24 examples, 2 prompts in one pass" in told
    assert f"results       {tmp_path / 'ensemble.json'}" in told
    found = json.loads((tmp_path / "ensemble.json").read_text())
    assert list(found["members"]) == [str(run), str(step)]
    votes = (tmp_path / "ensemble_train.jsonl").read_text().splitlines()
    assert len(votes) == 24 and len(json.loads(votes[0])["answers"]) == 2
    assert not (tmp_path / "config.gin").exists()


def test_prompts_that_cannot_vote_together_are_refused(run, frozen, tmp_path, capsys):
    other = tmp_path / "other.npy"
    other.write_bytes((run / "prompt.npy").read_bytes())
    said = json.loads((run / "prompt.json").read_text()) | {"task": "small_mood"}
    other.with_suffix(".json").write_text(json.dumps(said))
    assert small.cli.main(["ensemble", str(run), str(other)]) == 2
    told = capsys.readouterr().err
    assert f"the task of {run} is 'small_kind', but that of {other} is 'sm" in told
    assert small.main("evaluate", "--prompts", run, f"--prompt={run}") == 2
    assert "--prompt and --prompts are both given" in capsys.readouterr().err
