"""`convert` of a small model."""

import json

import numpy as np
import small
from safetensors.numpy import load_file

from prompt_tuning.frozen import description, weights


def test_the_same_weights_in_half_the_bytes_and_the_vocabulary(
    frozen, tmp_path, capsys
):
    output = tmp_path / "half.safetensors"
    kept = {"INITIAL_CHECKPOINT_PATH": frozen, "T5Config.param_dtype": "bfloat16"}
    assert small.main("convert", "--output", output, **kept) == 0
    assert f"frozen model: {output}" in capsys.readouterr().out
    before, after = load_file(frozen), load_file(output)
    assert before.keys() == after.keys()
    for name, values in before.items():
        norm = name.endswith("scale")  # norms stay whole
        expected = values if norm else values.astype("bfloat16")
        if after[name].dtype == np.float32:
            np.testing.assert_array_equal(after[name], values)
        else:
            np.testing.assert_array_equal(after[name], expected)
    assert output.stat().st_size < 0.6 * frozen.stat().st_size
    assert (tmp_path / "spiece.model").is_file()
    made = json.loads(output.with_suffix(".json").read_text())
    assert made["converted_from"] == str(frozen)
    assert made["config"]["emb_dim"] == 16, "as the file said; no flag did"


def test_a_runs_model_goes_to_transformers(run, frozen, tmp_path, capsys):
    """Of a prompt's run the frozen one, of METHOD=whole the one that it tuned."""
    flags = "--format=hf", f"--gin.MODEL_DIR={run}", f"--output={tmp_path / 'a'}"
    assert small.cli.main(["convert", *flags]) == 0
    assert weights.fingerprint(str(tmp_path / "a")) == weights.fingerprint(str(frozen))
    assert description.config(str(tmp_path / "a"), {}) == small.CONFIG
    assert (tmp_path / "a/spiece.model").is_file()
    made = {"METHOD": "whole", "TRAIN_STEPS": 1, "PROMPT_LENGTH": None}
    tuned = small.trained(tmp_path / "whole", frozen, **made)
    flags = "--format=hf", f"--gin.MODEL_DIR={tuned}", f"--output={tmp_path / 'b'}"
    assert small.cli.main(["convert", *flags]) == 0
    names = str(tmp_path / "b"), str(tuned / "model.safetensors"), str(tuned)
    one, *others = map(weights.fingerprint, names)
    assert others == [one, one] and one != weights.fingerprint(str(frozen))
