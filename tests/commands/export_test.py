"""`export` on a run of a small model."""

import json

import numpy as np
import pytest
import small
from safetensors.numpy import load_file
from small import prompt


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_export_writes_the_prompt_and_what_made_it(run, tmp_path, ending, capsys):
    output = tmp_path / "new folder" / f"exported{ending}"
    flags = [f"--output={output}", f"--gin.MODEL_DIR={run}"]  # no other setting
    assert small.cli.main(["export", *flags]) == 0
    assert f"prompt of step 8: {output}" in capsys.readouterr().out
    array = np.load(output) if ending == ".npy" else load_file(output)["prompt"]
    np.testing.assert_array_equal(array, prompt(run))
    made = json.loads(output.with_suffix(".json").read_text())
    expected = json.loads((run / "prompt.json").read_text())
    assert made == {key: expected[key] for key in made} and made["score"] == 0.0
    assert small.main("evaluate", "--prompt", output, MODEL_DIR=run) == 0


def test_export_writes_a_folder_for_peft(run, tmp_path, capsys):
    flags = ["--format=peft", f"--output={tmp_path / 'mine'}", f"--gin.MODEL_DIR={run}"]
    assert small.cli.main(["export", *flags]) == 0
    found = load_file(tmp_path / "mine/adapter_model.safetensors")["prompt_embeddings"]
    np.testing.assert_array_equal(found, prompt(run))
    assert small.main("evaluate", "--prompt", tmp_path / "mine", MODEL_DIR=None) == 0
    result = json.loads(capsys.readouterr().out.partition("\n")[2])
    expected = json.loads((run / "metrics.json").read_text())
    assert result["metrics"] == expected["trained"]["metrics"]


def test_export_writes_lora_for_peft_and_reads_it_back(frozen, tmp_path, capsys):
    """The best step, as the run ships it; alone it answers as the run did."""
    folder = tmp_path / "run"
    options = {"METHOD": "lora", "lora.rank": 2, "schedule.learning_rate": 0.05}
    run = small.trained(folder, frozen, TRAIN_STEPS=4, EVAL_PERIOD=2, **options)
    flags = [f"--output={tmp_path / 'mine'}", f"--gin.MODEL_DIR={run}"]
    assert small.cli.main(["export", *flags]) == 2
    assert "give --format=peft, which has LoRA" in capsys.readouterr().err
    assert small.cli.main(["export", "--format=text", *flags]) == 2
    assert "trains more than a prompt" in capsys.readouterr().err
    assert small.cli.main(["export", "--format=peft", *flags]) == 0
    assert "lora of step " in capsys.readouterr().out
    theirs = load_file(tmp_path / "mine/adapter_model.safetensors")
    own = load_file(run / "extra.safetensors")["encoder.self_attention.query.down"][0]
    name = "base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight"
    np.testing.assert_array_equal(theirs[name], own.T)
    assert small.command("evaluate", f"--prompt={tmp_path / 'mine'}") == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    expected = json.loads((run / "metrics.json").read_text())
    assert found == expected["trained"]["metrics"]
