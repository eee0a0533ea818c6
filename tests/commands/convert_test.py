"""`convert` of a small model."""

import json

import numpy as np
import small
from safetensors.numpy import load_file


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
